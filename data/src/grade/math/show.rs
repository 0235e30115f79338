//! An answer in one plain line, as it was read.

use super::answer::Answer;
use super::node::{Const, Func, Join, Node, Relation};
use std::fmt::{Display, Formatter, Result};

impl Display for Answer {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Answer::Value(node) | Answer::Region(node) => write!(f, "{node}"),
            Answer::Tuple(items) => listed(f, "(", items, ")"),
            Answer::Several(items, true) => listed(f, "{", items, "}"),
            Answer::Several(items, false) => listed(f, "", items, ""),
            Answer::Matrix(rows) => write!(f, "{}", Node::Matrix(rows.clone())),
            Answer::Named(name, value) => write!(f, "{name} = {value}"),
            Answer::Relation(first, rest) => chain(f, first, rest),
            Answer::Ratio(parts) => write!(f, "{}", Node::Ratio(parts.clone())),
            Answer::Text(text) => write!(f, "\"{text}\""),
            Answer::Truth(truth) => write!(f, "{truth}"),
        }
    }
}

fn listed<T: Display>(f: &mut Formatter<'_>, open: &str, items: &[T], close: &str) -> Result {
    f.write_str(open)?;
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    f.write_str(close)
}

fn chain(f: &mut Formatter<'_>, first: &Node, rest: &[(Relation, Node)]) -> Result {
    write!(f, "{first}")?;
    for (relation, side) in rest {
        let sign = match relation {
            Relation::Equal => '=',
            Relation::Approx => '≈',
            Relation::NotEqual => '≠',
            Relation::Less => '<',
            Relation::LessEqual => '≤',
            Relation::Greater => '>',
            Relation::GreaterEqual => '≥',
            Relation::In => '∈',
            Relation::Subset => '⊆',
            Relation::Other(sign) => *sign,
        };
        write!(f, " {sign} {side}")?;
    }
    Ok(())
}

/// How tightly a node holds together, for brackets.
fn binds(node: &Node) -> u8 {
    match node {
        Node::Add(_) | Node::Chain(..) | Node::List(_) | Node::Joined(..) | Node::Ratio(_) => 0,
        Node::Neg(_) | Node::PlusMinus(..) => 1,
        Node::Mul(_) | Node::Div(..) => 2,
        Node::Pow(..) | Node::Percent(_) | Node::Degrees(_) => 3,
        _ => 4,
    }
}

struct Within<'a>(&'a Node, u8);

impl Display for Within<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if binds(self.0) < self.1 {
            write!(f, "({})", self.0)
        } else {
            write!(f, "{}", self.0)
        }
    }
}

impl Display for Node {
    /// Long: one match, a row a kind of node.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Node::Int(value) => write!(f, "{value}"),
            Node::Decimal(value, _) if value.denom().bits() > 300 => write!(f, "{value}"),
            Node::Decimal(value, _) => f.write_str(&crate::grade::equation::exact(value)),
            Node::Based(_, base, digits) => write!(f, "{digits}_{base}"),
            Node::Symbol(name) => f.write_str(name),
            Node::Const(Const::Pi) => f.write_str("π"),
            Node::Const(Const::E) => f.write_str("e"),
            Node::Const(Const::I) => f.write_str("i"),
            Node::Const(Const::Infinity) => f.write_str("∞"),
            Node::Add(parts) => sum(f, parts),
            Node::Mul(parts) => {
                for (place, part) in parts.iter().enumerate() {
                    if place > 0 {
                        f.write_str("*")?;
                    }
                    write!(f, "{}", Within(part, if place == 0 { 2 } else { 3 }))?;
                }
                Ok(())
            }
            Node::Div(a, b) => write!(f, "{}/{}", Within(a, 2), Within(b, 3)),
            Node::Neg(a) => write!(f, "-{}", Within(a, 2)),
            Node::PlusMinus(a, flipped) => write!(f, "{}{}", if *flipped { '∓' } else { '±' }, Within(a, 2)),
            Node::Pow(a, b) => write!(f, "{}^{}", Within(a, 4), Within(b, 4)),
            Node::Root(a, 2) => write!(f, "sqrt({a})"),
            Node::Root(a, n) => write!(f, "root({a}, {n})"),
            Node::Call(function, args) => {
                f.write_str(match function {
                    Func::Named(name) => name,
                    Func::Applied(name) => name,
                })?;
                listed(f, "(", args, ")")
            }
            Node::Percent(a) => write!(f, "{}%", Within(a, 3)),
            Node::Degrees(a) => write!(f, "{}°", Within(a, 3)),
            Node::List(items) => listed(f, "", items, ""),
            Node::Tuple(items) => listed(f, "(", items, ")"),
            Node::Set(items) if items.is_empty() => f.write_str("∅"),
            Node::Set(items) => listed(f, "{", items, "}"),
            Node::Interval(a, b, from, to) => {
                write!(
                    f,
                    "{}{a}, {b}{}",
                    if *from { '[' } else { '(' },
                    if *to { ']' } else { ')' }
                )
            }
            Node::Joined(join, a, b) => {
                let sign = match join {
                    Join::Union => '∪',
                    Join::Intersection => '∩',
                    Join::Difference => '∖',
                };
                write!(f, "{} {sign} {}", Within(a, 1), Within(b, 1))
            }
            Node::NumberSet(set) => write!(f, "{set}"),
            Node::Matrix(rows) => matrix(f, rows),
            Node::Ratio(parts) => {
                for (place, part) in parts.iter().enumerate() {
                    if place > 0 {
                        f.write_str(" : ")?;
                    }
                    write!(f, "{}", Within(part, 1))?;
                }
                Ok(())
            }
            Node::Chain(first, rest) => chain(f, first, rest),
            Node::Text(text) => write!(f, "\"{text}\""),
            Node::Truth(truth) => write!(f, "{truth}"),
        }
    }
}

fn sum(f: &mut Formatter<'_>, parts: &[Node]) -> Result {
    for (place, part) in parts.iter().enumerate() {
        match part {
            Node::Neg(inside) if place > 0 => write!(f, " - {}", Within(inside, 2))?,
            Node::PlusMinus(inside, flipped) if place > 0 => {
                write!(f, " {} {}", if *flipped { '∓' } else { '±' }, Within(inside, 2))?;
            }
            part if place > 0 => write!(f, " + {part}")?,
            part => write!(f, "{part}")?,
        }
    }
    Ok(())
}

fn matrix(f: &mut Formatter<'_>, rows: &[Vec<Node>]) -> Result {
    f.write_str("[")?;
    for (place, row) in rows.iter().enumerate() {
        if place > 0 {
            f.write_str(", ")?;
        }
        listed(f, "[", row, "]")?;
    }
    f.write_str("]")
}
