//! A reward model: a decoder with a head of one number in the place of logits, a sequence classifier with one label
//! (`LlamaForSequenceClassification`, `Qwen2ForSequenceClassification`, …), as TRL trains them.
//!
//! Axes: `b` texts, `d` features.

use std::path::Path;

use burn::tensor::{DType, Device};

use crate::checkpoint::{self, CheckpointError};
use crate::dtype::Dtype;
use crate::inference::{self, Inference};

/// A reward model, ready to score.
#[derive(Debug, Clone)]
pub struct Classifier {
    network: Inference,
    score_d: Vec<f32>,
    filler: Option<u32>,
    positions: usize,
    vocabulary: usize,
}

impl Classifier {
    /// The one in a Hugging Face directory, and what the user should know of it, a line each.
    ///
    /// # Errors
    /// As [`checkpoint::read_classifier`].
    pub fn load(dir: &Path, dtype: Dtype, device: &Device) -> Result<(Self, Vec<String>), CheckpointError> {
        let dtype = inference::read_in(&checkpoint::describe_classifier(dir)?, dtype, device);
        let (loaded, score_d) = checkpoint::read_classifier(dir, dtype, device)?;
        let config = loaded.model.config();
        let (filler, positions, vocabulary) = (config.pad_token_id, config.positions(), config.vocab_size);
        let classifier = Self {
            network: Inference::of(loaded.model),
            score_d,
            filler,
            positions,
            vocabulary,
        };
        Ok((classifier, loaded.warnings))
    }

    /// Longest text, in tokens.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Number of tokens that it knows.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The number that the head makes of the state at each text's last token: the last that is no filler, as in transformers.
    ///
    /// # Shapes
    /// `[b]` texts, none empty, to `[b]`
    pub fn scores(&self, texts: &[&[u32]]) -> Vec<f64> {
        let texts: Vec<&[u32]> = texts.iter().map(|text| self.without_filler(text)).collect();
        let states_bd = self.network.read(&texts).cast(DType::F32);
        let states: Vec<f32> = states_bd.try_into_vec_as().expect("states can be read as f32");
        let dot = |state: &[f32]| {
            let pairs = state.iter().zip(&self.score_d);
            pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        states.chunks(self.score_d.len()).map(dot).collect()
    }

    fn without_filler<'a>(&self, text: &'a [u32]) -> &'a [u32] {
        let last = text.iter().rposition(|token| Some(*token) != self.filler);
        &text[..=last.unwrap_or(0)]
    }
}
