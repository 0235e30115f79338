//! Are two answers the same?

use super::answer::{Answer, by_name};
use super::eval::Point;
use super::node::{Func, Join, Node, Rat, Relation, has_variables};
use super::points::{equal_at_points, near_decimal};
use super::poly::{Atoms, Form};
use super::region::{self, infinite};
use super::words;
use crate::grade::outcome::{By, Outcome};
use num_traits::Zero;

/// Pairs of parts that are compared before it is given up.
const MAX_PAIRS: usize = 2_000;
/// Digits that a rounded decimal must have.
const ROUNDED_DIGITS: usize = 4;

/// A comparison's rules and allowance.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Whether `0.3333` is 1/3.
    pub rounding: bool,
    pairs: usize,
    /// Normal forms and evaluations that were asked for: what costs most.
    pub(super) scalars: usize,
}

impl Comparison {
    /// A comparison that takes, or does not take, rounded decimals.
    pub fn new(rounding: bool) -> Self {
        Self {
            rounding,
            ..Self::default()
        }
    }

    /// Whether two answers are the same. Long: one match, a row a pair of kinds.
    pub fn same(&mut self, gold: &Answer, pred: &Answer) -> Outcome {
        self.pairs += 1;
        if self.pairs > MAX_PAIRS {
            return Outcome::of(false, By::Undecided);
        }
        use Answer::*;
        match (gold, pred) {
            (Value(a), Value(b)) => self.scalar(a, b),
            (Text(a), Text(b)) => Outcome::of(words::plain(a) == words::plain(b), By::Text),
            (Truth(a), Truth(b)) => Outcome::of(a == b, By::Exact),
            (Named(a, x), Named(b, y)) => self.named(a, x, b, y),
            (Named(name, value), Relation(first, rest)) | (Relation(first, rest), Named(name, value)) => {
                match &**value {
                    Value(value) => {
                        let other = vec![(super::node::Relation::Equal, value.clone())];
                        self.relations((name, &other), (first, rest))
                    }
                    set => self.same(set, &Relation(first.clone(), rest.clone())),
                }
            }
            (Named(_, value), other) => self.same(value, other),
            (other, Named(_, value)) => self.same(other, value),
            (Several(a, _), Several(b, _)) => self.several(a, b),
            (Several(items, _), other) if items.len() == 1 => self.same(&items[0], other),
            (other, Several(items, _)) if items.len() == 1 => self.same(other, &items[0]),
            (Tuple(a), Tuple(b)) => self.in_order(a, b),
            (Tuple(a), Several(b, false)) | (Several(a, false), Tuple(b)) => {
                let (a, b) = (by_name(a), by_name(b));
                if a.len() != b.len() {
                    return Outcome::DIFFERENT;
                }
                all(a.into_iter().zip(b).map(|(a, b)| self.same(a, b)))
            }
            // A point with its name: P(2, 3).
            (Tuple(point), Value(Node::Call(Func::Applied(name), at)))
            | (Value(Node::Call(Func::Applied(name), at)), Tuple(point))
                if name.len() == 1 && name.chars().all(char::is_uppercase) =>
            {
                let at: Vec<Answer> = at.iter().cloned().map(Value).collect();
                self.in_order(point, &at)
            }
            (Matrix(a), Matrix(b)) => self.matrices(a, b),
            (Matrix(rows), Tuple(items)) | (Tuple(items), Matrix(rows)) => {
                let vector = rows.len() == 1 || rows[0].len() == 1;
                let cells: Vec<Answer> = rows.iter().flatten().cloned().map(Value).collect();
                if vector {
                    self.in_order(&cells, items)
                } else {
                    Outcome::DIFFERENT
                }
            }
            (Ratio(a), Ratio(b)) => self.ratios(a, b),
            // "x: 4" names a value.
            (Value(value), Ratio(parts))
                if matches!(parts.as_slice(), [Node::Symbol(_), is] if !has_variables(is))
                    && !has_variables(value) =>
            {
                self.scalar(value, &parts[1])
            }
            (Ratio(a), Value(b)) if a.len() == 2 => self.scalar(&Node::Ratio(a.clone()), b),
            (Value(a), Ratio(b)) if b.len() == 2 => self.scalar(a, &Node::Ratio(b.clone())),
            (Relation(a, x), Relation(b, y)) => self.relations((a, x), (b, y)),
            (Region(a), Region(b)) => self.regions(a, b),
            (Region(a), b @ (Tuple(_) | Several(..))) | (b @ (Tuple(_) | Several(..)), Region(a)) => {
                match as_set(b) {
                    Some(b) => self.regions(a, &b),
                    None => Outcome::DIFFERENT,
                }
            }
            (Value(value), Relation(first, rest)) => self.quantity(value, (first, rest), false),
            (Relation(first, rest), Value(value)) => self.quantity(value, (first, rest), true),
            (one @ Value(_), Several(items, _)) | (Several(items, _), one @ Value(_)) => {
                self.each(one, items)
            }
            (Text(text), Value(value)) | (Value(value), Text(text)) => self.worded(text, value),
            (a @ (Region(_) | Tuple(_)), b @ Text(_)) | (b @ Text(_), a @ (Region(_) | Tuple(_))) => {
                match (as_set(a), as_set(b)) {
                    (Some(a), Some(b)) => self.regions(&a, &b),
                    _ => Outcome::DIFFERENT,
                }
            }
            (Text(text), Several(items, _)) | (Several(items, _), Text(text)) if items.is_empty() => {
                Outcome::of(words::set(text) == Some(Node::Set(Vec::new())), By::Text)
            }
            (Relation(first, rest), other) | (other, Relation(first, rest)) => {
                match (region::solved(first, rest), as_set(other)) {
                    (Some(a), Some(b)) => self.regions(&a, &b),
                    _ => Outcome::DIFFERENT,
                }
            }
            _ => Outcome::DIFFERENT,
        }
    }

