//! What a checkpoint holds of a learner: written by one rank, read by any number.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use gcpo_data::files;
use gcpo_model::buffer;
use gcpo_model::checkpoint::Format;
use gcpo_model::dtype::Dtype;
use gcpo_model::llama::Llama;
use gcpo_model::lora::{self, Peft};

use super::Learner;
use super::optim::{Saved, to_bytes};
use crate::policy::open;

/// Where a checkpoint has what only the trainer reads: programs that serve models take every file of tensors beside the weights for
/// weights.
pub(super) const TRAINER: &str = "trainer";
/// The optimiser's state there.
const OPTIMIZER: &str = "optimizer.safetensors";

/// All that a checkpoint holds of a learner, of all ranks.
pub struct Whole {
    /// In f32.
    weights: Llama,
    optimizer: Saved,
}

impl Learner {
    /// All that a checkpoint holds. Every rank gives what it has; the first gets the whole.
    ///
    /// # Errors
    /// A weight is not finite: such a state is not worth a checkpoint's place. Or the device failed.
    pub fn whole(&self) -> Result<Option<Whole>> {
        self.check_finite()?;
        let (weights, optimizer) = match &self.shard {
            None => (Some(self.weights().clone()), Some(self.optimizer.saved()?)),
            Some(shard) => (
                shard.whole_weights(&self.policy.model),
                shard.whole_state(&self.optimizer),
            ),
        };
        let both = weights.zip(optimizer);
        Ok(both.map(|(weights, optimizer)| Whole { weights, optimizer }))
    }

    /// Writes the checkpoint and the optimiser's state.
    ///
    /// # Errors
    /// A file could not be written.
    pub fn save(&self, dir: &Path, whole: &Whole) -> Result<()> {
        buffer::give_back_but(0);
        let policy = self.policy.with_model(whole.weights.clone());
        policy.save(dir, self.format)?;
        let trainer = dir.join(TRAINER);
        fs::create_dir(&trainer).with_context(|| format!("cannot make {}", trainer.display()))?;
        if self.format.dtype != Dtype::F32 {
            // A resume needs the weights as they are.
            let dtype = Dtype::F32;
            policy.save_network(&trainer, Format { dtype, ..self.format })?;
        }
        self.save_reference(dir)?;
        let path = trainer.join(OPTIMIZER);
        fs::write(&path, to_bytes(&whole.optimizer)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads what [`Learner::save`] wrote.
    ///
    /// # Errors
    /// A file is missing, damaged, or of another model.
    pub fn restore(&mut self, dir: &Path) -> Result<()> {
        let model = match &self.policy.adapter {
            None => self.saved_weights(dir)?,
            Some(adapter) => self.saved_adapter(adapter, dir)?,
        };
        let path = dir.join(TRAINER).join(OPTIMIZER);
        let bytes =
            files::bytes(&path, u64::MAX - 1).with_context(|| format!("cannot read {}", path.display()))?;
        let mut optimizer = self.optimizer.clone();
        optimizer
            .load_bytes(&bytes, &model, |name, count| self.parts(name, count))
            .with_context(|| path.display().to_string())?;
        self.optimizer = optimizer;
        self.take(model);
        self.restore_reference(dir)
    }

    /// The policy's network with the weights in a checkpoint.
    fn saved_weights(&self, dir: &Path) -> Result<Llama> {
        let trainer = dir.join(TRAINER);
        let is_exact = trainer.join("config.json").is_file();
        let weights = if is_exact { trainer.as_path() } else { dir };
        let model = open::network(weights, Dtype::F32, &self.policy.model.device())?.model;
        if model.config() != self.policy.model.config() {
            bail!(
                "{}: the checkpoint is of another shape than [model] of this run",
                dir.display()
            );
        }
        Ok(model)
    }

    /// The policy's network with the adapters in a checkpoint, which must be such as its own.
    fn saved_adapter(&self, own: &Peft, dir: &Path) -> Result<Llama> {
        let (saved, adapter) = Peft::load(lora::detach(&self.policy.model), dir)?;
        let is_same = adapter.lora.r == own.lora.r
            && adapter.lora.scale() == own.lora.scale()
            && adapter.lora.use_dora == own.lora.use_dora
            && lora::places(&saved) == lora::places(&self.policy.model);
        if !is_same {
            bail!(
                "{}: the adapters there are others than [model.lora] of this run",
                dir.display()
            );
        }
        Ok(lora::follow(self.policy.model.clone(), &saved))
    }
}
