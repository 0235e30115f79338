//! What a tree is as an answer: a value, several, a tuple, a set of reals, a relation.

use super::node::{Func, Join, Node, Relation, has_variables};
use super::points::constant;
use super::region;

/// Cells of a matrix product that are worked out.
const MAX_CELLS: usize = 400;

/// An answer, ready to be compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A number or an expression.
    Value(Node),
    /// In order.
    Tuple(Vec<Answer>),
    /// In any order. True: in braces, a set; false: merely several answers.
    Several(Vec<Answer>, bool),
    /// A set of reals that is not a list of points.
    Region(Node),
    /// Rows.
    Matrix(Vec<Vec<Node>>),
    /// `x = …`, `f(x) = …`, `x ∈ …`: what it is a value of, and that value.
    Named(Node, Box<Answer>),
    /// An equation that gives no value, or inequalities.
    Relation(Node, Vec<(Relation, Node)>),
    /// `a : b`.
    Ratio(Vec<Node>),
    /// Words.
    Text(String),
    /// True or false.
    Truth(bool),
}

impl Answer {
    /// Whether it is a number, or several, without any letter that a value could be put for.
    pub(crate) fn is_constant(&self) -> bool {
        match self {
            Answer::Value(node) | Answer::Region(node) => !has_variables(node),
            Answer::Tuple(items) | Answer::Several(items, _) => items.iter().all(Answer::is_constant),
            Answer::Named(_, value) => value.is_constant(),
            Answer::Ratio(parts) => !parts.iter().any(has_variables),
            Answer::Matrix(rows) => !rows.iter().flatten().any(has_variables),
            Answer::Relation(..) | Answer::Text(_) | Answer::Truth(_) => false,
        }
    }
}

/// The answer that a tree is.
pub(super) fn understand(node: Node) -> Answer {
    match node {
        Node::Text(text) => Answer::Text(text),
        Node::Truth(truth) => Answer::Truth(truth),
        Node::List(items) => several(items, false),
        Node::Set(items) => several(items, true),
        Node::Tuple(items) if items.iter().any(has_signs) => {
            let opened = open_signs(&Node::Tuple(items));
            Answer::Several(opened.into_iter().map(understand).collect(), false)
        }
        Node::Tuple(items) => Answer::Tuple(items.into_iter().map(understand).collect()),
        Node::Ratio(parts) => Answer::Ratio(parts),
        Node::Chain(first, rest) => chain(*first, rest),
        Node::Interval(..) | Node::NumberSet(_) => Answer::Region(node),
        Node::Joined(join, a, b) => Answer::Region(Node::Joined(join, set_of(*a).into(), set_of(*b).into())),
        Node::Call(Func::Named(name @ ("Or" | "And" | "Conditions")), items) => conditions(name, items),
        // ℝ - {2}
        Node::Add(parts) if is_set_difference(&parts) => {
            let mut parts = parts.into_iter();
            match (parts.next(), parts.next()) {
                (Some(all), Some(Node::Neg(without))) => {
                    Answer::Region(Node::Joined(Join::Difference, all.into(), without))
                }
                _ => Answer::Text(String::new()),
            }
        }
        Node::Matrix(rows) => Answer::Matrix(rows),
        // t(0, 4]: the sign ∈ was lost.
        Node::Mul(parts) if matches!(parts.as_slice(), [Node::Symbol(_), Node::Interval(..)]) => {
            let mut parts = parts.into_iter();
            match (parts.next(), parts.next()) {
                (Some(name), Some(set)) => Answer::Named(name, understand(set).into()),
                _ => Answer::Text(String::new()),
            }
        }
        node if node.any(&|part| matches!(part, Node::Matrix(_))) => match matrix(&node) {
            Some(rows) => Answer::Matrix(rows),
            None => Answer::Value(node),
        },
        node if has_signs(&node) => {
            let opened = open_signs(&node);
            Answer::Several(opened.into_iter().map(understand).collect(), false)
        }
        node => Answer::Value(node),
    }
}

fn is_set_difference(parts: &[Node]) -> bool {
    let set = |node: &Node| matches!(node, Node::Set(_) | Node::Interval(..) | Node::Tuple(_));
    matches!(parts, [Node::NumberSet(_), Node::Neg(without)] if set(without))
}

