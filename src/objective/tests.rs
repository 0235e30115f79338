//! The losses against each other, against finite differences, and on bad padding.

mod properties;

use super::*;
use crate::testing::{device, f64s, tensor2};
use burn::tensor::{Bool, DType, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ROWS: usize = 6;
const WIDTH: usize = 5;

const CLIP: Clip = Clip { low: 0.2, high: 0.2 };

fn some_gcpo() -> Objective {
    gcpo(2.0, 0.06, 0.04, CLIP, 1e-6, 10.0)
}

fn some_grpo() -> Objective {
    grpo(0.04, CLIP)
}

fn group_advantage(rewards_pg: Tensor<2>) -> Vec<f64> {
    f64s(some_grpo().weigh(rewards_pg, None, None).unwrap())
}

type Grid = Vec<Vec<f64>>;

/// A batch on the host, so that tests can change single cells.
#[derive(Debug, Clone)]
struct Host {
    logp: Grid,
    logp_old: Grid,
    logp_ref: Grid,
    logp_x: Grid,
    pi_ref: Grid,
    lengths: Vec<usize>,
    advantage: Vec<f64>,
}

struct Ran {
    loss: f64,
    grad: Vec<f64>,
    grad_x: Vec<f64>,
    metrics: LossMetrics,
}

impl Host {
    fn random(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut grid = |low: f64, high: f64| -> Grid {
            (0..ROWS)
                .map(|_| (0..WIDTH).map(|_| rng.random_range(low..high)).collect())
                .collect()
        };
        Self {
            logp: grid(-3.0, -0.1),
            logp_old: grid(-3.0, -0.1),
            logp_ref: grid(-3.0, -0.1),
            logp_x: grid(-3.0, -0.1),
            pi_ref: grid(-0.2, 1.2),
            lengths: vec![5, 1, 3, 4, 2, 5],
            advantage: grid(-2.0, 2.0).concat()[..ROWS].to_vec(),
        }
    }

    fn inputs(&self, dtype: DType) -> LossInputs {
        let rows = self.lengths.len();
        let put = |grid: &Grid| tensor2(grid).cast(dtype);
        let keep: Vec<bool> = (0..rows * WIDTH)
            .map(|i| i % WIDTH < self.lengths[i / WIDTH])
            .collect();
        let advantage = TensorData::new(self.advantage.clone(), [rows, 1]);
        LossInputs {
            logp_ref_bt: Some(put(&self.logp_ref)),
            projected: Some(Projected {
                logp_x_bt: put(&self.logp_x).autodiff().require_grad(),
                pi_ref_bt: put(&self.pi_ref),
            }),
            ..LossInputs::new(
                put(&self.logp).autodiff().require_grad(),
                put(&self.logp_old),
                Tensor::from_data(advantage, (&device(), dtype)),
                Tensor::<2, Bool>::from_data(TensorData::new(keep, [rows, WIDTH]), &device()),
            )
        }
    }

    fn totals(&self) -> BatchTotals {
        BatchTotals::of(self.lengths.iter().copied(), WIDTH + 1)
    }

    fn run(&self, objective: &Objective) -> Ran {
        self.run_as(objective, DType::F64, &self.totals())
    }

    fn run_as(&self, objective: &Objective, dtype: DType, totals: &BatchTotals) -> Ran {
        let inputs = self.inputs(dtype);
        let output = objective.loss(&inputs, totals).unwrap();
        let grads = output.loss.backward();
        let grad = |x: &Tensor<2>| x.grad(&grads).map_or(Vec::new(), f64s);
        Ran {
            loss: f64s(output.loss)[0],
            grad: grad(&inputs.logp_bt),
            grad_x: grad(&inputs.projected.as_ref().unwrap().logp_x_bt),
            metrics: output.sums.read().unwrap(),
        }
    }

    fn rows(&self, range: std::ops::Range<usize>) -> Self {
        Self {
            logp: self.logp[range.clone()].to_vec(),
            logp_old: self.logp_old[range.clone()].to_vec(),
            logp_ref: self.logp_ref[range.clone()].to_vec(),
            logp_x: self.logp_x[range.clone()].to_vec(),
            pi_ref: self.pi_ref[range.clone()].to_vec(),
            lengths: self.lengths[range.clone()].to_vec(),
            advantage: self.advantage[range].to_vec(),
        }
    }
}

fn close(got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() <= tolerance, "[{i}]: {got} for {expected}");
    }
}

