//! The last resort: both sides evaluated at several points; and what a chain of constants comes to.

use super::eval::{Point, near, of_rat, sign};
use super::node::{Func, Node, Rat, Relation, has_variables};
use super::poly::Atoms;
use super::wide::Wide;
use crate::grade::outcome::{By, Outcome};
use num_traits::Signed;

/// Sides of an equation between constants that are looked at.
const MAX_SIDES: usize = 8;

/// Powers that have branches, and logarithms: where variables are negative, two right answers may differ.
fn has_branches(node: &Node) -> bool {
    node.any(&|part| match part {
        Node::Root(inside, _) => has_variables(inside),
        Node::Pow(base, exponent) => {
            has_variables(base)
                && !matches!(&**exponent, Node::Int(_))
                && !matches!(&**exponent, Node::Neg(n) if matches!(**n, Node::Int(_)))
        }
        Node::Call(
            Func::Named("ln" | "log" | "asin" | "acos" | "acosh" | "factorial" | "binomial"),
            args,
        ) => args.iter().any(has_variables),
        _ => false,
    })
}

/// Functions of variables that are constant over a stretch.
fn has_steps(node: &Node) -> bool {
    node.any(&|part| match part {
        Node::Call(Func::Named("floor" | "ceiling" | "Mod" | "sign" | "Max" | "Min"), args) => {
            args.iter().any(has_variables)
        }
        _ => false,
    })
}

/// The same value at every point.
pub fn equal_at_points(a: &Node, b: &Node) -> Outcome {
    let variables = has_variables(a) || has_variables(b);
    let branches = variables && (has_branches(a) || has_branches(b));
    let steps = variables && (has_steps(a) || has_steps(b));
    let points: &[u64] = match (variables, steps, branches) {
        (false, ..) => &[0],
        (true, true, true) => &[0, 2, 10, 12, 14, 16, 18],
        (true, true, false) => &[0, 1, 2, 10, 11, 12, 13, 14, 15, 16],
        (true, false, true) => &[0, 2, 4, 6],
        (true, false, false) => &[0, 1, 2, 3, 4],
    };
    let mut agreed = 0;
    for &number in points {
        match (Point::new(number).value(a), Point::new(number).value(b)) {
            (Some(x), Some(y)) if near(x, y) => agreed += 1,
            (None, None) => {}
            (Some(_), Some(_)) => return Outcome::of(false, By::Numeric),
            _ => return Outcome::of(false, By::Undecided),
        }
    }
    let enough = if variables { agreed >= 2 } else { agreed == 1 };
    Outcome::of(enough, if agreed > 0 { By::Numeric } else { By::Undecided })
}

/// One is the other times a constant at every point; a positive one for inequalities.
pub fn proportional_at_points(a: &Node, b: &Node, any_sign: bool) -> Outcome {
    let mut ratio: Option<super::complex::Complex> = None;
    let mut agreed = 0;
    for number in [0, 2, 4, 6, 8] {
        let (Some(x), Some(y)) = (Point::new(number).value(a), Point::new(number).value(b)) else {
            continue;
        };
        if x.is_zero() || y.is_zero() {
            return Outcome::of(false, By::Numeric);
        }
        let next = x.over(y);
        if sign(next).is_none_or(|sign| sign == 0 || (sign < 0 && !any_sign)) || next.re == Wide::ZERO {
            return Outcome::of(false, By::Numeric);
        }
        match ratio {
            Some(before) if !near(before, next) => return Outcome::of(false, By::Numeric),
            _ => ratio = Some(next),
        }
        agreed += 1;
    }
    Outcome::of(agreed >= 3, By::Numeric)
}

/// Whether a value is within half a unit of a decimal's last place; `None` where it has none.
pub fn near_decimal(decimal: &Rat, places: usize, value: &Node, exact: Option<&Rat>) -> Option<bool> {
    let half = Rat::new(
        1.into(),
        num_bigint::BigInt::from(2) * num_bigint::BigInt::from(10).pow(places as u32),
    );
    Some(match exact {
        Some(exact) => (exact - decimal).abs() <= half,
        None => {
            let value = Point::new(0).value(value)?;
            let difference = (value.re - of_rat(decimal)).abs().hi;
            value.im.hi.abs() < 1e-20 && difference <= of_rat(&half).hi * (1.0 + 1e-9)
        }
    })
}

/// The value of an equation between constants: the last side, unless that is a decimal that another side rounds to, as
/// in `1/3 = 0.33`.
pub fn constant(first: &Node, rest: &[(Relation, Node)]) -> Option<Node> {
    let last = &rest.last()?.1;
    let sides: Vec<&Node> = std::iter::once(first)
        .chain(rest.iter().map(|(_, side)| side))
        .collect();
    let listed = |node: &Node| {
        matches!(
            node,
            Node::Set(_)
                | Node::Tuple(_)
                | Node::Matrix(_)
                | Node::List(_)
                | Node::Text(_)
                | Node::Interval(..)
        )
    };
    if sides.len() > MAX_SIDES || sides.iter().any(|side| listed(side)) {
        return Some(last.clone());
    }
    let value = *sides
        .iter()
        .rev()
        .find(|side| decimal(side).is_none())
        .unwrap_or(&last);
    let agrees = |side: &&Node| *side == value || same_number(side, value);
    let known = if sides.iter().all(agrees) { value } else { last };
    Some(known.clone())
}

fn same_number(side: &Node, value: &Node) -> bool {
    let exact = |node: &Node| Atoms::default().form(node).ok()?.value();
    let known = exact(value);
    match (decimal(side), exact(side), &known) {
        (Some((places, decimal)), ..) => {
            near_decimal(&decimal, places, value, known.as_ref()).unwrap_or(false)
        }
        (None, Some(side), Some(value)) => side == *value,
        _ => equal_at_points(side, value).equal,
    }
}

/// A decimal's places and value.
fn decimal(node: &Node) -> Option<(usize, Rat)> {
    match node {
        Node::Decimal(value, places) if *places <= 400 => Some((*places, value.clone())),
        Node::Neg(inside) => decimal(inside).map(|(places, value)| (places, -value)),
        _ => None,
    }
}