    fn named(&mut self, a: &Node, x: &Answer, b: &Node, y: &Answer) -> Outcome {
        let free = |name: &Node| match name {
            Node::Call(Func::Applied(_), _) => true,
            Node::Symbol(name) => name == "y",
            _ => false,
        };
        // x_1 = 2 gives a value of x.
        let root = |name: &Node| match name {
            Node::Symbol(name) => Some(name.split('_').next().unwrap_or(name).to_owned()),
            _ => None,
        };
        let numbered =
            a != b && root(a).is_some_and(|root| [a, b].contains(&&Node::Symbol(root))) && root(a) == root(b);
        let same_name =
            a == b || numbered || (free(a) && free(b)) || matches!((a, b), (Node::Tuple(_), Node::Tuple(_)));
        if same_name
            || !matches!(a, Node::Symbol(_) | Node::Call(..))
            || !matches!(b, Node::Symbol(_) | Node::Call(..))
        {
            let outcome = self.same(x, y);
            if outcome.equal || (a == b && !has_value_variables(x)) {
                return outcome;
            }
        }
        // y = 2x and x = y/2 are one equation.
        match (x, y) {
            (Answer::Value(x), Answer::Value(y)) if has_variables(x) || has_variables(y) => {
                let (x, y) = ([(Relation::Equal, x.clone())], [(Relation::Equal, y.clone())]);
                self.relations((a, &x), (b, &y))
            }
            _ => Outcome::DIFFERENT,
        }
    }

    fn in_order(&mut self, a: &[Answer], b: &[Answer]) -> Outcome {
        if a.len() != b.len() {
            return Outcome::DIFFERENT;
        }
        all(a.iter().zip(b).map(|(a, b)| self.same(a, b)))
    }

