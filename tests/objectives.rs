//! Every row and option of `[objective]` against TRL's own code, and against published formulas where TRL has none: losses,
//! gradients and metrics on fixed tensors (`scripts/make_objective_fixtures.py`).

use std::path::Path;

use burn::tensor::{Bool, DType, Device, Tensor, TensorData};
use gcpo::config::Config;
use gcpo::objective::{
    BatchTotals, LossInputs, LossMetrics, LossOutput, Objective, Projected, Rewards, Scores,
    highest_entropies,
};
use gcpo_model::device::{of_tests, of_tests_in_f64};
use serde::Deserialize;
use serde_json::{Map, Value};

type Grid = Vec<Vec<f64>>;

/// Candidates of a prompt.
const N: usize = 3;

#[derive(Deserialize)]
struct Fixture {
    longest: usize,
    batches: Vec<Batch>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Batch {
    lengths: Vec<usize>,
    truncated: Vec<bool>,
    rewards: Vec<Vec<Option<f64>>>,
    reward_weights: Vec<f64>,
    logp: Grid,
    logp_old: Grid,
    logp_sampled: Grid,
    logp_ref: Grid,
    entropy: Grid,
    upsilon: Vec<f64>,
    logp_x: Grid,
    pi_ref: Grid,
}

#[derive(Deserialize)]
struct Case {
    from: String,
    objective: Map<String, Value>,
    batch: usize,
    expect: Expect,
}

#[derive(Deserialize)]
struct Expect {
    advantage: Vec<f64>,
    loss: f64,
    grad_logp: Grid,
    grad_entropy: Option<Grid>,
    grad_logp_x: Option<Grid>,
    kl: Option<f64>,
    /// Shares of ratios that are clipped from below and from above.
    clip: Option<[f64; 2]>,
}

impl Batch {
    fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// The weighted sum of the rewards that apply.
    fn summed(&self, row: usize) -> Option<f64> {
        let parts = self.rewards[row].iter().zip(&self.reward_weights);
        let parts: Vec<f64> = parts
            .filter_map(|(reward, weight)| reward.map(|reward| reward * weight))
            .collect();
        (!parts.is_empty()).then(|| parts.iter().sum())
    }

    /// What a KL takes from the reward, as each token sees it.
    fn kl_to_come(&self, row: usize, objective: &Objective) -> Vec<f64> {
        let kept = ..self.lengths[row];
        objective.kl_to_come(&self.logp_old[row][kept], &self.logp_ref[row][kept])
    }

    /// How many tokens of a row the loss sees.
    fn kept(&self, row: usize, objective: &Objective) -> usize {
        let is_out = self.rewards[row].iter().all(Option::is_none)
            || (objective.mask_truncated && self.truncated[row]);
        if is_out { 0 } else { self.lengths[row] }
    }
}

/// A batch on a device, every tensor in one dtype.
struct On<'a> {
    batch: &'a Batch,
    longest: usize,
    device: Device,
    dtype: DType,
}

impl<'a> On<'a> {
    fn new(batch: &'a Batch, longest: usize, dtype: DType) -> Self {
        let device = match dtype {
            DType::F64 => of_tests_in_f64(),
            _ => of_tests(),
        };
        Self {
            batch,
            longest,
            device,
            dtype,
        }
    }

