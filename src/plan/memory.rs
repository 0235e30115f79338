//! Bytes by part, in each phase of a step.
//!
//! On the processor the peak is that of the process: what is freed in small pieces stays with it (glibc gives back only pieces of 32 MiB
//! and more for certain), so the most that was ever held in small pieces counts in every phase. Fused passes have maps of their own,
//! which go back as well. On other devices it is what is held at once.

use bytesize::ByteSize;
use gcpo_model::buffer::{KEPT_WHILE_SAMPLING, SPARE};
use gcpo_model::dtype::Dtype;
use gcpo_model::memory as bytes;
use serde::Serialize;

use super::Facts;
use super::work::MicroBatch;
use crate::config::{Config, RecipeName};

/// Pieces of memory of so many bytes go back to the system when they are freed.
const LARGE: u128 = 32 << 20;
/// What is kept of activations for the next pass.
const KEPT: &str = "buffers of passes";

/// What is held for one purpose.
#[derive(Debug, Clone, Serialize)]
pub struct Part {
    /// What for.
    pub name: &'static str,
    /// Bytes.
    pub bytes: u64,
    /// Of these, in pieces that go back to the system when they are freed.
    #[serde(skip)]
    large: u64,
}

/// What is held at one time.
#[derive(Debug, Clone, Serialize)]
pub struct Phase {
    /// What is done then.
    pub name: &'static str,
    /// What is held; nothing is empty.
    pub parts: Vec<Part>,
    /// All of it.
    pub bytes: u64,
}

/// Memory of a run.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryPlan {
    /// Most bytes that are held at once.
    pub peak_bytes: u64,
    /// Of these, what was freed and stays with the process.
    pub kept_by_process: u64,
    /// All that the device has; none where nobody says.
    pub device_bytes: Option<u64>,
    /// What is done in a step, in its order, and what is held then.
    pub phases: Vec<Phase>,
    /// Which of them the peak is in.
    pub peak_phase: &'static str,
}

impl Part {
    fn of(name: &'static str, bytes: u128, large: u128) -> Self {
        let count = |bytes: u128| u64::try_from(bytes).unwrap_or(u64::MAX);
        Self {
            name,
            bytes: count(bytes),
            large: count(large.min(bytes)),
        }
    }

    /// In one piece.
    fn whole(name: &'static str, bytes: u128) -> Self {
        Self::of(name, bytes, if bytes >= LARGE { bytes } else { 0 })
    }
}

impl Phase {
    fn of(name: &'static str, parts: Vec<Part>) -> Self {
        let parts: Vec<Part> = parts.into_iter().filter(|part| part.bytes > 0).collect();
        let bytes = parts
            .iter()
            .fold(0u64, |sum, part| sum.saturating_add(part.bytes));
        Self { name, parts, bytes }
    }

    fn large(&self) -> u64 {
        self.parts
            .iter()
            .fold(0, |sum, part| sum.saturating_add(part.large))
    }

    /// `training: weights 1.0 GiB, …`, the largest first.
    pub fn in_words(&self) -> String {
        let mut parts: Vec<&Part> = self.parts.iter().collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
        let parts: Vec<String> = parts
            .iter()
            .take(4)
            .map(|part| format!("{} {}", part.name, ByteSize(part.bytes)))
            .collect();
        format!("{}: {}", self.name, parts.join(", "))
    }
}

impl MemoryPlan {
    fn of(phases: Vec<Phase>, stays: bool, device_bytes: Option<u64>) -> Self {
        let small = phases
            .iter()
            .map(|phase| phase.bytes - phase.large())
            .max()
            .unwrap_or(0);
        let total = |phase: &Phase| match stays {
            true => small.saturating_add(phase.large()),
            false => phase.bytes,
        };
        let peak = phases.iter().max_by_key(|phase| (total(phase), phase.bytes));
        let peak = peak.expect("a step has phases");
        Self {
            peak_bytes: total(peak),
            kept_by_process: total(peak) - peak.bytes,
            peak_phase: peak.name,
            device_bytes,
            phases,
        }
    }

    /// The phase that the peak is in.
    pub fn peak(&self) -> &Phase {
        let named = |phase: &&Phase| phase.name == self.peak_phase;
        self.phases.iter().find(named).expect("it is one of them")
    }

