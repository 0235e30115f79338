//! The last resort: both sides evaluated at several points.

use super::answer::has_variables;
use super::eval::{Point, near, sign};
use super::node::{Func, Node};
use super::wide::Wide;
use crate::grade::outcome::{By, Outcome};

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