#[test]
fn gcpo_without_its_parts_is_grpo_bit_for_bit() {
    let rewards = [[1.0, 0.0, 0.3, 1.0, 0.2, 0.7]];
    let ones_pg = tensor2(&[[1.0; ROWS]]);
    let b_pg = some_gcpo().weigh(tensor2(&rewards), None, Some(ones_pg));
    let weights = group_advantage(tensor2(&rewards));
    assert_eq!(f64s(b_pg.unwrap()), weights);

    for (seed, beta) in [(1, 0.04), (2, 0.0), (3, 0.5)] {
        let without = gcpo(2.0, 0.0, beta, CLIP, 1e-6, 10.0);
        let host = Host {
            advantage: weights.clone(),
            ..Host::random(seed)
        };
        for dtype in [DType::F64, DType::F32] {
            let gcpo = host.run_as(&without, dtype, &host.totals());
            let grpo = host.run_as(&grpo(beta, CLIP), dtype, &host.totals());
            assert_eq!(gcpo.loss.to_bits(), grpo.loss.to_bits());
            let bits = |grad: &[f64]| grad.iter().map(|g| g.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&gcpo.grad), bits(&grpo.grad));
            assert!(gcpo.grad_x.is_empty(), "kappa 0 sends no gradient to x_i");
            // It is a real loss: clipped here and there, and not zero.
            assert!(grpo.metrics.clip_frac().unwrap() > 0.0 && grpo.loss != 0.0);
        }
    }
}

/// The loss of `host` by its formula, on the host.
fn by_hand(host: &Host, objective: &Objective) -> f64 {
    let Surrogate::Clipped { clip, .. } = objective.surrogate else {
        panic!("a row that clips is meant");
    };
    let Clip { low, high } = clip;
    let mut loss = 0.0;
    for (i, &length) in host.lengths.iter().enumerate() {
        let log_ratio = |t: usize| host.logp[i][t] - host.logp_old[i][t];
        let mean = (0..length).map(log_ratio).sum::<f64>() / length as f64;
        let mut sum = 0.0;
        for t in 0..length {
            let ratio = match objective.ratio {
                Ratio::Token => log_ratio(t).exp(),
                Ratio::Sequence | Ratio::SequenceToken => mean.exp(),
                Ratio::Joint => (mean * length as f64).exp(),
            };
            let a = host.advantage[i];
            let x = host.logp_ref[i][t] - host.logp[i][t];
            sum += (ratio * a).min(ratio.clamp(1.0 - low, 1.0 + high) * a);
            sum -= objective.kl.beta * (x.exp() - x - 1.0);
        }
        loss -= match objective.aggregation {
            Aggregation::PerSequence => sum / length as f64 / ROWS as f64,
            Aggregation::PerToken => sum / host.lengths.iter().sum::<usize>() as f64,
            // A completion may be one token longer than the longest.
            Aggregation::ConstantLength => sum / (ROWS * 6) as f64,
            Aggregation::SequenceSum => sum / ROWS as f64,
        };
    }
    loss
}

#[test]
fn rows_are_their_formulas() {
    let host = Host::random(5);
    let clip = Clip { low: 0.2, high: 0.28 };
    for ratio in [Ratio::Token, Ratio::Sequence, Ratio::Joint] {
        for aggregation in [
            Aggregation::PerSequence,
            Aggregation::PerToken,
            Aggregation::ConstantLength,
            Aggregation::SequenceSum,
        ] {
            let row = Objective {
                ratio,
                aggregation,
                ..grpo(0.04, clip)
            };
            let ran = host.run(&row);
            close(&[ran.loss, ran.metrics.loss], &[by_hand(&host, &row); 2], 1e-12);
            let by_differences = finite_differences(&host, &row, |host| &mut host.logp);
            // Ratios of whole completions are far from 1 here.
            close(&ran.grad, &by_differences, 1e-6);
        }
    }
}

