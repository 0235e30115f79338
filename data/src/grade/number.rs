//! Numbers as people and models write them, read into exact rationals.
//!
//! Understood: integers, decimals, `a/b`, `\frac{a}{b}`, mixed numbers (`1 1/2`, `1\frac{1}{2}`), thousands
//! separators (`1,234`, `1{,}234`, `1 234`), a percent sign, a currency sign in front, a unit behind (`12 apples`,
//! `5 \text{ cm}^2`), `1.5e3` and `1.5 \times 10^{3}`, `thousand`, `million`, `billion`, and one layer of `$…$`,
//! `\(…\)`, `**…**`, braces or parentheses. Anything else is not a number: `2\pi`, `3x`, `1,23`, `3 or 4`.

use super::spelling::{is_unit, normalise, unwrapped};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, Zero};
use std::ops::Range;

/// A number longer than this is not read, so that a check's time is bounded (the arithmetic is quadratic in it).
pub const MAX_DIGITS: usize = 10_000;
/// A power of ten outside ±this is not read.
pub const MAX_EXPONENT: i64 = 10_000;

/// An exact number and how it was marked.
///
/// The fraction need not be in lowest terms: reducing it costs more than comparing does.
#[derive(Debug, Clone)]
pub struct Number {
    /// The value as written; `50%` is 50.
    value: BigRational,
    /// A percent sign (or the word) stood behind it.
    percent: bool,
}

impl Number {
    /// Equal in value. Where exactly one side has a percent sign, that side may be meant either way: `50%` equals
    /// both `50` and `0.5`, as in Math-Verify. Two percentages are compared as they are.
    pub fn equals(&self, other: &Number) -> bool {
        if same(&self.value, &other.value) {
            return true;
        }
        let hundred = BigInt::from(100);
        match (self.percent, other.percent) {
            (true, false) => same(&scaled(&self.value, &hundred), &other.value),
            (false, true) => same(&self.value, &scaled(&other.value, &hundred)),
            _ => false,
        }
    }

    /// The value in lowest terms; a percentage is its number, `50%` is 50.
    pub fn value(&self) -> BigRational {
        self.value.reduced()
    }
}

/// `a/b = c/d` without a greatest common divisor.
fn same(a: &BigRational, b: &BigRational) -> bool {
    a.numer() * b.denom() == b.numer() * a.denom()
}

fn scaled(a: &BigRational, by: &BigInt) -> BigRational {
    BigRational::new_raw(a.numer().clone(), a.denom() * by)
}

/// Reads `text` as one number, whole. `None` if it is anything else or more than that.
pub fn parse(text: &str) -> Option<Number> {
    let text = normalise(text);
    let text = unwrapped(right_hand_side(unwrapped(&text)));
    let (number, end) = Reader::new(text, true).number(0)?;
    let tail = text[end..].trim();
    (tail.is_empty() || is_unit(tail)).then_some(number)
}

/// What stands behind the last `=`, where that is the answer: behind a name (`x = 5`, `f(2) = 5`) or a sum of numbers
/// (`3 + 4 = 7`). An equation, `x + y = 0`, is not a number.
fn right_hand_side(text: &str) -> &str {
    let Some((left, right)) = text.rsplit_once('=') else {
        return text;
    };
    let left = left.trim();
    let name = left.starts_with(|c: char| c.is_alphabetic() || c == '\\')
        && !left.contains(['+', '-', '*', '/', '^', '=', ',']);
    let numbers = !left.contains(char::is_alphabetic);
    if name || numbers { right } else { text }
}

/// The numbers in running text, in order, each with its own text.
///
/// Digits that belong to something else are not numbers of the text: `x2`, `cm^2`, `a_1`.
pub fn scan(text: &str) -> Vec<(String, Number)> {
    let text = normalise(text);
    scan_plain(&text)
        .into_iter()
        .map(|(place, number)| (text[place].to_owned(), number))
        .collect()
}

/// As [`scan`], where each stands in a text that [`normalise`] wrote.
pub(super) fn scan_plain(text: &str) -> Vec<(Range<usize>, Number)> {
    let bytes = text.as_bytes();
    let reader = Reader::new(text, false);
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let starts = bytes[at].is_ascii_digit()
            || (bytes[at] == b'.' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit))
            || text[at..].starts_with("\\frac");
        if !starts {
            at += utf8_len(bytes[at]);
            continue;
        }
        let before = text[..at].trim_end_matches('{');
        let owned = before
            .chars()
            .next_back()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '^' || c == '_');
        match reader.number(at) {
            Some((_, end)) if owned => at = end,
            // 4\sqrt{2}: the value is not a number, and none before it was meant instead.
            Some((_, end))
                if ["\\sqrt", "\\pi", "√", "π"]
                    .iter()
                    .any(|r| text[end..].starts_with(r)) =>
            {
                found.clear();
                at = end;
            }
            Some((mut number, end)) => {
                let mut start = at;
                if let Some(sign) = sign_before(text, at) {
                    start = sign;
                    number.value = -number.value;
                }
                found.push((start..end, number));
                at = end;
            }
            // Not readable (too long, a broken group): skip its digits, or each would be tried again.
            None => {
                at += 1;
                while at < bytes.len() && (bytes[at].is_ascii_digit()) {
                    at += 1;
                }
            }
        }
    }
    found
}

