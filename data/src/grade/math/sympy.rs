//! SymPy's own calls: `Interval.open(0, 1)`, `Matrix([[1, 2]])`, `Integral(x, (x, 0, 1))`.

use super::lex::Kind;
use super::node::{Func, Join, Node, Relation};
use super::parse::{Parser, Read};

/// SymPy's classes that take arguments.
const CLASSES: [&str; 24] = [
    "Interval",
    "Union",
    "Intersection",
    "Complement",
    "FiniteSet",
    "Matrix",
    "ImmutableMatrix",
    "Eq",
    "Ne",
    "Lt",
    "Le",
    "Gt",
    "Ge",
    "Integral",
    "Derivative",
    "Sum",
    "Product",
    "Limit",
    "Rational",
    "Pow",
    "Add",
    "Mul",
    "root",
    "Tuple",
];

impl Parser<'_> {
    /// SymPy's classes, by their names, where they are called.
    pub fn sympy(&mut self, word: &str) -> Read<Option<Node>> {
        let simple = match word {
            "EmptySet" => Some(Node::Set(Vec::new())),
            "Reals" => Some(Node::NumberSet('ℝ')),
            "Integers" => Some(Node::NumberSet('ℤ')),
            "Naturals" => Some(Node::NumberSet('ℕ')),
            "Complexes" => Some(Node::NumberSet('ℂ')),
            "True" => Some(Node::Truth(true)),
            "False" => Some(Node::Truth(false)),
            _ => None,
        };
        if simple.is_some() {
            self.at += 1;
            return Ok(simple);
        }
        if !CLASSES.contains(&word) {
            return Ok(None);
        }
        let start = self.at;
        self.at += 1;
        let mut kind = "";
        if self.is_sign('.') && self.peek_at(1).is_some_and(|t| t.kind == Kind::Word) {
            kind = self.peek_at(1).map_or("", |t| t.text);
            self.at += 2;
        }
        if !self.is_sign('(') {
            self.at = start;
            return Ok(None);
        }
        // `dir='+'` holds quotes, which nothing else does.
        let args = self.deeper(|parser| parser.class_arguments())?;
        match class(word, kind, args) {
            Some(node) => Ok(Some(node)),
            None => self.wrong("a call with other arguments than it has"),
        }
    }

    fn class_arguments(&mut self) -> Read<Vec<Node>> {
        let mut args = Vec::new();
        self.at += 1;
        self.brackets += 1;
        while !self.is_sign(')') {
            if self.peek().is_some_and(|t| t.text == "dir") && self.peek_at(1).is_some_and(|t| t.text == "=")
            {
                let sign = self.peek_at(3).map_or("", |t| t.text).to_owned();
                self.at += 5;
                args.push(Node::Text(sign));
            } else {
                args.push(self.statement()?);
            }
            if !self.eat_sign(',') && !self.is_sign(')') {
                return self.wrong("a bracket that does not close");
            }
        }
        self.brackets -= 1;
        self.at += 1;
        Ok(args)
    }
}

/// The node that a SymPy class with these arguments is. Long: one match, a row a class.
fn class(name: &str, kind: &str, mut args: Vec<Node>) -> Option<Node> {
    if args.len() > super::limits::MAX_CHAIN {
        return None;
    }
    let joined = |join: Join, args: Vec<Node>| {
        args.into_iter()
            .reduce(|a, b| Node::Joined(join, a.into(), b.into()))
    };
    let relation = |op: Relation, mut args: Vec<Node>| {
        (args.len() == 2).then(|| {
            let right = args.remove(1);
            Node::Chain(args.remove(0).into(), vec![(op, right)])
        })
    };
    match name {
        "Interval" => {
            let (from, to) = match kind {
                "" => (true, true),
                "open" => (false, false),
                "Ropen" => (true, false),
                "Lopen" => (false, true),
                _ => return None,
            };
            (args.len() == 2).then(|| {
                let right = args.remove(1);
                Node::Interval(args.remove(0).into(), right.into(), from, to)
            })
        }
        "Union" => joined(Join::Union, args),
        "Intersection" => joined(Join::Intersection, args),
        "Complement" => joined(Join::Difference, args),
        "FiniteSet" => Some(Node::Set(args)),
        "Tuple" => Some(Node::Tuple(args)),
        "Eq" => relation(Relation::Equal, args),
        "Ne" => relation(Relation::NotEqual, args),
        "Lt" => relation(Relation::Less, args),
        "Le" => relation(Relation::LessEqual, args),
        "Gt" => relation(Relation::Greater, args),
        "Ge" => relation(Relation::GreaterEqual, args),
        "Add" => Some(Node::Add(args)),
        "Mul" => Some(Node::Mul(args)),
        "Rational" | "Pow" | "root" if args.len() == 2 => {
            let second = args.remove(1);
            let first = args.remove(0);
            Some(match name {
                "Rational" => Node::Div(first.into(), second.into()),
                "Pow" => Node::Pow(first.into(), second.into()),
                _ => Node::Pow(first.into(), Node::Div(Node::int(1).into(), second.into()).into()),
            })
        }
        "Matrix" | "ImmutableMatrix" => Some(Node::Matrix(rows(args.into_iter().next()?))),
        "Integral" | "Sum" | "Product" | "Derivative" => {
            let range = (args.len() == 2).then(|| args.remove(1))?;
            match range {
                Node::Tuple(range) => args.extend(range),
                variable => args.push(variable),
            }
            Some(Node::Call(
                Func::Named(match name {
                    "Integral" => "Integral",
                    "Sum" => "Sum",
                    "Product" => "Product",
                    _ => "Derivative",
                }),
                super::node::indexed(args),
            ))
        }
        "Limit" => Some(Node::call("Limit", args)),
        _ => None,
    }
}

/// The rows of a matrix.
fn rows(node: Node) -> Vec<Vec<Node>> {
    match node {
        Node::Matrix(rows) => rows,
        Node::Tuple(rows) => {
            // A column: the brackets of a row of one are gone.
            let rows_of = rows.iter().map(super::atom::row).collect::<Option<_>>();
            rows_of.unwrap_or_else(|| rows.into_iter().map(|cell| vec![cell]).collect())
        }
        Node::Interval(a, b, true, true) => match (super::atom::row(&a), super::atom::row(&b)) {
            (Some(a), Some(b)) => vec![a, b],
            _ => vec![vec![*a], vec![*b]],
        },
        one => vec![vec![one]],
    }
}
