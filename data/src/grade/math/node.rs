//! The tree that a text is read into.

use num_bigint::BigInt;
use num_rational::BigRational;

/// An exact rational.
pub type Rat = BigRational;

/// A constant with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Const {
    /// π.
    Pi,
    /// Euler's number.
    E,
    /// The imaginary unit.
    I,
    /// Positive infinity.
    Infinity,
}

/// A relation between two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// `=`, `≡`.
    Equal,
    /// `≈`, `∼`: what follows only approximates.
    Approx,
    /// `≠`.
    NotEqual,
    /// `<`.
    Less,
    /// `≤`.
    LessEqual,
    /// `>`.
    Greater,
    /// `≥`.
    GreaterEqual,
    /// `∈`.
    In,
    /// `⊆`, `⊂`.
    Subset,
    /// Any other (`→`, `∥`, `⊥`, `∣`): only equal to itself.
    Other(char),
}

impl Relation {
    /// `<`, `≤`, `>`, `≥` or `≠`.
    pub fn is_inequality(self) -> bool {
        use Relation::{Greater, GreaterEqual, Less, LessEqual, NotEqual};
        matches!(self, Less | LessEqual | Greater | GreaterEqual | NotEqual)
    }
}

/// A function with a name of its own. The number of arguments is the reader's concern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Func {
    /// `sin`, `cos`, … and their inverses and hyperbolic forms, by SymPy's names.
    Named(&'static str),
    /// An unknown function: `f(x)`.
    Applied(String),
}

/// How two sets are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Join {
    /// `∪`.
    Union,
    /// `∩`.
    Intersection,
    /// `∖`.
    Difference,
}

/// What a text says. Nothing is worked out.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A whole number.
    Int(BigInt),
    /// A decimal and its digits behind the point: `2.50` is 5/2 with 2.
    Decimal(Rat, usize),
    /// Digits in another base, `52_8`: their value, the base and the digits as written.
    Based(BigInt, u32, String),
    /// A variable: letter, accents, subscript.
    Symbol(String),
    /// A constant.
    Const(Const),
    /// Sum.
    Add(Vec<Node>),
    /// Product.
    Mul(Vec<Node>),
    /// Quotient.
    Div(Box<Node>, Box<Node>),
    /// Minus.
    Neg(Box<Node>),
    /// `±`, or `∓` where true. Both signs are meant, the same for all of a kind.
    PlusMinus(Box<Node>, bool),
    /// Power.
    Pow(Box<Node>, Box<Node>),
    /// `\sqrt[n]{x}`: x, n. The real root where there is one.
    Root(Box<Node>, u32),
    /// A function's value.
    Call(Func, Vec<Node>),
    /// `50%`.
    Percent(Box<Node>),
    /// `30°`.
    Degrees(Box<Node>),
    /// Comma-separated, without brackets: order means nothing.
    List(Vec<Node>),
    /// `(a, b, c)`: order counts. A pair may also be an open interval.
    Tuple(Vec<Node>),
    /// `{a, b}`.
    Set(Vec<Node>),
    /// From, to; closed there, closed here.
    Interval(Box<Node>, Box<Node>, bool, bool),
    /// Sets joined.
    Joined(Join, Box<Node>, Box<Node>),
    /// ℝ, ℤ, ℚ, ℕ, ℂ.
    NumberSet(char),
    /// Rows.
    Matrix(Vec<Vec<Node>>),
    /// `a : b : c`.
    Ratio(Vec<Node>),
    /// First side, then relations and sides: `1 < x ≤ 2`.
    Chain(Box<Node>, Vec<(Relation, Node)>),
    /// Words.
    Text(String),
    /// True or false.
    Truth(bool),
}

impl Node {
    /// A small whole number.
    pub fn int(value: i64) -> Self {
        Node::Int(value.into())
    }

    /// A named function's value.
    pub fn call(name: &'static str, args: Vec<Node>) -> Self {
        Node::Call(Func::Named(name), args)
    }