/// Where a minus sign that belongs to the number at `at` stands. In `10-5` it is an operation, in `is -5` a sign.
fn sign_before(text: &str, at: usize) -> Option<usize> {
    let before = text[..at].trim_end_matches(['$', '£', '€', '¥', '₹']);
    let sign = before.strip_suffix('-')?;
    let own = match sign.chars().next_back() {
        None => true,
        Some(c) => c.is_whitespace() || "(=:$*[{#,>".contains(c),
    };
    own.then_some(sign.len())
}

fn utf8_len(first: u8) -> usize {
    match first {
        0..=0x7f => 1,
        0x80..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    }
}

/// A cursor-free reader: every method takes a place and returns what it read and where it ended.
struct Reader<'a> {
    text: &'a str,
    /// The text is one answer: a sign or currency may stand in front, and `1 234` is one number.
    whole: bool,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, whole: bool) -> Self {
        Self { text, whole }
    }

    fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(0)
    }

    fn spaces(&self, mut at: usize) -> usize {
        while self.byte(at).is_ascii_whitespace() {
            at += 1;
        }
        at
    }

    /// Sign, currency, value, percent.
    fn number(&self, mut at: usize) -> Option<(Number, usize)> {
        let mut negative = false;
        if self.whole {
            // "-5", "$5", "-$5", "$-5", "+5"; each mark at most once.
            let (mut signed, mut priced) = (false, false);
            loop {
                at = self.spaces(at);
                let c = self.text[at..].chars().next()?;
                match c {
                    '-' | '+' if !signed => {
                        signed = true;
                        negative = c == '-';
                    }
                    '$' | '£' | '€' | '¥' | '₹' if !priced => priced = true,
                    _ => break,
                }
                at += c.len_utf8();
            }
        }
        let (mut value, mut end) = self.value(at)?;
        if negative {
            value = -value;
        }
        let next = self.spaces(end);
        let rest = &self.text[next..];
        for (word, zeros) in [("thousand", 3), ("million", 6), ("billion", 9), ("trillion", 12)] {
            if next > end && rest.starts_with(word) {
                value = power_of_ten(value, zeros)?;
                end = next + word.len();
            }
        }
        let next = self.spaces(end);
        let rest = &self.text[next..];
        let mut percent = false;
        for mark in ["%", "percent"] {
            if !percent && rest.starts_with(mark) && !rest.starts_with("percentage") {
                percent = true;
                end = next + mark.len();
            }
        }
        Some((Number { value, percent }, end))
    }

    /// An unsigned value: fraction, mixed number, decimal, with a power of ten.
    fn value(&self, at: usize) -> Option<(BigRational, usize)> {
        if let Some((value, end)) = self.latex_fraction(at) {
            return Some((value, end));
        }
        let (first, end) = self.decimal(at)?;
        let whole_part = first.denom().is_one();
        // 1\frac{1}{2}
        let next = self.spaces(end);
        if whole_part && let Some((part, stop)) = self.latex_fraction(next) {
            return (part < BigRational::one()).then(|| (first + part, stop));
        }
        // 1 1/2
        if whole_part
            && next > end
            && let Some((numer, slash)) = self.digits_only(next)
            && self.byte(slash) == b'/'
            && let Some((denom, stop)) = self.digits_only(slash + 1)
            && numer < denom
        {
            return Some((first + BigRational::new_raw(numer, denom), stop));
        }
        // a/b
        let slash = if self.whole { next } else { end };
        if self.byte(slash) == b'/' {
            let from = if self.whole {
                self.spaces(slash + 1)
            } else {
                slash + 1
            };
            if let Some((denom, stop)) = self.decimal(from) {
                return divide(&first, &denom).map(|value| (value, stop));
            }
        }
        self.with_power(first, end, next)
    }

    /// `first`, which ends at `end` (`next`: behind the spaces), with the power of ten that may follow.
    fn with_power(&self, first: BigRational, mut end: usize, next: usize) -> Option<(BigRational, usize)> {
        let mut value = first;
        // 1.5e3
        if matches!(self.byte(end), b'e' | b'E')
            && let Some((exponent, stop)) = self.exponent(end + 1)
            && !self.byte(stop).is_ascii_alphanumeric()
        {
            return Some((power_of_ten(value, exponent)?, stop));
        }
        // 1.5 * 10^{3}, 10^3
        let ten = if self.byte(next) == b'*' {
            Some(self.spaces(next + 1))
        } else {
            None
        };
        if let Some(ten) = ten
            && self.text[ten..].starts_with("10^")
        {
            let (exponent, stop) = self.exponent(ten + 3)?;
            return Some((power_of_ten(value, exponent)?, stop));
        }
        if self.byte(end) == b'^' {
            if value != BigRational::from_integer(10.into()) {
                return if self.whole { None } else { Some((value, end)) };
            }
            let (exponent, stop) = self.exponent(end + 1)?;
            value = power_of_ten(BigRational::one(), exponent)?;
            end = stop;
        }
        Some((value, end))
    }

    /// `\frac{a}{b}`, `\frac12`; `a` may have a sign.
    fn latex_fraction(&self, at: usize) -> Option<(BigRational, usize)> {
        let rest = self.text.get(at..)?.strip_prefix("\\frac")?;
        let start = self.text.len() - rest.len();
        let (numer, middle) = self.argument(self.spaces(start))?;
        let (denom, end) = self.argument(self.spaces(middle))?;
        Some((divide(&numer, &denom)?, end))
    }

    fn argument(&self, at: usize) -> Option<(BigRational, usize)> {
        if self.byte(at) != b'{' {
            // \frac12: one digit is one argument.
            let digit = self.byte(at);
            return digit
                .is_ascii_digit()
                .then(|| (BigRational::from_integer((digit - b'0').into()), at + 1));
        }
        let mut from = self.spaces(at + 1);
        let negative = self.byte(from) == b'-';
        if negative {
            from += 1;
        }
        let (value, end) = self.decimal(from)?;
        let end = self.spaces(end);
        let value = if negative { -value } else { value };
        (self.byte(end) == b'}').then_some((value, end + 1))
    }

    fn digits_only(&self, at: usize) -> Option<(BigInt, usize)> {
        let mut end = at;
        while self.byte(end).is_ascii_digit() {
            end += 1;
        }
        (end > at && end - at <= MAX_DIGITS)
            .then(|| self.text[at..end].parse().ok().map(|n| (n, end)))
            .flatten()
    }

    /// Digits with thousands separators and a decimal part. A comma between digits that separates no group of three
    /// is ambiguous: `None` for a whole answer; in running text it ends the number.
    fn decimal(&self, at: usize) -> Option<(BigRational, usize)> {
        let mut digits = String::new();
        let mut end = at;
        while self.byte(end).is_ascii_digit() {
            end += 1;
        }
        digits.push_str(&self.text[at..end]);
        let lead = end - at;
        let mut separator = 0;
        loop {
            let c = self.byte(end);
            let group =
                (1..=3).all(|k| self.byte(end + k).is_ascii_digit()) && !self.byte(end + 4).is_ascii_digit();
            let separates = c == b',' || (matches!(c, b' ' | b'_') && self.whole);
            if lead == 0 || !separates || (separator != 0 && separator != c) {
                break;
            }
            if !group || lead > 3 || self.text[at..].starts_with('0') {
                if c == b',' && self.whole && self.byte(end + 1).is_ascii_digit() {
                    return None;
                }
                break;
            }
            separator = c;
            digits.push_str(&self.text[end + 1..end + 4]);
            end += 4;
        }
        let mut places = 0;
        if self.byte(end) == b'.' && self.byte(end + 1).is_ascii_digit() {
            let from = end + 1;
            end = from;
            while self.byte(end).is_ascii_digit() {
                end += 1;
            }
            places = end - from;
            digits.push_str(&self.text[from..end]);
        } else if self.byte(end) == b'.' && self.whole && lead > 0 && self.byte(end + 1) == b' ' {
            // "5. apples" keeps its number; the point is punctuation.
            end += 1;
        }
        if digits.is_empty() || digits.len() > MAX_DIGITS {
            return None;
        }
        let value = BigRational::from_integer(digits.parse().ok()?);
        Some((power_of_ten(value, -(places as i64))?, end))
    }

    /// `3`, `-3`, `+3`, `{3}`.
    fn exponent(&self, at: usize) -> Option<(i64, usize)> {
        let braced = self.byte(at) == b'{';
        let mut from = at + usize::from(braced);
        let negative = self.byte(from) == b'-';
        if matches!(self.byte(from), b'-' | b'+') {
            from += 1;
        }
        let mut end = from;
        while self.byte(end).is_ascii_digit() {
            end += 1;
        }
        let size: i64 = self.text[from..end].parse().ok()?;
        if braced && self.byte(end) != b'}' {
            return None;
        }
        (size <= MAX_EXPONENT).then_some((if negative { -size } else { size }, end + usize::from(braced)))
    }
}

fn divide(a: &BigRational, b: &BigRational) -> Option<BigRational> {
    if b.is_zero() {
        return None;
    }
    let denom = a.denom() * b.numer();
    let numer = a.numer() * b.denom();
    Some(if denom.is_negative() {
        BigRational::new_raw(-numer, -denom)
    } else {
        BigRational::new_raw(numer, denom)
    })
}

/// `value · 10^exponent`, not reduced.
fn power_of_ten(value: BigRational, exponent: i64) -> Option<BigRational> {
    if exponent.abs() > MAX_EXPONENT {
        return None;
    }
    let power = BigInt::from(10).pow(exponent.unsigned_abs() as u32);
    let (numer, denom) = value.into_raw();
    Some(if exponent >= 0 {
        BigRational::new_raw(numer * power, denom)
    } else {
        BigRational::new_raw(numer, denom * power)
    })
}