#[test]
fn a_sequence_has_one_ratio() {
    let mut host = Host::random(6);
    host.advantage = vec![1.0, 1.0, -1.0, 1.0, -1.0, 1.0];
    let log_ratios = [0.5, -0.5, -0.5, 0.1, 0.1, 0.9];
    for (i, log_ratio) in log_ratios.into_iter().enumerate() {
        let length = host.lengths[i] as f64;
        // Only the mean over tokens counts, not where it comes from.
        host.logp_old[i] = host.logp[i].clone();
        host.logp_old[i][0] -= log_ratio * length;
    }
    let row = Objective {
        ratio: Ratio::Sequence,
        ..grpo(0.0, CLIP)
    };
    let metrics = host.run(&row).metrics;
    assert_eq!(metrics.ratio_count, ROWS as f64);
    assert_eq!([metrics.clip_low_count, metrics.clip_high_count], [1.0, 2.0]);
    close(
        &[metrics.ratio_sum],
        &[log_ratios.map(f64::exp).iter().sum()],
        1e-12,
    );
    // The KL is of tokens all the same.
    assert_eq!(metrics.kl_ref_count, 20.0);
}

#[test]
fn the_control_differs_from_grpo_in_its_weights_alone() {
    let control = grpo_alpha(1.5, 0.04, CLIP);
    let host = Host::random(5);
    assert_eq!(
        host.run(&control).loss.to_bits(),
        host.run(&some_grpo()).loss.to_bits()
    );
    let rewards = tensor2(&[[1.0, 0.0, 0.0], [0.5, 0.5, 0.5]]);
    let expected = group_advantage(rewards.clone()).into_iter().map(|a| a * 1.5);
    let weighed = f64s(control.weigh(rewards, None, None).unwrap());
    assert_eq!(weighed, expected.collect::<Vec<_>>());
}

#[test]
fn a_flat_group_weighs_nothing_whatever_upsilon_holds() {
    let rewards = tensor2(&[[0.1, 0.1, 0.1], [1.0, 0.0, 0.0]]);
    let upsilon = tensor2(&[[f64::NAN, f64::INFINITY, 2.0], [2.0, 1.0, -1.0]]);
    let b = f64s(some_gcpo().weigh(rewards.clone(), None, Some(upsilon)).unwrap());
    let a = group_advantage(rewards);
    assert_eq!(b[..3], [0.0; 3]);
    assert_eq!(b[3..], [2.0 * a[3], a[4], -a[5]]);
}

/// Central differences of the loss in every kept cell of one grid.
fn finite_differences(host: &Host, objective: &Objective, cell: impl Fn(&mut Host) -> &mut Grid) -> Vec<f64> {
    let h = 1e-6;
    let mut grad = vec![0.0; ROWS * WIDTH];
    for i in 0..ROWS {
        for t in 0..WIDTH {
            let at = |step: f64| {
                let mut moved = host.clone();
                cell(&mut moved)[i][t] += step;
                moved.run(objective).loss
            };
            grad[i * WIDTH + t] = (at(h) - at(-h)) / (2.0 * h);
        }
    }
    grad
}

#[test]
fn gradients_are_those_of_finite_differences() {
    // Far from the old policy: both clip branches, kept and clamped ρ all occur.
    let mut low = false;
    let mut high = false;
    for seed in [11, 12] {
        let mut host = Host::random(seed);
        // A row of a flat group has a weight of 0: only the KL terms move it.
        host.advantage[3] = 0.0;
        let clip = Clip { low: 0.1, high: 0.28 };
        let row = gcpo(2.0, 0.3, 0.04, clip, 1e-6, 3.0);
        let ran = host.run(&row);
        low |= ran.metrics.clip_low_count > 0.0;
        high |= ran.metrics.clip_high_count > 0.0;
        let clamped = ran.metrics.clamped_frac().unwrap();
        assert!(clamped > 0.1 && clamped < 0.9, "{clamped}");
        let by_differences = finite_differences(&host, &row, |host| &mut host.logp);
        close(&ran.grad, &by_differences, 1e-7);
        let by_differences = finite_differences(&host, &row, |host| &mut host.logp_x);
        close(&ran.grad_x, &by_differences, 1e-7);
    }
    assert!(low && high, "both clip branches must occur");
}