/// A member of a union: a condition is the set that it describes.
fn set_of(node: Node) -> Node {
    match &node {
        Node::Chain(first, rest) => region::solved(first, rest).unwrap_or(node),
        _ => node,
    }
}

/// Conditions on one quantity as the set that fulfils them; else they stay apart. Those that only commas part all
/// hold, unless they contradict each other: `x < -1, x > 1` is a union.
fn conditions(name: &str, items: Vec<Node>) -> Answer {
    let union = name == "Or";
    match region::of_conditions(&items, union) {
        Some(both) if name == "Conditions" && region::same(&both, &Node::Set(Vec::new())) == Some(true) => {
            let apart = region::of_conditions(&items, true);
            Answer::Region(apart.unwrap_or(both))
        }
        Some(set) => Answer::Region(set),
        None => {
            let mut parts = Vec::new();
            for item in items {
                match understand(item) {
                    Answer::Several(more, false) => parts.extend(more),
                    one => parts.push(one),
                }
            }
            Answer::Several(parts, false)
        }
    }
}

fn several(items: Vec<Node>, braces: bool) -> Answer {
    // k = 1, 2, 3: the name is that of all.
    if items.len() > 1
        && let Node::Chain(name, rest) = &items[0]
        && let [(Relation::Equal | Relation::In, first)] = rest.as_slice()
        && is_name(name)
        && items[1..].iter().all(|item| !matches!(item, Node::Chain(..)))
    {
        let name = (**name).clone();
        let mut values = vec![first.clone()];
        values.extend(items.into_iter().skip(1));
        return Answer::Named(name, several(values, braces).into());
    }
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        let signs = has_signs(&item);
        match understand(item) {
            Answer::Several(more, _) if signs => out.extend(more),
            one => out.push(one),
        }
    }
    Answer::Several(out, braces)
}

fn chain(first: Node, mut rest: Vec<(Relation, Node)>) -> Answer {
    // What follows ≈ only approximates, unless it is all there is.
    if let Some(at) = rest.iter().position(|(op, _)| *op == Relation::Approx) {
        if at > 0 {
            rest.truncate(at);
        } else if is_name(&first) || has_variables(&first) && !has_variables(&rest[0].1) {
            rest.truncate(1);
            rest[0].0 = Relation::Equal;
        } else {
            return understand(first);
        }
    }
    let all = |wanted: Relation| rest.iter().all(|(op, _)| *op == wanted);
    if let [(Relation::In, set)] = rest.as_slice() {
        return Answer::Named(first, understand(set.clone()).into());
    }
    // x ∉ [-1, 1]
    if let [(Relation::Other('∉'), set)] = rest.as_slice() {
        let without = Node::Joined(Join::Difference, Node::NumberSet('ℝ').into(), set.clone().into());
        return Answer::Named(first, Answer::Region(without).into());
    }
    if let [(Relation::Subset, set)] = rest.as_slice()
        && let Some(truth) = is_subset(&first, set)
    {
        return Answer::Truth(truth);
    }
    if all(Relation::Equal)
        && let Some((_, last)) = rest.last().cloned()
    {
        if is_name(&first) {
            // A coordinate pair, not an interval: (x, y) = (1, 2).
            return Answer::Named(first, understand(last).into());
        }
        if !has_variables(&first) && rest.iter().all(|(_, side)| !has_variables(side)) {
            return understand(constant(&first, &rest).unwrap_or(last));
        }
        if has_signs(&last) {
            let opened = open_signs(&last);
            let each = |value: Node| Answer::Relation(first.clone(), vec![(Relation::Equal, value)]);
            return Answer::Several(opened.into_iter().map(each).collect(), false);
        }
        return Answer::Relation(first, vec![(Relation::Equal, last)]);
    }
    Answer::Relation(first, rest)
}

/// Values with one-letter names, `y = 3, x = 2`, in the order of these; anything else as it is.
pub(super) fn by_name(items: &[Answer]) -> Vec<&Answer> {
    let name = |item: &&Answer| match item {
        Answer::Named(Node::Symbol(name), _) => name.clone(),
        _ => String::new(),
    };
    let mut sorted: Vec<&Answer> = items.iter().collect();
    if sorted.iter().all(|item| !name(item).is_empty()) {
        sorted.sort_by_key(name);
    }
    sorted
}