    /// Each of one is one of the other's. Equal ones count once.
    fn several(&mut self, a: &[Answer], b: &[Answer]) -> Outcome {
        let mut by = By::Exact;
        let mut taken = vec![false; b.len()];
        for gold in a {
            let mut found = None;
            for (at, pred) in b.iter().enumerate() {
                let outcome = self.same(gold, pred);
                if outcome.equal {
                    // The one that is still free, if there is any.
                    if found.is_none() || !taken[at] {
                        found = Some((at, outcome.by));
                    }
                    if !taken[at] {
                        break;
                    }
                }
            }
            let Some((at, how)) = found else {
                return Outcome::DIFFERENT;
            };
            taken[at] = true;
            by = by.max(how);
        }
        // What is left over must repeat something.
        for at in (0..b.len()).filter(|at| !taken[*at]).collect::<Vec<_>>() {
            if !a.iter().any(|gold| self.same(gold, &b[at]).equal) {
                return Outcome::DIFFERENT;
            }
        }
        Outcome::of(true, by)
    }

    fn matrices(&mut self, a: &[Vec<Node>], b: &[Vec<Node>]) -> Outcome {
        if a.len() != b.len() || a[0].len() != b[0].len() {
            return Outcome::DIFFERENT;
        }
        let pairs = a.iter().flatten().zip(b.iter().flatten());
        all(pairs.map(|(a, b)| self.scalar(a, b)))
    }

    /// Proportional; where there is a zero, as in `12:00`, the same.
    fn ratios(&mut self, a: &[Node], b: &[Node]) -> Outcome {
        if a.len() != b.len() {
            return Outcome::DIFFERENT;
        }
        let mut by = By::Exact;
        for (x, y) in a.iter().zip(b) {
            let part = self.scalar(x, y);
            by = by.max(part.by);
            if !part.equal {
                return self.proportional(a, b);
            }
        }
        Outcome::of(true, by)
    }

    fn proportional(&mut self, a: &[Node], b: &[Node]) -> Outcome {
        let mut by = By::Exact;
        for (x, y) in a[1..].iter().zip(&b[1..]) {
            let left = Node::Mul(vec![a[0].clone(), y.clone()]);
            let right = Node::Mul(vec![b[0].clone(), x.clone()]);
            let part = self.scalar(&left, &right);
            if !part.equal {
                return part;
            }
            by = by.max(part.by);
        }
        let zero = |parts: &[Node]| {
            parts
                .iter()
                .any(|part| self_value(part).is_some_and(|v| v.is_zero()))
        };
        Outcome::of(!zero(a) && !zero(b), by)
    }

    pub(super) fn regions(&mut self, a: &Node, b: &Node) -> Outcome {
        let sides = |node: &Node| match node {
            Node::Interval(x, y, from, to) => Some(((**x).clone(), (**y).clone(), *from, *to)),
            Node::Tuple(pair) if pair.len() == 2 => Some((pair[0].clone(), pair[1].clone(), false, false)),
            _ => None,
        };
        if let (Some((x, y, from, to)), Some((p, q, starts, ends))) = (sides(a), sides(b)) {
            let (first, second) = (self.scalar(&x, &p), self.scalar(&y, &q));
            let equal = first.equal && second.equal && from == starts && to == ends;
            return Outcome::of(equal, first.by.max(second.by));
        }
        if a == b {
            return Outcome::of(true, By::Exact);
        }
        if let (Node::Joined(j, p, q), Node::Joined(k, x, y)) = (a, b)
            && j == k
        {
            let (first, second) = (self.regions(p, x), self.regions(q, y));
            if first.equal && second.equal {
                return Outcome::of(true, first.by.max(second.by));
            }
        }
        match region::same(a, b) {
            Some(equal) => Outcome::of(equal, By::Numeric),
            None => self.finite_sets(a, b),
        }
    }

    /// Unions of finite sets whose members are no numbers.
    fn finite_sets(&mut self, a: &Node, b: &Node) -> Outcome {
        match (members(a), members(b)) {
            (Some(a), Some(b)) => self.several(&a, &b),
            _ => Outcome::of(false, By::Undecided),
        }
    }