    fn floats<const D: usize>(&self, flat: Vec<f64>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(flat, shape), (&self.device, self.dtype))
    }

    fn flags(&self, flat: Vec<bool>, shape: [usize; 2]) -> Tensor<2, Bool> {
        Tensor::from_data(TensorData::new(flat, shape), &self.device)
    }

    fn grid(&self, grid: &Grid) -> Tensor<2> {
        self.floats(grid.concat(), [grid.len(), grid[0].len()])
    }

    /// What each reward says.
    fn scores(&self, shape: [usize; 2]) -> Scores {
        let rewards = &self.batch.rewards;
        let of = |k: usize| rewards.iter().map(move |of_row| of_row[k]);
        let all = 0..self.batch.reward_weights.len();
        Scores {
            value_kpg: all
                .clone()
                .map(|k| self.floats(of(k).map(|value| value.unwrap_or(7.0)).collect(), shape))
                .collect(),
            applies_kpg: all
                .map(|k| self.flags(of(k).map(|value| value.is_some()).collect(), shape))
                .collect(),
            weight_k: self.batch.reward_weights.clone(),
        }
    }

    /// The weights of the rows, by the objective, Υ being the batch's.
    fn weights(&self, objective: &Objective) -> Vec<f64> {
        let rows = self.batch.rows();
        if objective.weighs_tokens() {
            return self.token_weights(objective);
        }
        let reward = |row| Some(self.batch.summed(row)? - self.batch.kl_to_come(row, objective)[0]);
        let rewards: Vec<Option<f64>> = (0..rows).map(reward).collect();
        let shape = [rows / N, N];
        let earned_pg = self.flags(rewards.iter().map(Option::is_some).collect(), shape);
        let rewards_pg = self.floats(
            rewards.iter().map(|reward| reward.unwrap_or(7.0)).collect(),
            shape,
        );
        let rewards_pg = match objective.rewards {
            Rewards::SumThenNormalize => rewards_pg,
            Rewards::NormalizeThenSum => self.scores(shape).normalized_sum().unwrap(),
        };
        let upsilon_pg = self.floats(self.batch.upsilon.clone(), shape);
        values(
            objective
                .weigh(rewards_pg, Some(earned_pg), Some(upsilon_pg))
                .unwrap(),
        )
    }

    /// The weights of the tokens, where each has its own.
    fn token_weights(&self, objective: &Objective) -> Vec<f64> {
        let batch = self.batch;
        let (rows, width) = (batch.rows(), batch.logp[0].len());
        let (mut returns, mut keep) = (Vec::new(), Vec::new());
        for row in 0..rows {
            if let Some(reward) = batch.summed(row) {
                let kl = batch.kl_to_come(row, objective);
                returns.extend(kl.into_iter().map(|kl| reward - kl));
            }
            keep.resize(returns.len(), true);
            returns.resize((row + 1) * width, 7.0);
            keep.resize((row + 1) * width, false);
        }
        let shape = [rows, width];
        let weights = objective.weigh_tokens(self.floats(returns, shape), self.flags(keep, shape));
        values(weights.unwrap())
    }

    /// Which tokens have the highest entropy, where only these count.
    fn selected(&self, objective: &Objective, kept: &[usize]) -> Option<Vec<bool>> {
        let all = || self.batch.entropy.iter().zip(kept);
        let counted = all().flat_map(|(row, &n)| row[..n].iter().map(|&entropy| entropy as f32));
        let least = highest_entropies(counted.collect(), objective.top_entropy_quantile);
        let flags = all().flat_map(|(row, &n)| {
            let counts = move |(t, &entropy): (usize, &f64)| t < n && entropy as f32 >= least;
            row.iter().enumerate().map(counts)
        });
        (objective.top_entropy_quantile < 1.0).then(|| flags.collect())
    }

    fn run(&self, objective: &Objective, weights: &[f64]) -> Ran {
        let batch = self.batch;
        let (rows, width) = (batch.rows(), batch.logp[0].len());
        let kept: Vec<usize> = (0..rows).map(|row| batch.kept(row, objective)).collect();
        let keep = kept
            .iter()
            .flat_map(|&n| (0..width).map(move |t| t < n))
            .collect();
        let logp_bt = self.grid(&batch.logp).autodiff().require_grad();
        let logp_x_bt = self.grid(&batch.logp_x).autodiff().require_grad();
        let entropy_bt = self.grid(&batch.entropy).autodiff().require_grad();
        let selected = self.selected(objective, &kept);
        let selected_bt = selected
            .as_ref()
            .map(|flat| self.flags(flat.clone(), [rows, width]));
        let corrects = objective.correction.is_some();
        let inputs = LossInputs {
            entropy_bt: Some(entropy_bt.clone()),
            selected_bt,
            logp_sampled_bt: corrects.then(|| self.grid(&batch.logp_sampled)),
            logp_ref_bt: Some(self.grid(&batch.logp_ref)),
            projected: objective.needs_projected_reference().then(|| Projected {
                logp_x_bt: logp_x_bt.clone(),
                pi_ref_bt: self.grid(&batch.pi_ref),
            }),
            group_b: Some((0..rows).map(|row| row / N).collect()),
            ..LossInputs::new(
                logp_bt.clone(),
                self.grid(&batch.logp_old),
                self.floats(weights.to_vec(), [rows, weights.len() / rows]),
                self.flags(keep, [rows, width]),
            )
        };
        let mut totals = BatchTotals::of(kept, self.longest);
        if let Some(selected) = selected {
            totals.selected = selected.iter().filter(|&&is| is).count();
        }
        let LossOutput { loss, sums, .. } = objective.loss(&inputs, &totals).unwrap();
        let grads = loss.backward();
        let grad = |x: &Tensor<2>| x.grad(&grads).map_or(Vec::new(), values);
        Ran {
            grad_logp: grad(&logp_bt),
            grad_entropy: grad(&entropy_bt),
            grad_logp_x: grad(&logp_x_bt),
            metrics: sums.read().unwrap(),
            loss: values(loss)[0],
        }
    }
}

