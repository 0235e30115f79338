//! Which field is what: a preset is a row of field names.

use super::error::DatasetError;
use super::suite::Suite;
use serde::{Deserialize, Deserializer, Serialize};
use std::sync::LazyLock;

/// Where a data set keeps what.
///
/// A field name may list alternatives, `problem|prompt`: the first that a row has counts. With a `?` at its end the
/// field may be absent. What is inside a field has a name with dots, `reward_model.ground_truth`, `prompt.0.content`. A question may
/// be a list of messages. In a config a preset is a table: `question = ["Body", "Question"]`, `answer = "Answer"`; what it leaves out of
/// these two is found as without a preset ([`Preset::found`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// The question's fields, joined by a space. In a config also one string.
    #[serde(deserialize_with = "one_or_more", default = "found_question")]
    pub question: Vec<String>,
    /// The field that holds the answer.
    #[serde(default = "found_answer")]
    pub answer: String,
    /// How the answer is taken from its field.
    #[serde(default)]
    pub answer_rule: AnswerRule,
    /// A name for the problem. Without one it is called `FILE-ROW`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A worked solution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solution: Option<String>,
    /// Numbers, separated by spaces, that stand for `number0`, `number1`, … in the question and the equation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<String>,
    /// An equation, in prefix (`* number0 number1`) or infix (`( 5 + 3 ) * 2`) notation. It becomes the worked
    /// solution where there is no other, and its value must agree with the answer, or the row is bad. Where `numbers` is named too, it
    /// counts only in rows that have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equation: Option<String>,
    /// A text with which the data says that a field is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blank: Option<String>,
    /// What the problem is about; evaluations count by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How hard the problem is; evaluations count by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// What to do about a row that cannot be used.
    #[serde(default)]
    pub bad_rows: BadRows,
    /// Whether answers are programs, whose rows say by themselves what is what ([`crate::CodeProblem::of_row`]).
    #[serde(skip)]
    pub programs: bool,
}

/// How an answer is taken from its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerRule {
    /// The whole field.
    #[default]
    AsIs,
    /// What follows the last `####` (GSM8K). The calculator's marks of that format, `<<3*4=12>>`, are taken out of
    /// the solution.
    AfterHashes,
    /// The inside of the last `\boxed{…}` of a solution (MATH, Minerva).
    LastBoxed,
    /// The inside of the last `\boxed{…}`, else what follows `####` on the last line, else the whole field, if it is one line. A field that
    /// holds more than the answer is the worked solution, where there is no other.
    Marked,
}

/// Where a prompt is looked for in rows of no known data set.
const PROMPTS: &str = "prompt|question|problem|query|instruction";
/// Where a gold answer is looked for there.
const GOLDS: &str = "answer|final_answer|solution|ground_truth|label|gold|target|reward_model.ground_truth";

fn found_question() -> Vec<String> {
    vec![PROMPTS.to_owned()]
}

fn found_answer() -> String {
    GOLDS.to_owned()
}

/// [`Preset::found`].
static FOUND: LazyLock<Preset> = LazyLock::new(|| {
    let id = Some("id|unique_id|extra_info.index?");
    let (_, preset) = preset(
        "",
        &[PROMPTS],
        GOLDS,
        AnswerRule::Marked,
        id,
        Some("solution?"),
        None,
        None,
        None,
        BadRows::Error,
    );
    preset
});

/// What to do about a row that is no JSON, whose answer is null, whose field is missing, or whose equation contradicts its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadRows {
    /// Stop: an error names the file, the line and the field.
    #[default]
    Error,
    /// Leave it out; [`super::Loaded::skipped`] says which and why. More than half of the file are an error.
    Skip,
    /// Leave it out, however many there are.
    SkipAny,
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a field name or a list of field names")]
    enum Fields {
        One(String),
        More(Vec<String>),
    }
    Ok(match Fields::deserialize(deserializer)? {
        Fields::One(field) => vec![field],
        Fields::More(fields) => fields,
    })
}

