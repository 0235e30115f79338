//! Solutions to learn from: right ones, and ones that are wrong on purpose in a way that a model might be wrong.
//!
//! A built-in arithmetic problem is worked by its wrong procedure ([`arithmetic::demonstrate`]). A solution of steps,
//! `56 * 9 = 504 #### 504`, gets one mistake: another operator, the operands the other way round, another number of
//! the question in an operand's place, or a digit of a result that is off by one. What follows the mistake is worked
//! out from it exactly. Steps can also be given as one expression that leaves the working out to the numeric check,
//! `#### 56 * 9`: see [`Form`].

use crate::grade::equation::{brief, compute};
use crate::grade::number;
use crate::{Grader, Problem, arithmetic};
use num_rational::BigRational;
use num_traits::Signed;
use rand::{Rng, RngExt};
use std::fmt;

/// The operators of a step.
const OPERATORS: [&str; 4] = ["+", "-", "*", "/"];

/// Why a problem has no such solution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("problem `{id}`: no solution of this kind: {reason}")]
pub struct NoSolution {
    /// The problem.
    pub id: String,
    /// What is the matter.
    pub reason: String,
}

/// How a solution is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it stands with the problem.
    AsGiven,
    /// Steps, `5 + 3 = 8, 8 * 2 = 16 #### 16`, as one expression: `#### ( 5 + 3 ) * 2`. Only a grader with
    /// [`Grader::with_expressions`] finds it right.
    Expression,
}

/// The right solution of a problem.
///
/// # Errors
/// The problem has none, or for [`Form::Expression`] none of steps.
pub fn right_solution(problem: &Problem, form: Form) -> Result<String, NoSolution> {
    match form {
        Form::AsGiven => problem.solution.clone().ok_or_else(|| missing(problem)),
        Form::Expression => Ok(Steps::of(problem)?.expression()),
    }
}

/// A plausible wrong solution of a problem, drawn with `rng`. The numeric check always finds its answer wrong.
///
/// # Errors
/// The problem is neither a built-in one, nor has it a solution of steps `56 * 9 = 504, 504 - 4 = 500 #### 500`.
pub fn wrong_solution(problem: &Problem, form: Form, rng: &mut impl Rng) -> Result<String, NoSolution> {
    if form == Form::AsGiven
        && let Ok(text) = arithmetic::demonstrate(problem, true)
    {
        return Ok(text);
    }
    let steps = Steps::of(problem)?;
    let numbers: Vec<BigRational> = number::scan(&problem.question)
        .into_iter()
        .map(|(_, number)| number.value())
        .collect();
    let mut mistakes = steps.mistakes(&numbers);
    if form == Form::Expression && !steps.steps.is_empty() {
        // A slip is one of working out.
        mistakes.retain(|mistake| matches!(mistake, Mistake::Step(..)));
    }
    let grader = Grader::new().with_expressions(form == Form::Expression);
    let gold = problem.answer.as_deref();
    let gold = gold.ok_or_else(|| refuse(problem, "it has no gold answer"))?;
    let whole = steps.answer.is_integer();
    // First only what looks like an answer of this problem, then whatever is wrong.
    for plausible in [true, false] {
        let mut left = mistakes.len();
        while left > 0 {
            let at = rng.random_range(0..left);
            let worked = steps.work(&mistakes[at]).filter(|worked| {
                let fits = |r: &BigRational| !r.is_negative() && (!whole || r.is_integer());
                !plausible || worked.steps.iter().all(|step| fits(&step.result))
            });
            let text = worked.map(|worked| match form {
                Form::AsGiven => worked.to_string(),
                Form::Expression => worked.expression(),
            });
            if let Some(text) = text
                && grader.grade(&text, gold).is_ok_and(|verdict| !verdict.correct)
            {
                return Ok(text);
            }
            left -= 1;
            mistakes.swap(at, left);
        }
    }
    Err(refuse(
        problem,
        "every mistake that was tried leads to the right answer",
    ))
}

