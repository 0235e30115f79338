//! ReST-MCTS* (Zhang et al., arXiv 2406.03816): in rounds, a tree search finds solutions, and supervised training learns them:
//!
//! ```text
//! problems ─► search ⇄ grade ─► solutions ─► update ─► StepReport
//! ```

use anyhow::Result;
use burn::tensor::Device;
use gcpo_data::Problem;
use gcpo_model::inference::Inference;
use gcpo_model::llama::Llama;

use super::exchange::agree;
use super::sft::{Row, in_passes, loss};
use super::{HeldOut, Recipe, StepError, graded, learner};
use crate::config::Config;
use crate::demonstrate::Demonstration;
use crate::group::Group;
use crate::learner::{Learner, UpdateError, split};
use crate::policy::Policy;
use crate::ranks::Ranks;
use crate::ranks::share::deal;
use crate::report::{Done, RestReport, RolloutReport, Sample, StepReport, Stopwatch, Taught};
use crate::reward::Reward;
use crate::rollout::{Completion, Work};
use crate::search::{Found, Search, SearchPlan, SearchReport, expand};
use crate::source::Problems;

/// Tree search, and supervised training on what it finds.
pub struct Rest {
    config: Config,
    problems: Problems,
    reward: Reward,
    learner: Learner,
    held_out: HeldOut,
}

impl Rest {
    /// A run about to do round 1, on the policy's device and on `others`, by this rank and others. Everything that can be known to fail
    /// does so here.
    ///
    /// # Errors
    /// As of reinforcement learning ([`super::Rl::new`]).
    pub fn new(
        config: Config,
        policy: Policy,
        problems: Vec<Problem>,
        others: &[Device],
        ranks: Ranks,
    ) -> Result<Self> {
        let (reward, problems, held_out) = graded(&config, &policy.model.device(), problems)?;
        let updates = config.train.max_steps * config.train.num_iterations * config.train.mini_batches;
        let learner = learner(&config, policy, updates, others, ranks)?;
        for problem in &problems {
            learner.policy.check_fits(problem, None, &config.rollout)?;
        }
        Ok(Self {
            held_out,
            problems: Problems::new(problems, &config.data, config.seed),
            config,
            reward,
            learner,
        })
    }

    /// problems ─► search ⇄ grade: the searches of a round, and what they and the round came to. Each rank has its share of the searches.
    fn search(&mut self, step: usize) -> Result<(Vec<Search>, Vec<Found>, RolloutReport), StepError> {
        let problems = self.problems.of_step(step, self.config.train.prompts_per_step);
        let search = |(number, problem)| Search::new(&self.learner.policy, problem, number);
        let mut searches: Vec<Search> = problems.map(search).collect::<Result<_, _>>()?;
        let ranks = self.learner.ranks().clone();
        let costs: Vec<u64> = searches
            .iter()
            .map(|search| search.context().len() as u64)
            .collect();
        let owners = deal(&costs, &mut vec![0; ranks.size()]);
        let own = |rank: usize| {
            (0..owners.len())
                .filter(|&at| owners[at] == rank)
                .collect::<Vec<_>>()
        };
        let mut all: Vec<Option<Search>> = searches.drain(..).map(Some).collect();
        let mut mine: Vec<Search> = own(ranks.rank())
            .into_iter()
            .filter_map(|at| all[at].take())
            .collect();
        let grown = self.grow(step, &mut mine);
        let mut report = agree(&ranks, grown)?;
        report.work = Work::of_engines(ranks.all_gather(report.work));
        let told = ranks.all_gather(mine.iter().map(Search::found).collect::<Vec<Found>>());
        own(ranks.rank())
            .into_iter()
            .zip(mine)
            .for_each(|(at, search)| all[at] = Some(search));
        let mut found = vec![Found::default(); all.len()];
        for (rank, of_rank) in told.into_iter().enumerate() {
            own(rank)
                .into_iter()
                .zip(of_rank)
                .for_each(|(at, of)| found[at] = of);
        }
        Ok((all.into_iter().flatten().collect(), found, report))
    }