/// One token: the derivative is known by hand.
#[test]
fn single_tokens_have_the_gradient_of_their_branch() {
    let row = gcpo(2.0, 0.5, 0.0, CLIP, 1e-6, 10.0);
    // (log ratio, weight, expected dLoss/dlogp)
    for (log_ratio, weight, expected) in [
        (0.1_f64, 2.0, -2.0 * 0.1_f64.exp()),
        (0.5, 2.0, 0.0),
        (-0.5, -2.0, 0.0),
        (0.5, -2.0, 2.0 * 0.5_f64.exp()),
        (-0.5, 2.0, -2.0 * (-0.5_f64).exp()),
        (0.5, 0.0, 0.0),
    ] {
        let mut host = Host::random(7).rows(0..1);
        host.lengths = vec![1];
        host.advantage = vec![weight];
        host.logp_old[0][0] = host.logp[0][0] - log_ratio;
        let grad = host.run(&row).grad;
        close(&grad[..1], &[expected], 1e-12);
    }
    // (π'_ref, log π_θ(x), expected dLoss/dlogp_x): ∂K'/∂log π_θ = 1 − ρ inside the clamp.
    let inside = |pi: f64, logp: f64| 0.5 * (1.0 - pi / logp.exp());
    for (pi_ref, logp_x, expected) in [
        (0.3, -1.0, inside(0.3, -1.0)),
        // π'_ref is held at 1, ρ is still inside.
        (1.4, -0.5, inside(1.0, -0.5)),
        // ρ above 10, and below 1/10 by way of the floor.
        (0.9, -5.0, 0.0),
        (-0.2, -1.0, 0.0),
    ] {
        let mut host = Host::random(7).rows(0..1);
        host.lengths = vec![1];
        host.pi_ref[0][0] = pi_ref;
        host.logp_x[0][0] = logp_x;
        let ran = host.run(&row);
        close(&ran.grad_x[..1], &[expected], 1e-12);
        let clamped = if pi_ref == 0.3 { 0.0 } else { 1.0 };
        assert_eq!(ran.metrics.clamped_frac(), Some(clamped), "{pi_ref}");
    }
}

#[test]
fn padding_may_hold_anything() {
    let clean = Host::random(21);
    let expected = clean.run(&some_gcpo());
    for garbage in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30, -1e30] {
        let mut dirty = clean.clone();
        for i in 0..ROWS {
            for t in dirty.lengths[i]..WIDTH {
                for grid in [
                    &mut dirty.logp,
                    &mut dirty.logp_old,
                    &mut dirty.logp_ref,
                    &mut dirty.logp_x,
                    &mut dirty.pi_ref,
                ] {
                    grid[i][t] = garbage;
                }
            }
        }
        let ran = dirty.run(&some_gcpo());
        assert_eq!(ran.loss.to_bits(), expected.loss.to_bits(), "{garbage}");
        assert_eq!(ran.grad, expected.grad, "{garbage}");
        assert_eq!(ran.grad_x, expected.grad_x, "{garbage}");
        assert_eq!(ran.metrics, expected.metrics, "{garbage}");
        for (i, row) in ran.grad.chunks(WIDTH).enumerate() {
            assert_eq!(row[clean.lengths[i]..], [0.0; WIDTH][clean.lengths[i]..]);
        }
    }
}

#[test]
fn nan_in_a_kept_token_is_not_hidden() {
    for grid in 0..5 {
        let mut host = Host::random(22);
        let host_grids = [
            &mut host.logp,
            &mut host.logp_old,
            &mut host.logp_ref,
            &mut host.logp_x,
            &mut host.pi_ref,
        ];
        for (index, cells) in host_grids.into_iter().enumerate() {
            if index == grid {
                cells[2][1] = f64::NAN;
            }
        }
        let inputs = host.inputs(DType::F64);
        let output = some_gcpo().loss(&inputs, &host.totals()).unwrap();
        assert!(f64s(output.loss)[0].is_nan(), "grid {grid}");
        let rows = f64s(output.row_loss_b);
        let bad: Vec<usize> = (0..ROWS).filter(|&b| !rows[b].is_finite()).collect();
        assert_eq!(bad, [2], "grid {grid}");
    }
}

