//! What must hold between the values of a config.

use super::{
    Config, ConfigError, GraderKind, Init, ModelPath, Preset, PromptStyle, Solutions, Source, TokenizerSource,
};

impl Config {
    /// Checks every value that is impossible in itself or beside another one.
    ///
    /// # Errors
    /// The first such value, by its field, with the line or `--set` that gave it.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_model()?;
        self.check_source("data", &self.data)?;
        self.check_source("eval", &self.eval.source())?;
        self.check_suites()?;
        self.check_prompt()?;
        self.check_sampling()?;
        self.check_objective()?;
        self.check_rewards()?;
        self.check_train()?;
        self.check_sft()
    }

    fn check_model(&self) -> Result<(), ConfigError> {
        let model = &self.model;
        match (&model.path, model.init) {
            (Some(_), Some(_)) => {
                return Err(self.blame(
                    "model.init",
                    "a model is either loaded (`model.path`) or made (`model.init`), not both",
                    "remove one of the two",
                ));
            }
            (_, Some(Init::Random)) => {
                let Some(shape) = &model.shape else {
                    return Err(self.blame(
                        "model.init",
                        "random weights need a shape",
                        "add a section [model.shape] with hidden_size, intermediate_size, num_hidden_layers and num_attention_heads",
                    ));
                };
                if model.tokenizer.is_none() {
                    return Err(self.blame(
                        "model.init",
                        "random weights bring no tokenizer",
                        "set `model.tokenizer` to a directory, \"arithmetic\" or \"train\"",
                    ));
                }
                for (name, value) in [
                    ("hidden_size", shape.hidden_size),
                    ("intermediate_size", shape.intermediate_size),
                    ("num_hidden_layers", shape.num_hidden_layers),
                    ("num_attention_heads", shape.num_attention_heads),
                ] {
                    let field = format!("model.shape.{name}");
                    match value {
                        None => {
                            return Err(self.blame(
                                &field,
                                "a shape must give it",
                                format!("add `{name} = …` to [model.shape]"),
                            ));
                        }
                        Some(size) => self.at_least(&field, size, 1)?,
                    }
                }
                if model.tokenizer == Some(TokenizerSource::Train) && shape.vocab_size.is_none() {
                    return Err(self.blame(
                        "model.shape.vocab_size",
                        "a tokenizer that is learned needs its size",
                        "add `vocab_size = …`, 256 or more, to [model.shape]",
                    ));
                }
                if shape.num_attention_heads.unwrap_or(1) % shape.num_key_value_heads.unwrap_or(1).max(1) != 0
                {
                    return Err(self.blame(
                        "model.shape.num_key_value_heads",
                        "it must divide `num_attention_heads`",
                        "choose a divisor",
                    ));
                }
            }
            (_, None) if model.shape.is_some() => {
                return Err(self.blame(
                    "model.shape",
                    "a shape is for random weights only",
                    "add `init = \"random\"` to [model] or remove the shape",
                ));
            }
            (Some(ModelPath::Quickstart), None) if model.tokenizer.is_some() => {
                return Err(self.blame(
                    "model.tokenizer",
                    "the quickstart checkpoint brings its own tokenizer",
                    "remove the key",
                ));
            }
            _ => {}
        }
        Ok(())
    }

    fn check_source(&self, section: &str, source: &Source) -> Result<(), ConfigError> {
        let field = |name: &str| format!("{section}.{name}");
        if let Some(Err(error)) = source.preset.as_ref().map(Preset::rows) {
            return Err(self.blame(
                &field("preset"),
                error.to_string(),
                "or give a table of field names",
            ));
        }
        match (&source.path, source.generator) {
            (Some(_), Some(_)) => Err(self.blame(
                &field("generator"),
                "problems come from a file (`path`) or a generator, not both",
                "remove one of the two",
            )),
            (Some(_), None) if source.preset.is_none() => Err(self.blame(
                &field("path"),
                "a file needs a preset that says how its rows are read",
                format!("add `preset = \"gsm8k\"` or another one to [{section}]"),
            )),
            (None, _) if source.preset.is_some() => Err(self.blame(
                &field("preset"),
                "a preset is for a file",
                format!("add `path = …` to [{section}] or remove the key"),
            )),
            (None, _) if source.variants > 0 => Err(self.blame(
                &field("variants"),
                "only problems of a file can be varied",
                format!("add `path = …` to [{section}], or remove the key and raise `count`"),
            )),
            (None, Some(_)) => self.at_least(
                &field(if section == "eval" { "size" } else { "count" }),
                source.count,
                1,
            ),
            _ => Ok(()),
        }
    }

    fn check_prompt(&self) -> Result<(), ConfigError> {
        if self.prompt.system.is_some() && self.prompt.style != PromptStyle::Chat {
            return Err(self.blame(
                "prompt.system",
                format!("style \"{}\" has no system message", self.prompt.style),
                "set `prompt.style = \"chat\"` or remove the key",
            ));
        }
        Ok(())
    }

    fn check_sampling(&self) -> Result<(), ConfigError> {
        let rollout = &self.rollout;
        self.at_least("rollout.num_generations", rollout.num_generations, 1)?;
        self.at_least("rollout.max_completion_length", rollout.max_completion_length, 1)?;
        self.at_least("rollout.max_rows", rollout.max_rows, 1)?;
        self.at_least("rollout.memory_budget", rollout.memory_budget.bytes(), 1)?;
        if rollout.stop.iter().any(String::is_empty) {
            return Err(self.blame(
                "rollout.stop",
                "an empty text would end every completion at once",
                "leave it out",
            ));
        }
        self.positive("rollout.temperature", rollout.temperature)?;
        self.at_least("eval.samples", self.eval.samples, 1)?;
        let eval = self.eval_rollout();
        self.at_least("eval.max_completion_length", eval.max_completion_length, 1)?;
        self.within("eval.temperature", eval.temperature, 0.0, f64::MAX)?;
        for (section, sampling) in [("rollout", rollout), ("eval", &eval)] {
            let top_p = format!("{section}.top_p");
            self.positive(&top_p, sampling.top_p)?;
            self.within(&top_p, sampling.top_p, 0.0, 1.0)?;
            self.within(&format!("{section}.min_p"), sampling.min_p, 0.0, 1.0)?;
            self.positive(
                &format!("{section}.repetition_penalty"),
                sampling.repetition_penalty,
            )?;
        }
        Ok(())
    }

    fn check_objective(&self) -> Result<(), ConfigError> {
        self.at_least("projection.integrations", self.integrations(), 1)?;
        self.at_least("projection.samples", self.projection_samples(), 1)?;
        self.positive("projection.floor", self.projection.floor)?;
        self.within("projection.floor", self.projection.floor, 0.0, 1.0)?;
        self.within("projection.ratio_max", self.projection.ratio_max, 1.0, f64::MAX)?;
        self.positive("features.sigma", self.features.sigma)?;
        self.within("objective.alpha", self.objective.alpha, 0.0, f64::MAX)?;
        self.within("objective.kappa", self.objective.kappa, 0.0, f64::MAX)?;
        self.within("objective.beta", self.objective.beta, 0.0, f64::MAX)?;
        self.within("objective.epsilon", self.objective.epsilon, 0.0, 1.0)?;
        self.within("objective.epsilon_high", self.epsilon_high(), 0.0, f64::MAX)
    }

    fn check_train(&self) -> Result<(), ConfigError> {
        let train = &self.train;
        for (field, value) in [
            ("train.prompts_per_step", train.prompts_per_step),
            ("train.mini_batches", train.mini_batches),
            ("train.num_iterations", train.num_iterations),
            (
                "train.per_device_train_batch_size",
                train.per_device_train_batch_size,
            ),
            (
                "train.gradient_accumulation_steps",
                train.gradient_accumulation_steps,
            ),
        ] {
            self.at_least(field, value, 1)?;
        }
        if !train.prompts_per_step.is_multiple_of(train.mini_batches) {
            return Err(self.blame(
                "train.mini_batches",
                format!(
                    "{} mini-batches do not divide {} queries a step",
                    train.mini_batches, train.prompts_per_step
                ),
                "choose a divisor of `train.prompts_per_step`",
            ));
        }
        self.within("train.learning_rate", train.learning_rate, 0.0, f64::MAX)?;
        self.within("train.weight_decay", train.weight_decay, 0.0, f64::MAX)?;
        for (field, beta) in [
            ("train.adam_beta1", train.adam_beta1),
            ("train.adam_beta2", train.adam_beta2),
        ] {
            self.within(field, beta, 0.0, 1.0)?;
            if beta == 1.0 {
                return Err(self.blame(field, "it must be below 1", "0.9 and 0.999 are usual"));
            }
        }
        self.positive("train.adam_epsilon", train.adam_epsilon)?;
        self.within("train.max_grad_norm", train.max_grad_norm, 0.0, f64::MAX)?;
        self.within("train.warmup_ratio", train.warmup_ratio, 0.0, 1.0)
    }

    fn check_sft(&self) -> Result<(), ConfigError> {
        self.within("sft.integrate_frac", self.sft.integrate_frac, 0.0, 1.0)?;
        self.within("sft.project_frac", self.sft.project_frac, 0.0, 1.0)?;
        self.within("sft.wrong_frac", self.sft.wrong_frac, 0.0, 1.0)?;
        self.within("sft.candidate_wrong_frac", self.candidate_wrong_frac(), 0.0, 1.0)?;
        if self.sft.integrate_frac + self.sft.project_frac > 1.0 {
            return Err(self.blame(
                "sft.project_frac",
                "the integrate and project shares are more than the whole",
                "make `sft.integrate_frac + sft.project_frac` at most 1",
            ));
        }
        let numbers_only = self.grader.kind == GraderKind::Numbers && !self.grader.expressions;
        if self.sft.solutions == Solutions::Expression && numbers_only {
            return Err(self.blame(
                "sft.solutions",
                "the grader takes no expression for an answer",
                "set `grader.expressions = true` as well",
            ));
        }
        self.at_least("sft.candidates", self.sft_candidates(), 1)
    }

    pub(super) fn at_least(&self, field: &str, value: usize, least: usize) -> Result<(), ConfigError> {
        if value < least {
            return Err(self.blame(
                field,
                format!("{value} is too small"),
                format!("give {least} or more"),
            ));
        }
        Ok(())
    }

    pub(super) fn positive(&self, field: &str, value: f64) -> Result<(), ConfigError> {
        if !(value > 0.0 && value.is_finite()) {
            return Err(self.blame(field, format!("{value} is impossible"), "give a number above 0"));
        }
        Ok(())
    }

    /// `low ..= high`; a bound of ±[`f64::MAX`] asks for a finite number.
    pub(super) fn within(&self, field: &str, value: f64, low: f64, high: f64) -> Result<(), ConfigError> {
        if value >= low && value <= high {
            return Ok(());
        }
        let help = match (low == f64::MIN, high == f64::MAX) {
            (true, true) => "give a finite number".to_owned(),
            (false, true) => format!("give a number of {low} or more"),
            _ => format!("give a number from {low} to {high}"),
        };
        Err(self.blame(field, format!("{value} is impossible"), help))
    }
}
