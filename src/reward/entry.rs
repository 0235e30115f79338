//! One `[[reward]]` at work, and what of it is not in this program.

use std::collections::BTreeMap;

use super::code::Code;
use super::command::Program;
use super::model::{self, ModelReward};
use super::python::Worker;
use super::{Case, RewardConfig, RewardError, RewardKind};
use crate::code::{CodeConfig, Judge};
use crate::group::Score;
use crate::policy::{Scorer, ScorerError};

/// One `[[reward]]` at work.
#[derive(Debug)]
pub struct Entry {
    pub config: RewardConfig,
    outside: Outside,
    /// Sum and number of what it measured beside its values since that was last taken.
    measured: BTreeMap<String, (f64, usize)>,
}

/// What of a reward is not in this program.
#[derive(Debug)]
enum Outside {
    Nothing,
    Code(Code, Box<Judge>),
    Program(Box<Program>),
    Python(Box<Worker>),
    Model(ModelReward, Box<Scorer>),
}

impl Entry {
    /// One that is in this program.
    pub fn inside(config: RewardConfig) -> Self {
        Self {
            config,
            outside: Outside::Nothing,
            measured: BTreeMap::new(),
        }
    }

    /// Starts what it needs, programs of models as `how` says; `open` opens a model. [`Worker::loaded`] waits for a function.
    ///
    /// # Errors
    /// A program cannot be started, or a model not be loaded.
    pub fn start(
        config: &RewardConfig,
        how: &CodeConfig,
        open: &impl Fn(&ModelReward) -> Result<Scorer, ScorerError>,
    ) -> Result<Self, RewardError> {
        let label = &config.label;
        let outside = match &config.kind {
            RewardKind::Command(command) => Outside::Program(Box::new(Program::start(command, label)?)),
            RewardKind::Code(code) => Outside::Code(code.clone(), Box::new(Judge::start(how)?)),
            RewardKind::Python(python) => Outside::Python(Box::new(Worker::start(python, label)?)),
            RewardKind::ModelReward(model) => {
                let opened = open(model).map_err(|source| RewardError::Scorer {
                    label: label.clone(),
                    problem: String::new(),
                    source: Box::new(source),
                });
                Outside::Model(model.clone(), Box::new(opened?))
            }
            _ => Outside::Nothing,
        };
        Ok(Self {
            outside,
            ..Self::inside(config.clone())
        })
    }

    /// What runs the tests of problems, if it does.
    pub fn judge(&self) -> Option<&Judge> {
        match &self.outside {
            Outside::Code(_, judge) => Some(judge),
            _ => None,
        }
    }

    /// Its function, if it is one.
    pub fn function(&mut self) -> Option<&mut Worker> {
        match &mut self.outside {
            Outside::Python(worker) => Some(worker),
            _ => None,
        }
    }

    /// Sees whether its program is still there.
    ///
    /// # Errors
    /// It has ended.
    pub fn check(&mut self) -> Result<(), RewardError> {
        match &mut self.outside {
            Outside::Nothing | Outside::Model(..) | Outside::Code(..) => Ok(()),
            Outside::Program(program) => Ok(program.check()?),
            Outside::Python(worker) => Ok(worker.check()?),
        }
    }

    /// Sum and number of what was measured since this was last asked, by `LABEL/NAME`.
    pub fn take_measured(&mut self) -> Vec<(String, (f64, usize))> {
        let measured = std::mem::take(&mut self.measured).into_iter();
        measured
            .map(|(name, of)| (format!("{}/{name}", self.config.label), of))
            .collect()
    }

    /// What a program, a function or a model says.
    ///
    /// # Errors
    /// It failed.
    pub fn ask_outside(&mut self, cases: &[Case<'_>], step: usize) -> Result<Vec<Score>, RewardError> {
        let (scores, measured) = match &mut self.outside {
            Outside::Program(program) => program.ask(cases, step)?,
            Outside::Python(worker) => worker.judged()?,
            Outside::Code(config, judge) => (config.scores(judge, cases)?, Vec::new()),
            Outside::Model(config, scorer) => (
                model::scores(config, scorer, &self.config.label, cases)?,
                Vec::new(),
            ),
            Outside::Nothing => unreachable!("it was started"),
        };
        for (name, value) in measured {
            let (sum, count) = self.measured.entry(name).or_default();
            *sum += value;
            *count += 1;
        }
        Ok(scores)
    }

    /// Whether a right answer may count, as far as this reward is concerned.
    pub fn lets_pass(&self, case: &Case<'_>) -> bool {
        match &self.config.kind {
            RewardKind::Format(format) if format.gates => case.has(format),
            _ => true,
        }
    }
}