fn refuse(problem: &Problem, reason: &str) -> NoSolution {
    NoSolution {
        id: problem.id.clone(),
        reason: reason.to_owned(),
    }
}

fn missing(problem: &Problem) -> NoSolution {
    refuse(problem, "it has no worked solution: name its field in the preset")
}

/// A solution as steps.
#[derive(Debug)]
struct Steps {
    steps: Vec<Step>,
    answer: BigRational,
}

/// `a operator b`.
#[derive(Debug, Clone)]
struct Step {
    operator: &'static str,
    operands: [Operand; 2],
    /// As shown, which may be rounded.
    result: BigRational,
}

/// What an operator works on.
#[derive(Debug, Clone)]
enum Operand {
    Number(BigRational),
    /// The result of an earlier step.
    Result(usize),
}

/// One mistake.
#[derive(Debug)]
enum Mistake {
    /// The step is this one instead.
    Step(usize, Step),
    /// The result of the step, or the answer where there is none, is off by this.
    Slip(usize, BigRational),
}

impl Steps {
    fn of(problem: &Problem) -> Result<Self, NoSolution> {
        let solution = problem.solution.as_deref().ok_or_else(|| missing(problem))?;
        Self::parse(solution).ok_or_else(|| {
            let form = "its solution is not of the form `56 * 9 = 504, 504 - 4 = 500 #### 500`";
            refuse(problem, form)
        })
    }

    fn parse(solution: &str) -> Option<Self> {
        let value = |text: &str| Some(number::parse(text)?.value());
        let (work, answer) = solution.rsplit_once("####")?;
        let mut steps: Vec<Step> = Vec::new();
        // Which results no later step has used yet: each is used once.
        let mut unused = Vec::new();
        for text in work.trim().split(", ").filter(|text| !text.is_empty()) {
            let mut words = text.split(' ');
            let mut word = || words.next();
            let (a, operator, b, equals, result) = (word()?, word()?, word()?, word()?, word()?);
            if equals != "=" || word().is_some() {
                return None;
            }
            let operator = OPERATORS.into_iter().find(|known| *known == operator)?;
            let mut operand = |text: &str| {
                let number = value(text)?;
                let used = unused.iter().position(|&at: &usize| steps[at].result == number);
                Some(used.map_or(Operand::Number(number), |used| {
                    Operand::Result(unused.remove(used))
                }))
            };
            let operands = [operand(a)?, operand(b)?];
            let result = value(result)?;
            unused.push(steps.len());
            steps.push(Step {
                operator,
                operands,
                result,
            });
        }
        Some(Self {
            steps,
            answer: value(answer.trim())?,
        })
    }