#[test]
fn far_policies_do_not_overflow() {
    let mut host = Host::random(23);
    for i in 0..ROWS {
        host.logp_old[i][0] = -500.0;
        host.logp_ref[i][0] = -1e-3;
        host.logp[i][0] = if i % 2 == 0 { -1e-3 } else { -500.0 };
        host.logp_x[i][0] = -500.0;
    }
    // One row where both the ratio and the KL are out of range: nothing pulls on it.
    host.advantage[1] = -1.0;
    host.logp_old[1][0] = -700.0;
    let ran = host.run_as(&some_gcpo(), DType::F32, &host.totals());
    assert_eq!(ran.grad[WIDTH], 0.0);
    assert!(ran.grad.iter().chain(&ran.grad_x).all(|g| g.is_finite()));
}

#[test]
fn micro_batches_add_up_to_the_batch() {
    adds_up(&some_gcpo());
    adds_up(&Objective {
        ratio: Ratio::Sequence,
        aggregation: Aggregation::PerToken,
        ..some_gcpo()
    });
    adds_up(&Objective {
        aggregation: Aggregation::ConstantLength,
        ..some_gcpo()
    });
}

fn adds_up(row: &Objective) {
    let host = Host::random(31);
    let whole = host.run(row);
    let (mut loss, mut grad, mut grad_x) = (0.0, vec![], vec![]);
    let mut metrics = LossMetrics::default();
    let mut sums: Option<MetricSums> = None;
    for range in [0..1, 1..4, 4..6] {
        let part = host.rows(range);
        let ran = part.run_as(row, DType::F64, &host.totals());
        loss += ran.loss;
        grad.extend(ran.grad);
        grad_x.extend(ran.grad_x);
        metrics += ran.metrics;
        let output = row.loss(&part.inputs(DType::F64), &host.totals());
        let part = output.unwrap().sums;
        sums = Some(match sums {
            Some(sums) => sums + part,
            None => part,
        });
    }
    close(&[loss], &[whole.loss], 1e-14);
    close(&grad, &whole.grad, 0.0);
    close(&grad_x, &whole.grad_x, 0.0);
    for metrics in [metrics, sums.unwrap().read().unwrap()] {
        assert_eq!(metrics.ratio_count, whole.metrics.ratio_count);
        assert_eq!(metrics.clamped_count, whole.metrics.clamped_count);
        close(&[metrics.loss], &[whole.loss], 1e-14);
        let kl = [metrics.kl_ref().unwrap(), metrics.kl_projected().unwrap()];
        let expected = [whole.metrics.kl_ref(), whole.metrics.kl_projected()].map(Option::unwrap);
        close(&kl, &expected, 1e-12);
    }
}

#[test]
fn half_precision_is_computed_in_f32() {
    let host = Host::random(41);
    let exact = host.run(&some_gcpo());
    for dtype in [DType::F16, DType::BF16] {
        let ran = host.run_as(&some_gcpo(), dtype, &host.totals());
        close(&[ran.loss], &[exact.loss], 0.05);
        assert!(ran.grad.iter().all(|g| g.is_finite()));
    }
}

#[test]
fn what_is_missing_is_named() {
    let host = Host::random(51);
    let (full, totals) = (host.inputs(DType::F64), host.totals());
    let error = |objective: Objective, inputs: &LossInputs, totals: &BatchTotals| {
        let result = objective.loss(inputs, totals);
        result.unwrap_err().to_string()
    };
    let mut inputs = full.clone();
    inputs.logp_ref_bt = None;
    assert_eq!(
        error(some_grpo(), &inputs, &totals),
        "objective `grpo` with beta > 0 needs the reference model's log-probabilities"
    );
    let mut inputs = full.clone();
    inputs.projected = None;
    assert!(error(some_gcpo(), &inputs, &totals).contains("with kappa > 0 needs"));
    assert!(some_grpo().loss(&inputs, &totals).is_ok());
    let mut inputs = full.clone();
    inputs.advantage_br = inputs.advantage_br.narrow(0, 0, 2);
    assert_eq!(
        error(some_grpo(), &inputs, &totals),
        "objective: `advantage_br` has shape [2, 1], expected [6, 1]"
    );
    let none = BatchTotals::of([], 8);
    assert_eq!(
        error(some_grpo(), &full, &none),
        "objective: the batch has no completions"
    );
    let unweighed = some_gcpo().weigh(tensor2(&[[1.0, 0.0]]), None, None).unwrap_err();
    assert_eq!(
        unweighed.to_string(),
        "objective `gcpo` with weighted advantages needs the alignment `upsilon_pg`"
    );
}