    /// The key that helps most where it is too much, and what to do.
    pub(super) fn what_helps(&self, config: &Config) -> (&'static str, String) {
        let parts = || self.peak().parts.iter();
        let largest = parts().max_by_key(|part| part.bytes).map_or("", |part| part.name);
        let of_lora = "train adapters, [model.lora]".to_owned();
        match largest {
            "activations" | KEPT => {
                let mut help = "lower it, or set train.max_tokens_per_micro_batch".to_owned();
                if !config.train.gradient_checkpointing {
                    help += ", or train.gradient_checkpointing = true where the device knows it";
                }
                ("train.per_device_train_batch_size", help)
            }
            "keys and values" => (
                "rollout.memory_budget",
                "lower it, or rollout.max_rows".to_owned(),
            ),
            "logits of sampling" => ("rollout.max_rows", "lower it".to_owned()),
            _ if config.model.lora.is_none() => ("model", of_lora),
            _ => (
                "model.path",
                "take a smaller model, or a device with more memory".to_owned(),
            ),
        }
    }
}

impl Facts<'_> {
    /// Memory of the first device.
    pub(super) fn memory(&self, micro: &MicroBatch) -> MemoryPlan {
        let held = self.held();
        let phase = |name, more: Vec<Part>| Phase::of(name, [held.clone(), more].concat());
        let pass = self.of_a_pass(micro);
        let kept = self.kept(&pass);
        let while_sampling = u128::from(kept.bytes).min(KEPT_WHILE_SAMPLING as u128);
        // Without sampling nothing is left between what a pass took and the end of the heap, and all of it goes back.
        let stays = self.on_processor && self.recipe != RecipeName::Sft;
        let sampling = vec![
            self.copy(),
            self.keys_and_values(),
            self.logits(),
            Part::of(kept.name, while_sampling, while_sampling),
            // Of the weights and the optimiser that the last update could have gone back to, as much was seen to stay where others do not fit.
            self.trained("left by updates", if stays { 4 } else { 0 }),
        ];
        // The processor's own step changes moments where they lie, unless what was before is kept until all updates of a step are made.
        let changes_in_place = self.on_processor && self.recipe == RecipeName::Sft;
        let new_weights = self.trained("new weights", self.dtype_bytes());
        let idle = u128::from(kept.bytes.saturating_sub(new_weights.bytes));
        let update = vec![
            new_weights,
            self.own("new weights in float32", if self.has_master() { 4 } else { 0 }),
            self.own("new optimiser", if changes_in_place { 0 } else { 8 }),
            // Those of the last pass are added up by then.
            self.gradients(4),
            // What a pass takes is estimated from above, with all gradients beside it.
            Part::of(kept.name, idle, idle),
            self.own("summed gradients", if self.run.ranks > 1 { 4 } else { 0 }),
        ];
        // The first rank gathers that of all.
        let state = self.trained("optimiser as bytes", 8);
        let file = Part::whole("optimiser as a file", u128::from(state.bytes));
        let mut phases = vec![
            phase("training", pass),
            phase("update", update),
            phase("saving", vec![state, file]),
        ];
        if self.recipe != RecipeName::Sft || self.evaluates() {
            phases.insert(0, phase("sampling", sampling));
        }
        MemoryPlan::of(phases, stays, self.run.device_bytes)
    }

    /// What is kept of a pass for the next one.
    fn kept(&self, pass: &[Part]) -> Part {
        let all: u64 = pass[1..].iter().map(|part| part.bytes).sum();
        let kept = if self.is_fused {
            all + all / SPARE as u64
        } else {
            0
        };
        self.of_fused(Part::of(KEPT, u128::from(kept), 0))
    }

    /// Numbers of the adapters in float32, where these are trained.
    fn adapters(&self) -> Option<u128> {
        let lora = self.run.config.model.lora.as_ref()?;
        Some(bytes::f32s(&[lora.parameters(self.run.network)]))
    }

    /// Whether the optimiser has weights in float32 of its own.
    fn has_master(&self) -> bool {
        self.dtype_bytes() != 4 && self.adapters().is_none()
    }

    /// Something of as many numbers as the weights, of so many bytes each.
    fn like_weights(&self, name: &'static str, each: u128) -> Part {
        let all = bytes::weights(self.run.network);
        let large = bytes::weights_in_large(self.run.network, LARGE);
        Part::of(name, all * each / 4, large * each / 4)
    }

    /// Something of as many numbers as what is trained.
    fn trained(&self, name: &'static str, each: u128) -> Part {
        match self.adapters() {
            Some(adapters) => Part::of(name, adapters * each / 4, 0),
            None => self.like_weights(name, each),
        }
    }

    /// The same, shared out over ranks.
    fn own(&self, name: &'static str, each: u128) -> Part {
        let whole = self.trained(name, each);
        let ranks = self.run.ranks as u64;
        Part {
            bytes: whole.bytes.div_ceil(ranks),
            large: whole.large / ranks,
            ..whole
        }
    }

    /// What is held all the time.
    fn held(&self) -> Vec<Part> {
        let (adapters, short) = (self.adapters(), self.dtype_bytes());
        let needs_reference =
            self.recipe == RecipeName::Rl && self.run.config.objective_row().needs_reference_model();
        let has_reference = needs_reference && adapters.is_none();
        vec![
            Part::of("process", u128::from(self.run.process_bytes), 0),
            self.like_weights("weights", short),
            self.own("weights in float32", if self.has_master() { 4 } else { 0 }),
            Part::of("adapters", adapters.unwrap_or(0), 0),
            self.like_weights("reference model", if has_reference { short } else { 0 }),
            self.own("optimiser", 8),
        ]
    }

    /// What sampling lays out for the processor.
    fn copy(&self) -> Part {
        let all = bytes::laid_out(self.run.network);
        let large = bytes::weights_in_large(self.run.network, LARGE);
        let head = all - bytes::weights(self.run.network);
        let large = large + if head >= LARGE { head } else { 0 };
        match self.lays_out() {
            true => Part::of("copy for sampling", all, large),
            false => Part::of("copy for sampling", 0, 0),
        }
    }

    /// What the largest forward and backward pass takes: gradients first.
    fn of_a_pass(&self, micro: &MicroBatch) -> Vec<Part> {
        let network = self.run.network;
        // The sum, and those of one pass beside it.
        let gradients = match self.passes(micro) {
            1 => 4,
            _ => 4 + self.dtype_bytes(),
        };
        let piece = bytes::f32s(&[micro.tokens, 2 * network.intermediate_size]);
        let all = self.activations(micro);
        let head = match self.is_fused {
            true => bytes::head_on_processor(network, micro.states),
            false => bytes::logits_by_tensors(network, micro.states),
        };
        vec![
            self.gradients(gradients),
            self.of_fused(Part::of("activations", all, if piece >= LARGE { all } else { 0 })),
            self.of_fused(Part::whole("log-probabilities", head)),
        ]
    }

    /// Gradients, of so many bytes each.
    fn gradients(&self, each: u128) -> Part {
        self.of_fused(self.trained("gradients", each))
    }

    /// What goes back to the system as it is where passes are fused, which have maps for it.
    fn of_fused(&self, part: Part) -> Part {
        match self.is_fused {
            true => Part {
                large: part.bytes,
                ..part
            },
            false => part,
        }
    }

    /// Bytes of a number that the network computes with.
    fn dtype_bytes(&self) -> u128 {
        match self.run.config.train.dtype {
            Dtype::F32 => 4,
            Dtype::Bf16 | Dtype::F16 => 2,
        }
    }

    /// Whether sampling runs a copy of the weights, laid out for the processor.
    fn lays_out(&self) -> bool {
        let is_f32 = self.run.config.train.dtype == Dtype::F32;
        self.on_processor && is_f32 && self.run.network.experts.is_none()
    }

    /// Forward and backward passes of an update, about.
    fn passes(&self, micro: &MicroBatch) -> usize {
        let config = self.run.config;
        let rows = match self.recipe {
            RecipeName::Rl => self.prompts * config.rollout.num_generations / config.train.mini_batches,
            RecipeName::Rest | RecipeName::Sft => self.shown_rows(),
        };
        rows.div_ceil(micro.rows.max(1))
    }

    fn activations(&self, micro: &MicroBatch) -> u128 {
        let (config, network) = (self.run.config, self.run.network);
        let recomputes = config.train.gradient_checkpointing;
        if self.is_fused
            && let Some(bytes) = bytes::activations_on_processor(network, micro.tokens, recomputes)
        {
            return bytes;
        }
        let [asked, projected] = micro
            .longest
            .map(|length| bytes::activations_by_tensors(network, micro.rows, length, recomputes));
        let both = asked + if self.has_kappa { projected } else { 0 };
        both * self.dtype_bytes() / 4
    }

    fn evaluates(&self) -> bool {
        let eval = &self.run.config.eval;
        eval.every > 0 && eval.size > 0
    }

    /// Logits of the rows that are decoded together.
    fn logits(&self) -> Part {
        let config = self.run.config;
        let n = config.rollout.num_generations;
        let projections = match self.projects {
            true => n * config.projection.integrations * config.projection.samples,
            false => 0,
        };
        let rows = match self.recipe {
            RecipeName::Rl => self.prompts * n.max(projections),
            RecipeName::Rest => self.prompts * config.rest.width,
            RecipeName::Sft => config.eval.size * config.eval.samples,
        };
        let rows = rows.min(config.rollout.max_rows);
        Part::whole(
            "logits of sampling",
            bytes::f32s(&[rows, self.run.network.vocab_size]),
        )
    }

    /// The most that a step, or an evaluation, holds.
    fn keys_and_values(&self) -> Part {
        let config = self.run.config;
        let (n, rollout) = (config.rollout.num_generations, &config.rollout);
        let (j, m) = (config.projection.integrations, config.projection.samples);
        let budget = u128::from(rollout.memory_budget.as_u64());
        let of = |rows: usize, tokens: usize| match self.lays_out() {
            true => bytes::keys_and_values_in_blocks(self.run.network, rows, tokens),
            // Room grows by half.
            false => {
                let room = (tokens + tokens / 2).next_multiple_of(32);
                bytes::keys_and_values(self.run.network, rows, room) * self.dtype_bytes() / 4
            }
        };
        let lanes = |rows: usize, tokens: usize| of(rows.min(rollout.max_rows), tokens);
        let nodes = |lengths: &super::Lengths| {
            let answered = of(1, lengths.root) + of(1, lengths.answer);
            match self.integrates {
                true => {
                    answered
                        + of(1, lengths.integrate)
                        + of(n, lengths.others)
                        + of(n * j, lengths.integration)
                }
                false => answered,
            }
        };
        let prefixes = |prompts: usize| {
            let each = self.lengths.iter().map(nodes).max().unwrap_or(0);
            (each * prompts as u128).min((budget / 2).max(each))
        };
        let rows = match self.recipe {
            RecipeName::Rest => self.prompts * config.rest.width,
            RecipeName::Rl | RecipeName::Sft => self.prompts * n,
        };
        let mut most = lanes(rows, self.completion);
        if self.projects {
            let samples = self.prompts * n * j * m;
            most = most.max(lanes(samples, self.projection.max(self.completion)));
        }
        let step = match self.recipe {
            RecipeName::Sft => 0,
            RecipeName::Rl | RecipeName::Rest => prefixes(self.prompts) + most,
        };
        let eval = &config.eval;
        let evaluation = match (self.evaluates(), eval.size) {
            (false, _) => 0,
            (true, size) => {
                let shortest = self
                    .lengths
                    .iter()
                    .map(|of_one| of(1, of_one.asked()))
                    .max()
                    .unwrap_or(0);
                let held = (shortest * size as u128).min(budget / 2);
                held + lanes(size * eval.samples, eval.max_completion_length)
            }
        };
        Part::of("keys and values", step.max(evaluation).min(budget), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_freed_in_small_pieces_stays() {
        let phases = || {
            let (small, large) = (Part::of("small", 70, 0), Part::of("large", 50, 50));
            vec![
                Phase::of("first", vec![small]),
                Phase::of(
                    "second",
                    vec![large, Part::of("small", 10, 0), Part::of("none", 0, 0)],
                ),
            ]
        };
        let process = MemoryPlan::of(phases(), true, None);
        assert_eq!(
            (process.peak_bytes, process.kept_by_process, process.peak_phase),
            (120, 60, "second")
        );
        let device = MemoryPlan::of(phases(), false, None);
        assert_eq!(
            (device.peak_bytes, device.kept_by_process, device.peak_phase),
            (70, 0, "first")
        );
        assert_eq!(process.phases[1].parts.len(), 2);
        assert_eq!(process.peak().in_words(), "second: large 50 B, small 10 B");
    }
}
