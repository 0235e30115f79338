//! Keys that nobody knows here: what was meant, or what to do instead.

use gcpo_data::nearest;

use super::Draft;
use crate::section::{ConfigError, Section as _};

/// Why there is no QLoRA.
const QUANTISED: &str = "burn's autodiff makes every quantised matrix float again, so a quantised base saves nothing: \
                         `train.dtype = \"bfloat16\"` halves it (docs/configs.md#adapters)";

/// Names of TRL's `GRPOConfig`, transformers' `TrainingArguments` and verl's config, and what they are here: a key, or what to do
/// where there is none.
#[rustfmt::skip]
const NAMES: &[(&str, Here)] = &[
    // TRL and transformers.
    ("model_name_or_path",          Key("model.path")),
    ("dataset_name",                Key("data.path")),
    ("output_dir",                  Key("run.dir")),
    ("run_name",                    Key("run.name")),
    ("loss_type",                   Key("objective.name")),
    ("bf16",                        Key("train.dtype")),
    ("fp16",                        Key("train.dtype")),
    ("torch_dtype",                 Key("train.dtype")),
    ("save_steps",                  Key("checkpoint.every")),
    ("save_total_limit",            Key("checkpoint.keep_last")),
    ("eval_steps",                  Key("eval.every")),
    ("num_eval_generations",        Key("eval.samples")),
    ("num_generations_eval",        Key("eval.samples")),
    ("generation_batch_size",       Key("train.prompts_per_step")),
    ("steps_per_generation",        Key("train.mini_batches")),
    ("use_kl_loss",                 Note("the KL is part of the loss unless `objective.use_kl_in_reward` is true")),
    ("kl_loss_type",                Note("`objective.kl_estimator` takes \"k1\" (verl: kl), \"k2\" (mse), \"k3\" (low_var_kl)")),
    ("importance_sampling_correction", Key("objective.vllm_importance_sampling_correction")),
    ("vllm_importance_sampling_cap", Key("objective.vllm_importance_sampling_clip_max")),
    ("use_adaptive_entropy",        Note("the weight of the entropy is `objective.entropy_coef`, a constant")),
    ("reward_clip_range",           Note("scale or bound what the [[reward]]s say")),
    ("filter_groups.enable",        Key("rollout.dynamic_sampling")),
    ("entropy_coeff",               Key("objective.entropy_coef")),
    ("loss_agg_mode",               Note("`objective.name` says how tokens are averaged: grpo, dapo, dr_grpo, luspo")),
    ("reward_weights",              Note("give each [[reward]] its `weight`")),
    ("reward_funcs",                Note("give a [[reward]] section for each; `name = \"python\"` takes a function as TRL's are, `name = \"command\"` any program")),
    ("logging_steps",               Note("every step is written to metrics.jsonl: leave it out")),
    ("logging_strategy",            Note("every step is written to metrics.jsonl: leave it out")),
    ("report_to",                   Note("metrics are in metrics.jsonl of the run directory: leave it out")),
    ("max_prompt_length",           Note("prompts are never cut: a problem that does not fit the model's positions is an error, so leave it out")),
    ("num_train_epochs",            Key("train.num_train_epochs")),
    ("per_device_eval_batch_size",  Note("rows that are decoded together are bounded by `rollout.max_rows`")),
    ("gradient_checkpointing",      Key("train.gradient_checkpointing")),
    ("save_strategy",               Note("set `checkpoint.every`, 0 for the end only")),
    ("load_in_8bit",                Note(QUANTISED)),
    ("load_in_4bit",                Note(QUANTISED)),
    ("quantization",                Note(QUANTISED)),
    ("quantization_config",         Note(QUANTISED)),
    ("use_vllm",                    Note("sampling is built in: leave it out")),
    // verl.
    ("lr",                          Key("train.learning_rate")),
    ("rollout.n",                   Key("rollout.num_generations")),
    ("n",                           Key("rollout.num_generations")),
    ("kl_coef",                     Key("objective.beta")),
    ("kl_loss_coef",                Key("objective.beta")),
    ("clip_ratio",                  Key("objective.epsilon")),
    ("clip_ratio_low",              Key("objective.epsilon")),
    ("clip_ratio_high",             Key("objective.epsilon_high")),
    ("adv_estimator",               Key("objective.name")),
    ("train_batch_size",            Key("train.prompts_per_step")),
    ("ppo_epochs",                  Key("train.num_iterations")),
    ("ppo_micro_batch_size_per_gpu", Key("train.per_device_train_batch_size")),
    ("grad_clip",                   Key("train.max_grad_norm")),
    ("total_training_steps",        Key("train.max_steps")),
    ("max_response_length",         Key("rollout.max_completion_length")),
    ("train_files",                 Key("data.path")),
    ("val_files",                   Key("eval.path")),
    ("save_freq",                   Key("checkpoint.every")),
    ("test_freq",                   Key("eval.every")),
    ("default_local_dir",           Key("run.dir")),
    ("experiment_name",             Key("run.name")),
    ("val_kwargs.n",                Key("eval.samples")),
    ("total_epochs",                Key("train.num_train_epochs")),
    ("dataset_train_split",         Key("data.split")),
    ("dataset_test_split",          Key("eval.split")),
    ("train_max_samples",           Key("data.limit")),
    ("val_max_samples",             Key("eval.size")),
    ("ppo_mini_batch_size",         Note("`train.mini_batches` says how many there are in a step, not how large they are")),
];

