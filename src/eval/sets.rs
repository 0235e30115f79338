//! What `gcpo eval` measures on.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use gcpo_data::dataset::{Loaded, load_code};
use gcpo_data::{Problem, take_shots};

use super::{Eval, EvalSuite, has_programs};
use crate::console::note;
use crate::source::{Paths, Preset, Source, held_out};

/// A set of problems to measure on.
#[derive(Debug)]
pub struct Set {
    /// What it is called.
    pub name: String,
    /// Where it is from, for people.
    pub data: String,
    /// Answers to each problem.
    pub samples: usize,
    /// The problems, and the rows that were left out.
    pub loaded: Loaded,
}

impl Eval {
    /// The held-out problems that a run is judged on; none if it is not.
    ///
    /// # Errors
    /// The file is missing or malformed.
    pub fn held_out(&self) -> Result<Loaded> {
        let mut loaded = held_out(&self.source()).context("the held-out problems ([eval])")?;
        let own = self.path.as_ref();
        show(
            &mut loaded.problems,
            self.num_fewshot,
            self.fewshot_path.as_ref().or(own),
        )?;
        Ok(loaded)
    }

    /// The `[[eval.suite]]`s, else the problems of `[eval]`; none if it says neither.
    ///
    /// # Errors
    /// A file is missing or malformed.
    pub fn sets(&self) -> Result<Vec<Set>> {
        if !self.suite.is_empty() {
            return self.suite.iter().map(|suite| self.set(suite)).collect();
        }
        let name = match (&self.path, &self.preset) {
            (None, _) => "arithmetic",
            (Some(_), Some(Preset::Named(name))) => name,
            (Some(path), _) => path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("eval"),
        };
        let set = Set {
            name: name.to_owned(),
            data: match &self.path {
                Some(path) => path.display().to_string(),
                None => "arithmetic (built in, held out)".to_owned(),
            },
            samples: self.samples,
            loaded: self.held_out()?,
        };
        let some = !set.loaded.problems.is_empty();
        Ok(some.then_some(set).into_iter().collect())
    }

    /// A whole suite.
    fn set(&self, suite: &EvalSuite) -> Result<Set> {
        let whole = Source {
            path: suite.path.clone().map(Paths::from),
            split: None,
            preset: suite.preset.clone(),
            generator: None,
            limit: suite.limit,
            ..self.source()
        };
        let data = suite.path.as_ref().map(|path| path.display().to_string());
        let mut loaded = held_out(&whole).with_context(|| format!("the suite {}", suite.name))?;
        let shots = suite.fewshot_path.as_ref().or(self.fewshot_path.as_ref());
        show(
            &mut loaded.problems,
            suite.num_fewshot,
            shots.or(suite.path.as_ref()),
        )?;
        Ok(Set {
            name: suite.name.clone(),
            data: data.unwrap_or_default(),
            samples: suite.samples,
            loaded,
        })
    }
}

/// Shows examples of a file before problems whose answers are programs, and says which.
fn show(problems: &mut [Problem], count: usize, path: Option<&PathBuf>) -> Result<()> {
    let (Some(path), true) = (path, count > 0 && has_programs(problems)) else {
        return Ok(());
    };
    let from = load_code(path).context("the examples (num_fewshot)")?;
    let asked = problems
        .iter_mut()
        .filter_map(|problem| problem.code.as_deref_mut());
    let names = take_shots(asked, &from, count).with_context(|| path.display().to_string())?;
    note(&format!(
        "{count}-shot: examples of {}: {}",
        path.display(),
        names.join(", ")
    ));
    Ok(())
}
