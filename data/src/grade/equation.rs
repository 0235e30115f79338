//! Equations of data sets, worked step by step in exact rationals.

use super::number;
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

/// An equation longer than this many tokens is refused, which also bounds how deep it nests.
const MAX_TOKENS: usize = 500;
/// A decimal with at least this many places came from a floating-point division.
const FLOAT_PLACES: usize = 12;
/// The largest denominator that such a decimal is read as, and that a step shows.
const LARGEST_DENOMINATOR: i64 = 1000;

/// What an equation comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worked {
    /// Its exact value.
    pub value: BigRational,
    /// Each operation in turn, without its result: `56 * 9`.
    operations: Vec<String>,
    /// The result of each, exactly.
    results: Vec<BigRational>,
}

impl Worked {
    /// The result of each operation.
    pub fn results(&self) -> &[BigRational] {
        &self.results
    }

    /// `5 + 3 = 8, 8 * 2 = 16 #### 16`. The last result is shown as the answer is, which may be rounded.
    pub fn solution(&self, answer: &str) -> String {
        let last = self.operations.len().saturating_sub(1);
        let steps: Vec<String> = self
            .operations
            .iter()
            .zip(&self.results)
            .enumerate()
            .map(|(at, (operation, result))| {
                let result = if at == last {
                    answer.to_owned()
                } else {
                    brief(result)
                };
                format!("{operation} = {result}")
            })
            .collect();
        let gap = if steps.is_empty() { "" } else { " " };
        format!("{}{gap}#### {answer}", steps.join(", "))
    }
}

/// Works out `equation`, in prefix or infix notation, with `numbers` for `number0`, `number1`, …
pub fn work(equation: &str, numbers: &[BigRational]) -> Result<Worked, String> {
    let spaced = equation.replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    if tokens.is_empty() || tokens.len() > MAX_TOKENS {
        return Err(format!(
            "an equation has 1 to {MAX_TOKENS} tokens, this has {}",
            tokens.len()
        ));
    }
    let mut worker = Worker {
        tokens: &tokens,
        at: 0,
        numbers,
        worked: Worked {
            value: BigRational::zero(),
            operations: Vec::new(),
            results: Vec::new(),
        },
    };
    let prefix = operator(tokens[0]).is_some();
    worker.worked.value = if prefix {
        worker.prefix()?
    } else {
        worker.infix(0)?
    };
    match tokens.get(worker.at) {
        Some(rest) => Err(format!("{rest:?} follows the end of the equation {equation:?}")),
        None => Ok(worker.worked),
    }
}

/// How tightly an operator binds.
fn operator(token: &str) -> Option<u8> {
    match token {
        "+" | "-" => Some(1),
        "*" | "/" => Some(2),
        _ => None,
    }
}

struct Worker<'a> {
    tokens: &'a [&'a str],
    at: usize,
    numbers: &'a [BigRational],
    worked: Worked,
}

impl<'a> Worker<'a> {
    fn next(&mut self) -> Result<&'a str, String> {
        let token = self.tokens.get(self.at).ok_or("the equation ends too early")?;
        self.at += 1;
        Ok(token)
    }

    fn prefix(&mut self) -> Result<BigRational, String> {
        let token = self.next()?;
        if operator(token).is_none() {
            return self.leaf(token);
        }
        let a = self.prefix()?;
        let b = self.prefix()?;
        self.apply(token, a, b)
    }

    fn infix(&mut self, above: u8) -> Result<BigRational, String> {
        let token = self.next()?;
        let mut value = if token == "(" {
            let inside = self.infix(0)?;
            if self.next()? != ")" {
                return Err("a parenthesis is not closed".to_owned());
            }
            inside
        } else {
            self.leaf(token)?
        };
        while let Some(&token) = self.tokens.get(self.at)
            && let Some(binds) = operator(token)
            && binds > above
        {
            self.at += 1;
            let right = self.infix(binds)?;
            value = self.apply(token, value, right)?;
        }
        Ok(value)
    }

    fn leaf(&self, token: &str) -> Result<BigRational, String> {
        if let Some(at) = token.strip_prefix("number") {
            let given = self.numbers.len();
            let number = at.parse::<usize>().ok().and_then(|at| self.numbers.get(at));
            return number
                .cloned()
                .ok_or_else(|| format!("{token} is used, but {given} numbers are given"));
        }
        plain(token).ok_or_else(|| format!("{token:?} is neither a number nor an operator (+ - * /)"))
    }

    fn apply(&mut self, operator: &str, a: BigRational, b: BigRational) -> Result<BigRational, String> {
        let operation = format!("{} {operator} {}", brief(&a), brief(&b));
        let value = compute(operator, a, b).ok_or_else(|| format!("{operation} divides by zero"))?;
        self.worked.operations.push(operation);
        self.worked.results.push(value.clone());
        Ok(value)
    }
}

/// One operation (`+`, `-`, `*`, else a division); `None` where it divides by zero.
pub fn compute(operator: &str, a: BigRational, b: BigRational) -> Option<BigRational> {
    Some(match operator {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        _ if b.is_zero() => return None,
        _ => a / b,
    })
}

/// A plain number, `-1,234.50`, exactly. A decimal of twelve places or more that is the nearest to a small fraction
/// is that fraction: `0.16666666666666666` is 1/6.
pub fn plain(text: &str) -> Option<BigRational> {
    let text = text.trim();
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b',' | b'-'));
    let value = number::parse(text).filter(|_| plain)?.value();
    let places = text.split_once('.').map_or(0, |(_, places)| places.len());
    if places < FLOAT_PLACES {
        return Some(value);
    }
    let float = text.parse::<f64>().ok()?;
    let fraction = (1..=LARGEST_DENOMINATOR).find_map(|denominator| {
        let numerator = (float * denominator as f64).round();
        // As near as two roundings of a float leave it.
        ((numerator / denominator as f64 - float).abs() <= float.abs() * 2.0 * f64::EPSILON)
            .then(|| BigRational::new((numerator as i64).into(), denominator.into()))
    });
    Some(fraction.unwrap_or(value))
}

