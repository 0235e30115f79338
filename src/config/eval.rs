//! What an `[[eval.suite]]` is by default, and what must hold of it.

use gcpo_data::dataset::{Answers, Suite};

use super::{Config, ConfigError, EvalSuite, Preset};

impl EvalSuite {
    /// The suite that the program knows by this name, unless a preset makes it another one.
    fn known(&self) -> Option<&'static Suite> {
        let suite = Suite::named(&self.name).ok();
        suite.filter(|_| self.preset.is_none())
    }

    /// Fills in what is not given.
    pub(super) fn resolve(&mut self, samples: usize) {
        let Some(suite) = self.known() else {
            self.samples.get_or_insert(samples);
            return;
        };
        self.samples.get_or_insert(suite.samples.max(samples));
        if self.path.is_none() {
            self.path = suite.hub.map(Into::into);
        }
        if let Some(preset) = suite.preset_name() {
            self.preset = Some(Preset::Named(preset.into()));
        }
    }
}

impl Config {
    pub(super) fn check_suites(&self) -> Result<(), ConfigError> {
        let suites = &self.eval.suite;
        for (number, suite) in suites.iter().enumerate() {
            let field = |name: &str| format!("eval.suite.{number}.{name}");
            let name = &suite.name;
            if suites[..number].iter().any(|other| other.name == *name) {
                let help = "give each its own; with a `preset`, any name will do";
                return Err(self.blame(&field("name"), format!("two suites are called {name:?}"), help));
            }
            match &suite.preset {
                None => match Suite::named(name) {
                    Ok(suite) if suite.answers == Answers::Programs => {
                        return Err(self.blame(
                            &field("name"),
                            format!("the answers of {name:?} are programs, which must be run to be graded, and this program runs none"),
                            "sample with `gcpo generate`, and run what gcpo_data::dataset::CodeProblem puts together where it can do no harm",
                        ));
                    }
                    Err(error) => {
                        let help = "or give its `path` and `preset`";
                        return Err(self.blame(&field("name"), error.to_string(), help));
                    }
                    Ok(_) => {}
                },
                Some(preset) => {
                    if let Err(error) = preset.rows() {
                        let help = "or give a table of field names";
                        return Err(self.blame(&field("preset"), error.to_string(), help));
                    }
                }
            }
            if suite.path.is_none() {
                let from = Suite::named(name).map_or(String::new(), |suite| format!(" ({})", suite.from));
                return Err(self.blame(
                    &field("name"),
                    format!("no file of {name:?} is given"),
                    format!("give its `path`, or `--suite {name}=FILE`{from}"),
                ));
            }
            self.at_least(&field("samples"), suite.samples.unwrap_or(1), 1)?;
        }
        if self.eval.every > 0
            && !suites.is_empty()
            && self.eval.path.is_none()
            && self.eval.generator.is_none()
        {
            return Err(self.blame(
                "eval.every",
                "suites are for `gcpo eval`: there is nothing to measure while training",
                "give `eval.path`, or leave `eval.every` out",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        Config::from_str(text, "a.toml", &[]).map_err(|error| error.to_string())
    }

    #[test]
    fn a_suite_knows_its_samples_its_rows_and_where_it_is_from() {
        let text = "[eval]\nsamples = 8\n[[eval.suite]]\nname = \"aime24\"\n[[eval.suite]]\nname = \"math500\"\npath = \"m.jsonl\"\n\
                    [[eval.suite]]\nname = \"mine\"\npath = \"x.csv\"\npreset = {question = \"q\", answer = \"a\"}\nsamples = 2\n";
        let config = load(text).unwrap();
        let samples: Vec<_> = config.eval.suite.iter().map(|suite| suite.samples).collect();
        assert_eq!(samples, [Some(16), Some(8), Some(2)]);
        // An address on the hub is none of this machine's paths.
        let hub = config.eval.suite[0].path.as_ref().unwrap();
        assert_eq!(Suite::named("aime24").unwrap().hub, hub.to_str());
        assert!(config.eval.suite[1].path.as_ref().unwrap().is_absolute());
        assert_eq!(config.eval.suite[1].preset, Some(Preset::Named("math".into())));
        // Written and read again it is the same run.
        assert_eq!(load(&config.to_toml()).unwrap().eval, config.eval);
    }

    #[test]
    fn a_suite_that_cannot_be_is_blamed_on_its_line() {
        for (text, message) in [
            (
                "[[eval.suite]]\nname = \"amc24\"",
                "a.toml:2: `eval.suite.0.name`: no suite is called \"amc24\"; did you mean \"amc23\"?",
            ),
            (
                "[[eval.suite]]\nname = \"minerva\"",
                "a.toml:2: `eval.suite.0.name`: no file of \"minerva\" is given",
            ),
            (
                "[[eval.suite]]\nname = \"humaneval\"",
                "`eval.suite.0.name`: the answers of \"humaneval\" are programs",
            ),
            (
                "[[eval.suite]]\nname = \"aime24\"\n[[eval.suite]]\nname = \"aime24\"",
                "a.toml:4: `eval.suite.1.name`: two suites",
            ),
            (
                "[[eval.suite]]\nname = \"x\"\npreset = \"y\"",
                "a.toml:3: `eval.suite.0.preset`: no preset is called",
            ),
            (
                "[[eval.suite]]\nname = \"aime24\"\nsamples = 0",
                "a.toml:3: `eval.suite.0.samples`: 0 is too small",
            ),
            (
                "[[eval.suite]]\nname = \"aime24\"\n[eval]\nevery = 2",
                "`eval.every`: suites are for `gcpo eval`",
            ),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
