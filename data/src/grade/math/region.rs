//! Sets of reals: intervals, points, their unions, and what inequalities in one variable describe.
//!
//! Two sets are equal if they hold the same of these: every end of an interval and every point that either names,
//! and one point between each two neighbours.

use super::complex::Complex;
use super::eval::{Point, near};
use super::node::{Const, Func, Join, Node, Relation, has_variables};
use super::poly::{Atom, Atoms, Form, Poly};
use num_traits::{One, Signed};

/// Ends and points of both sets together.
const MAX_ENDS: usize = 400;

/// Whether two sets of reals are the same; `None` where one cannot be placed on the real line.
pub fn same(a: &Node, b: &Node) -> Option<bool> {
    let mut ends = Vec::new();
    collect(a, &mut ends)?;
    collect(b, &mut ends)?;
    ends.sort_by(|x, y| x.re.hi.total_cmp(&y.re.hi));
    ends.dedup_by(|x, y| near(*x, *y));
    let line = Line { ends };
    // Even: between ends; odd: on an end.
    for place in 0..=2 * line.ends.len() {
        if line.holds(a, place)? != line.holds(b, place)? {
            return Some(false);
        }
    }
    Some(true)
}

enum End {
    Below,
    Above,
    At(Complex),
}

fn end(node: &Node) -> Option<End> {
    match infinite(node) {
        Some(true) => Some(End::Above),
        Some(false) => Some(End::Below),
        None => {
            let value = Point::new(0).value(node)?;
            (value.im.hi.abs() <= 1e-24).then_some(End::At(value))
        }
    }
}

/// The sign of an infinity: true is positive.
pub fn infinite(node: &Node) -> Option<bool> {
    match node {
        Node::Const(Const::Infinity) => Some(true),
        Node::Neg(inside) => infinite(inside).map(|positive| !positive),
        Node::Percent(inside) => infinite(inside),
        _ => None,
    }
}

fn collect(set: &Node, ends: &mut Vec<Complex>) -> Option<()> {
    let mut add = |node: &Node| -> Option<()> {
        if let End::At(value) = end(node)? {
            ends.push(value);
        }
        (ends.len() <= MAX_ENDS).then_some(())
    };
    match set {
        Node::Interval(from, to, ..) => {
            add(from)?;
            add(to)
        }
        Node::Tuple(pair) if pair.len() == 2 => {
            add(&pair[0])?;
            add(&pair[1])
        }
        Node::Set(points) | Node::List(points) => points.iter().try_for_each(add),
        Node::Joined(_, a, b) => {
            collect(a, ends)?;
            collect(b, ends)
        }
        Node::NumberSet('ℝ') => Some(()),
        Node::NumberSet(_) | Node::Matrix(_) | Node::Chain(..) | Node::Text(_) => None,
        point => add(point),
    }
}

struct Line {
    ends: Vec<Complex>,
}

impl Line {
    /// The place of an end: odd on the line, beyond both sides for the infinities.
    fn place(&self, node: &Node) -> Option<i64> {
        Some(match end(node)? {
            End::Below => -1,
            End::Above => 2 * self.ends.len() as i64 + 1,
            End::At(value) => {
                let at = self.ends.iter().position(|end| near(*end, value))?;
                2 * at as i64 + 1
            }
        })
    }

    fn between(&self, place: usize, ends: (&Node, &Node), closed: (bool, bool)) -> Option<bool> {
        let place = place as i64;
        let (from, to) = (self.place(ends.0)?, self.place(ends.1)?);
        // An interval that runs backwards is a mistake, not the empty set.
        if from > to {
            return None;
        }
        let above = place > from || (closed.0 && place == from);
        let below = place < to || (closed.1 && place == to);
        Some(above && below)
    }

