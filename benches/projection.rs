//! What GCPO's projection loses where it is given less to do, on the checkpoint in the binary or on a run's: `cargo bench --bench projection`, or, in
//! the build of `cargo run`, `cargo bench --profile dev --bench projection -- [CONFIG] [--set KEY=VALUE]… [--groups N] [--repeats N] [--truth N] [--only TEXT]…`.
//! Statistics, not seconds: what is run is counted in tokens.
//!
//! Of every group candidates are drawn once. Then stages 2 and 3 are repeated with other random numbers, in each way of doing less and,
//! with the same numbers and so the same `y_n = y_{n,0}`, with many integrations and samples, which stand for the truth.
//! Of candidate 0 nothing is counted: the truth holds some of its samples.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use gcpo::config::Config;
use gcpo::group::Group;
use gcpo::policy::Policy;
use gcpo::projection::{ProjectionPlan, project};
use gcpo::rollout::{Engine, Work};
use gcpo::sample::sample;
use gcpo_model::device::{self, DeviceSpec};
use gcpo_model::inference::Inference;

const RUN: &str = r#"
    [model]
    path = "quickstart"
    [data]
    generator = "arithmetic"
    [prompt]
    style = "marks"
    [rollout]
    num_generations = 4
    max_completion_length = 16
"#;

/// Which run, and how much of it.
#[derive(Parser)]
struct Args {
    /// The run; without one, the quickstart's checkpoint.
    config: Option<PathBuf>,
    /// Changes a key of it.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Groups of four candidates.
    #[arg(long, default_value_t = 32)]
    groups: usize,
    /// Times that stages 2 and 3 are run of each.
    #[arg(long, default_value_t = 8)]
    repeats: u64,
    /// Integrations, and samples of each context, that stand for the truth.
    #[arg(long, default_value_t = 32)]
    truth: usize,
    /// Only ways whose names hold one of these.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What all ways begin with: what the paper has.
const PAPERS: [&str; 3] = ["skip_flat_groups=false", "integrations=4", "samples=4"];

/// Ways of doing less, and what to call them.
const WAYS: &[(&str, &[&str])] = &[
    ("the paper's: J = M = 4", &[]),
    ("J = 4, M = 2", &["samples=2"]),
    ("J = 4, M = 1", &["samples=1"]),
    ("J = 2, M = 4", &["integrations=2"]),
    ("J = 2, M = 2", &["integrations=2", "samples=2"]),
    ("common random numbers, M = 4", &["common_random_numbers=true"]),
    (
        "common random numbers, M = 2",
        &["common_random_numbers=true", "samples=2"],
    ),
    (
        "common random numbers, M = 1",
        &["common_random_numbers=true", "samples=1"],
    ),
    ("pooled, M = 4", &["estimator=pooled"]),
    ("pooled, M = 2", &["estimator=pooled", "samples=2"]),
    ("pooled, M = 1", &["estimator=pooled", "samples=1"]),
    (
        "pooled and common, M = 1",
        &["estimator=pooled", "common_random_numbers=true", "samples=1"],
    ),
    ("12 tokens, M = 4", &["max_completion_length=12"]),
    ("8 tokens, M = 4", &["max_completion_length=8"]),
    ("4 tokens, M = 4", &["max_completion_length=4"]),
    (
        "J = 8, M = 1, pooled",
        &["integrations=8", "samples=1", "estimator=pooled"],
    ),
];

/// What a way of doing it came to.
#[derive(Default)]
struct Found {
    /// Of each candidate of each repeat.
    upsilon: Vec<f64>,
    /// π'_ref before it is clamped, of each token of each of them.
    reference: Vec<f64>,
    /// Tokens sampled, and run, in stages 2 and 3.
    sampled: usize,
    run: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let device = device::open(&DeviceSpec::Auto)?.device;
    let policy = args.config(&[])?.policy(Vec::new, &device)?;
    let model = Inference::new(&policy.model);
    let [integrations, samples] = ["integrations", "samples"].map(|key| format!("{key}={}", args.truth));
    let truth = args.found(&policy, &model, &[&integrations, &samples])?;
    println!(
        "{} groups of 4, {} repeats; the truth: {integrations}, {samples}",
        args.groups, args.repeats
    );
    println!(
        "{:<30}| Υ: bias | rms error | correlation | π'_ref: bias | rms error | tokens sampled | tokens run",
        ""
    );
    let is_wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|text| name.contains(text));
    for (name, sets) in WAYS.iter().filter(|(name, _)| is_wanted(name)) {
        let found = args.found(&policy, &model, sets)?;
        let [bias, error, correlation] = compare(&found.upsilon, &truth.upsilon)?;
        let [ref_bias, ref_error, _] = compare(&found.reference, &truth.reference)?;
        println!(
            "{name:<30}| {bias:+.4} | {error:.4} | {correlation:.3} | {ref_bias:+.5} | {ref_error:.5} | {} | {}",
            found.sampled, found.run
        );
    }
    let mean = truth.upsilon.iter().sum::<f64>() / truth.upsilon.len() as f64;
    let square = truth.upsilon.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / truth.upsilon.len() as f64;
    println!("Υ of the truth: mean {mean:.4}, spread {:.4}", square.sqrt());
    Ok(())
}