/// The known data sets: name, question, answer, its rule, id, solution, numbers, equation, blank, bad rows.
static PRESETS: LazyLock<Vec<(&str, Preset)>> = LazyLock::new(|| {
    use {AnswerRule::*, BadRows::*};
    let boxed = Some("solution?");
    #[rustfmt::skip]
    let rows: Vec<(&str, Preset)> = vec![
        preset("gsm8k",   &["question"],                "answer",        AfterHashes, None,               Some("answer"), None,             None,              None,          Error),
        // SVAMP's own file (JSON), and its training sets from MAWPS and ASDiv (CSV), which either name takes. A few
        // rows of the latter contradict themselves, hence Skip.
        preset("svamp",   &["Body?", "Ques|Question"],  "Answer",        AsIs,        Some("ID?"),        None,           Some("Numbers?"), Some("Equation?"), Some("Empty"), Skip),
        preset("mawps",   &["input|Question"],          "target|Answer", AsIs,        Some("idx?"),       None,           Some("Numbers?"), Some("Equation?"), Some("Empty"), Skip),
        preset("math",    &["problem"],                 "answer",        AsIs,        Some("unique_id?"), boxed,          None,             None,              None,          Error),
        preset("aime",    &["problem|prompt|question"], "answer",        AsIs,        Some("id?"),        boxed,          None,             None,              None,          Error),
        preset("amc",     &["problem|question"],        "answer",        AsIs,        Some("id?"),        boxed,          None,             None,              None,          Error),
        preset("minerva", &["problem"],                 "solution",      LastBoxed,   Some("idx?"),       boxed,          None,             None,              None,          Error),
        // Rows as verl's trainer takes them.
        preset("verl",    &["prompt"],                  "reward_model.ground_truth", AsIs, Some("extra_info.index?"), None, None,         None,              None,          Error),
        // Programs: rows say by themselves what is what.
        preset("humaneval", &["prompt"],                "test",          AsIs,        Some("task_id"),    None,           None,             None,              None,          Error),
        preset("mbpp",      &["text|prompt"],           "test_list",     AsIs,        Some("task_id"),    None,           None,             None,              None,          Error),
        // The tolerance that one problem of the English mathematics part has (`error`) is not used.
        preset("olympiadbench", &["context?", "question"], "final_answer", AsIs,      Some("id?"),        None,           None,             None,              None,          Error),
    ];
    // What their rows say of a problem: subject, level.
    let labels = [
        ("svamp", Some("Type?"), None),
        ("mawps", Some("type?"), None),
        ("math", Some("subject|type?"), Some("level?")),
        ("minerva", Some("type?"), None),
        ("olympiadbench", Some("subfield?"), None),
    ];
    rows.into_iter()
        .map(|(name, preset)| {
            let found = labels.iter().find(|(of, ..)| *of == name);
            let (subject, level) = found.map_or((None, None), |(_, subject, level)| (*subject, *level));
            let preset = Preset {
                subject: subject.map(str::to_owned),
                level: level.map(str::to_owned),
                programs: ["humaneval", "mbpp"].contains(&name),
                ..preset
            };
            (name, preset)
        })
        .collect()
});

#[allow(clippy::too_many_arguments)] // one argument a column of the table above
fn preset(
    name: &'static str,
    question: &[&str],
    answer: &str,
    answer_rule: AnswerRule,
    id: Option<&str>,
    solution: Option<&str>,
    numbers: Option<&str>,
    equation: Option<&str>,
    blank: Option<&str>,
    bad_rows: BadRows,
) -> (&'static str, Preset) {
    let owned = |field: Option<&str>| field.map(str::to_owned);
    let preset = Preset {
        question: question.iter().map(|field| field.to_string()).collect(),
        answer: answer.to_owned(),
        answer_rule,
        id: owned(id),
        solution: owned(solution),
        numbers: owned(numbers),
        equation: owned(equation),
        blank: owned(blank),
        subject: None,
        level: None,
        bad_rows,
        programs: false,
    };
    (name, preset)
}

impl Preset {
    /// How rows are read that no preset is named for, TRL's, verl's and open-r1's among them: the prompt and the gold answer by the names
    /// that people give them.
    pub fn found() -> &'static Preset {
        &FOUND
    }

    /// A known data set's preset, or that of a suite ([`super::Suite`]).
    ///
    /// # Errors
    /// There is none of this name; the message lists the known ones and the nearest.
    pub fn named(name: &str) -> Result<&'static Preset, DatasetError> {
        let suite = Suite::NAMED.iter().find(|suite| suite.name == name);
        let name_of_rows = suite.map(Suite::preset_name);
        let found = PRESETS
            .iter()
            .find(|(known, _)| *known == name_of_rows.unwrap_or(name));
        found
            .map(|(_, preset)| preset)
            .ok_or_else(|| DatasetError::unknown("preset", name, Self::names()))
    }

    /// The names that [`Preset::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let own = PRESETS.iter().map(|(name, _)| *name);
        let suites = Suite::NAMED
            .iter()
            .filter(|suite| suite.preset_name() != suite.name);
        own.chain(suites.map(|suite| suite.name))
    }
}