    /// Every mistake that can be made, in a fixed order.
    fn mistakes(&self, numbers: &[BigRational]) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            let [a, b] = &step.operands;
            let mut instead = |operator, operands| {
                mistakes.push(Mistake::Step(
                    at,
                    Step {
                        operator,
                        operands,
                        result: step.result.clone(),
                    },
                ));
            };
            for operator in OPERATORS {
                if operator != step.operator {
                    instead(operator, [a.clone(), b.clone()]);
                }
                if matches!(operator, "-" | "/") {
                    instead(operator, [b.clone(), a.clone()]);
                }
            }
            for number in numbers {
                let number = || Operand::Number(number.clone());
                instead(step.operator, [number(), b.clone()]);
                instead(step.operator, [a.clone(), number()]);
            }
        }
        for at in 0..self.steps.len().max(1) {
            for by in [1, -1, 10, -10] {
                mistakes.push(Mistake::Slip(at, BigRational::from_integer(by.into())));
            }
        }
        mistakes
    }

    /// The solution with a mistake in it; `None` where it divides by zero.
    fn work(&self, mistake: &Mistake) -> Option<Self> {
        let mut steps: Vec<Step> = Vec::new();
        for (at, right) in self.steps.iter().enumerate() {
            let mut step = match mistake {
                Mistake::Step(instead, step) if *instead == at => step.clone(),
                _ => right.clone(),
            };
            let [a, b] = step
                .operands
                .each_ref()
                .map(|operand| operand.value(&steps).clone());
            step.result = compute(step.operator, a, b)?;
            if let Mistake::Slip(slips, by) = mistake
                && *slips == at
            {
                step.result += by;
            }
            steps.push(step);
        }
        let answer = match (steps.last(), mistake) {
            (Some(last), _) => last.result.clone(),
            (None, Mistake::Slip(_, by)) => &self.answer + by,
            (None, Mistake::Step(..)) => return None,
        };
        Some(Self { steps, answer })
    }

    /// All steps as one expression, behind the mark of an answer.
    fn expression(&self) -> String {
        let last = match self.steps.len().checked_sub(1) {
            Some(last) => Operand::Result(last),
            None => Operand::Number(self.answer.clone()),
        };
        format!("#### {}", self.written(&last).0)
    }

    /// An operand written out, and how tightly it holds together: 1 sums, 2 products, 3 numbers.
    fn written(&self, operand: &Operand) -> (String, u8) {
        let step = match operand {
            Operand::Number(number) => {
                let text = brief(number);
                return match text.split_once('/') {
                    Some((above, below)) => (format!("{above} / {below}"), 2),
                    None => (text, 3),
                };
            }
            Operand::Result(of) => &self.steps[*of],
        };
        let binds = if matches!(step.operator, "+" | "-") { 1 } else { 2 };
        let [a, b] = step.operands.each_ref().map(|operand| self.written(operand));
        let within = |(text, inner): (String, u8), least: u8| {
            if inner < least {
                format!("( {text} )")
            } else {
                text
            }
        };
        // `a - ( b - c )` and `a / ( b * c )`, but `a + b - c`.
        let least = if matches!(step.operator, "-" | "/") {
            binds + 1
        } else {
            binds
        };
        (
            format!("{} {} {}", within(a, binds), step.operator, within(b, least)),
            binds,
        )
    }
}