/// What a foreign name is here.
#[derive(Clone, Copy)]
enum Here {
    /// This key.
    Key(&'static str),
    /// None; what to do.
    Note(&'static str),
}
use Here::{Key, Note};

/// Adds to an error about an unknown key what was meant by it.
pub(super) fn explained(error: ConfigError) -> ConfigError {
    let (Some(unknown), Some(field)) = (&error.unknown, &error.field) else {
        return error;
    };
    let section = field.rsplit_once('.').map_or("", |(section, _)| section);
    let path = match section {
        "" => unknown.leaf.clone(),
        _ => format!("{section}.{}", unknown.leaf),
    };
    let typed = field.rsplit('.').next().unwrap_or(field);
    let like = nearest(typed, unknown.known.iter().map(String::as_str)).map(|name| match section {
        "" => format!("did you mean `{name}`?"),
        _ => format!("did you mean `{section}.{name}`?"),
    });
    // A misspelt section is more likely than all of its keys in another one.
    let is_section = unknown.leaf != typed;
    let help = foreign(&path)
        .or_else(|| like.clone().filter(|_| is_section))
        .or_else(|| elsewhere(&path))
        .or(like)
        .unwrap_or_else(|| format!("known here: {}", unknown.known.join(", ")));
    error.help(help)
}

/// What another program's name is here; the longest name that the path ends in.
fn foreign(path: &str) -> Option<String> {
    let ends = |name: &str| path == name || path.ends_with(&format!(".{name}"));
    let found = NAMES.iter().filter(|(name, _)| ends(name));
    let (name, here) = found.max_by_key(|(name, _)| name.len())?;
    Some(match here {
        Key(key) => format!("`{name}` is `{key}` here"),
        Note(note) => (*note).to_owned(),
    })
}

/// Keys of this name in other sections.
fn elsewhere(path: &str) -> Option<String> {
    let name = path.rsplit('.').next()?;
    let keys = Draft::keys();
    let mut found: Vec<String> = keys
        .iter()
        .filter(|key| key.name() == name && key.path != path)
        .map(|key| format!("`{}`", key.path))
        .collect();
    found.dedup();
    (!found.is_empty()).then(|| format!("did you mean {}?", found.join(" or ")))
}

/// The keys that are named here.
#[cfg(test)]
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    NAMES.iter().filter_map(|(_, here)| match here {
        Key(key) => Some(*key),
        Note(_) => None,
    })
}
