//! What the options of `gcpo eval` mean for its config.

use anyhow::Result;
use gcpo_data::Preset;

use crate::cli::args::EvalArgs;
use crate::config::{Config, ConfigError, Draft};
use crate::console::say;
use crate::eval::EvalSuiteDraft;
use crate::policy::{ModelPath, PromptDraft, open};
use crate::source;

/// Keys that decide completions and are other than in the config of an evaluation that was stopped. The suites are compared by
/// themselves.
pub fn differing(config: &Config, saved: &str) -> Result<Vec<String>, ConfigError> {
    const SECTIONS: [&str; 7] = [
        "run.",
        "data.",
        "checkpoint.",
        "reward",
        "objective.",
        "sft.",
        "train.",
    ];
    const FREE: [&str; 4] = [
        "rollout.max_rows",
        "rollout.memory_budget",
        "eval.every",
        "eval.suite",
    ];
    let saved = Draft::read_written(saved, "eval.jsonl")?.finish()?;
    let mut keys = saved.differences(config);
    keys.retain(|key| {
        let measured = config.eval.rewards && key.starts_with("reward");
        let matters = measured || !SECTIONS.iter().any(|section| key.starts_with(section));
        key == "train.dtype" || (matters && !FREE.contains(&key.as_str()))
    });
    Ok(keys)
}

/// The run's config, or one of the suites or the data file with everything else as it is by default.
pub fn config(args: &EvalArgs, model: &ModelPath) -> Result<Config> {
    let mut draft = match &args.config {
        Some(path) => Draft::load(path)?,
        None => Draft::new("gcpo eval"),
    };
    let eval = &mut draft.eval;
    if let Some(data) = &args.data {
        eval.path = Some(data.clone());
        if let Some(preset) = &args.preset {
            Preset::named(preset)?;
            eval.preset = Some(source::Preset::Named(preset.clone()));
        }
        // Whoever names a file means all of it.
        eval.size = Some(0);
    }
    for suite in &args.suites {
        add_suite(&mut eval.suite, suite);
    }
    if let Some(limit) = args.limit {
        eval.size = Some(limit);
        for suite in &mut eval.suite {
            suite.limit = Some(limit);
        }
    }
    if let Some(samples) = args.samples {
        eval.samples = Some(samples);
        for suite in &mut eval.suite {
            suite.samples = Some(samples);
        }
    }
    draft.set_all(&args.sets)?;
    if args.config.is_some() {
        draft.style_of_rows();
    }
    if args.config.is_none() && draft.prompt == PromptDraft::default() {
        let (style, why) = open::prompt_style(&open::tokenizer(model)?);
        say!("prompts in the style \"{style}\": {why} (`--set prompt.style=…` takes another)");
        draft.prompt.style = Some(style);
    }
    Ok(draft.finish()?)
}

/// Takes `NAME` or `NAME=FILE` for one of the suites, a new one if there is none of this name.
fn add_suite(suites: &mut Vec<EvalSuiteDraft>, given: &str) {
    let (name, file) = match given.split_once('=') {
        Some((name, file)) => (name, Some(file.into())),
        None => (given, None),
    };
    let same = |suite: &EvalSuiteDraft| suite.name.as_deref() == Some(name);
    let at = suites.iter().position(same).unwrap_or_else(|| {
        suites.push(EvalSuiteDraft {
            name: Some(name.to_owned()),
            ..EvalSuiteDraft::default()
        });
        suites.len() - 1
    });
    suites[at].path = file.or(suites[at].path.take());
}
