//! The suites that models are compared on, by name.

use super::error::DatasetError;

/// What a suite's answers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// Mathematics, in rows that the preset of this name reads.
    Mathematics(&'static str),
    /// Programs, to be run.
    Programs,
}

/// A set of problems that models are compared on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suite {
    /// The name that it goes by.
    pub name: &'static str,
    /// What its answers are.
    pub answers: Answers,
    /// Answers to each problem, unless one says otherwise: more where there are few problems.
    pub samples: usize,
    /// Whether it is for evaluation only: a model that was trained on it cannot be compared any more.
    pub evaluation_only: bool,
    /// Its file on the Hugging Face hub, where there is one that the preset reads.
    pub hub: Option<&'static str>,
    /// Where a file of it is to be had, for people.
    pub from: &'static str,
}

impl Suite {
    /// The suites that are known. The numbers of samples are this project's choice: the paper (arXiv 2508.05428) reports
    /// pass@1 and does not say of how many samples. With 16, the standard error that is due to sampling alone is below
    /// 0.023 on 30 problems.
    #[rustfmt::skip]
    pub const NAMED: [Suite; 11] = [
        suite("aime24",        Answers::Mathematics("aime"),          16, true,  Some("hf://datasets/HuggingFaceH4/aime_2024/data/train-00000-of-00001.parquet"), "HuggingFaceH4/aime_2024 on the Hugging Face hub, or QwenLM/Qwen2.5-Math on GitHub, evaluation/data/aime24/test.jsonl"),
        suite("aime25",        Answers::Mathematics("aime"),          16, true,  Some("hf://datasets/math-ai/aime25/test.jsonl"),                                 "math-ai/aime25 on the Hugging Face hub, or QwenLM/QwQ on GitHub, eval/data/aime25.jsonl"),
        suite("amc23",         Answers::Mathematics("amc"),           16, true,  Some("hf://datasets/math-ai/amc23/test-00000-of-00001.parquet"),                 "math-ai/amc23 on the Hugging Face hub, or QwenLM/Qwen2.5-Math on GitHub, evaluation/data/amc23/test.jsonl"),
        suite("math500",       Answers::Mathematics("math"),           4, true,  Some("hf://datasets/HuggingFaceH4/MATH-500/test.jsonl"),                         "HuggingFaceH4/MATH-500 on the Hugging Face hub, test.jsonl"),
        suite("minerva",       Answers::Mathematics("minerva"),        4, true,  None,                                                                            "QwenLM/Qwen2.5-Math on GitHub, evaluation/data/minerva_math/test.jsonl"),
        suite("olympiadbench", Answers::Mathematics("olympiadbench"),  4, true,  Some("hf://datasets/Hothan/OlympiadBench/OlympiadBench/OE_TO_maths_en_COMP/OE_TO_maths_en_COMP.parquet"), "Hothan/OlympiadBench on the Hugging Face hub, or QwenLM/Qwen2.5-Math on GitHub, evaluation/data/olympiadbench/test.jsonl"),
        suite("gsm8k",         Answers::Mathematics("gsm8k"),          1, false, Some("hf://datasets/openai/gsm8k/main/test-00000-of-00001.parquet"),             "openai/gsm8k on the Hugging Face hub, or openai/grade-school-math on GitHub, grade_school_math/data/test.jsonl"),
        suite("svamp",         Answers::Mathematics("svamp"),          1, false, Some("hf://datasets/ChilleD/SVAMP/test.json"),                                   "ChilleD/SVAMP on the Hugging Face hub (its 300 for testing), or arkilpatel/SVAMP on GitHub, SVAMP.json (all 1,000)"),
        suite("mawps",         Answers::Mathematics("mawps"),          1, false, None,                                                                            "QwenLM/Qwen2.5-Math on GitHub, evaluation/data/mawps/test.jsonl"),
        suite("humaneval",     Answers::Programs,                      1, true,  None,                                                                            "openai/human-eval on GitHub, data/HumanEval.jsonl.gz"),
        suite("mbpp",          Answers::Programs,                      1, false, None,                                                                            "google-research/google-research on GitHub, mbpp/mbpp.jsonl"),
    ];

    /// The suite of this name.
    ///
    /// # Errors
    /// There is none; the message lists the known ones and the nearest.
    pub fn named(name: &str) -> Result<&'static Suite, DatasetError> {
        let names = Self::NAMED.iter().map(|suite| suite.name);
        let found = Self::NAMED.iter().find(|suite| suite.name == name);
        found.ok_or_else(|| DatasetError::unknown("suite", name, names))
    }

    /// The name of the preset that reads its rows.
    pub fn preset_name(&self) -> &'static str {
        match self.answers {
            Answers::Mathematics(name) => name,
            Answers::Programs => self.name,
        }
    }
}

