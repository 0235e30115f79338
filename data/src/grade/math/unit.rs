//! The unit behind a number: products, quotients and powers of what [`units`](super::units) knows, passed over.

use super::lex::{Dialect, Kind, Token};
use super::names;
use super::node::{Node, has_variables};
use super::parse::Parser;
use super::units::{Units, is_symbol};
use super::words::zeros;

impl<'a> Parser<'a> {
    /// Passes over the unit behind a number, if one stands here: words, symbols, products, quotients and powers of
    /// them.
    pub fn passes_unit(&mut self, value: &Node, before: &[Node], token: Token<'_>) -> bool {
        let numeric = |node: &Node| !has_variables(node);
        let text = token.kind == Kind::Text;
        if text && self.text_separates(token) {
            return false;
        }
        let plain = text || numeric(value) && before.iter().all(numeric);
        if self.integrals > 0 || !plain {
            return text && self.passes_text();
        }
        let sure = text || token.kind == Kind::Word && !token.upright && self.is_plain_unit(token);
        let start = self.at;
        let mut units = Units::default();
        let read = self.unit_product(&mut units, 1) && (sure || self.ends_value());
        // "7m" is a product of its own, "7 m" and "7m/s" are quantities.
        let close = token.kind == Kind::Word && !token.upright && !token.spaced && token.text.len() == 1;
        let of_degrees = matches!(value, Node::Degrees(_));
        if self.dialect == Dialect::Loose
            && !sure
            && !token.upright
            && (self.brackets > 0 || self.in_a_sum(start))
        {
            self.at = start;
            return false;
        }
        if !read || close && units.factors.len() == 1 && !of_degrees {
            self.at = start;
            return false;
        }
        self.units.push(units.sorted());
        true
    }

    /// Whether the token at `place` is in a sum: a letter there, `1 - 3 m`, is a variable. A sign in front makes no sum.
    fn in_a_sum(&self, place: usize) -> bool {
        let mut depth = 0;
        for at in (1..place).rev() {
            match self.tokens[at].kind {
                Kind::Sign('}' | ')') => depth += 1,
                Kind::Sign('{' | '(') => depth -= 1,
                Kind::Sign(',' | ';' | '=') if depth == 0 => return false,
                Kind::Sign('+' | '-') if depth == 0 => return true,
                _ => {}
            }
        }
        false
    }

    /// Words between factors that are no numbers say nothing.
    fn passes_text(&mut self) -> bool {
        self.at += 1;
        true
    }