impl Operand {
    fn value<'a>(&'a self, steps: &'a [Step]) -> &'a BigRational {
        match self {
            Operand::Number(number) => number,
            Operand::Result(of) => &steps[*of].result,
        }
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            let [a, b] = step
                .operands
                .each_ref()
                .map(|operand| brief(operand.value(&self.steps)));
            let gap = if at + 1 == self.steps.len() { " " } else { ", " };
            write!(f, "{a} {} {b} = {}{gap}", step.operator, brief(&step.result))?;
        }
        write!(f, "#### {}", brief(&self.answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arithmetic::Split;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use std::collections::HashSet;

    fn problem(question: &str, solution: &str) -> Problem {
        Problem {
            id: "p".into(),
            question: question.into(),
            answer: Some(solution.rsplit_once("#### ").unwrap().1.into()),
            solution: Some(solution.into()),
            ..Problem::default()
        }
    }

    fn draws(problem: &Problem, count: u64) -> HashSet<String> {
        (0..count)
            .map(|seed| wrong_solution(problem, Form::AsGiven, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap())
            .collect()
    }

    #[test]
    fn a_mistake_is_carried_on_exactly() {
        let two = problem("5 and 3 twice", "5 + 3 = 8, 8 * 2 = 16 #### 16");
        let found = draws(&two, 400);
        // Each kind: operator, operands, another number, a slip; and what follows from it.
        for wrong in [
            "5 - 3 = 2, 2 * 2 = 4 #### 4",
            "5 + 3 = 8, 8 / 2 = 4 #### 4",
            "3 + 3 = 6, 6 * 2 = 12 #### 12",
            "5 + 3 = 9, 9 * 2 = 18 #### 18",
            "5 + 3 = 8, 8 * 2 = 15 #### 15",
        ] {
            assert!(found.contains(wrong), "{wrong}: {found:?}");
        }
        // Negative results and broken parts are left out while there is anything better.
        assert!(
            found
                .iter()
                .all(|text| !text.contains("= -") && !text.contains('.')),
            "{found:?}"
        );
        assert_eq!(draws(&two, 20), draws(&two, 20));
    }

    #[test]
    fn every_wrong_solution_is_graded_wrong_and_is_one_of_steps() {
        for solution in [
            "56 * 9 = 504 #### 504",
            "1500 * 8 = 12000, 25000 - 12000 = 13000 #### 13000",
            "2 + 2 = 4 #### 4",
            "0 / 5 = 0 #### 0",
            "7 * 1 = 7 #### 7",
            "10 / 3 = 3.333 #### 3.333",
            "1/6 + 7/6 = 4/3 #### 4/3",
            "1.5 - 0.25 = 1.25 #### 1.25",
            "#### 7",
        ] {
            let problem = problem("there are 4 of 5", solution);
            for wrong in draws(&problem, 100) {
                let verdict = Grader::new()
                    .grade(&wrong, problem.answer.as_deref().unwrap())
                    .unwrap();
                assert!(
                    !verdict.correct && verdict.answer.is_some(),
                    "{solution}: {wrong}"
                );
                assert!(Steps::parse(&wrong).is_some(), "{solution}: {wrong}");
            }
        }
    }

    #[test]
    fn built_in_problems_forget_their_carries() {
        let problem = &arithmetic::generate(1, 0, Split::Train)[0];
        assert_eq!(
            draws(problem, 3),
            HashSet::from([arithmetic::demonstrate(problem, true).unwrap()])
        );
    }

    #[test]
    fn other_solutions_are_refused_with_their_reason() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut refused = |problem: &Problem| {
            wrong_solution(problem, Form::AsGiven, &mut rng)
                .unwrap_err()
                .to_string()
        };
        let prose = problem("q", "She has 3 times 4, that is 12.\n#### 12");
        assert!(refused(&prose).starts_with("problem `p`: no solution of this kind: its solution is not of"));
        let none = Problem {
            solution: None,
            ..prose
        };
        assert!(refused(&none).contains("it has no worked solution"));
    }

    #[test]
    fn steps_are_written_as_one_expression() {
        let grader = Grader::new().with_expressions(true);
        for (solution, expression) in [
            ("56 * 9 = 504 #### 504", "#### 56 * 9"),
            ("5 + 3 = 8, 8 * 2 = 16 #### 16", "#### ( 5 + 3 ) * 2"),
            (
                "1500 * 8 = 12000, 25000 - 12000 = 13000 #### 13000",
                "#### 25000 - 1500 * 8",
            ),
            ("8 - 2 = 6, 9 - 6 = 3 #### 3", "#### 9 - ( 8 - 2 )"),
            ("8 - 2 = 6, 6 - 1 = 5 #### 5", "#### 8 - 2 - 1"),
            ("2 * 3 = 6, 12 / 6 = 2 #### 2", "#### 12 / ( 2 * 3 )"),
            ("10 / 3 = 3.333 #### 3.333", "#### 10 / 3"),
            ("1/6 + 7/6 = 4/3 #### 4/3", "#### 1 / 6 + 7 / 6"),
            ("1/6 / 7/6 = 1/7 #### 1/7", "#### 1 / 6 / ( 7 / 6 )"),
            ("#### 7", "#### 7"),
        ] {
            let problem = problem("there are 4 of 5", solution);
            assert_eq!(right_solution(&problem, Form::Expression).unwrap(), expression);
            assert!(
                grader
                    .grade(expression, problem.answer.as_deref().unwrap())
                    .unwrap()
                    .correct,
                "{expression}"
            );
            assert_eq!(right_solution(&problem, Form::AsGiven).unwrap(), solution);
            for seed in 0..50 {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let wrong = wrong_solution(&problem, Form::Expression, &mut rng).unwrap();
                assert!(
                    !grader
                        .grade(&wrong, problem.answer.as_deref().unwrap())
                        .unwrap()
                        .correct,
                    "{solution}: {wrong}"
                );
                assert!(!wrong.contains('='), "{solution}: {wrong}");
            }
        }
    }
}
