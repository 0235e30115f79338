//! `model`: a reward model, a sequence classifier with one label.

use std::path::PathBuf;

use gcpo_data::Asked;

use super::{Case, RewardError};
use crate::group::Score;
use crate::policy::{Scorer, ScorerError};
use crate::section::{Check, ConfigError, at_least, required, section};

section! {
    /// A reward model.
    pub struct ModelReward from ModelRewardDraft {
        /// Its directory: a sequence classifier with one label (`LlamaForSequenceClassification`, `Qwen2ForSequenceClassification`, …), with its
        /// own tokenizer and chat template. It runs on the run's device, in `train.dtype`. Default: none, it must be given. Source: TRL
        /// (`reward_funcs`).
        pub path: PathBuf => required("path", "add `path = \"DIR\"`")?,
        /// Completions that it reads at once; changes memory and speed only. Source: this project.
        pub batch_size: usize = 16,
    }
}

impl Check for ModelReward {
    fn check(&self) -> Result<(), ConfigError> {
        at_least("batch_size", self.batch_size, 1)
    }
}

/// What a reward model says of each completion.
///
/// # Errors
/// One cannot be written in its tokens, or its score is not finite.
pub fn scores(
    config: &ModelReward,
    scorer: &Scorer,
    label: &str,
    cases: &[Case<'_>],
) -> Result<Vec<Score>, RewardError> {
    let failed = |case: &Case<'_>, source: ScorerError| RewardError::Scorer {
        label: label.to_owned(),
        problem: format!(", problem `{}`", case.group.problem.id),
        source: Box::new(source),
    };
    let tokens = |case: &Case<'_>| {
        let text = || Asked::Text(case.group.prompt.clone());
        let asked = case.group.asked.clone().unwrap_or_else(text);
        let tokens = scorer.tokens(&asked, &case.candidate.text);
        tokens.map_err(|source| failed(case, source))
    };
    let texts = cases.iter().map(tokens).collect::<Result<Vec<_>, _>>()?;
    let scores = scorer.scores(&texts, config.batch_size);
    match scores.iter().position(|score| !score.is_finite()) {
        Some(at) => Err(RewardError::NotFinite {
            label: label.to_owned(),
            id: cases[at].group.problem.id.clone(),
        }),
        None => Ok(scores.into_iter().map(Score::of).collect()),
    }
}
