//! LaTeX commands, and functions with their arguments.

use super::lex::{Dialect, Kind};
use super::names;
use super::node::{Const, Node, indexed};
use super::parse::{Parser, Read};

impl Parser<'_> {
    /// A command where a value belongs. Long: one match, a row a command.
    pub fn command(&mut self, name: &str) -> Read<Node> {
        let fence = match name {
            "lfloor" => Some(("rfloor", "floor")),
            "lceil" => Some(("rceil", "ceiling")),
            "llcorner" => Some(("lrcorner", "floor")),
            "ulcorner" => Some(("urcorner", "ceiling")),
            _ => None,
        };
        if let Some((close, function)) = fence {
            return self.fenced(close, function);
        }
        match name {
            "frac" | "dfrac" | "tfrac" | "cfrac" | "sfrac" | "nicefrac" => return self.fraction(),
            "binom" | "dbinom" | "tbinom" => {
                self.at += 1;
                let args = vec![self.argument()?, self.argument()?];
                return Ok(Node::call("binomial", args));
            }
            "sqrt" => return self.root(),
            "{" | "lbrace" => return self.braces(),
            "lbrack" => return self.square(),
            "lgroup" => return self.round(),
            "langle" => {
                self.at += 1;
                return Ok(match self.group("rangle")? {
                    Node::List(items) => Node::Tuple(items),
                    one => one,
                });
            }
            "vert" | "lvert" | "Vert" | "lVert" => return self.absolute(),
            "emptyset" | "varnothing" => {
                self.at += 1;
                return Ok(Node::Set(Vec::new()));
            }
            "mathbb" | "R" => {
                self.at += 1;
                let letter = if name == "R" {
                    "R".into()
                } else {
                    self.raw_argument()?
                };
                return Ok(number_set(&letter));
            }
            "int" => return self.integral(),
            "sum" | "prod" => return self.series(if name == "sum" { "Sum" } else { "Product" }),
            "lim" => return self.limit(),
            _ => {}
        }
        if let Some(constant) = names::constant(name) {
            self.at += 1;
            return Ok(Node::Const(constant));
        }
        if let Some(function) = names::function(name) {
            self.at += 1;
            return self.function(function);
        }
        if let Some(letter) = names::letter(name).or_else(|| names::symbol_command(name)) {
            self.at += 1;
            return self.named(letter.to_owned());
        }
        if names::accent(name).is_some() {
            return self.accented(name);
        }
        let operator = super::names::is_command(name) || matches!(name, "}" | "\\\\");
        if operator {
            return self.wrong("a command where a value belongs");
        }
        // An unknown command is a symbol: what it stands for is not known, but it equals itself.
        self.at += 1;
        self.named(format!("\\{name}"))
    }

    /// `\overline{x}_n`: the accent belongs to the name.
    pub fn accented(&mut self, name: &str) -> Read<Node> {
        let accent = names::accent(name).unwrap_or("bar");
        self.at += 1;
        let under = self.raw_argument()?;
        self.named(format!("{accent} {under}"))
    }

    /// `\frac{a}{b}`, `\frac12`, `\frac3{4}`, and the derivative `\frac{d}{dx}`.
    fn fraction(&mut self) -> Read<Node> {
        let start = self.at;
        if let Some(derivative) = self.derivative()? {
            return Ok(derivative);
        }
        self.at = start + 1;
        let numer = self.argument()?;
        let denom = self.argument()?;
        Ok(Node::Div(numer.into(), denom.into()))
    }

    /// `\frac{d}{dx} …` is a derivative; `\frac{dy}{dx}` is a name.
    fn derivative(&mut self) -> Read<Option<Node>> {
        self.at += 1;
        if self.integrals > 0
            || !self.is_sign('{')
            || !self.peek_at(1).is_some_and(|t| t.text.starts_with('d'))
        {
            return Ok(None);
        }
        if self.peek_at(1).is_some_and(|t| t.kind != Kind::Word) {
            return Ok(None);
        }
        let Ok(above) = self.raw_argument() else {
            return Ok(None);
        };
        if !self.is_sign('{')
            || !self
                .peek_at(1)
                .is_some_and(|t| t.kind == Kind::Word && t.text.starts_with('d'))
        {
            return Ok(None);
        }
        let Ok(below) = self.raw_argument() else {
            return Ok(None);
        };
        if below.len() < 2 {
            return Ok(None);
        }
        if above != "d" {
            return Ok(Some(Node::Symbol(format!("{above}/{below}"))));
        }
        let of = self.product()?;
        let by = below[1..].to_owned();
        Ok(Some(Node::call("Derivative", vec![of, Node::Symbol(by)])))
    }

    /// An argument of a command: a group, or one digit, letter or command.
    fn argument(&mut self) -> Read<Node> {
        let Some(token) = self.peek() else {
            return self.wrong("the end where an argument belongs");
        };
        self.deeper(|parser| {
            let at = parser.at;
            if matches!(token.kind, Kind::Number) && token.text.len() > 1 && token.text.is_ascii() {
                let (first, rest) = token.text.split_at(1);
                parser.tokens[at].text = rest;
                parser.tokens[at].at += 1;
                parser.tokens[at].spaced = false;
                return Ok(super::numeral::literal(first).unwrap_or(Node::int(0)));
            }
            // One letter, without a subscript: in \int^b_a the next mark is the other bound.
            if token.kind == Kind::Word
                && names::letter(token.text).is_none()
                && names::constant(token.text).is_none()
            {
                let (first, rest) = token.text.split_at(1);
                if rest.is_empty() {
                    parser.at += 1;
                } else {
                    parser.tokens[at].text = rest;
                    parser.tokens[at].at += 1;
                    parser.tokens[at].spaced = false;
                }
                return Ok(match first {
                    "e" => Node::Const(Const::E),
                    "i" => Node::Const(Const::I),
                    _ => Node::Symbol(first.to_owned()),
                });
            }
            parser.brackets += 1;
            let node = parser.factor();
            parser.brackets -= 1;
            node
        })
    }

    fn root(&mut self) -> Read<Node> {
        self.at += 1;
        let mut index = 2;
        let mut other = None;
        if self.is_sign('[') {
            match self.square()? {
                Node::Int(n) => index = u32::try_from(&n).unwrap_or(0),
                node => other = Some(node),
            }
        }
        let inside = self.power_free()?;
        if let Some(other) = other {
            let exponent = Node::Div(Node::int(1).into(), other.into());
            return Ok(Node::Pow(inside.into(), exponent.into()));
        }
        if !(1..=1000).contains(&index) {
            return self.wrong("a root of this degree");
        }
        Ok(Node::Root(inside.into(), index))
    }

    /// What a root is taken of: a group, or one thing without its power.
    pub fn power_free(&mut self) -> Read<Node> {
        self.deeper(|parser| {
            parser.brackets += 1;
            let node = parser.factor();
            parser.brackets -= 1;
            node
        })
    }

    /// A function, its name passed: power, base, argument.
    pub fn function(&mut self, function: &'static str) -> Read<Node> {
        self.deeper(|parser| parser.function_inside(function))
    }

    fn function_inside(&mut self, function: &'static str) -> Read<Node> {
        let mut name = function;
        let mut power = None;
        let mut base = None;
        loop {
            if self.is_sign('^') && power.is_none() {
                self.at += 1;
                let exponent = self.exponent()?;
                match names::inverse(function) {
                    Some(inverse) if is_minus_one(&exponent) => name = inverse,
                    _ => power = Some(exponent),
                }
            } else if self.is_sign('_') && base.is_none() {
                self.at += 1;
                base = Some(self.argument()?);
            } else {
                break;
            }
        }
        let opens = self.peek().is_some_and(|t| {
            matches!(t.kind, Kind::Sign('(' | '[' | '{'))
                || matches!(t.text, "{" | "lbrace" | "lbrack" | "lgroup")
        });
        let mut args = if opens {
            self.brackets += 1;
            let inside = self.factor();
            self.brackets -= 1;
            match inside? {
                Node::Tuple(args) | Node::List(args) | Node::Set(args) => args,
                Node::Interval(a, b, ..) => vec![*a, *b],
                one => vec![one],
            }
        } else if names::takes_bare_argument(function) {
            vec![self.bare_argument()?]
        } else if matches!(function, "sqrt" | "cbrt") {
            vec![self.power_free()?]
        } else {
            return self.wrong("a function without its argument");
        };
        if args.is_empty() {
            return self.wrong("a function without its argument");
        }
        let value = match (name, args.len()) {
            ("sqrt", 1) => Node::Root(args.remove(0).into(), 2),
            ("cbrt", 1) => Node::Root(args.remove(0).into(), 3),
            ("exp", 1) => Node::Pow(Node::Const(Const::E).into(), args.remove(0).into()),
            ("log", 1) => match base {
                Some(base) => Node::call("log", vec![args.remove(0), base]),
                None if self.dialect == Dialect::Sympy => Node::call("ln", args),
                None => Node::call("log", vec![args.remove(0), Node::int(10)]),
            },
            _ => Node::call(name, args),
        };
        Ok(match power {
            Some(power) => Node::Pow(value.into(), power.into()),
            None => value,
        })
    }

    /// What follows a function without brackets: `\sin 2x`, `\cos \theta`, `\ln x^2`, up to the next function, sign
    /// or bracket.
    fn bare_argument(&mut self) -> Read<Node> {
        let sign = self.is_sign('-');
        self.at += usize::from(sign);
        let mut factors = vec![self.power()?];
        let called = |node: &Node| matches!(node, Node::Call(..));
        while let Some(token) = self.peek()
            && !called(&factors[0])
            && self.starts_factor(token)
            && matches!(token.kind, Kind::Number | Kind::Word | Kind::Command | Kind::Sign('π' | 'θ' | 'ω' | 'α'))
            && names::function(token.text).is_none()
            && !matches!(token.text, "{" | "lbrace" | "lbrack" | "lgroup" | "sum" | "int" | "prod" | "lvert")
            && !(self.bars > 0 && token.text == "vert")
            // \ln 2 cm: words are units here too.
            && !(token.kind == Kind::Word && token.spaced && token.text.len() >= 3 && names::letter(token.text).is_none() && names::constant(token.text).is_none())
        {
            factors.push(self.power()?);
        }
        let value = super::parse::one_or(factors, Node::Mul);
        Ok(if sign { Node::Neg(value.into()) } else { value })
    }

    /// `_{…}` and `^{…}`, in either order.
    fn bounds(&mut self) -> Read<(Option<Node>, Option<Node>)> {
        let (mut below, mut above) = (None, None);
        loop {
            let place = if self.is_sign('_') && below.is_none() {
                &mut below
            } else if self.is_sign('^') && above.is_none() {
                &mut above
            } else {
                return Ok((below, above));
            };
            self.at += 1;
            let bound = self.deeper(|parser| {
                let sign = parser.is_sign('-');
                parser.at += usize::from(sign);
                let value = parser.argument()?;
                Ok(if sign { Node::Neg(value.into()) } else { value })
            })?;
            *place = Some(bound);
        }
    }

    fn integral(&mut self) -> Read<Node> {
        self.at += 1;
        // An empty bound is left out by the lexer, its mark is not.
        while (self.is_sign('_') || self.is_sign('^'))
            && self
                .peek_at(1)
                .is_none_or(|t| t.spaced && t.kind != Kind::Sign('{'))
        {
            self.at += 1;
        }
        let (below, above) = self.bounds()?;
        self.integrals += 1;
        let before = self.differentials.len();
        let body = self.deeper(Self::sum);
        self.integrals -= 1;
        let body = match body? {
            Node::Set(mut items) | Node::List(mut items) if items.len() == 1 => items.remove(0),
            body => body,
        };
        let by = self.differentials.drain(before..).next_back();
        let by = by.unwrap_or_else(|| "x".to_owned());
        let mut args = vec![body, Node::Symbol(by)];
        if let (Some(below), Some(above)) = (below, above) {
            args.extend([below, above]);
        }
        Ok(Node::call("Integral", args))
    }

    /// `\sum_{k=1}^{n} …`.
    fn series(&mut self, name: &'static str) -> Read<Node> {
        self.at += 1;
        let (below, above) = self.bounds()?;
        let body = self.deeper(Self::product)?;
        let mut args = vec![body];
        match (below, above) {
            (Some(Node::Chain(variable, from)), Some(to)) if from.len() == 1 => {
                args.extend([*variable, from[0].1.clone(), to]);
            }
            (below, above) => args.extend(below.into_iter().chain(above)),
        }
        Ok(Node::call(name, indexed(args)))
    }

    /// `\lim_{x \to 3^+} …`.
    fn limit(&mut self) -> Read<Node> {
        self.at += 1;
        if !self.is_sign('_') || self.peek_at(1).is_none_or(|t| t.text != "{") {
            return self.wrong("a limit without its variable");
        }
        self.at += 2;
        let variable = self.sum()?;
        if !(self.eat_command("to") || self.eat_command("rightarrow") || self.eat_sign('→')) {
            return self.wrong("a limit that goes nowhere");
        }
        // The sign of a one-sided limit is read here, before it would be a power.
        let mut end = self.at;
        while self.tokens.get(end).is_some_and(|t| !matches!(t.text, "^" | "}")) {
            end += 1;
        }
        let side = ["+", "-"].into_iter().find(|sign| {
            let text = |ahead: usize| self.tokens.get(end + ahead).map_or("", |t| t.text);
            text(0) == "^" && (text(1) == *sign || text(1) == "{" && text(2) == *sign)
        });
        if side.is_some() {
            let braced = self.tokens[end + 1].text == "{";
            self.tokens
                .drain(end..end + if braced { 4.min(self.tokens.len() - end) } else { 2 });
        }
        let to = self.sum()?;
        if !self.eat_sign('}') {
            return self.wrong("a group that never closes");
        }
        let body = self.product()?;
        let infinite = matches!(to, Node::Const(Const::Infinity));
        let side = side.unwrap_or(if infinite { "-" } else { "+" });
        Ok(Node::call(
            "Limit",
            vec![body, variable, to, Node::Text(side.to_owned())],
        ))
    }
}

fn is_minus_one(node: &Node) -> bool {
    matches!(node, Node::Neg(one) if **one == Node::int(1))
}

/// `\mathbb{R}` and its kin.
fn number_set(letter: &str) -> Node {
    match letter {
        "R" => Node::NumberSet('ℝ'),
        "Z" => Node::NumberSet('ℤ'),
        "Q" => Node::NumberSet('ℚ'),
        "N" => Node::NumberSet('ℕ'),
        "C" => Node::NumberSet('ℂ'),
        _ => Node::Symbol(format!("mathbb {letter}")),
    }
}