struct Ran {
    loss: f64,
    grad_logp: Vec<f64>,
    grad_entropy: Vec<f64>,
    grad_logp_x: Vec<f64>,
    metrics: LossMetrics,
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.try_into_vec_as().unwrap()
}

/// The row that a section of these keys gives.
fn objective(keys: &Map<String, Value>) -> Objective {
    let keys: Vec<String> = keys
        .iter()
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
    let text = format!("[objective]\n{}", keys.concat());
    let config = Config::from_str(&text, "fixture.toml", &[]);
    config
        .unwrap_or_else(|error| panic!("{text}{error}"))
        .objective_row()
}

fn close(place: &str, what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{place}: {what}");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!(
            (got - expected).abs() <= tolerance * expected.abs().max(1.0),
            "{place}: {what}[{index}] is {got}, expected {expected}"
        );
    }
}

fn check(case: &Case, batch: &Batch, longest: usize, dtype: DType, tolerance: f64) {
    let place = format!(
        "{} {} ({}, {dtype:?})",
        case.from,
        Value::from(case.objective.clone()),
        case.batch
    );
    let objective = objective(&case.objective);
    let on = On::new(batch, longest, dtype);
    let weights = on.weights(&objective);
    let expect = &case.expect;
    if objective.needs_projection() {
        let products = expect
            .advantage
            .iter()
            .zip(&batch.upsilon)
            .map(|(a, upsilon)| a * upsilon);
        close(
            &place,
            "weights",
            &weights,
            &products.collect::<Vec<_>>(),
            tolerance,
        );
    } else {
        close(&place, "advantage", &weights, &expect.advantage, tolerance);
    }
    let ran = on.run(&objective, &weights);
    close(
        &place,
        "loss",
        &[ran.loss, ran.metrics.loss],
        &[expect.loss; 2],
        tolerance,
    );
    close(
        &place,
        "grad_logp",
        &ran.grad_logp,
        &expect.grad_logp.concat(),
        tolerance,
    );
    if let Some(grad) = &expect.grad_entropy {
        close(
            &place,
            "grad_entropy",
            &ran.grad_entropy,
            &grad.concat(),
            tolerance,
        );
    }
    if let Some(grad) = &expect.grad_logp_x {
        close(&place, "grad_logp_x", &ran.grad_logp_x, &grad.concat(), tolerance);
    }
    if let Some(kl) = expect.kl {
        close(&place, "kl", &[ran.metrics.kl_ref().unwrap()], &[kl], tolerance);
    }
    if let Some([low, high]) = expect.clip {
        // Where a completion has one ratio, TRL counts those that are not in the loss.
        let one_each = ran.metrics.ratio_count <= batch.rows() as f64;
        let count = if one_each {
            batch.rows() as f64
        } else {
            ran.metrics.ratio_count
        };
        let got = [ran.metrics.clip_low_count, ran.metrics.clip_high_count].map(|clipped| clipped / count);
        close(&place, "clip", &got, &[low, high], tolerance);
    }
}

#[test]
fn rows_and_options_are_trls_and_the_authors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/objectives.json");
    let fixture: Fixture = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(fixture.cases.len() > 290, "{} cases", fixture.cases.len());
    for case in &fixture.cases {
        let batch = &fixture.batches[case.batch];
        check(case, batch, fixture.longest, DType::F64, 1e-6);
        check(case, batch, fixture.longest, DType::F32, 1e-5);
    }
}
