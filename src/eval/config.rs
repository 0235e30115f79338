//! `[eval]` and `[[eval.suite]]`.

use std::path::PathBuf;

use gcpo_data::dataset::Suite;

use crate::rollout::{Rollout, check_sampling, check_temperature};
use crate::section::{Check, ConfigError, MANY, ROWS, complete_all, count, impossible, required, section};
use crate::source::{Generator, Paths, Preset, Source, check_place};

section! {
    /// `[eval]`: how pass@1 is measured while training, and by `gcpo eval CONFIG.toml`.
    pub struct Eval from EvalDraft(data: &Source, rollout: &Rollout) {
        /// Evaluate before the first step, after each so many steps and after the last one; 0 = never. Source: this project.
        pub every: usize = 0,
        /// A file or directory of held-out problems, as `data.path`. Source: this project.
        pub path: Option<PathBuf>,
        /// Which split, as `data.split`. Default: of a directory `"test"`. Source: TRL (`dataset_test_split`).
        pub split: Option<String>,
        /// How the file's rows are read, as `data.preset`. Default: `data.preset`. Source: this project.
        pub preset: Option<Preset> => path.as_ref().and(data.preset.clone()),
        /// Built-in held-out problems; no training set holds one of them. Default: `data.generator`, unless `path` is given.
        /// Source: this project.
        pub generator: Option<Generator> => data.generator.filter(|_| path.is_none()),
        /// At most so many problems, the first ones; 0 takes the whole file. Source: this project.
        pub size: usize = 512,
        /// Completions for each problem; pass@1 is their mean. Source: this project.
        pub samples: usize = 1,
        /// Sampling temperature; 0 is greedy. Source: this project.
        pub temperature: f64 => rollout.temperature,
        /// As `rollout.top_k`. Source: this project.
        pub top_k: usize => rollout.top_k,
        /// As `rollout.top_p`. Source: this project.
        pub top_p: f64 => rollout.top_p,
        /// As `rollout.min_p`. Source: this project.
        pub min_p: f64 => rollout.min_p,
        /// As `rollout.repetition_penalty`. Source: this project.
        pub repetition_penalty: f64 => rollout.repetition_penalty,
        /// Longest completion in tokens. Source: this project.
        pub max_completion_length: usize => rollout.max_completion_length,
        /// Measure integrated answers y_n too, given `rollout.num_generations` candidates. Source: this project.
        pub integrated: bool = false,
        /// Measure the run's own `[[reward]]`s too, beside pass@1; of problems without gold answers, in its place. Source: this project.
        pub rewards: bool = false,
        /// Leave out problems whose prompts do not fit the model's positions, and count them as wrong; without it one such problem
        /// is an error before anything is sampled. Source: this project.
        pub skip_too_long: bool = false,
        /// Show so many examples before each problem whose answer is a program, as earlier turns of a chat, or as text before it.
        /// Source: lm-evaluation-harness (`--num_fewshot`).
        pub num_fewshot: usize = 0,
        /// The file that these examples are from: the first of it that are not the problem itself; of MBPP's own file those that its authors
        /// keep for prompts, 2, 3 and 4 first. Default: of MBPP its own file. Source: this project.
        pub fewshot_path: Option<PathBuf>,
        /// The sets of problems that `gcpo eval CONFIG.toml` measures, in place of `path` and `generator`, which are what training
        /// is judged by.
        pub suite: Vec<EvalSuite> of Vec<EvalSuiteDraft> => complete_all(suite, |draft| draft.of_suite(samples, num_fewshot)),
    }
}

impl Check for Eval {
    fn check(&self) -> Result<(), ConfigError> {
        check_place("eval", self.path.is_some(), self.preset.as_ref(), self.generator)?;
        if self.generator.is_some() {
            count("size", self.size, 1, ROWS)?;
        }
        if self.split.is_some() && self.path.is_none() {
            return impossible(
                "split",
                "only files have splits",
                "add `path = …` to [eval], or remove the key",
            );
        }
        count("samples", self.samples, 1, MANY)?;
        count("max_completion_length", self.max_completion_length, 1, ROWS)?;
        if self.temperature != 0.0 {
            check_temperature(self.temperature)?;
        }
        check_sampling(self.top_p, self.min_p, self.repetition_penalty)?;
        self.check_fewshot()?;
        for (number, suite) in self.suite.iter().enumerate() {
            let name = &suite.name;
            if self.suite[..number].iter().any(|other| other.name == *name) {
                let help = "give each its own; with a `preset`, any name will do";
                let field = format!("suite.{number}.name");
                return impossible(&field, format!("two suites are called {name:?}"), help);
            }
        }
        if self.every > 0 && self.path.is_none() && self.generator.is_none() {
            let what = match self.suite.is_empty() {
                true => "there is nothing to measure",
                false => "suites are for `gcpo eval`: there is nothing to measure while training",
            };
            return impossible("every", what, "give `eval.path`, or leave `eval.every` out");
        }
        Ok(())
    }
}

impl Eval {
    fn check_fewshot(&self) -> Result<(), ConfigError> {
        if self.fewshot_path.is_some()
            && self.num_fewshot == 0
            && self.suite.iter().all(|of| of.num_fewshot == 0)
        {
            return impossible(
                "fewshot_path",
                "no example is shown",
                "give `num_fewshot`, or remove the key",
            );
        }
        let own = has_programs(self.preset.as_ref());
        let any = own || self.suite.iter().any(|suite| has_programs(suite.preset.as_ref()));
        if self.num_fewshot > 0 && !any {
            return impossible("num_fewshot", NO_SHOTS, "remove the key");
        }
        if own && self.suite.is_empty() {
            check_shots(self.num_fewshot, self.fewshot_path.as_ref(), self.preset.as_ref())?;
        }
        let mut suites = self.suite.iter().enumerate();
        suites.try_for_each(|(number, suite)| {
            let path = suite.fewshot_path.as_ref().or(self.fewshot_path.as_ref());
            // Where it is `eval.num_fewshot` that says so, it is to blame.
            let place = |error: ConfigError| match suite.num_fewshot == self.num_fewshot {
                true => error,
                false => error.under(&format!("suite.{number}")),
            };
            check_shots(suite.num_fewshot, path, suite.preset.as_ref()).map_err(place)
        })
    }