    fn holds(&self, set: &Node, place: usize) -> Option<bool> {
        match set {
            Node::Interval(from, to, closed, closes) => self.between(place, (from, to), (*closed, *closes)),
            Node::Tuple(pair) if pair.len() == 2 => self.between(place, (&pair[0], &pair[1]), (false, false)),
            Node::Set(points) | Node::List(points) => {
                for point in points {
                    if self.place(point)? == place as i64 {
                        return Some(true);
                    }
                }
                Some(false)
            }
            Node::Joined(join, a, b) => {
                let (a, b) = (self.holds(a, place)?, self.holds(b, place)?);
                Some(match join {
                    Join::Union => a || b,
                    Join::Intersection => a && b,
                    Join::Difference => a && !b,
                })
            }
            Node::NumberSet('ℝ') => Some(true),
            point => Some(self.place(point)? == place as i64),
        }
    }
}

/// The set of the numbers that one of these conditions (`union`), or all of them, let one and the same variable be.
pub fn of_conditions(items: &[Node], union: bool) -> Option<Node> {
    let mut quantity = None;
    let mut set: Option<Node> = None;
    for item in items {
        let part = match item {
            Node::Chain(first, rest) => solved_in(first, rest, &mut quantity)?,
            Node::Call(Func::Named("And"), inner) => {
                let part = of_conditions(inner, false)?;
                quantity = quantity.or_else(|| variable_of(inner));
                part
            }
            _ => return None,
        };
        let join = if union { Join::Union } else { Join::Intersection };
        set = Some(match set {
            None => part,
            Some(before) => Node::Joined(join, before.into(), part.into()),
        });
    }
    set
}

fn variable_of(items: &[Node]) -> Option<Node> {
    let mut quantity = None;
    match items.first()? {
        Node::Chain(first, rest) => solved_in(first, rest, &mut quantity).and(quantity),
        _ => None,
    }
}

/// The set that inequalities in one variable describe: `x > 5`, `-1 < 2x ≤ 3`, `|x - 1| < 2`, `x ≠ 3`; or in one
/// quantity, `0 < f(x) < 1`.
pub fn solved(first: &Node, rest: &[(Relation, Node)]) -> Option<Node> {
    solved_in(first, rest, &mut None)
}

/// As [`solved`], in the given quantity if there is one.
fn solved_in(first: &Node, rest: &[(Relation, Node)], quantity: &mut Option<Node>) -> Option<Node> {
    let mut left = first;
    let mut set: Option<Node> = None;
    for (relation, right) in rest {
        let part = match (relation, right) {
            // x ∈ ℝ, x ∈ (0, 1]
            (
                Relation::In,
                Node::NumberSet(_) | Node::Interval(..) | Node::Tuple(_) | Node::Set(_) | Node::Joined(..),
            ) => {
                match quantity {
                    Some(known) if known != left => return None,
                    _ => *quantity = Some(left.clone()),
                }
                right.clone()
            }
            _ => solved_pair(left, *relation, right, quantity)?,
        };
        set = Some(match set {
            None => part,
            Some(before) => Node::Joined(Join::Intersection, before.into(), part.into()),
        });
        left = right;
    }
    set
}

fn solved_pair(left: &Node, relation: Relation, right: &Node, quantity: &mut Option<Node>) -> Option<Node> {
    let (moving, fixed, relation) = if has_variables(left) && !has_variables(right) {
        (left, right, relation)
    } else if has_variables(right) && !has_variables(left) {
        (right, left, mirrored(relation))
    } else {
        return None;
    };
    let inside = match moving {
        Node::Call(Func::Named("Abs"), args) if args.len() == 1 => Some(&args[0]),
        _ => None,
    };
    let subject = inside.unwrap_or(moving);
    // f(x) counts as a variable of its own.
    let (variable, slope, shift) = match subject {
        Node::Call(Func::Applied(_), _) => (subject.clone(), Node::int(1), Node::int(0)),
        _ => linear(subject)?,
    };
    match quantity {
        Some(known) if *known != variable => return None,
        _ => *quantity = Some(variable),
    }
    let positive = match Point::new(0).value(&slope) {
        Some(value) if value.is_real() && !value.is_zero() => value.re.hi > 0.0,
        _ => return None,
    };
    let at = |bound: Node| {
        Node::Div(
            Node::Add(vec![bound, Node::Neg(shift.clone().into())]).into(),
            slope.clone().into(),
        )
    };
    let bound = |node: Node| if infinite(&node).is_some() { node } else { at(node) };
    if inside.is_some() {
        let (upper, lower) = (bound(fixed.clone()), bound(Node::Neg(fixed.clone().into())));
        let (low, high) = if positive { (lower, upper) } else { (upper, lower) };
        return two_sided(relation, low, high);
    }
    let relation = if positive { relation } else { mirrored(relation) };
    one_sided(relation, bound(fixed.clone()))
}