/// One argument a column of the table above.
const fn suite(
    name: &'static str,
    answers: Answers,
    samples: usize,
    evaluation_only: bool,
    hub: Option<&'static str>,
    from: &'static str,
) -> Suite {
    Suite {
        name,
        answers,
        samples,
        evaluation_only,
        hub,
        from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Grader;
    use crate::dataset::{Preset, load_all};
    use crate::testing::shared;
    use std::collections::HashSet;

    #[test]
    fn every_suite_has_its_rows_and_unknown_ones_their_nearest() {
        for suite in &Suite::NAMED {
            let rows = Preset::named(suite.name).unwrap();
            assert_eq!(rows, Preset::named(suite.preset_name()).unwrap());
            assert_eq!(rows.programs, suite.answers == Answers::Programs);
            assert_eq!(Suite::named(suite.name).unwrap(), suite);
            assert!(suite.hub.is_none_or(|hub| hub.starts_with(crate::dataset::HUB)));
        }
        let error = Suite::named("math5000").unwrap_err().to_string();
        assert!(
            error.contains("did you mean \"math500\"") && error.contains("olympiadbench"),
            "{error}"
        );
        assert!(Preset::names().any(|name| name == "amc23"));
        let names: Vec<_> = Preset::names().collect();
        assert_eq!(
            names.iter().collect::<HashSet<_>>().len(),
            names.len(),
            "{names:?}"
        );
    }

    #[test]
    fn a_list_of_answers_is_one_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("o.jsonl");
        let rows = [
            r#"{"id": 7, "subfield": "Algebra", "context": null, "question": "q", "final_answer": ["2", 3]}"#,
            r#"{"id": 8, "subfield": "Geometry", "context": "Let x = 1.", "question": "x?", "final_answer": ["$\\frac{1}{2}$"]}"#,
        ];
        std::fs::write(&path, rows.join("\n")).unwrap();
        let preset = Preset::named("olympiadbench").unwrap();
        let problems = load_all(&path, preset).unwrap().problems;
        assert_eq!(problems[0].answer.as_deref(), Some("2, 3"));
        assert_eq!(problems[0].subject.as_deref(), Some("Algebra"));
        assert_eq!(problems[1].question, "Let x = 1. x?");
        assert_eq!(problems[1].answer.as_deref().unwrap(), "$\\frac{1}{2}$");
        std::fs::write(&path, rows[0].replace("\"2\"", "[2]")).unwrap();
        let error = load_all(&path, preset).unwrap_err().to_string();
        assert!(
            error.contains("o.jsonl:1: `final_answer` is a list of more than"),
            "{error}"
        );
    }

    /// Every suite's real file: all rows, distinct names, golds that the grader reads, and what the tables count by.
    #[test]
    fn real_suites_load_whole() {
        for (name, file, count, subjects, levels) in [
            ("aime24", "aime/aime24_qwen.jsonl", 30, 0, 0),
            ("aime25", "aime/aime25_qwq.jsonl", 30, 0, 0),
            ("amc23", "amc/amc23_qwen.jsonl", 40, 0, 0),
            ("math500", "math/math500.jsonl", 500, 7, 5),
            ("minerva", "minerva/minerva_math_qwen.jsonl", 272, 9, 0),
            ("olympiadbench", "olympiadbench/test_qwen.jsonl", 675, 4, 0),
            ("gsm8k", "gsm8k/test.jsonl", 1319, 0, 0),
            ("svamp", "svamp/SVAMP.json", 1000, 5, 0),
            ("mawps", "mawps/test.jsonl", 2065, 4, 0),
        ] {
            let Some(path) = shared(&format!("data/{file}")) else {
                return;
            };
            let loaded = load_all(&path, Preset::named(name).unwrap()).unwrap();
            assert_eq!(
                (loaded.problems.len(), loaded.skipped.len()),
                (count, 0),
                "{name}"
            );
            let distinct = |field: fn(&crate::Problem) -> Option<&String>| {
                loaded
                    .problems
                    .iter()
                    .filter_map(field)
                    .collect::<HashSet<_>>()
                    .len()
            };
            assert_eq!(distinct(|p| Some(&p.id)), count, "{name}");
            assert_eq!(distinct(|p| p.subject.as_ref()), subjects, "{name}");
            assert_eq!(distinct(|p| p.level.as_ref()), levels, "{name}");
            for problem in &loaded.problems {
                Grader::math()
                    .accepts(problem.answer.as_deref().unwrap())
                    .unwrap();
            }
        }
    }
}
