//! The built-in problems of the quickstart: additions and subtractions such as `37+58`.
//!
//! Operands have two digits, and every problem needs at least one carry (or borrow). A worked solution goes from the
//! units upward: each column writes its digit and `c` where it carries or borrows, `_` where it does not; then comes
//! the answer behind `#`:
//!
//! ```text
//! 37+58    5c9_#95
//! 87+58    5c4c#145
//! 52-37    5c1_#15
//! ```
//!
//! The wrong procedure forgets every carry: `37+58` gives `5_8_#85`. As each problem has one, it is wrong on all
//! of them. Demonstrations of which a known share is wrong so teach a policy that is right about as often as the
//! demonstrations were, and both procedures differ first in a single mark.

use crate::Problem;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::HashSet;
use std::fmt;

/// The characters of questions and solutions: the alphabet of a character tokenizer for them.
pub const ALPHABET: &str = "0123456789+-c_#";

/// The smallest and the largest operand.
pub const OPERANDS: std::ops::RangeInclusive<u32> = 10..=99;

/// One problem in [`SHARE`] of the whole space is a test problem.
const SHARE: u64 = 8;

/// Which part of the problems. A problem belongs to one of them by a hash of its operands, so no test problem can be
/// in a training set, whatever the seeds and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// Seven in eight.
    Train,
    /// One in eight.
    Test,
}

/// What is done with the operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `a+b`
    Add,
    /// `a-b`, never negative
    Sub,
}

/// One problem as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sum {
    a: u32,
    b: u32,
    op: Op,
}

/// A question that is not one of these problems.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{question:?} is not a built-in problem: two numbers of two digits with + or - between them, \
     with at least one carry or borrow and no negative result"
)]
pub struct NotArithmetic {
    /// The question as given.
    pub question: String,
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            Op::Add => '+',
            Op::Sub => '-',
        };
        write!(f, "{}{op}{}", self.a, self.b)
    }
}

impl Sum {
    /// A problem of the built-in kind; `None` without a carry, with a negative result, or with other operands.
    pub fn new(a: u32, op: Op, b: u32) -> Option<Sum> {
        let sum = Sum { a, b, op };
        let fits = OPERANDS.contains(&a) && OPERANDS.contains(&b) && (op == Op::Add || a >= b);
        (fits && sum.columns(false).any(|(_, carry)| carry)).then_some(sum)
    }

    /// Reads `37+58`.
    ///
    /// # Errors
    /// The text is anything else.
    pub fn parse(question: &str) -> Result<Sum, NotArithmetic> {
        let read = || {
            let text = question.trim();
            let at = text.find(['+', '-'])?;
            let op = if text.as_bytes()[at] == b'+' {
                Op::Add
            } else {
                Op::Sub
            };
            Sum::new(text[..at].parse().ok()?, op, text[at + 1..].parse().ok()?)
        };
        read().ok_or_else(|| NotArithmetic {
            question: question.to_owned(),
        })
    }

    /// The true result.
    pub fn answer(&self) -> u32 {
        match self.op {
            Op::Add => self.a + self.b,
            Op::Sub => self.a - self.b,
        }
    }

    /// The split this problem belongs to. `a+b` and `b+a` are in the same.
    pub fn split(&self) -> Split {
        let (low, high) = match self.op {
            Op::Add => (self.a.min(self.b), self.a.max(self.b)),
            Op::Sub => (self.a, self.b),
        };
        let packed = u64::from(low) << 32 | u64::from(high) << 1 | u64::from(self.op == Op::Add);
        if hashed(packed).is_multiple_of(SHARE) {
            Split::Test
        } else {
            Split::Train
        }
    }

    /// The columns from the units upward: the digit written, and whether it carries (borrows). `forget`: by the wrong
    /// procedure, in which nothing ever does.
    fn columns(&self, forget: bool) -> impl Iterator<Item = (u32, bool)> {
        let Sum { mut a, mut b, op } = *self;
        let mut carry = 0;
        std::iter::from_fn(move || {
            if a == 0 && b == 0 {
                return None;
            }
            let (x, y) = (a % 10, b % 10);
            (a, b) = (a / 10, b / 10);
            let (digit, over) = match op {
                Op::Add => ((x + y + carry) % 10, x + y + carry >= 10),
                Op::Sub => ((10 + x - y - carry) % 10, x < y + carry),
            };
            carry = u32::from(over && !forget);
            Some((digit, over && !forget))
        })
    }

    /// The worked solution, or the one by the wrong procedure, whose answer is always wrong.
    pub fn demonstrate(&self, wrong: bool) -> String {
        let mut text = String::new();
        let (mut result, mut place, mut over) = (0, 1, false);
        for (digit, carries) in self.columns(wrong) {
            text.push_str(&digit.to_string());
            text.push(if carries { 'c' } else { '_' });
            result += digit * place;
            place *= 10;
            over = carries;
        }
        if over {
            result += place;
        }
        format!("{text}#{result}")
    }

    fn problem(&self) -> Problem {
        Problem {
            id: format!("arithmetic-{self}"),
            question: self.to_string(),
            answer: Some(self.answer().to_string()),
            solution: Some(self.demonstrate(false)),
            ..Problem::default()
        }
    }
}