fn below(to: Node, closed: bool) -> Node {
    let from = Node::Neg(Node::Const(Const::Infinity).into());
    Node::Interval(from.into(), to.into(), false, closed)
}

fn above(from: Node, closed: bool) -> Node {
    Node::Interval(from.into(), Node::Const(Const::Infinity).into(), closed, false)
}

/// `|x|` in this relation to a bound: between the two bounds of `x`, or outside of them.
fn two_sided(relation: Relation, low: Node, high: Node) -> Option<Node> {
    let outside = |low, high, closed| {
        let (below, above) = (below(low, closed), above(high, closed));
        Node::Joined(Join::Union, below.into(), above.into())
    };
    Some(match relation {
        Relation::Less => Node::Interval(low.into(), high.into(), false, false),
        Relation::LessEqual => Node::Interval(low.into(), high.into(), true, true),
        Relation::Greater => outside(low, high, false),
        Relation::GreaterEqual => outside(low, high, true),
        _ => return None,
    })
}

/// `x` in this relation to a bound.
fn one_sided(relation: Relation, bound: Node) -> Option<Node> {
    Some(match relation {
        Relation::Less => below(bound, false),
        Relation::LessEqual => below(bound, true),
        Relation::Greater => above(bound, false),
        Relation::GreaterEqual => above(bound, true),
        Relation::Equal => Node::Set(vec![bound]),
        Relation::NotEqual => Node::Joined(
            Join::Difference,
            Node::NumberSet('ℝ').into(),
            Node::Set(vec![bound]).into(),
        ),
        _ => return None,
    })
}

/// The relation with its sides exchanged.
pub fn mirrored(relation: Relation) -> Relation {
    match relation {
        Relation::Less => Relation::Greater,
        Relation::LessEqual => Relation::GreaterEqual,
        Relation::Greater => Relation::Less,
        Relation::GreaterEqual => Relation::LessEqual,
        other => other,
    }
}

/// `slope · variable + shift`.
fn linear(node: &Node) -> Option<(Node, Node, Node)> {
    if let Node::Symbol(_) = node {
        return Some((node.clone(), Node::int(1), Node::int(0)));
    }
    let mut atoms = Atoms::default();
    let form = atoms.form(node).ok()?;
    if !form.is_whole() {
        return None;
    }
    let mut variable = None;
    let (mut slope, mut shift) = (Poly::default(), Poly::default());
    for (mono, c) in &form.num.0 {
        match mono.0.as_slice() {
            [] => shift.insert(mono.clone(), c.clone()),
            [(atom, exp)] if exp.is_one() => match atoms.get(*atom) {
                Atom::Symbol(name) if variable.is_none() => {
                    variable = Some(name.clone());
                    slope.insert(Default::default(), c.clone());
                }
                _ => return None,
            },
            _ => return None,
        }
    }
    let number = |poly: &Poly| -> Option<Node> {
        let value = Form::whole(poly.clone()).value()?;
        let size = Node::Div(
            Node::Int(value.numer().abs()).into(),
            Node::Int(value.denom().clone()).into(),
        );
        Some(if value.is_negative() {
            Node::Neg(size.into())
        } else {
            size
        })
    };
    Some((Node::Symbol(variable?), number(&slope)?, number(&shift)?))
}
