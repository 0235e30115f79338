//! Sums, products and powers.

use super::lex::{Dialect, Kind, Token};
use super::names;
use super::node::{Func, Node};
use super::parse::{Parser, Read};
use num_bigint::BigInt;

impl Parser<'_> {
    pub fn sum(&mut self) -> Read<Node> {
        let mut parts = Vec::new();
        loop {
            let Some(sign) = self.plus_or_minus() else {
                if parts.is_empty() {
                    parts.push(self.product()?);
                    continue;
                }
                break;
            };
            // "5+" is no sum; "+∞" is one.
            let part = self.signed(sign)?;
            parts.push(part);
        }
        Ok(super::parse::one_or(parts, Node::Add))
    }

    /// A product behind a sign, and behind further ones: `--5`, `+-3`.
    fn signed(&mut self, sign: Sign) -> Read<Node> {
        self.deeper(|parser| {
            let part = match parser.plus_or_minus() {
                Some(next) => parser.signed(next)?,
                None => parser.product()?,
            };
            Ok(match (sign, part) {
                // -7 mod 3 is (-7) mod 3.
                (Sign::Minus, Node::Call(Func::Named("Mod"), mut args)) if args.len() == 2 => {
                    args[0] = Node::Neg(args[0].clone().into());
                    Node::call("Mod", args)
                }
                (Sign::Plus, part) => part,
                (Sign::Minus, part) => Node::Neg(part.into()),
                (Sign::Both(flipped), part) => Node::PlusMinus(part.into(), flipped),
            })
        })
    }

    fn plus_or_minus(&mut self) -> Option<Sign> {
        let token = self.peek()?;
        let sign = match (token.kind, token.text) {
            (Kind::Sign('+'), _) => {
                // "+-" and "+/-" as ±.
                if self.peek_at(1).is_some_and(|t| t.text == "/")
                    && self.peek_at(2).is_some_and(|t| t.text == "-")
                {
                    self.at += 2;
                    Sign::Both(false)
                } else {
                    Sign::Plus
                }
            }
            (Kind::Sign('-'), _) if self.peek_at(1).is_some_and(|t| t.text == ">" && !t.spaced) => {
                return None;
            }
            (Kind::Sign('-' | '—'), _) => Sign::Minus,
            (Kind::Sign('±'), _) | (Kind::Command, "pm") => Sign::Both(false),
            (Kind::Sign('∓'), _) | (Kind::Command, "mp") => Sign::Both(true),
            _ => return None,
        };
        self.at += 1;
        Some(sign)
    }

    /// Factors, divisors and remainders, from left to right; factors may stand side by side.
    pub fn product(&mut self) -> Read<Node> {
        let mut value = self.power()?;
        // Flat, so that a long product nests no deeper than a short one.
        let mut factors = Vec::new();
        while let Some(token) = self.peek() {
            let next = self.peek_at(1);
            match (token.kind, token.text) {
                (Kind::Sign('*'), _) if next.is_some_and(|t| t.text == "*" && !t.spaced) => {
                    return self.wrong("a power without a base");
                }
                (Kind::Sign('*' | '×' | '·' | '⋅' | '∙' | '∗'), _)
                | (Kind::Command, "cdot" | "times" | "ast") => {
                    self.at += 1;
                    let factor = self.unary()?;
                    factors.push(std::mem::replace(&mut value, factor));
                }
                (Kind::Sign('/' | '÷'), _) | (Kind::Command, "div") => {
                    self.at += 1;
                    self.chained()?;
                    let by = self.divisor()?;
                    factors.push(value);
                    let whole = super::parse::one_or(std::mem::take(&mut factors), Node::Mul);
                    value = Node::Div(whole.into(), by.into());
                }
                (Kind::Command, "mod" | "bmod" | "pmod") | (Kind::Word, "mod") => {
                    self.at += 1;
                    self.chained()?;
                    let by = self.unary()?;
                    factors.push(value);
                    let whole = super::parse::one_or(std::mem::take(&mut factors), Node::Mul);
                    value = Node::call("Mod", vec![whole, by]);
                }
                _ if let Some(scale) = self.scale_word(&value, token) => {
                    factors.push(std::mem::replace(&mut value, scale));
                }
                // 3 x 10^8
                (Kind::Word, "x" | "X") if self.is_times_letter() => {
                    self.at += 1;
                    let factor = self.unary()?;
                    factors.push(std::mem::replace(&mut value, factor));
                }
                _ if self.may_be_unit(token) && self.passes_unit(&value, &factors, token) => {}
                _ if self.starts_factor(token) => {
                    let factor = self.power()?;
                    factors.push(std::mem::replace(&mut value, factor));
                }
                _ => break,
            }
        }
        factors.push(value);
        Ok(super::parse::one_or(factors, Node::Mul))
    }

    /// What a slash divides by: in `1/8y` that is 8y, in `1/8 y` and `a/b(c)` it is not.
    fn divisor(&mut self) -> Read<Node> {
        let first = self.peek();
        let value = self.unary()?;
        let binds = self.dialect != Dialect::Flat
            && first.is_some_and(|t| matches!(t.kind, Kind::Number | Kind::Word));
        let mut factors = vec![value];
        while binds
            && let Some(token) = self.peek()
            && !token.spaced
            && (token.kind == Kind::Word || token.kind == Kind::Command)
            && self.starts_factor(token)
            && !self.is_plain_unit(token)
        {
            factors.push(self.power()?);
        }
        Ok(super::parse::one_or(factors, Node::Mul))
    }

    /// A power with a sign of its own: `2 * -3`.
    fn unary(&mut self) -> Read<Node> {
        match self.plus_or_minus() {
            Some(sign) => self.deeper(|parser| {
                let value = parser.unary()?;
                Ok(match sign {
                    Sign::Plus => value,
                    Sign::Minus => Node::Neg(value.into()),
                    Sign::Both(flipped) => Node::PlusMinus(value.into(), flipped),
                })
            }),
            None => self.power(),
        }
    }

    pub fn text_separates(&self, token: Token<'_>) -> bool {
        let text = token
            .text
            .trim_matches(|c: char| c.is_whitespace() || ",;:.".contains(c));
        let mut words = text.split(char::is_whitespace);
        let first = words.next().unwrap_or("");
        let last = words.next_back().unwrap_or(first);
        text.is_empty()
            || matches!(last, "and" | "or" | "to")
            || (self.brackets == 0 && names::is_comment(first))
    }

    /// Whether a token may be the first of a unit; most are not, and are asked no more.
    fn may_be_unit(&self, token: Token<'_>) -> bool {
        match token.kind {
            Kind::Text | Kind::Word => true,
            Kind::Sign('{') => token.upright || self.peek_at(1).is_some_and(|t| t.upright),
            Kind::Sign('Å' | 'Ω' | '℃' | '℉' | 'μ') => true,
            Kind::Command => {
                matches!(token.text, "Omega" | "mu" | "ohm" | "AA" | "angstrom")
                    || token.text.ends_with("frac")
            }
            _ => false,
        }
    }

    /// Whether the letter x is meant as a product: between a number and a power of ten.
    fn is_times_letter(&self) -> bool {
        let number = |t: Option<Token<'_>>| t.is_some_and(|t| t.kind == Kind::Number);
        self.dialect == Dialect::Loose
            && self.at > 0
            && number(self.tokens.get(self.at - 1).copied())
            && number(self.peek_at(1))
    }

    /// Whether a factor may begin here without a sign between.
    pub fn starts_factor(&self, token: Token<'_>) -> bool {
        match token.kind {
            Kind::Number | Kind::Text => token.kind == Kind::Number,
            Kind::Word => {
                !matches!(token.text, "and" | "or" | "mod" | "to")
                    && !names::is_comment(token.text)
                    && !self.is_union_letter()
            }
            Kind::Command => {
                let closes = matches!(
                    token.text,
                    "}" | "rbrace"
                        | "rbrack"
                        | "rgroup"
                        | "rvert"
                        | "rVert"
                        | "rfloor"
                        | "rceil"
                        | "urcorner"
                        | "lrcorner"
                        | "rangle"
                        | "\\\\"
                        | "choose"
                        | "over"
                        | "not"
                );
                let bar = matches!(token.text, "vert" | "Vert") && self.bars > 0;
                let operator = matches!(
                    token.text,
                    "cdot"
                        | "times"
                        | "ast"
                        | "div"
                        | "pm"
                        | "mp"
                        | "cup"
                        | "cap"
                        | "setminus"
                        | "backslash"
                        | "mod"
                        | "bmod"
                        | "pmod"
                        | "land"
                        | "lor"
                        | "wedge"
                        | "vee"
                        | "circ"
                        | "degree"
                        | "textdegree"
                );
                !closes && !bar && !operator && names::relation(token.text).is_none()
            }
            Kind::Sign(
                '(' | '[' | '{' | '⟦' | '√' | '∛' | '∜' | '∞' | 'π' | '∅' | '⌊' | '⌈' | 'ℝ' | 'ℤ' | '∠',
            ) => true,
            Kind::Sign('|') => self.bars == 0,
            Kind::Sign(c) => names::letter(c.encode_utf8(&mut [0; 4])).is_some(),
        }
    }

    /// A value and what is attached to it: powers, subscripts, factorials, percent, degrees.
    pub fn power(&mut self) -> Read<Node> {
        self.deeper(|parser| {
            let base = parser.factor()?;
            parser.attached(base)
        })
    }

    /// What stands behind a value and belongs to it: powers, subscripts, primes, units. Long: one match, a row a mark.
    pub fn attached(&mut self, base: Node) -> Read<Node> {
        let mut value = base;
        let start = self.at;
        loop {
            let Some(token) = self.peek() else {
                return Ok(value);
            };
            if self.at > start {
                self.chained()?;
            }
            let next = self.peek_at(1);
            match (token.kind, token.text) {
                (Kind::Sign('*'), _) if next.is_some_and(|t| t.text == "*" && !t.spaced) => {
                    self.at += 2;
                    let exponent = self.exponent()?;
                    value = Node::Pow(value.into(), exponent.into());
                }
                (Kind::Sign('^'), _) => {
                    self.at += 1;
                    if self.degree_mark() {
                        value = Node::Degrees(value.into());
                        continue;
                    }
                    if matches!(value, Node::Int(_)) && self.ordinal_mark() {
                        continue;
                    }
                    if let Some(primes) = self.prime_mark() {
                        value = renamed(value, &primes);
                        value = self.applied(value)?;
                        continue;
                    }
                    let exponent = self.exponent()?;
                    // x^2_i is x_i^2.
                    if matches!(value, Node::Symbol(_)) && self.is_sign('_') {
                        value = self.subscript(value)?;
                    }
                    value = Node::Pow(value.into(), exponent.into());
                }
                (Kind::Sign('_'), _) if matches!(value, Node::Symbol(_)) => value = self.subscript(value)?,
                (Kind::Sign('_'), _) => value = self.based(value)?,
                (Kind::Sign('\'' | '′' | '’'), _) if matches!(value, Node::Symbol(_)) => {
                    self.at += 1;
                    value = renamed(value, "'");
                    value = self.applied(value)?;
                }
                // != is a relation.
                (Kind::Sign('!'), _) if !next.is_some_and(|t| t.text == "=" && !t.spaced) => {
                    self.at += 1;
                    value = Node::call("factorial", vec![value]);
                }
                (Kind::Sign('%'), _) => {
                    self.at += 1;
                    value = Node::Percent(value.into());
                }
                (Kind::Word, "percent") if !matches!(value, Node::Symbol(_)) => {
                    self.at += 1;
                    value = Node::Percent(value.into());
                }
                (Kind::Sign('°' | 'º'), _) | (Kind::Command, "degree" | "circ" | "textdegree") => {
                    self.at += 1;
                    value = Node::Degrees(value.into());
                }
                (Kind::Word, "degrees" | "degree") => {
                    self.at += 1;
                    value = Node::Degrees(value.into());
                }
                _ => return Ok(value),
            }
        }
    }

    /// `^\circ`, `^{\circ}`, `^o`: read as degrees.
    fn degree_mark(&mut self) -> bool {
        let texts = |ahead| self.peek_at(ahead).map_or("", |t| t.text);
        let mark = |text: &str| matches!(text, "circ" | "°" | "∘" | "degree");
        if mark(texts(0)) {
            self.at += 1;
            true
        } else if texts(0) == "{" && mark(texts(1)) && texts(2) == "}" {
            self.at += 3;
            true
        } else {
            false
        }
    }

    /// `^\prime`, `^{\prime\prime}`.
    fn prime_mark(&mut self) -> Option<String> {
        if self.eat_command("prime") {
            return Some("'".into());
        }
        let mut ahead = 1;
        while self.peek_at(ahead).is_some_and(|t| t.text == "prime") {
            ahead += 1;
        }
        let whole = self.is_sign('{') && ahead > 1 && self.peek_at(ahead).is_some_and(|t| t.text == "}");
        if whole {
            self.at += ahead + 1;
        }
        whole.then(|| "'".repeat(ahead - 1))
    }

    /// What stands behind `^`: a group, or one thing with its sign. `2^3^2` is 2^(3^2).
    pub fn exponent(&mut self) -> Read<Node> {
        self.deeper(|parser| {
            if let Some(sign) = parser.plus_or_minus() {
                // x^* and 3^+ and the like are names, not powers.
                let value = parser.exponent()?;
                return Ok(match sign {
                    Sign::Plus => value,
                    Sign::Minus => Node::Neg(value.into()),
                    Sign::Both(flipped) => Node::PlusMinus(value.into(), flipped),
                });
            }
            // One letter of a word: in x^ab only a is above.
            let value = parser.factor()?;
            let powered = parser.is_sign('^')
                || parser.is_sign('*') && parser.peek_at(1).is_some_and(|t| t.text == "*" && !t.spaced)
                || parser.is_sign('!') && parser.peek_at(1).is_none_or(|t| t.text != "=");
            if powered {
                parser.attached(value)
            } else {
                Ok(value)
            }
        })
    }

    /// `52_8`, `4210_{5}`: digits in another base.
    fn based(&mut self, value: Node) -> Read<Node> {
        let base = self.peek_at(1).and_then(|t| match t.text {
            "{" => self.peek_at(2),
            _ => Some(t),
        });
        let digits = match &value {
            Node::Int(_) => self.tokens.get(self.at.wrapping_sub(1)).map(|t| t.text),
            _ => None,
        };
        let (Some(base), Some(digits)) = (base, digits) else {
            return self.wrong("a subscript that belongs to no name");
        };
        let base: u32 = match base.text {
            "two" => 2,
            "ten" => 10,
            text => text.trim_end_matches('.').parse().unwrap_or(0),
        };
        let Some(number) = (2..=36)
            .contains(&base)
            .then(|| BigInt::parse_bytes(digits.as_bytes(), base))
            .flatten()
        else {
            return self.wrong("a subscript that is no base of these digits");
        };
        self.at += if self.peek_at(1).is_some_and(|t| t.text == "{") {
            4
        } else {
            2
        };
        Ok(Node::Based(number, base, digits.to_owned()))
    }
}

fn renamed(value: Node, with: &str) -> Node {
    match value {
        Node::Symbol(name) => Node::Symbol(name + with),
        other => other,
    }
}

/// A sign in front of a term.
#[derive(Clone, Copy)]
enum Sign {
    Plus,
    Minus,
    Both(bool),
}