/// Whether something only names a quantity: a letter, f(x), (x, y), AB, A : B, NO/BO.
pub(super) fn is_name(node: &Node) -> bool {
    match node {
        Node::Symbol(_) | Node::Call(Func::Applied(_), _) | Node::Text(_) => true,
        Node::Tuple(parts) | Node::Ratio(parts) | Node::List(parts) => parts.iter().all(is_name),
        Node::Mul(parts) => parts.iter().all(is_name),
        Node::Div(a, b) => is_name(a) && is_name(b),
        // P(A), with E or I for an event.
        Node::Const(super::node::Const::E | super::node::Const::I) => true,
        _ => false,
    }
}

fn has_signs(node: &Node) -> bool {
    node.any(&|part| matches!(part, Node::PlusMinus(..)))
}

/// The two readings of plus-minus: every upper sign, every lower one.
fn open_signs(node: &Node) -> Vec<Node> {
    fn with(node: &Node, upper: bool) -> Node {
        match node {
            Node::PlusMinus(inside, flipped) => {
                let inside = with(inside, upper);
                if upper != *flipped {
                    inside
                } else {
                    Node::Neg(inside.into())
                }
            }
            node => node.map(&mut |part| with(part, upper)),
        }
    }
    vec![with(node, true), with(node, false)]
}

/// Whether every member of a finite set is one of another's, as written.
fn is_subset(a: &Node, b: &Node) -> Option<bool> {
    let members = |node: &Node| match node {
        Node::Set(items) | Node::List(items) => Some(items.clone()),
        Node::Int(_) | Node::Symbol(_) => Some(vec![node.clone()]),
        _ => None,
    };
    let (a, b) = (members(a)?, members(b)?);
    Some(a.iter().all(|item| b.contains(item)))
}

/// Sums and products of matrices, with scalars.
fn matrix(node: &Node) -> Option<Vec<Vec<Node>>> {
    match node {
        Node::Matrix(rows) => Some(rows.clone()),
        Node::Neg(inside) => Some(each(&matrix(inside)?, &|cell| Node::Neg(cell.clone().into()))),
        Node::Add(parts) => {
            let mut sum = matrix(&parts[0])?;
            for part in &parts[1..] {
                let part = matrix(part)?;
                if part.len() != sum.len() || part[0].len() != sum[0].len() {
                    return None;
                }
                for (row, other) in sum.iter_mut().zip(part) {
                    for (cell, other) in row.iter_mut().zip(other) {
                        *cell = Node::Add(vec![cell.clone(), other]);
                    }
                }
            }
            Some(sum)
        }
        Node::Mul(parts) => {
            let mut scalars = Vec::new();
            let mut product: Option<Vec<Vec<Node>>> = None;
            for part in parts {
                if !part.any(&|part| matches!(part, Node::Matrix(_))) {
                    scalars.push(part.clone());
                    continue;
                }
                let part = matrix(part)?;
                product = Some(match product {
                    None => part,
                    Some(before) => times(&before, &part)?,
                });
            }
            let product = product?;
            if scalars.is_empty() {
                return Some(product);
            }
            let scalar = Node::Mul(scalars);
            Some(each(&product, &|cell| {
                Node::Mul(vec![scalar.clone(), cell.clone()])
            }))
        }
        Node::Div(a, b) => {
            let b = (!b.any(&|part| matches!(part, Node::Matrix(_)))).then_some(b)?;
            Some(each(&matrix(a)?, &|cell| {
                Node::Div(cell.clone().into(), b.clone())
            }))
        }
        _ => None,
    }
}

fn each(rows: &[Vec<Node>], change: &dyn Fn(&Node) -> Node) -> Vec<Vec<Node>> {
    rows.iter().map(|row| row.iter().map(change).collect()).collect()
}

fn times(a: &[Vec<Node>], b: &[Vec<Node>]) -> Option<Vec<Vec<Node>>> {
    if a[0].len() != b.len() || a.len() * b.len() * b[0].len() > MAX_CELLS {
        return None;
    }
    let cell = |row: &Vec<Node>, column: usize| {
        Node::Add(
            row.iter()
                .zip(b)
                .map(|(x, other)| Node::Mul(vec![x.clone(), other[column].clone()]))
                .collect(),
        )
    };
    Some(
        a.iter()
            .map(|row| (0..b[0].len()).map(|column| cell(row, column)).collect())
            .collect(),
    )
}
