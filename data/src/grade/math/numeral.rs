//! Numbers as they are written: thousands, decimals, mixed numbers, repeating ends.

use super::lex::Kind;
use super::limits::{MAX_BITS, Unreadable};
use super::node::{Node, Rat};
use super::parse::{Parser, Read};
use num_bigint::BigInt;
use num_traits::{One, Zero};

impl Parser<'_> {
    /// A number, with thousands, a repeating end, and a fraction behind it that makes it a mixed number.
    pub fn number(&mut self) -> Read<Node> {
        let token = self.tokens[self.at];
        let mut text = token.text.to_owned();
        let follows_comma = self.at > 0 && self.tokens[self.at - 1].text == "," && !token.spaced;
        self.at += 1;
        // 1,234,567 outside of brackets is one number; in a list whose members are shorter it is not. Inside, (3,000) is
        // no pair: nobody writes a zero with three digits.
        let lead = text.bytes().all(|b| b.is_ascii_digit()) && text.len() <= 3 && !text.starts_with('0');
        let zeros = |t: &super::lex::Token<'_>| {
            t.kind == Kind::Number && t.text.len() == 3 && t.text.starts_with('0')
        };
        let padded = self.tokens.get(self.at + 1).is_some_and(zeros);
        if (self.brackets == 0 || padded) && lead && !follows_comma {
            self.thousands(&mut text);
        }
        let Some(value) = literal(&text) else {
            return Err(Unreadable::TooBig);
        };
        if let Some(repeating) = self.repeating(&text)? {
            return Ok(repeating);
        }
        let Node::Int(whole) = &value else {
            return Ok(value);
        };
        // 1\frac{1}{2}, and 1 1/2.
        let next = self.peek();
        if next.is_some_and(|t| t.kind == Kind::Command && t.text.ends_with("frac")) {
            let start = self.at;
            let tokens = self.tokens[start + 1..self.tokens.len().min(start + 4)].to_vec();
            let part = self.factor()?;
            if let Node::Div(a, b) = &part
                && let (Node::Int(a), Node::Int(b)) = (&**a, &**b)
                && (BigInt::zero()..b.clone()).contains(a)
                && !whole.is_zero()
            {
                return Ok(Node::Add(vec![value, part]));
            }
            // Not a mixed number: put back what reading changed.
            for (place, token) in tokens.into_iter().enumerate() {
                self.tokens[start + 1 + place] = token;
            }
            self.at = start;
            return Ok(value);
        }
        if let (Some(a), Some(slash), Some(b)) = (next, self.peek_at(1), self.peek_at(2))
            && a.kind == Kind::Number
            && a.spaced
            && slash.text == "/"
            && b.kind == Kind::Number
            && let (Some(Node::Int(numer)), Some(Node::Int(denom))) = (literal(a.text), literal(b.text))
            && numer < denom
        {
            self.at += 3;
            let part = Node::Div(Node::Int(numer).into(), Node::Int(denom).into());
            return Ok(Node::Add(vec![value, part]));
        }
        Ok(value)
    }

    /// The groups of three digits that go on from `text`, taken into it if they are the whole number.
    fn thousands(&mut self, text: &mut String) {
        let mut end = self.at;
        let group = |at: usize| {
            let comma = self.tokens.get(at)?;
            let digits = self.tokens.get(at + 1)?;
            let whole = digits.text.split('.').next().unwrap_or("").len() == 3;
            (comma.text == "," && !comma.spaced && !digits.spaced && digits.kind == Kind::Number && whole)
                .then_some(digits.text)
        };
        let mut joined = text.clone();
        while let Some(digits) = group(end) {
            joined.push_str(digits);
            end += 2;
            if digits.contains('.') {
                break;
            }
        }
        let comma = self.tokens.get(end).is_some_and(|t| t.text == "," && !t.spaced);
        let next = self.tokens.get(end + 1);
        let goes_on = comma && next.is_some_and(|t| t.kind == Kind::Number && !t.spaced);
        if !goes_on {
            *text = joined;
            self.at = end;
        }
    }

    /// `0.1\overline{6}`.
    fn repeating(&mut self, text: &str) -> Read<Option<Node>> {
        let Some((_, places)) = text.split_once('.') else {
            return Ok(None);
        };
        let digits = self.peek_at(2).map_or("", |t| t.text);
        let over = self.is_command("overline")
            || self.is_command("bar")
            || self.is_command("dot") && digits.len() == 1;
        let repeats = over
            && self.peek_at(1).is_some_and(|t| t.text == "{")
            && self.peek_at(3).is_some_and(|t| t.text == "}")
            && !digits.is_empty()
            && digits.len() <= 100
            && digits.bytes().all(|b| b.is_ascii_digit());
        if !repeats {
            return Ok(None);
        }
        self.at += 4;
        let start: Rat = match literal(text) {
            Some(Node::Decimal(value, _)) => value,
            Some(Node::Int(value)) => Rat::from_integer(value),
            _ => return Ok(None),
        };
        let ten = BigInt::from(10);
        let scale = ten.pow(places.len() as u32) * (ten.pow(digits.len() as u32) - BigInt::one());
        let digits: BigInt = digits.parse().unwrap_or_default();
        let value = start + Rat::new(digits, scale);
        Ok(Some(Node::Div(
            Node::Int(value.numer().clone()).into(),
            Node::Int(value.denom().clone()).into(),
        )))
    }
}

/// A number's text without its separators, exactly.
pub(super) fn literal(text: &str) -> Option<Node> {
    let clean: String = super::separators::without_separators(text)
        .chars()
        .filter(|c| c.is_ascii_digit() || ".eE+-".contains(*c))
        .collect();
    let (mantissa, exponent) = clean.split_once(['e', 'E']).unwrap_or((&clean, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let (whole, places) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = (whole.len() + places.len()) as u64;
    let bits = digits.saturating_add(exponent.unsigned_abs()).saturating_mul(4);
    if bits > MAX_BITS {
        return None;
    }
    let digits: BigInt = format!("0{whole}{places}").parse().ok()?;
    if places.is_empty() && exponent == 0 {
        return Some(Node::Int(digits));
    }
    let shift = exponent - places.len() as i64;
    let power = BigInt::from(10).pow(shift.unsigned_abs() as u32);
    let value = if shift >= 0 {
        Rat::from_integer(digits * power)
    } else {
        Rat::new(digits, power)
    };
    Some(Node::Decimal(value, (-shift).max(0) as usize))
}