    /// The parts, for a walk over the tree.
    pub fn children(&self) -> Vec<&Node> {
        match self {
            Node::Int(_)
            | Node::Decimal(..)
            | Node::Based(..)
            | Node::Symbol(_)
            | Node::Const(_)
            | Node::NumberSet(_)
            | Node::Text(_)
            | Node::Truth(_) => Vec::new(),
            Node::Add(parts)
            | Node::Mul(parts)
            | Node::Call(_, parts)
            | Node::List(parts)
            | Node::Tuple(parts)
            | Node::Set(parts)
            | Node::Ratio(parts) => parts.iter().collect(),
            Node::Div(a, b) | Node::Pow(a, b) | Node::Interval(a, b, ..) | Node::Joined(_, a, b) => {
                vec![a, b]
            }
            Node::Neg(a) | Node::PlusMinus(a, _) | Node::Root(a, _) | Node::Percent(a) | Node::Degrees(a) => {
                vec![a]
            }
            Node::Matrix(rows) => rows.iter().flatten().collect(),
            Node::Chain(first, rest) => std::iter::once(&**first)
                .chain(rest.iter().map(|(_, side)| side))
                .collect(),
        }
    }

    /// A copy with each part replaced by what `change` makes of it.
    pub fn map(&self, change: &mut dyn FnMut(&Node) -> Node) -> Node {
        let mut all = |parts: &[Node]| parts.iter().map(&mut *change).collect::<Vec<_>>();
        match self {
            Node::Add(parts) => Node::Add(all(parts)),
            Node::Mul(parts) => Node::Mul(all(parts)),
            Node::Call(name, parts) => Node::Call(name.clone(), all(parts)),
            Node::List(parts) => Node::List(all(parts)),
            Node::Tuple(parts) => Node::Tuple(all(parts)),
            Node::Set(parts) => Node::Set(all(parts)),
            Node::Ratio(parts) => Node::Ratio(all(parts)),
            Node::Matrix(rows) => Node::Matrix(rows.iter().map(|row| all(row)).collect()),
            Node::Div(a, b) => Node::Div(change(a).into(), change(b).into()),
            Node::Pow(a, b) => Node::Pow(change(a).into(), change(b).into()),
            Node::Interval(a, b, from, to) => Node::Interval(change(a).into(), change(b).into(), *from, *to),
            Node::Joined(join, a, b) => Node::Joined(*join, change(a).into(), change(b).into()),
            Node::Neg(a) => Node::Neg(change(a).into()),
            Node::PlusMinus(a, flipped) => Node::PlusMinus(change(a).into(), *flipped),
            Node::Root(a, n) => Node::Root(change(a).into(), *n),
            Node::Percent(a) => Node::Percent(change(a).into()),
            Node::Degrees(a) => Node::Degrees(change(a).into()),
            Node::Chain(first, rest) => Node::Chain(
                change(first).into(),
                rest.iter().map(|(op, side)| (*op, change(side))).collect(),
            ),
            leaf => leaf.clone(),
        }
    }

    /// Whether this node or any below satisfies `wanted`.
    pub fn any(&self, wanted: &dyn Fn(&Node) -> bool) -> bool {
        wanted(self) || self.children().into_iter().any(|part| part.any(wanted))
    }
}

/// Whether a letter or an unknown function stands in it.
pub fn has_variables(node: &Node) -> bool {
    node.any(&|part| matches!(part, Node::Symbol(_) | Node::Call(Func::Applied(_), _)))
}

/// The arguments of a sum with a letter for its index where that was read as a constant: over i and e these are none.
pub fn indexed(mut args: Vec<Node>) -> Vec<Node> {
    fn renamed(node: &Node, constant: &Node, name: &str) -> Node {
        if node == constant {
            return Node::Symbol(name.to_owned());
        }
        node.map(&mut |part| renamed(part, constant, name))
    }
    let name = match args.get(1) {
        Some(Node::Const(Const::I)) => "i",
        Some(Node::Const(Const::E)) => "e",
        _ => return args,
    };
    let constant = args[1].clone();
    for arg in &mut args[..2] {
        *arg = renamed(arg, &constant, name);
    }
    args
}
