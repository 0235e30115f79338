//! What a `config.json` says of mixtures of experts.

use serde_json::{Value, json};

use super::family::Family;
use crate::fields::{ConfigError, Reader};
use crate::json::short;

/// Most experts that a layer may have; the largest models have a twentieth.
const MOST: usize = 10_000;

/// Keys by which files say how many experts there are.
const COUNTS: [&str; 3] = ["num_experts", "num_local_experts", "n_routed_experts"];

/// Feed-forwards of which each token takes some. Names are Hugging Face's.
#[derive(Debug, Clone, PartialEq)]
pub struct Experts {
    /// How many a layer has.
    pub num_experts: usize,
    /// How many a token takes.
    pub num_experts_per_tok: usize,
    /// Features inside each.
    pub moe_intermediate_size: usize,
    /// Whether the weights of those that a token takes are made to sum to 1.
    pub norm_topk_prob: bool,
    /// Of so many layers the last has experts.
    pub decoder_sparse_step: usize,
    /// Layers that have one feed-forward all the same, in their order.
    pub mlp_only_layers: Vec<usize>,
}

impl Experts {
    /// Whether a layer has experts.
    pub fn are_in(&self, layer: usize) -> bool {
        self.mlp_only_layers.binary_search(&layer).is_err()
            && (layer + 1).is_multiple_of(self.decoder_sparse_step)
    }

    /// Trainable numbers of a layer's experts and of what chooses among them, for `d` features.
    pub(super) fn parameters(&self, d: u128) -> u128 {
        self.num_experts as u128 * (3 * d * self.moe_intermediate_size as u128 + d)
    }

    /// None where the family has none.
    pub(super) fn read(file: &Reader, family: &Family) -> Result<Option<Self>, ConfigError> {
        if !family.experts {
            return match COUNTS.iter().find(|&&key| file.get(key).is_some()) {
                Some(key) => Err(file.error(
                    key,
                    "is set, but this family has no experts; write the `model_type` that is meant"
                        .to_string(),
                )),
                None => Ok(None),
            };
        }
        // transformers takes the second for the first.
        let (first, second) = (file.optional_size(COUNTS[0])?, file.optional_size(COUNTS[1])?);
        if let (Some(a), Some(b)) = (first, second)
            && a != b
        {
            let problem = format!("is {b}, but `{}` is {a}; remove the one that is wrong", COUNTS[0]);
            return Err(file.error(COUNTS[1], problem));
        }
        let num_experts = match first.or(second) {
            Some(count) => count,
            None => file.size(COUNTS[0])?,
        };
        if num_experts > MOST {
            let problem = format!("is {num_experts}; more than {MOST} are nowhere computed");
            return Err(file.error(COUNTS[0], problem));
        }
        let num_experts_per_tok = file.size("num_experts_per_tok")?;
        if num_experts_per_tok > num_experts {
            return Err(file.error(
                "num_experts_per_tok",
                format!("is {num_experts_per_tok}; there are {num_experts} experts"),
            ));
        }
        Ok(Some(Self {
            num_experts,
            num_experts_per_tok,
            moe_intermediate_size: file.size("moe_intermediate_size")?,
            norm_topk_prob: file.flag("norm_topk_prob")?.unwrap_or(false),
            decoder_sparse_step: file.optional_size("decoder_sparse_step")?.unwrap_or(1),
            mlp_only_layers: layers(file, "mlp_only_layers")?,
        }))
    }

    /// Writes what [`Experts::read`] reads.
    pub(super) fn write(&self, mut put: impl FnMut(&str, Value)) {
        put("num_experts", json!(self.num_experts));
        put("num_experts_per_tok", json!(self.num_experts_per_tok));
        put("moe_intermediate_size", json!(self.moe_intermediate_size));
        put("norm_topk_prob", json!(self.norm_topk_prob));
        put("decoder_sparse_step", json!(self.decoder_sparse_step));
        put("mlp_only_layers", json!(self.mlp_only_layers));
    }
}

fn layers(file: &Reader, key: &str) -> Result<Vec<usize>, ConfigError> {
    let wrong = |value| file.error(key, format!("is {}; it must be a list of layers", short(value)));
    let Some(value) = file.get(key) else {
        return Ok(Vec::new());
    };
    let list = value.as_array().ok_or_else(|| wrong(value))?;
    let each = list
        .iter()
        .map(|layer| layer.as_u64().map(|layer| layer as usize));
    each.collect::<Option<_>>().ok_or_else(|| wrong(value))
}