    /// Goes on with some searches until they are over.
    fn grow(&mut self, step: usize, searches: &mut [Search]) -> Result<RolloutReport, StepError> {
        let (config, policy) = (&self.config, &self.learner.policy);
        let plan = SearchPlan {
            rest: &config.rest,
            rollout: &config.rollout,
            seed: config.seed,
            step: step as u64,
        };
        let mut clock = Stopwatch::start();
        let mut report = RolloutReport::default();
        let models = self.learner.generators();
        while searches.iter().any(|search| search.goes_on(plan.rest)) {
            self.reward.check()?;
            let expanded = models.map(searches, |model: &Inference, searches| {
                expand(policy, model, searches, &plan)
            });
            let works = expanded.map_err(|error| {
                let groups: Vec<Group> = searches.iter().map(Search::group).collect();
                StepError::in_rollout(error, &groups)
            })?;
            report.work = report.work.then(Work::of_engines(works));
            report.sample_secs += clock.lap();
            let mut groups: Vec<Group> = searches.iter_mut().map(Search::ungraded).collect();
            self.reward.grade(&mut groups, step, |y| policy.decode(y))?;
            for (search, group) in searches.iter_mut().zip(groups) {
                search.take_graded(group, plan.rest);
            }
            report.reward_secs += clock.lap();
        }
        Ok(report)
    }

    /// Supervised training on the solutions of a round: passes and updates as of reinforcement learning, none where nothing was found.
    fn learn(&mut self, step: usize, rows: &[Row]) -> Result<Option<Taught>, StepError> {
        let train = self.config.train.clone();
        let (passes, parts) = (train.num_iterations, train.mini_batches);
        if rows.is_empty() {
            return Ok(None);
        }
        let taught = self.learner.as_one(|learner| {
            let mut taught = Taught::default();
            for pass in 0..passes {
                let ranges = split(rows.len(), parts);
                let count = ranges.len();
                for (part, range) in ranges.into_iter().enumerate() {
                    let mut rows = rows[range].to_vec();
                    rows.sort_by_key(|(_, row)| row.context.len() + row.target.len());
                    let tokens = rows.iter().map(|(_, row)| row.target.len()).sum();
                    let micros = in_passes(&train, learner, &rows);
                    let run = |model: &Llama, rows: &&[Row]| loss(model, rows, tokens);
                    let update = ((step - 1) * passes + pass) * parts + part;
                    let (update, losses) = learner.step(update, &micros, run)?;
                    taught.update = update;
                    let [loss] = learner.ranks().sum([losses.iter().sum()]);
                    taught.loss += loss / (passes * count) as f64;
                    taught.tokens += tokens;
                }
            }
            Ok::<_, UpdateError>(taught)
        })?;
        Ok(Some(taught))
    }
}

/// The solutions of a round's searches.
fn solutions(searches: &[Search], found: &[Found]) -> Vec<Row> {
    let rows = |(search, found): (&Search, &Found)| -> Vec<Row> {
        let row = |solution: &Completion| Demonstration {
            context: search.context().to_vec(),
            target: solution.tokens.clone(),
        };
        let id = &search.problem().id;
        found
            .solutions
            .iter()
            .map(|solution| (id.clone(), row(solution)))
            .collect()
    };
    searches.iter().zip(found).flat_map(rows).collect()
}

impl Recipe for Rest {
    fn step(&mut self, step: usize) -> Result<(StepReport, Vec<Sample>), StepError> {
        let mut whole = Stopwatch::start();
        let (searches, came, found) = self.search(step)?;
        let (search, rows) = (SearchReport::of(&came), solutions(&searches, &came));
        let both = searches.into_iter().zip(came);
        let groups: Vec<Group> = both.map(|(search, came)| search.into_group(came.tried)).collect();
        let measured = self.reward.take_measured(self.learner.ranks());
        self.reward.say_none(&groups, step);
        let labels = self.reward.labels();
        let samples = Sample::all(step, &groups, &labels, &self.learner.policy);
        let rollout = RolloutReport {
            work: found.work,
            sample_secs: found.sample_secs,
            reward_secs: found.reward_secs,
            measured,
            ..RolloutReport::of_tried(&groups, &labels)
        };
        let mut clock = Stopwatch::start();
        let taught = self.learn(step, &rows)?;
        let report = RestReport {
            rollout,
            search,
            taught,
            train_secs: clock.lap(),
            step_secs: whole.lap(),
        };
        Ok((StepReport::of(step, Done::Rest(Box::new(report))), samples))
    }

    fn parts(&mut self) -> (&mut Learner, &HeldOut, Option<&mut Reward>) {
        (&mut self.learner, &self.held_out, Some(&mut self.reward))
    }

    fn problems(&self) -> &[Problem] {
        self.problems.all()
    }
}
