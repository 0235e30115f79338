//! What a `[[reward]]` is by default, and what must hold of it and of `[grader]`.

use gcpo_data::Rule;

use super::{Config, ConfigError, Reward, RewardName, RewardStyle};

impl Reward {
    /// What it is called in metrics and samples.
    pub fn label(&self) -> String {
        self.label.clone().unwrap_or_else(|| self.name.to_string())
    }

    /// Whether it depends on the final answer being right.
    pub fn needs_verdict(&self) -> bool {
        self.name == RewardName::Accuracy || self.style == Some(RewardStyle::Cosine)
    }

    /// Fills in what is not given of what its name has.
    pub(super) fn resolve(&mut self, max_completion_length: usize) {
        use RewardName::{Accuracy, Command, Format, Length, Repetition};
        use RewardStyle::{Boxed, Cosine, SoftOverlong};
        self.label = Some(self.label());
        match self.name {
            Accuracy => {
                self.correct.get_or_insert(1.0);
                self.wrong.get_or_insert(0.0);
            }
            Format => {
                self.style.get_or_insert(Boxed);
                self.gates.get_or_insert(true);
            }
            Length => {
                let style = *self.style.get_or_insert(SoftOverlong);
                let max_length = *self.max_length.get_or_insert(max_completion_length);
                if style == Cosine {
                    self.min_value_wrong.get_or_insert(-1.0);
                    self.max_value_wrong.get_or_insert(-0.5);
                    self.min_value_correct.get_or_insert(0.5);
                    self.max_value_correct.get_or_insert(1.0);
                } else {
                    self.cache.get_or_insert(max_length / 5);
                }
            }
            Repetition => {
                self.ngram_size.get_or_insert(3);
                self.max_penalty.get_or_insert(-1.0);
            }
            Command => {
                self.timeout_secs.get_or_insert(60.0);
                self.batch_size.get_or_insert(64);
            }
        }
    }

    /// The keys that are given, beside those that every reward has.
    fn given(&self) -> Vec<&'static str> {
        let keys = [
            ("correct", self.correct.is_some()),
            ("wrong", self.wrong.is_some()),
            ("style", self.style.is_some()),
            ("gates", self.gates.is_some()),
            ("max_length", self.max_length.is_some()),
            ("cache", self.cache.is_some()),
            ("min_value_wrong", self.min_value_wrong.is_some()),
            ("max_value_wrong", self.max_value_wrong.is_some()),
            ("min_value_correct", self.min_value_correct.is_some()),
            ("max_value_correct", self.max_value_correct.is_some()),
            ("ngram_size", self.ngram_size.is_some()),
            ("max_penalty", self.max_penalty.is_some()),
            ("command", self.command.is_some()),
            ("timeout_secs", self.timeout_secs.is_some()),
            ("batch_size", self.batch_size.is_some()),
        ];
        keys.into_iter()
            .filter_map(|(key, given)| given.then_some(key))
            .collect()
    }

    /// The keys that a reward of this name and style has, beside those that every reward has.
    fn keys(&self) -> &'static [&'static str] {
        match self.name {
            RewardName::Accuracy => &["correct", "wrong"],
            RewardName::Format => &["style", "gates"],
            RewardName::Length if self.style == Some(RewardStyle::Cosine) => &[
                "style",
                "max_length",
                "min_value_wrong",
                "max_value_wrong",
                "min_value_correct",
                "max_value_correct",
            ],
            RewardName::Length => &["style", "max_length", "cache"],
            RewardName::Repetition => &["ngram_size", "max_penalty"],
            RewardName::Command => &["command", "timeout_secs", "batch_size"],
        }
    }

    /// The styles that a reward of this name has.
    fn styles(&self) -> &'static [RewardStyle] {
        use RewardStyle::{Boxed, Cosine, SoftOverlong, Think, ThinkAnswer};
        match self.name {
            RewardName::Format => &[Boxed, Think, ThinkAnswer],
            RewardName::Length => &[SoftOverlong, Cosine],
            _ => &[],
        }
    }
}