    /// Whether a word behind a number can only be its unit: a long one that has no meaning here, or a known symbol of
    /// two letters.
    pub fn is_plain_unit(&self, token: Token<'_>) -> bool {
        let word = token.text;
        let meant = names::function(word).is_some()
            || names::constant(word).is_some()
            || names::letter(word).is_some()
            || matches!(word, "and" | "or" | "mod" | "sqrt" | "to")
            || names::is_comment(word);
        // "4 min" is a time, "min(4, 5)" is not.
        let opens = |t: Token<'_>| matches!(t.kind, Kind::Sign('(' | '{' | '_')) || t.text == "{";
        if word == "min" {
            return !self.peek_at(1).is_some_and(opens);
        }
        let long = word.len() >= 3 && (token.spaced || token.upright);
        let symbol = word.len() >= 2 && is_symbol(word);
        let ordinal = !token.spaced && matches!(word, "st" | "nd" | "rd" | "th");
        !meant && (long || symbol || ordinal || matches!(word, "degrees" | "percent"))
    }

    fn unit_product(&mut self, units: &mut Units, sign: i32) -> bool {
        if !self.unit_factor(units, sign, true) {
            return false;
        }
        loop {
            let Some(token) = self.peek() else { return true };
            let before = self.at;
            let over = token.kind == Kind::Sign('/') || token.text == "per";
            let times = matches!(token.kind, Kind::Sign('*' | '×' | '·' | '⋅' | '∙'))
                || token.kind == Kind::Command && matches!(token.text, "cdot" | "times");
            self.at += usize::from(over || times);
            if !self.unit_factor(units, if over { -sign } else { sign }, over) {
                self.at = before;
                return true;
            }
        }
    }

    /// One unit and its power. `free`: any word may stand here. Long: one match, a row a way to write one.
    fn unit_factor(&mut self, units: &mut Units, sign: i32, free: bool) -> bool {
        let Some(token) = self.peek() else { return false };
        let loose = self.dialect == Dialect::Loose;
        let known = token.upright || loose;
        let start = units.factors.len();
        match token.kind {
            Kind::Text if !self.text_separates(token) => {
                self.at += 1;
                units.words(token.text, sign);
            }
            // kΩ
            Kind::Word
                if known
                    && matches!(token.text, "k" | "M" | "m" | "G")
                    && self.peek_at(1).is_some_and(|t| t.text == "Omega") =>
            {
                self.at += 2;
                units.push(&format!("{}Ω", token.text), sign);
            }
            Kind::Word if matches!(token.text, "M" | "L" | "R") && self.is_sun_mark() => {
                self.at += 1;
                self.of_the_sun();
                units.unknown = true;
            }
            Kind::Word => {
                let symbol = known && is_symbol(token.text);
                let word = free && (self.is_plain_unit(token) || self.behind_slash());
                if !symbol && !word {
                    return false;
                }
                self.at += 1;
                units.push(token.text, sign);
            }
            Kind::Command
                if matches!(token.text, "Omega" | "ohm" | "AA" | "angstrom") && (known || !free) =>
            {
                self.at += 1;
                units.push(if token.text.starts_with('A') { "Å" } else { "Ω" }, sign);
            }
            // ^\circ C
            Kind::Sign('^')
                if self.peek_at(1).is_some_and(|t| t.text == "circ")
                    && self.peek_at(2).is_some_and(|t| t.kind == Kind::Word) =>
            {
                self.at += 2;
                return self.unit_factor(units, sign, free);
            }
            Kind::Command | Kind::Sign('μ') if matches!(token.text, "mu" | "μ") && known => {
                let braced = usize::from(self.peek_at(1).is_some_and(|t| t.kind == Kind::Sign('{')));
                let next = self
                    .peek_at(1 + braced)
                    .filter(|t| t.kind == Kind::Word && is_symbol(t.text));
                let Some(next) = next else { return false };
                self.at += 2 + braced;
                units.push(&format!("μ{}", next.text), sign);
                if braced == 1 && !self.eat_sign('}') {
                    return false;
                }
            }
            Kind::Sign(c @ ('Å' | 'Ω' | '℃' | '℉')) if known || c != 'Ω' => {
                self.at += 1;
                units.push(if c == 'Ω' { "Ω" } else { token.text }, sign);
            }
            Kind::Command if token.text.ends_with("frac") => {
                self.at += 1;
                return self.unit_group('{', '}', units, sign) && self.unit_group('{', '}', units, -sign);
            }
            Kind::Sign('{') => return self.unit_group('{', '}', units, sign),
            Kind::Sign('(') if free => return self.unit_group('(', ')', units, sign),
            _ => return false,
        }
        self.raised(units, start)
    }

    fn behind_slash(&self) -> bool {
        self.at > 0 && self.tokens[self.at - 1].kind == Kind::Sign('/')
    }

    /// Whether the letter that stands here has the mark of a body as its unit: `M_\odot`, `R_{\oplus}`.
    fn is_sun_mark(&self) -> bool {
        let text = |ahead| self.peek_at(ahead).map_or("", |t| t.text);
        let body = |text: &str| matches!(text, "odot" | "oplus" | "sun");
        text(1) == "_" && (body(text(2)) || text(2) == "{" && body(text(3)) && text(4) == "}")
    }

    /// Passes over that mark.
    fn of_the_sun(&mut self) {
        let braced = self.peek_at(1).is_some_and(|t| t.text == "{");
        self.at += if braced { 4 } else { 2 };
    }

    fn unit_group(&mut self, open: char, close: char, units: &mut Units, sign: i32) -> bool {
        let start = units.factors.len();
        self.unit_depth += 1;
        let closed = self.unit_depth < 8
            && self.eat_sign(open)
            && self.unit_product(units, sign)
            && self.eat_sign(close);
        self.unit_depth -= 1;
        closed && self.raised(units, start)
    }

    /// Reads the power behind units, those from `start` on, and puts it to them.
    fn raised(&mut self, units: &mut Units, start: usize) -> bool {
        let Some(power) = self.unit_power() else {
            return false;
        };
        for factor in &mut units.factors[start..] {
            factor.1 = factor.1.saturating_mul(power);
        }
        true
    }

    /// A whole power, 1 where none stands here; `None` for another power.
    fn unit_power(&mut self) -> Option<i32> {
        if !self.eat_sign('^') {
            return Some(1);
        }
        let braced = self.eat_sign('{');
        let minus = self.eat_sign('-');
        let digits = self.peek().filter(|t| t.kind == Kind::Number)?;
        let power: i32 = digits.text.parse().ok().filter(|power| *power < 20)?;
        self.at += 1;
        if braced && !self.eat_sign('}') {
            return None;
        }
        Some(if minus { -power } else { power })
    }

    /// Whether nothing that belongs to a value follows.
    fn ends_value(&self) -> bool {
        self.peek().is_none_or(|token| match token.kind {
            Kind::Sign(')' | ']' | '}' | ',' | ';' | ':' | '.' | '⟧' | '&' | '|') => true,
            Kind::Command if matches!(token.text, "}" | "rbrace" | "\\\\") => true,
            Kind::Text => self.text_separates(token),
            Kind::Word => matches!(token.text, "and" | "or") || names::is_comment(token.text),
            _ => names::relation(token.text).is_some(),
        })
    }

    /// `thousand` and its like behind a number: its power of ten. Words of a unit may follow it in the same text.
    pub fn scale_word(&mut self, value: &Node, token: Token<'a>) -> Option<Node> {
        if !matches!(token.kind, Kind::Word | Kind::Text) {
            return None;
        }
        let (first, rest) = token.text.split_once(' ').unwrap_or((token.text, ""));
        let zeros = zeros(first).filter(|_| !has_variables(value))?;
        if rest.is_empty() {
            self.at += 1;
        } else {
            let at = self.at;
            self.tokens[at].text = rest;
            self.tokens[at].at += token.text.len() - rest.len();
        }
        Some(Node::Int(num_bigint::BigInt::from(10).pow(zeros)))
    }

    /// `^{\text{th}}` and `^\text{th}` of an ordinal.
    pub fn ordinal_mark(&mut self) -> bool {
        let text = |ahead| self.peek_at(ahead).map_or("", |t| t.text);
        let mark = |text: &str| matches!(text, "st" | "nd" | "rd" | "th");
        let length = if mark(text(0)) {
            1
        } else if text(0) == "{" && mark(text(1)) && text(2) == "}" {
            3
        } else {
            return false;
        };
        self.at += length;
        true
    }
}
