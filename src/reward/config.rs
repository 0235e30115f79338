//! `[grader]` and `[[reward]]`. What a reward takes beside its label and its weight is declared in its own file.

use gcpo_data::Rule;

use super::LARGEST;
use super::accuracy::{Accuracy, AccuracyDraft};
use super::code::{Code, CodeDraft};
use super::command::{Command, CommandDraft};
use super::format::{Format, FormatDraft};
use super::length::{Curve, Length, LengthDraft};
use super::model::{ModelReward, ModelRewardDraft};
use super::python::{Python, PythonDraft};
use super::repetition::{Repetition, RepetitionDraft};
use crate::section::{Check, ConfigError, complete_all, impossible, section, variants, within, words};

section! {
    /// `[grader]`: how a final answer is checked, by the reward `accuracy` and in evaluation.
    pub struct GraderConfig from GraderDraft {
        /// `"math"`: numbers, LaTeX, intervals, sets, matrices, equations, choices, worked out. `"numbers"`: one number, compared
        /// exactly, so that `3 + 4` does not pass for 7. Source: this project.
        pub kind: GraderKind = GraderKind::Math,
        /// With `"numbers"`: a final answer behind `####` may also be an expression, `#### ( 5 + 3 ) * 2`, which the check works
        /// out exactly; `"math"` works out every expression. Source: this project (equations are what SVAMP's authors score).
        pub expressions: bool = false,
        /// Where in a completion the answer is looked for; the first of these that applies decides. A box; behind `####`; behind "the
        /// answer is"; the whole text; the last formula; the last number. `["boxed"]` rewards no answer that is not in a box.
        /// Source: this project.
        pub rules: Vec<Rule> = Rule::ALL.to_vec(),
        /// With `"math"`: a decimal of four digits or more passes for the value that rounds to it, 0.3333 for 1/3. Source: this project.
        pub rounding: bool = true,
        /// What becomes of a completion that was cut at its longest length, whose end nobody knows: it is `"wrong"` and has no form,
        /// whatever stands in it so far; or what is there is graded, `"grade"`. Source: this project.
        pub unfinished: Unfinished = Unfinished::Wrong,
    }
}

impl Check for GraderConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let numbers = self.kind == GraderKind::Numbers;
        let finds = |rule: &Rule| match rule {
            Rule::Choice => false,
            Rule::Whole | Rule::Math => !numbers,
            Rule::Boxed | Rule::Hashes | Rule::AnswerIs | Rule::LastNumber => true,
        };
        if !self.rules.iter().any(finds) {
            return impossible(
                "rules",
                "no answer would ever be found",
                "name one at least of \"boxed\", \"hashes\", \"answer_is\" and \"last_number\"",
            );
        }
        if self.expressions && !numbers {
            return impossible(
                "expressions",
                "a grader of mathematics works out every expression",
                "remove the key, or set `grader.kind = \"numbers\"`",
            );
        }
        Ok(())
    }
}

impl Default for GraderConfig {
    fn default() -> Self {
        let complete = GraderDraft::default().complete();
        complete.expect("the defaults are possible")
    }
}

words! {
    /// What a final answer is read as.
    GraderKind {
        /// Mathematics.
        Math = "math",
        /// One number.
        Numbers = "numbers",
    }
}

words! {
    /// What a completion is that was cut at its longest length.
    Unfinished {
        /// Wrong, whatever stands in it.
        Wrong = "wrong",
        /// What is graded as if it had ended there.
        Grade = "grade",
    }
}

section! {
    /// `[[reward]]`: one of the rewards whose weighted sum a completion earns. Without any, it is `accuracy`.
    pub struct RewardConfig from RewardDraft(max_completion_length: usize) {
        /// What the completion is rewarded for.
        pub kind: RewardKind of RewardKindDraft => kind.complete(max_completion_length),
        /// What it is called in metrics, `reward/LABEL_mean`, and in samples. Default: `name`; of a Python function its own name.
        /// Source: this project.
        pub label: String => kind.label(),
        /// Its weight in the sum; 0 only measures it. A gate has none. Source: TRL (`reward_weights`).
        pub weight: f64 = 1.0,
    }
}