    /// Two numbers or expressions.
    pub fn scalar(&mut self, a: &Node, b: &Node) -> Outcome {
        self.scalars += 1;
        if self.scalars > MAX_PAIRS {
            return Outcome::of(false, By::Undecided);
        }
        if let Some(outcome) = self.marked(a, b) {
            return outcome;
        }
        if let (Some(a), Some(b)) = (rational(a), rational(b)) {
            return Outcome::of(a == b, By::Exact);
        }
        match (infinite(a), infinite(b)) {
            (Some(a), Some(b)) => return Outcome::of(a == b, By::Exact),
            (None, None) => {}
            _ => return Outcome::DIFFERENT,
        }
        let mut atoms = Atoms::default();
        let (f, g) = (atoms.form(a), atoms.form(b));
        if let (Ok(f), Ok(g)) = (&f, &g) {
            if let (Some(x), Some(y)) = (f.value(), g.value()) {
                if x == y {
                    return Outcome::of(true, By::Exact);
                }
                return self
                    .rounded(a, b, Some(&x), Some(&y))
                    .unwrap_or(Outcome::of(false, By::Exact));
            }
            match atoms.equal(f, g) {
                Ok(true) => return Outcome::of(true, By::Symbolic),
                Ok(false) if atoms.is_decisive(f) && atoms.is_decisive(g) => {
                    return self
                        .rounded(a, b, None, None)
                        .unwrap_or(Outcome::of(false, By::Symbolic));
                }
                _ => {}
            }
        }
        let value = |form: &Result<Form, _>| form.as_ref().ok().and_then(Form::value);
        if let Some(outcome) = self.rounded(a, b, value(&f).as_ref(), value(&g).as_ref()) {
            return outcome;
        }
        equal_at_points(a, b)
    }

    /// Two scalars of which one is in percent, in degrees or in a base of its own; `None` where neither is.
    fn marked(&mut self, a: &Node, b: &Node) -> Option<Outcome> {
        Some(match (a, b) {
            (Node::Percent(a), Node::Percent(b)) | (Node::Degrees(a), Node::Degrees(b)) => self.scalar(a, b),
            // 50% is meant as 50 or as 1/2.
            (Node::Percent(inside), other) | (other, Node::Percent(inside)) => {
                let hundredth = Node::Div(inside.clone(), Node::int(100).into());
                self.either(inside, &hundredth, other)
            }
            // 45° answers 45; not π/4, which is said in another unit.
            (Node::Degrees(inside), other) | (other, Node::Degrees(inside)) => self.scalar(inside, other),
            (Node::Based(x, p, _), Node::Based(y, q, _)) => Outcome::of(x == y && p == q, By::Exact),
            // A numeral in another base is not its value: 40_9 answers another question than 36 does.
            (Node::Based(_, base, _), _) | (_, Node::Based(_, base, _)) if *base != 10 => Outcome::DIFFERENT,
            _ => return None,
        })
    }

    fn either(&mut self, first: &Node, second: &Node, other: &Node) -> Outcome {
        let outcome = self.scalar(first, other);
        if outcome.equal {
            outcome
        } else {
            self.scalar(second, other)
        }
    }

    /// Whether one is a decimal that the other rounds to.
    fn rounded(&self, a: &Node, b: &Node, x: Option<&Rat>, y: Option<&Rat>) -> Option<Outcome> {
        if !self.rounding {
            return None;
        }
        let (places, decimal, other, exact) = match (decimal(a), decimal(b)) {
            (Some((places, value)), None) => (places, value, b, y),
            (None, Some((places, value))) => (places, value, a, x),
            _ => return None,
        };
        if has_variables(other) || matches!(other, Node::Int(_)) {
            return None;
        }
        near_decimal(&decimal, places, other, exact)?.then_some(Outcome::of(true, By::Rounding))
    }
}