impl Args {
    /// The run with keys of `[projection]` set.
    fn config(&self, sets: &[&str]) -> Result<Config> {
        let sets = PAPERS.iter().chain(sets).map(|set| format!("projection.{set}"));
        let sets: Vec<String> = self.set.iter().cloned().chain(sets).collect();
        Ok(match &self.config {
            None => Config::from_str(RUN, "benches/projection.rs", &sets)?,
            Some(path) => Config::load(path, &sets)?,
        })
    }

    /// Stages 2 and 3 of all groups, over all repeats.
    fn found(&self, policy: &Policy, model: &Inference, sets: &[&str]) -> Result<Found> {
        let config = self.config(sets)?;
        let objective = config.objective_row();
        let problems = config.problems()?;
        let mut found = Found::default();
        for seed in 1..=self.repeats {
            let plan = |seed| ProjectionPlan {
                projection: &config.projection,
                features: &config.features,
                objective: &objective,
                seed,
                step: 1,
            };
            let group = |(number, problem)| policy.group(problem, number, Some((4, 0)));
            let groups = problems.iter().take(self.groups).enumerate().map(group);
            let mut groups: Vec<Group> = groups.collect::<Result<_, _>>()?;
            ensure!(groups.len() == self.groups, "there are not enough problems");
            let engine = Engine::new(model, &policy.eos, &config.rollout);
            // The candidates are the same every time.
            sample(&engine, &mut groups, &plan(0).answers(4))?;
            let before = engine.work();
            project(&engine, &mut groups, &plan(seed))?;
            found.add(&groups, before, engine.work())?;
        }
        Ok(found)
    }
}

impl Found {
    fn add(&mut self, groups: &[Group], before: Work, after: Work) -> Result<()> {
        self.sampled += after.tokens - before.tokens;
        self.run += after.decoded + after.prefilled - before.decoded - before.prefilled;
        for candidate in groups.iter().flat_map(|group| &group.candidates[1..]) {
            self.upsilon.push(candidate.upsilon.context("no Υ")?);
            let collider = candidate.collider.as_ref().context("no collider")?;
            for (token, p_q) in candidate.completion.logp.iter().enumerate() {
                let p_x: Vec<f64> = collider
                    .logp_x
                    .iter()
                    .map(|logp| f64::from(logp[token]).exp())
                    .collect();
                let mean = p_x.iter().sum::<f64>() / p_x.len() as f64;
                self.reference.push(p_x[0] - mean + f64::from(*p_q).exp());
            }
        }
        Ok(())
    }
}

/// Mean and root mean square of the difference, and the correlation.
fn compare(found: &[f64], truth: &[f64]) -> Result<[f64; 3]> {
    ensure!(found.len() == truth.len(), "other candidates were drawn");
    let n = found.len() as f64;
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / n;
    let pairs = || found.iter().zip(truth);
    let bias = mean(&mut pairs().map(|(a, b)| a - b));
    let error = mean(&mut pairs().map(|(a, b)| (a - b).powi(2))).sqrt();
    let [a, b] = [found, truth].map(|values| mean(&mut values.iter().copied()));
    let product = mean(&mut pairs().map(|(x, y)| (x - a) * (y - b)));
    let [x, y] = [(found, a), (truth, b)]
        .map(|(values, mean_of)| mean(&mut values.iter().map(|x| (x - mean_of).powi(2))).sqrt());
    Ok([bias, error, product / (x * y)])
}