/// A rational in its shortest exact form: `42`, `1.5`, or `1/3` where no decimal ends.
pub fn exact(value: &BigRational) -> String {
    if value.is_integer() {
        return value.numer().to_string();
    }
    let mut rest = value.denom().clone();
    let mut count = |factor: u32| {
        let factor = BigInt::from(factor);
        let mut times = 0;
        while (&rest % &factor).is_zero() {
            rest /= &factor;
            times += 1;
        }
        times
    };
    let places = count(2).max(count(5));
    if rest.is_one() {
        rounded(value, places)
    } else {
        value.to_string()
    }
}

/// A rational as a step shows it: exactly where that is short, else rounded to four places.
pub fn brief(value: &BigRational) -> String {
    let text = exact(value);
    let places = text.split_once('.').map_or(0, |(_, places)| places.len());
    let long_fraction = text.contains('/') && value.denom() > &BigInt::from(LARGEST_DENOMINATOR);
    if places > 6 || long_fraction {
        let text = rounded(value, 4);
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

/// Rounded to `places` decimals, halves away from zero.
fn rounded(value: &BigRational, places: usize) -> String {
    let scale = BigInt::from(10).pow(places as u32);
    let scaled = (value.abs() * BigRational::from_integer(scale))
        .round()
        .to_integer();
    let digits = format!("{scaled:0>width$}", width = places + 1);
    let (whole, part) = digits.split_at(digits.len() - places);
    let sign = if value.is_negative() && !scaled.is_zero() {
        "-"
    } else {
        ""
    };
    if places == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{part}")
    }
}

/// Does an exact value agree with an answer column, which may be rounded to the places it is written with (one at
/// least, so that 5 is no rounding of 5.4)?
pub fn agrees(value: &BigRational, answer: &str) -> bool {
    let Some(given) = plain(answer) else {
        return false;
    };
    let places = answer
        .trim()
        .split_once('.')
        .map_or(1, |(_, places)| places.len().max(1));
    let half = BigRational::new(
        1.into(),
        BigInt::from(2) * BigInt::from(10).pow(places.to_u32().unwrap_or(u32::MAX)),
    );
    (value - given).abs() <= half
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solved(equation: &str, numbers: &str, answer: &str) -> String {
        let numbers: Vec<_> = numbers.split_whitespace().map(|n| plain(n).unwrap()).collect();
        let worked = work(equation, &numbers).unwrap();
        assert!(
            agrees(&worked.value, answer),
            "{equation}: {} against {answer}",
            worked.value
        );
        worked.solution(&exact(&plain(answer).unwrap()))
    }

    #[test]
    fn equations_become_steps() {
        assert_eq!(
            solved("* number0 number1", "56.0 9.0", "504.0"),
            "56 * 9 = 504 #### 504"
        );
        assert_eq!(solved("( 5 + 3 ) * 2", "", "16"), "5 + 3 = 8, 8 * 2 = 16 #### 16");
        assert_eq!(
            solved("- number0 * number1 number2", "25000.0 1500.0 8.0", "13000.0"),
            "1500 * 8 = 12000, 25000 - 12000 = 13000 #### 13000"
        );
        assert_eq!(solved("8.0 - 2.0 - 1.0", "", "5"), "8 - 2 = 6, 6 - 1 = 5 #### 5");
        assert_eq!(solved("1 + 2 * 3", "", "7.0"), "2 * 3 = 6, 1 + 6 = 7 #### 7");
        assert_eq!(
            solved("/ number1 number0", "3 10", "3.333"),
            "10 / 3 = 3.333 #### 3.333"
        );
        assert_eq!(
            solved(
                "+ number0 number1",
                "0.16666666666666666 1.1666666666666667",
                "1.3333333333333333"
            ),
            "1/6 + 7/6 = 4/3 #### 4/3"
        );
        assert_eq!(
            solved("* / - number1 number0 number0 100.0", "76.7 129.9", "69.4"),
            "129.9 - 76.7 = 53.2, 53.2 / 76.7 = 532/767, 532/767 * 100 = 69.4 #### 69.4"
        );
        assert_eq!(solved("number0", "7.0", "7"), "#### 7");
    }

    #[test]
    fn contradictions_and_nonsense_are_seen() {
        let value = |text: &str| plain(text).unwrap();
        assert!(!agrees(&(value("40") / value("7")), "5.0"));
        assert!(!agrees(&value("5.4"), "5"));
        assert!(agrees(&(value("5") / value("3")), "1.67"));
        for bad in [
            "",
            "+ 1",
            "+ 1 2 3",
            "( 1 + 2",
            "1 2",
            "/ 1 0",
            "^ 2 3",
            "+ number0 number9",
            "1 + x",
        ] {
            assert!(work(bad, &[value("1")]).is_err(), "{bad}");
        }
        assert!(work(&"( ".repeat(100_000), &[]).is_err());
    }

    #[test]
    fn numbers_are_shown_exactly() {
        for (text, shown) in [
            ("43.0", "43"),
            ("1,080", "1080"),
            ("025", "25"),
            ("-0.50", "-0.5"),
            ("0.3333333333333333", "1/3"),
            ("0.123456789", "0.123456789"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
        ] {
            assert_eq!(exact(&plain(text).unwrap()), shown);
        }
        assert_eq!(plain("12 apples"), None);
        assert_eq!(plain("50%"), None);
    }
}
