//! A reward model with its own tokenizer and chat template.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use gcpo_data::{Asked, ChatError, ChatOptions, ChatTemplate, Message, Tokenizer, TokenizerError};
use gcpo_model::checkpoint::CheckpointError;
use gcpo_model::classifier::Classifier;
use gcpo_model::dtype::Dtype;
use thiserror::Error;

use crate::console::note;

/// A reward model, ready to score.
#[derive(Debug)]
pub struct Scorer {
    dir: PathBuf,
    classifier: Classifier,
    tokenizer: Tokenizer,
    /// None where it has none, and takes texts alone.
    chat: Option<ChatTemplate>,
}

/// Why a reward model gives no score.
#[derive(Debug, Error)]
pub enum ScorerError {
    /// It cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its tokenizer cannot be read, or encodes no text.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Its chat template fails.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// Its parts do not belong together.
    #[error("{0}: the tokenizer has {1} tokens, but the model knows {2}")]
    Vocabulary(PathBuf, usize, usize),
    /// Conversations are to be scored, and it has no chat template.
    #[error(
        "{0} has no chat template for this run's conversations (prompt.style = \"chat\"): add the chat_template.jinja that it was \
         trained with"
    )]
    NoTemplate(PathBuf),
    /// A text is too long, or empty.
    #[error("{0}: the prompt and the completion are {1} tokens, and it takes from 1 to {2}")]
    Length(PathBuf, usize, usize),
}

impl Scorer {
    /// The reward model in a Hugging Face directory.
    ///
    /// # Errors
    /// A file is missing or wrong, or it is no classifier with one label.
    pub fn load(dir: &Path, dtype: Dtype, device: &Device) -> Result<Self, ScorerError> {
        let (classifier, warnings) = Classifier::load(dir, dtype, device)?;
        for warning in warnings {
            note(&format!("warning: {warning}"));
        }
        let tokenizer = Tokenizer::load(dir)?;
        for text in tokenizer.notes() {
            note(&format!("note: {}: {text}", dir.display()));
        }
        let (tokens, known) = (tokenizer.learnt_size(), classifier.vocabulary());
        if tokens > known {
            return Err(ScorerError::Vocabulary(dir.into(), tokens, known));
        }
        Ok(Self {
            dir: dir.into(),
            chat: ChatTemplate::of(&tokenizer, &ChatOptions::default())?,
            classifier,
            tokenizer,
        })
    }

    /// A prompt and a completion in its tokens: a conversation as its chat template writes it, a text gone on with.
    ///
    /// # Errors
    /// They cannot be written, or are too long for it.
    pub fn tokens(&self, asked: &Asked, completion: &str) -> Result<Vec<u32>, ScorerError> {
        let text = match (asked, &self.chat) {
            (Asked::Text(prompt), _) => format!("{prompt}{completion}"),
            (Asked::Messages(_), None) => return Err(ScorerError::NoTemplate(self.dir.clone())),
            (Asked::Messages(messages), Some(chat)) => {
                let mut messages = messages.clone();
                messages.push(Message::new("assistant", completion));
                chat.render(&messages, false)?
            }
        };
        let tokens = self.tokenizer.encode(&text, false)?;
        let longest = self.classifier.positions();
        match (1..=longest).contains(&tokens.len()) {
            true => Ok(tokens),
            false => Err(ScorerError::Length(self.dir.clone(), tokens.len(), longest)),
        }
    }

    /// The score of each text, as many of them at once as `batch_size`.
    pub fn scores(&self, texts: &[Vec<u32>], batch_size: usize) -> Vec<f64> {
        // Neighbours of one length leave little room for filling.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&at| texts[at].len());
        let mut scores = vec![0.0; texts.len()];
        for batch in order.chunks(batch_size) {
            let of_batch: Vec<&[u32]> = batch.iter().map(|&at| texts[at].as_slice()).collect();
            for (at, score) in batch.iter().zip(self.classifier.scores(&of_batch)) {
                scores[*at] = score;
            }
        }
        scores
    }
}
