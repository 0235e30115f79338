//! Answers of different kinds that may still be the same: a number and an equation that ends in it, words and what they
//! say.

use super::answer::{Answer, is_name};
use super::compare::Comparison;
use super::node::{Func, Node, Relation, has_variables};
use super::words;
use crate::grade::outcome::Outcome;

/// Functions whose value is a quantity that may be asked for, as `|AB|` or `⌊x⌋` is.
const MEASURES: [&str; 23] = [
    "Abs",
    "floor",
    "ceiling",
    "Max",
    "Min",
    "gcd",
    "lcm",
    "det",
    "Sum",
    "Product",
    "Integral",
    "Limit",
    "binomial",
    "Derivative",
    "dim",
    "deg",
    "rank",
    "tr",
    "re",
    "im",
    "sup",
    "inf",
    "Pr",
];

impl Comparison {
    /// A number, and an equation that gives it as the value of something compound: `m + n = 113`, `113 = |AB|`.
    pub(super) fn quantity(
        &mut self,
        value: &Node,
        equation: (&Node, &[(Relation, Node)]),
        is_gold: bool,
    ) -> Outcome {
        let (left, [(Relation::Equal, right)]) = equation else {
            return Outcome::DIFFERENT;
        };
        let (of, is) = match (has_variables(left), has_variables(right)) {
            (true, false) => (left, right),
            (false, true) => (right, left),
            _ => return Outcome::DIFFERENT,
        };
        // "ax + by = 0" is an equation, and no sum that is asked for.
        let balance = matches!(of, Node::Add(_)) && *is == Node::int(0);
        if has_variables(value) || balance || !is_quantity(of, is_gold) {
            return Outcome::DIFFERENT;
        }
        self.scalar(value, is)
    }

    /// `3/4 or 0.75`: several ways to write one value.
    pub(super) fn each(&mut self, value: &Answer, items: &[Answer]) -> Outcome {
        let mut last = Outcome::DIFFERENT;
        for item in items {
            last = self.same(value, item);
            if !last.equal {
                return Outcome::DIFFERENT;
            }
        }
        last
    }

    /// Words and a value: `forty-two`, `infinity`.
    pub(super) fn worded(&mut self, text: &str, value: &Node) -> Outcome {
        match words::value(text) {
            Some(said) => self.scalar(&said, value),
            None => Outcome::DIFFERENT,
        }
    }
}

/// Whether an equation `of = number` says what a quantity is, and is not one to be solved, as `x + 1 = 113` is, nor that
/// of a line or plane, as `2x + z = 1` is; a gold answer in x, y and z is taken for such a one.
fn is_quantity(of: &Node, is_gold: bool) -> bool {
    let mut names = Vec::new();
    symbols(of, &mut names);
    let applied = of.any(&|part| matches!(part, Node::Call(Func::Applied(_), _)));
    let measure = of.any(&|part| match part {
        Node::Call(Func::Named(name), args) => {
            MEASURES.contains(name) && args.iter().all(|arg| is_plain(arg) || names.len() > 1)
        }
        _ => false,
    });
    if applied || measure {
        return true;
    }
    let coordinates = names.iter().any(|name| matches!(name.as_str(), "x" | "y" | "z"));
    match names.len() {
        0 => false,
        // "2x = 113" answers what 2x is.
        1 => !is_gold && is_plain(of),
        _ if coordinates => !is_gold && !has_coefficients(of),
        _ => true,
    }
}

/// Whether numbers stand beside the letters: `2x + z`, but not `x + y`.
fn has_coefficients(node: &Node) -> bool {
    match node {
        Node::Add(parts) | Node::Mul(parts) => parts.iter().any(has_coefficients),
        Node::Neg(inside) => has_coefficients(inside),
        Node::Div(a, b) => has_coefficients(a) || has_coefficients(b),
        node => !has_variables(node),
    }
}

/// A name, with a factor perhaps.
fn is_plain(node: &Node) -> bool {
    match node {
        Node::Mul(parts) => parts.iter().all(is_plain),
        Node::Int(_) | Node::Decimal(..) => true,
        node => is_name(node) || !has_variables(node),
    }
}

fn symbols(node: &Node, names: &mut Vec<String>) {
    match node {
        Node::Symbol(name) if !names.contains(name) && names.len() < 8 => names.push(name.clone()),
        _ => node.children().into_iter().for_each(|part| symbols(part, names)),
    }
}