/// A demonstration for one of the problems of [`generate`]: the worked solution, or the wrong procedure's.
///
/// # Errors
/// The problem is not one of them.
pub fn demonstrate(problem: &Problem, wrong: bool) -> Result<String, NotArithmetic> {
    Ok(Sum::parse(&problem.question)?.demonstrate(wrong))
}

/// `count` different problems of a split; the same for the same seed on every machine, and a longer list begins with
/// the shorter one.
///
/// Addition and subtraction are drawn evenly. There are about 1,000 problems to test and 7,000 to train on; where
/// `count` comes near that, the list ends earlier.
pub fn generate(count: usize, seed: u64, split: Split) -> Vec<Problem> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut seen = HashSet::new();
    let mut problems = Vec::new();
    // Draws since the last new problem: once the space is nearly used up there may be none left.
    let mut idle = 0;
    while problems.len() < count && idle < 10_000 {
        idle += 1;
        let op = if rng.random_bool(0.5) { Op::Add } else { Op::Sub };
        let (a, b) = (rng.random_range(OPERANDS), rng.random_range(OPERANDS));
        let (a, b) = if op == Op::Sub {
            (a.max(b), a.min(b))
        } else {
            (a, b)
        };
        if let Some(sum) = Sum::new(a, op, b)
            && sum.split() == split
            && seen.insert(sum)
        {
            problems.push(sum.problem());
            idle = 0;
        }
    }
    problems
}

/// SplitMix64's finaliser (Steele et al. 2014): every output bit depends on every input bit.
fn hashed(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Grader;

    fn space() -> impl Iterator<Item = Sum> {
        OPERANDS.flat_map(|a| {
            OPERANDS.flat_map(move |b| {
                [Op::Add, Op::Sub]
                    .into_iter()
                    .filter_map(move |op| Sum::new(a, op, b))
            })
        })
    }

    #[test]
    fn splits_share_no_problem_over_the_whole_space() {
        // Not by `split` alone, which is a function, but by the question as a training set holds it, either way round.
        let mut sides: [HashSet<String>; 2] = Default::default();
        for sum in space() {
            let side = &mut sides[usize::from(sum.split() == Split::Test)];
            side.insert(sum.to_string());
            if sum.op == Op::Add {
                side.insert(
                    Sum {
                        a: sum.b,
                        b: sum.a,
                        ..sum
                    }
                    .to_string(),
                );
            }
        }
        let [train, test] = sides;
        assert!(train.is_disjoint(&test));
        let share = test.len() as f64 / (train.len() + test.len()) as f64;
        assert!((share - 0.125).abs() < 0.02, "{share}");
        assert!(
            test.len() > 800 && train.len() > 6_000,
            "{} {}",
            test.len(),
            train.len()
        );
    }

    #[test]
    fn right_is_right_and_wrong_is_wrong_over_the_whole_space() {
        let last = |text: &str| text.rsplit('#').next().unwrap().parse::<u32>().unwrap();
        let mut longest = 0;
        for sum in space() {
            let (right, wrong) = (sum.demonstrate(false), sum.demonstrate(true));
            assert_eq!(last(&right), sum.answer(), "{sum}: {right}");
            assert_ne!(last(&wrong), sum.answer(), "{sum}: {wrong}");
            longest = longest.max(right.len()).max(wrong.len());
        }
        assert_eq!(longest, 8);
    }

    #[test]
    fn solutions_are_as_documented_and_the_grader_finds_them() {
        for (question, right, wrong) in [
            ("37+58", "5c9_#95", "5_8_#85"),
            ("87+58", "5c4c#145", "5_3_#35"),
            ("52-37", "5c1_#15", "5_2_#25"),
            ("62-53", "9c0_#9", "9_1_#19"),
        ] {
            let sum = Sum::parse(question).unwrap();
            assert_eq!(sum.demonstrate(false), right);
            assert_eq!(sum.demonstrate(true), wrong);
            let gold = sum.answer().to_string();
            let grader = Grader::new();
            assert!(grader.grade(right, &gold).unwrap().correct);
            assert!(!grader.grade(wrong, &gold).unwrap().correct);
            assert!(
                right
                    .chars()
                    .chain(question.chars())
                    .all(|c| ALPHABET.contains(c))
            );
        }
        for bad in ["11+11", "12-37", "5+9", "100+9", "12*3", "", "+", "é+3"] {
            assert!(Sum::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn generation_is_a_function_of_its_seed() {
        let long = generate(3000, 7, Split::Train);
        assert_eq!(long.len(), 3000);
        assert_eq!(generate(50, 7, Split::Train), long[..50]);
        assert_ne!(generate(50, 8, Split::Train), long[..50]);
        let unique: HashSet<_> = long.iter().map(|p| &p.question).collect();
        assert_eq!(unique.len(), 3000);
        assert!(
            long.iter()
                .all(|p| Sum::parse(&p.question).unwrap().split() == Split::Train)
        );
        let test = generate(512, 7, Split::Test);
        assert!(test.len() == 512 && test.iter().all(|p| !unique.contains(&p.question)));
        // The first problem pins the stream: a change of it would change every run.
        assert_eq!(long[0].question, generate(1, 7, Split::Train)[0].question);
        // More than there is: what there is, and an end.
        assert!((600..2_000).contains(&generate(1_000_000, 0, Split::Test).len()));
    }
}