/// Equal where every part is, decided by the last resort that one needed; else as the first part that differs.
fn all(parts: impl Iterator<Item = Outcome>) -> Outcome {
    let mut by = By::Exact;
    for part in parts {
        if !part.equal {
            return part;
        }
        by = by.max(part.by);
    }
    Outcome::of(true, by)
}

/// The value of a plain number.
fn rational(node: &Node) -> Option<Rat> {
    match node {
        Node::Int(value) | Node::Based(value, ..) => Some(Rat::from_integer(value.clone())),
        Node::Decimal(value, _) => Some(value.clone()),
        Node::Neg(inside) => rational(inside).map(|value| -value),
        _ => None,
    }
}

fn self_value(node: &Node) -> Option<Rat> {
    Atoms::default().form(node).ok()?.value()
}

/// A decimal of enough digits: its places and its value.
fn decimal(node: &Node) -> Option<(usize, Rat)> {
    match node {
        Node::Neg(inside) => decimal(inside).map(|(places, value)| (places, -value)),
        Node::Decimal(value, places) => {
            let digits =
                (value * Rat::from_integer(num_bigint::BigInt::from(10).pow(*places as u32))).to_integer();
            let enough = *places >= ROUNDED_DIGITS
                && digits >= num_bigint::BigInt::from(10).pow(ROUNDED_DIGITS as u32 - 1);
            (enough && !value.is_zero() && *places <= 400).then(|| (*places, value.clone()))
        }
        _ => None,
    }
}

fn has_value_variables(answer: &Answer) -> bool {
    matches!(answer, Answer::Value(node) if has_variables(node))
}

/// An answer as a set of reals.
fn as_set(answer: &Answer) -> Option<Node> {
    match answer {
        Answer::Region(node) => Some(node.clone()),
        Answer::Tuple(pair) => match pair.as_slice() {
            [Answer::Value(a), Answer::Value(b)] => Some(Node::Tuple(vec![a.clone(), b.clone()])),
            _ => None,
        },
        Answer::Several(items, _) if items.iter().all(|item| matches!(item, Answer::Value(_))) => {
            let values = items.iter().map(|item| match item {
                Answer::Value(node) => Some(node.clone()),
                _ => None,
            });
            Some(Node::Set(values.collect::<Option<_>>()?))
        }
        // (-∞, -1), (1, ∞): a union.
        Answer::Several(items, false) => {
            let mut sets = items.iter().map(as_set);
            let first = sets.next()??;
            sets.try_fold(first, |union, set| {
                Some(Node::Joined(Join::Union, union.into(), set?.into()))
            })
        }
        Answer::Named(_, value) => as_set(value),
        Answer::Text(text) => words::set(text),
        Answer::Relation(first, rest) => region::solved(first, rest),
        _ => None,
    }
}

/// The members of a set that is written with finite ones alone.
fn members(node: &Node) -> Option<Vec<Answer>> {
    match node {
        Node::Set(items) | Node::List(items) => {
            Some(items.iter().cloned().map(super::answer::understand).collect())
        }
        Node::Joined(Join::Union, a, b) => {
            let mut all = members(a)?;
            all.extend(members(b)?);
            Some(all)
        }
        _ => None,
    }
}

/// Whether an answer has a value, so that something can equal it: no division by zero.
pub fn has_meaning(answer: &Answer) -> bool {
    match answer {
        Answer::Value(node) => {
            infinite(node).is_some()
                || rational(node).is_some()
                || Atoms::default().form(node).is_ok()
                || Point::new(0).value(node).is_some()
        }
        Answer::Named(_, value) => has_meaning(value),
        Answer::Tuple(items) | Answer::Several(items, _) => items.iter().all(has_meaning),
        Answer::Text(text) => text.chars().any(char::is_alphanumeric),
        _ => true,
    }
}