impl Config {
    pub(super) fn check_rewards(&self) -> Result<(), ConfigError> {
        let numbers = self.grader.kind == super::GraderKind::Numbers;
        let finds = |rule: &Rule| match rule {
            Rule::Choice => false,
            Rule::Whole | Rule::Math => !numbers,
            Rule::Boxed | Rule::Hashes | Rule::AnswerIs | Rule::LastNumber => true,
        };
        if !self.grader.rules.iter().any(finds) {
            return Err(self.blame(
                "grader.rules",
                "no answer would ever be found",
                "name one at least of \"boxed\", \"hashes\", \"answer_is\" and \"last_number\"",
            ));
        }
        if self.grader.expressions && self.grader.kind == super::GraderKind::Math {
            return Err(self.blame(
                "grader.expressions",
                "a grader of mathematics works out every expression",
                "remove the key, or set `grader.kind = \"numbers\"`",
            ));
        }
        for (number, reward) in self.reward.iter().enumerate() {
            let field = |key: &str| format!("reward.{number}.{key}");
            self.check_reward(reward, field)?;
            let label = reward.label();
            if self.reward[..number].iter().any(|other| other.label() == label) {
                let key = if reward.label.as_deref() == Some(&*reward.name.to_string()) {
                    "name"
                } else {
                    "label"
                };
                return Err(self.blame(
                    &field(key),
                    format!("there is another reward called \"{label}\""),
                    "give one of them a `label` of its own, or remove it",
                ));
            }
            let accuracy = |reward: &Reward| reward.name == RewardName::Accuracy;
            if reward.gates == Some(true) && !self.reward.iter().any(accuracy) {
                return Err(self.blame(
                    &field("name"),
                    "a format gates the reward `accuracy`, and there is none",
                    format!(
                        "add a [[reward]] with name = \"accuracy\", or set `reward.{number}.gates = false`"
                    ),
                ));
            }
        }
        Ok(())
    }

    fn check_reward(&self, reward: &Reward, field: impl Fn(&str) -> String) -> Result<(), ConfigError> {
        let name = reward.name;
        if let Some(style) = reward.style
            && !reward.styles().is_empty()
            && !reward.styles().contains(&style)
        {
            let known: Vec<String> = reward.styles().iter().map(|s| format!("\"{s}\"")).collect();
            return Err(self.blame(
                &field("style"),
                format!("\"{style}\" is no style of `{name}`"),
                format!("it takes {}", known.join(", ")),
            ));
        }
        if let Some(key) = reward.given().iter().find(|key| !reward.keys().contains(key)) {
            let of = match reward.style {
                Some(style) if reward.styles().contains(&style) => format!("`{name}` of style \"{style}\""),
                _ => format!("`{name}`"),
            };
            let known = [&["label", "weight"], reward.keys()].concat().join(", ");
            return Err(self.blame(
                &field(key),
                format!("{of} has no such key"),
                format!("it has {known}"),
            ));
        }
        let label = reward.label();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if label.is_empty() || !label.chars().all(plain) {
            return Err(self.blame(
                &field("label"),
                format!("\"{label}\" is no name for a metric"),
                "use letters, digits, _ and -",
            ));
        }
        self.within(&field("weight"), reward.weight, f64::MIN, f64::MAX)?;
        if reward.gates == Some(true) && reward.weight != 1.0 {
            return Err(self.blame(
                &field("weight"),
                "a format that gates earns nothing that could be weighed",
                format!("remove the key, or set `{} = false`", field("gates")),
            ));
        }
        for (key, value) in [
            ("correct", reward.correct),
            ("wrong", reward.wrong),
            ("min_value_wrong", reward.min_value_wrong),
            ("max_value_wrong", reward.max_value_wrong),
            ("min_value_correct", reward.min_value_correct),
            ("max_value_correct", reward.max_value_correct),
            ("max_penalty", reward.max_penalty),
        ] {
            self.within(&field(key), value.unwrap_or(0.0), f64::MIN, f64::MAX)?;
        }
        for (key, value) in [
            ("max_length", reward.max_length),
            ("ngram_size", reward.ngram_size),
            ("batch_size", reward.batch_size),
        ] {
            self.at_least(&field(key), value.unwrap_or(1), 1)?;
        }
        if let (Some(cache), Some(max_length)) = (reward.cache, reward.max_length)
            && cache > max_length
        {
            return Err(self.blame(
                &field("cache"),
                format!("{cache} is more than the {max_length} of `max_length`"),
                "give less",
            ));
        }
        if reward.max_penalty.is_some_and(|penalty| penalty > 0.0) {
            return Err(self.blame(
                &field("max_penalty"),
                "a penalty above 0 would reward repetition",
                "give 0 or less",
            ));
        }
        if let Some(secs) = reward.timeout_secs {
            self.positive(&field("timeout_secs"), secs)?;
            // A day: more than any clock needs to hold.
            self.within(&field("timeout_secs"), secs, 0.0, 86_400.0)?;
        }
        if name == RewardName::Command {
            match reward.command.as_deref() {
                None => {
                    return Err(self.blame(
                        &field("command"),
                        "it must be given",
                        "add the program and its arguments, such as `command = [\"python3\", \"reward.py\"]`",
                    ));
                }
                Some([]) => {
                    return Err(self.blame(&field("command"), "it is empty", "begin with the program"));
                }
                Some([program, ..]) if program.is_empty() => {
                    return Err(self.blame(
                        &field("command"),
                        "the program has no name",
                        "begin with the program",
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}
