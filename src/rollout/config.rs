//! `[rollout]`.

use bytesize::ByteSize;

use crate::section::{Check, ConfigError, MANY, ROWS, count, impossible, positive, section, within};

section! {
    /// `[rollout]`: how answers are sampled.
    pub struct Rollout from RolloutDraft {
        /// Candidates for each query, the paper's n. Source: TRL.
        pub num_generations: usize = 8,
        /// Longest completion in tokens, of every stage. Source: TRL.
        pub max_completion_length: usize = 256,
        /// Sampling temperature; logits are divided by it in the rollout and in the trainer alike. 0 is greedy, which nothing can be
        /// learnt from: `gcpo generate` only. Source: TRL.
        pub temperature: f64 = 1.0,
        /// Sample among the k likeliest tokens; 0 takes all. Source: TRL.
        pub top_k: usize = 0,
        /// Sample among the likeliest tokens that hold this much probability. Source: TRL.
        pub top_p: f64 = 1.0,
        /// Sample among tokens at least this likely, relative to the likeliest. Source: TRL (there `None`).
        pub min_p: f64 = 0.0,
        /// Logits of tokens that prompt or completion hold already are divided by it where positive, else multiplied, before the
        /// temperature; above 1 discourages repetition. The trainer's policy is without it. Source: TRL.
        pub repetition_penalty: f64 = 1.0,
        /// Texts that end a completion, as well as the tokens that do; they stay part of it. Source: transformers (`stop_strings`).
        pub stop: Vec<String> = Vec::<String>::new(),
        /// Whether problems whose candidates all earned the same give way to others, which are sampled in further rounds until every group of
        /// the step has something to learn from (`gcpo train`). Metrics say what was sampled for nothing. Source: DAPO (there always).
        pub dynamic_sampling: bool = false,
        /// Most rounds of a step; then groups of equal rewards stay. Default: `10`, with `dynamic_sampling`. Source: verl (`filter_groups`; DAPO: 10).
        pub max_num_gen_batches: Option<usize> => dynamic_sampling.then_some(10),
        /// How many rows are decoded together. It changes memory and speed, never a result. Source: this project.
        pub max_rows: usize = 512,
        /// Bytes of keys and values held at a time (`"512 MiB"`, `"4 GiB"`, or a number); what does not fit runs later. It changes memory
        /// and speed, never a result. Source: this project.
        pub memory_budget: ByteSize = ByteSize::gib(4),
    }
}

impl Check for Rollout {
    fn check(&self) -> Result<(), ConfigError> {
        count("num_generations", self.num_generations, 1, MANY)?;
        count("max_completion_length", self.max_completion_length, 1, ROWS)?;
        count("max_rows", self.max_rows, 1, ROWS)?;
        if let Some(rounds) = self.max_num_gen_batches {
            count("max_num_gen_batches", rounds, 1, MANY)?;
            if !self.dynamic_sampling {
                return impossible(
                    "max_num_gen_batches",
                    "without effect: a step is sampled in one round",
                    "set `rollout.dynamic_sampling = true` as well, or remove it",
                );
            }
        }
        if self.dynamic_sampling && self.num_generations == 1 {
            let what = "a group of one candidate has nothing to be compared with: all would give way";
            return impossible(
                "dynamic_sampling",
                what,
                "give `rollout.num_generations` 2 or more",
            );
        }
        if self.memory_budget.0 == 0 {
            return impossible("memory_budget", "0 is too small", "give 1 or more");
        }
        if self.stop.iter().any(String::is_empty) {
            let what = "an empty text would end every completion at once";
            return impossible("stop", what, "leave it out");
        }
        if self.temperature != 0.0 {
            check_temperature(self.temperature)?;
        }
        check_sampling(self.top_p, self.min_p, self.repetition_penalty)
    }
}

/// What must hold of these three, in `[rollout]` and in `[eval]`.
///
/// # Errors
/// The first that is impossible.
pub fn check_sampling(top_p: f64, min_p: f64, repetition_penalty: f64) -> Result<(), ConfigError> {
    positive("top_p", top_p)?;
    within("top_p", top_p, 0.0, 1.0)?;
    within("min_p", min_p, 0.0, 1.0)?;
    within("repetition_penalty", repetition_penalty, 1e-3, 1e3)
}

/// What must hold of a temperature that is not 0: divided by less, logits outgrow float32.
///
/// # Errors
/// It is impossible.
pub fn check_temperature(temperature: f64) -> Result<(), ConfigError> {
    positive("temperature", temperature)?;
    if temperature < 1e-3 {
        let what = format!("{temperature} leaves one token only");
        return impossible("temperature", what, "give 0.001 or more");
    }
    within("temperature", temperature, 0.0, 1e6)
}

impl Rollout {
    /// Bytes of keys and values that may be held at a time.
    pub fn memory_bytes(&self) -> usize {
        usize::try_from(self.memory_budget.as_u64()).unwrap_or(usize::MAX)
    }
}

impl Default for Rollout {
    fn default() -> Self {
        let complete = RolloutDraft::default().complete();
        complete.expect("the defaults are possible")
    }
}