    /// How evaluation samples: `[rollout]` with what `[eval]` says instead; `num_generations` is `eval.samples`.
    pub fn rollout(&self, rollout: &Rollout) -> Rollout {
        Rollout {
            num_generations: self.samples,
            max_completion_length: self.max_completion_length,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            ..rollout.clone()
        }
    }

    /// The held-out problems as a source of the same kind as `[data]`: `size` of them, in the file's order.
    pub fn source(&self) -> Source {
        Source {
            path: self.path.clone().map(Paths::from),
            split: self.split.clone(),
            weights: Vec::new(),
            preset: self.preset.clone(),
            generator: self.generator,
            count: self.size,
            limit: self.size,
            variants: 0,
            skip_unreadable: false,
            shuffle: false,
        }
    }
}

section! {
    /// `[[eval.suite]]`: a set of problems that models are compared on. The rest is as `[eval]` says.
    pub struct EvalSuite from EvalSuiteDraft(answers: usize) {
        /// Its name: `"aime24"`, `"aime25"`, `"amc23"`, `"math500"`, `"minerva"`, `"olympiadbench"`, `"gsm8k"`, `"svamp"`, `"mawps"`, `"humaneval"`,
        /// `"mbpp"`; or any other with a `preset`. Default: none, it must be given. Source: this project.
        pub name: String => required("name", "add `name = …`")?,
        /// Its file. Default: the suite's on the Hugging Face hub, in a build with `--features hub`. Source: this project.
        pub path: Option<PathBuf>,
        /// How the file's rows are read, as `data.preset`. Default: the suite's own. Source: this project.
        pub preset: Option<Preset>,
        /// Ask only this many problems, the first ones; 0 asks all. Source: lm-evaluation-harness (`--limit`).
        pub limit: usize = 0,
        /// Answers to each problem. Default: 16 of `aime24`, `aime25` and `amc23`, 4 of `math500`, `minerva` and `olympiadbench`, 1 of
        /// others; `eval.samples` where that is more. Source: this project (the paper says pass@1, and not of how many samples).
        pub samples: usize => answers,
        /// As `eval.num_fewshot`. Default: `eval.num_fewshot` where the answers are programs. Source: lm-evaluation-harness.
        pub num_fewshot: usize = 0,
        /// As `eval.fewshot_path`. Default: `eval.fewshot_path`. Source: this project.
        pub fewshot_path: Option<PathBuf>,
    }
}

/// Why no examples are shown before other problems.
const NO_SHOTS: &str = "examples are shown before problems whose answers are programs only (humaneval, mbpp)";

fn has_programs(preset: Option<&Preset>) -> bool {
    preset.is_some_and(|preset| preset.rows().is_ok_and(|rows| rows.programs))
}

/// Examples can be shown, and come from somewhere.
fn check_shots(count: usize, path: Option<&PathBuf>, preset: Option<&Preset>) -> Result<(), ConfigError> {
    if count == 0 {
        return Ok(());
    }
    if !has_programs(preset) {
        return impossible("num_fewshot", NO_SHOTS, "remove the key");
    }
    let is_mbpp = matches!(preset, Some(Preset::Named(name)) if name == "mbpp");
    if path.is_none() && !is_mbpp {
        return impossible(
            "num_fewshot",
            "nobody says which examples are shown: HumanEval has none of its own",
            "give `fewshot_path`: MBPP's file, or one with HumanEval's fields",
        );
    }
    Ok(())
}

impl EvalSuiteDraft {
    /// The whole suite: what the program knows of its name, unless a preset makes it another one.
    fn of_suite(mut self, samples: usize, num_fewshot: usize) -> Result<EvalSuite, ConfigError> {
        let named = self.name.as_ref().and_then(|name| Suite::named(name).ok());
        if let (Some(suite), None) = (named, &self.preset) {
            self.samples.get_or_insert(suite.samples.max(samples));
            self.path = self.path.or_else(|| suite.hub.map(Into::into));
            self.preset = Some(Preset::Named(suite.preset_name().into()));
        }
        if has_programs(self.preset.as_ref()) {
            self.num_fewshot.get_or_insert(num_fewshot);
        }
        self.complete(samples)
    }
}

impl Check for EvalSuite {
    fn check(&self) -> Result<(), ConfigError> {
        let name = &self.name;
        match (&self.preset, Suite::named(name)) {
            (Some(preset), _) => {
                if let Err(error) = preset.rows() {
                    return impossible("preset", error.to_string(), "or give a table of field names");
                }
            }
            (None, Err(error)) => {
                return impossible("name", error.to_string(), "or give its `path` and `preset`");
            }
            (None, Ok(_)) => {}
        }
        if self.path.is_none() {
            let from = Suite::named(name).map_or(String::new(), |suite| format!(" ({})", suite.from));
            return impossible(
                "name",
                format!("no file of {name:?} is given"),
                format!("give its `path`, or `--suite {name}=FILE`{from}"),
            );
        }
        count("samples", self.samples, 1, MANY)
    }
}