variants! {
    /// What the completion is rewarded for. Default: none, it must be given. Source: this project.
    pub enum RewardKind from RewardKindDraft by name(max_completion_length: usize) {
        /// Whether the final answer is right.
        Accuracy = "accuracy" of AccuracyDraft(),
        /// Whether the completion has the form that was asked for.
        Format = "format" of FormatDraft(),
        /// How long it is.
        Length = "length" of LengthDraft(max_completion_length),
        /// How much of it is said again.
        Repetition = "repetition" of RepetitionDraft(),
        /// What a program says.
        Command = "command" of CommandDraft(),
        /// What a Python function says.
        Python = "python" of PythonDraft(),
        /// Whether its program passes tests.
        Code = "code" of CodeDraft(),
        /// What a reward model says.
        ModelReward = "model" of ModelRewardDraft(),
    }
}

impl Check for RewardConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let label = &self.label;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if label.is_empty() || !label.chars().all(plain) {
            let what = format!("\"{label}\" is no name for a metric");
            return impossible("label", what, "use letters, digits, _ and -");
        }
        within("weight", self.weight, -LARGEST, LARGEST)?;
        if self.gates() && self.weight != 1.0 {
            return impossible(
                "weight",
                "a format that gates earns nothing that could be weighed",
                "remove the key, or set its `gates = false`",
            );
        }
        Ok(())
    }
}

impl RewardKind {
    /// What it is called where nothing else is said.
    fn label(&self) -> String {
        match self {
            Self::Python(python) => python.function.own_name().to_owned(),
            _ => self.name().to_owned(),
        }
    }
}

impl RewardConfig {
    /// Whether it depends on the final answer being right.
    pub fn needs_verdict(&self) -> bool {
        match &self.kind {
            RewardKind::Accuracy(_) => true,
            RewardKind::Length(length) => matches!(length.curve, Curve::Cosine(_)),
            _ => false,
        }
    }

    /// Whether it is a condition, and no summand.
    pub fn gates(&self) -> bool {
        matches!(&self.kind, RewardKind::Format(format) if format.gates)
    }

    fn is_accuracy(&self) -> bool {
        matches!(self.kind, RewardKind::Accuracy(_))
    }
}

/// All rewards of a run: those that are given, or `accuracy`.
///
/// # Errors
/// One is impossible by itself or beside the others, named by its number.
pub fn complete(
    drafts: Vec<RewardDraft>,
    max_completion_length: usize,
) -> Result<Vec<RewardConfig>, ConfigError> {
    let drafts = match drafts.is_empty() {
        true => vec![RewardDraft::default()],
        false => drafts,
    };
    let labelled: Vec<bool> = drafts.iter().map(|draft| draft.label.is_some()).collect();
    let rewards = complete_all(drafts, |draft| draft.complete(max_completion_length))?;
    for (number, reward) in rewards.iter().enumerate() {
        let field = |key: &str| format!("{number}.{key}");
        let label = &reward.label;
        if rewards[..number].iter().any(|other| other.label == *label) {
            impossible(
                &field(if labelled[number] { "label" } else { "name" }),
                format!("there is another reward called \"{label}\""),
                "give one of them a `label` of its own, or remove it",
            )?;
        }
        if reward.gates() && !rewards.iter().any(RewardConfig::is_accuracy) {
            impossible(
                &field("name"),
                "a format gates the reward `accuracy`, and there is none",
                "add a [[reward]] with name = \"accuracy\", or set its `gates = false`",
            )?;
        }
        if let RewardKind::Length(length) = &reward.kind
            && length.begins_at() >= max_completion_length
        {
            impossible(
                &field("max_length"),
                format!(
                    "no completion is longer than {max_completion_length} tokens (`rollout.max_completion_length`), none is punished"
                ),
                "give less, or a larger `cache`",
            )?;
        }
    }
    if rewards
        .iter()
        .all(|reward| reward.gates() || reward.weight == 0.0)
    {
        impossible(
            "0.weight",
            "every reward has a weight of 0, so that nothing would be learnt",
            "give one of them another weight",
        )?;
    }
    Ok(rewards)
}
