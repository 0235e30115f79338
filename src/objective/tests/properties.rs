//! What holds of every row, on many random batches (proptest, always the same ones); and cases that can be worked out by hand.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;

/// Rows of a group.
const N: usize = 3;
/// Random batches of each property.
const CASES: u32 = 20;

/// Batches of any lengths, of a policy that has moved or not.
fn hosts() -> impl Strategy<Value = Host> {
    let grid = |low: f64, high: f64| vec(vec(low..high, WIDTH), ROWS);
    let logps = [(); 4].map(|()| grid(-3.0, -0.1));
    let rest = (grid(-0.2, 1.2), vec(1..=WIDTH, ROWS), vec(-2.0..2.0, ROWS));
    (logps, rest, proptest::bool::ANY).prop_flat_map(|(logps, (pi_ref, lengths, advantage), has_moved)| {
        let [logp, old, logp_ref, logp_x] = logps;
        Just(Host {
            logp_old: if has_moved { old } else { logp.clone() },
            logp,
            logp_ref,
            logp_x,
            pi_ref,
            lengths,
            advantage,
        })
    })
}

/// Panics with the smallest batch that is found of which a property does not hold.
fn holds(property: impl Fn(Host)) {
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let held = runner.run(&hosts(), |host| {
        property(host);
        Ok(())
    });
    held.unwrap();
}

/// The row that a config of this name and these keys has.
fn row(name: &str, edit: impl FnOnce(&mut SettingsDraft)) -> Objective {
    let mut draft = SettingsDraft {
        kind: name.parse().unwrap(),
        ..SettingsDraft::default()
    };
    edit(&mut draft);
    draft.complete().unwrap().row(1e-6, 10.0)
}

/// Every name, as it is and with what may be added to it.
fn rows() -> Vec<Objective> {
    let plain = Which::NAMES.iter().map(|name| row(name, |_| {}));
    let more = Which::NAMES.iter().filter(|name| **name != "gvpo").map(|name| {
        row(name, |draft| {
            draft.beta = Some(0.04);
            draft.entropy_coef = Some(0.01);
            draft.off_policy_mask_threshold = Some(0.3);
            draft.vllm_importance_sampling_correction = Some(true);
        })
    });
    plain.chain(more).collect()
}

/// A batch of two groups with everything that an option may ask for.
fn inputs(host: &Host, group_b: Vec<usize>) -> LossInputs {
    let plain = host.inputs(DType::F64);
    let like = |values: &Grid| tensor2(values);
    LossInputs {
        entropy_bt: Some(like(&host.logp_ref).neg().autodiff().require_grad()),
        selected_bt: None,
        logp_sampled_bt: Some(like(&host.logp_old).mul_scalar(1.02)),
        group_b: Some(group_b),
        ..plain
    }
}

fn groups() -> Vec<usize> {
    (0..ROWS).map(|row| row / N).collect()
}

fn loss(row: &Objective, inputs: &LossInputs, totals: &BatchTotals) -> (f64, Vec<f64>) {
    let output = row.loss(inputs, totals).unwrap();
    let grads = output.loss.backward();
    let grad = inputs.logp_bt.grad(&grads).map_or(Vec::new(), f64s);
    (f64s(output.loss)[0], grad)
}

fn whole(row: &Objective, host: &Host) -> (f64, Vec<f64>) {
    loss(row, &inputs(host, groups()), &host.totals())
}

#[test]
fn passes_of_whole_groups_add_up() {
    for row in rows() {
        holds(|host| {
            let (expected, expected_grad) = whole(&row, &host);
            let (mut sum, mut grad) = (0.0, Vec::new());
            for range in [0..N, N..ROWS] {
                let part = host.rows(range);
                let (loss, of_part) = loss(&row, &inputs(&part, vec![0; N]), &host.totals());
                sum += loss;
                grad.extend(of_part);
            }
            close(&[sum], &[expected], 1e-12);
            close(&grad, &expected_grad, 1e-14);
        });
    }
}

#[test]
fn the_order_of_prompts_is_no_matter() {
    for row in rows() {
        holds(|host| {
            let (expected, grad) = whole(&row, &host);
            let (first, second) = (host.rows(0..N), host.rows(N..ROWS));
            let turned = Host {
                logp: [second.logp, first.logp].concat(),
                logp_old: [second.logp_old, first.logp_old].concat(),
                logp_ref: [second.logp_ref, first.logp_ref].concat(),
                logp_x: [second.logp_x, first.logp_x].concat(),
                pi_ref: [second.pi_ref, first.pi_ref].concat(),
                lengths: [second.lengths, first.lengths].concat(),
                advantage: [second.advantage, first.advantage].concat(),
            };
            let (loss, turned) = whole(&row, &turned);
            close(&[loss], &[expected], 1e-12);
            let half = N * WIDTH;
            close(&turned, &[&grad[half..], &grad[..half]].concat(), 1e-14);
        });
    }
}

#[test]
fn a_completion_without_tokens_in_the_loss_changes_nothing() {
    for row in rows() {
        holds(|mut host| {
            host.lengths[4] = 0;
            let (expected, grad) = whole(&row, &host);
            host.advantage[4] = 7.0;
            host.logp[4] = vec![-9.0; WIDTH];
            let (loss, again) = whole(&row, &host);
            assert_eq!((loss, &again), (expected, &grad), "{}", row.name);
            assert!(grad[4 * WIDTH..5 * WIDTH].iter().all(|&grad| grad == 0.0));
        });
    }
}

#[test]
fn wider_padding_changes_nothing() {
    for row in rows() {
        holds(|mut host| {
            let (expected, grad) = whole(&row, &host);
            for (i, &length) in host.lengths.iter().enumerate() {
                host.logp[i][length..].fill(f64::NAN);
                host.logp_old[i][length..].fill(f64::INFINITY);
                host.logp_ref[i][length..].fill(f64::NEG_INFINITY);
            }
            assert_eq!(whole(&row, &host), (expected, grad), "{}", row.name);
        });
    }
}

#[test]
fn equal_rewards_teach_nothing() {
    for row in rows()
        .into_iter()
        .filter(|row| row.flat_is_idle() && row.kl.beta == 0.0)
    {
        holds(|mut host| {
            // GVPO holds a policy that has moved back, whatever the rewards.
            host.logp_old = host.logp.clone();
            let rewards = tensor2(&[[0.1; N], [-0.7; N]]);
            let upsilon = tensor2(&[[2.0; N]; 2]);
            let weights = f64s(row.weigh(rewards, None, Some(upsilon)).unwrap());
            assert_eq!(weights, [0.0; ROWS], "{}", row.name);
            host.advantage = weights;
            let without = Objective { kappa: 0.0, ..row };
            let (_, grad) = whole(&without, &host);
            assert!(grad.iter().all(|&grad| grad == 0.0), "{}: {grad:?}", row.name);
        });
    }
}

/// `−β/(n − 1)·Σ(r_i − r̄)∇log π` for each group, and the mean over groups.
#[test]
fn gvpo_begins_as_reinforce_with_the_groups_mean() {
    holds(|mut host| {
        host.logp_old = host.logp.clone();
        let rewards = [[1.0, 0.25, -2.0], [0.0, 0.5, 3.0]];
        let gvpo = gvpo(0.3);
        host.advantage = f64s(gvpo.weigh(tensor2(&rewards), None, None).unwrap());
        let (_, grad) = whole(&gvpo, &host);
        for (i, grad) in grad.chunks(WIDTH).enumerate() {
            let mean = rewards[i / N].iter().sum::<f64>() / N as f64;
            let expected = -0.3 / (N - 1) as f64 * (rewards[i / N][i % N] - mean) / 2.0;
            // burn goes back through a division by a number in float32.
            close(&grad[..host.lengths[i]], &vec![expected; host.lengths[i]], 1e-7);
        }
    });
}

#[test]
fn rloo_begins_as_grpo_without_a_scale_but_for_a_factor() {
    let rewards = tensor2(&[[1.0, 0.25, -2.0], [0.0, 0.5, 3.0]]);
    let unscaled = Objective {
        scale: Scale::None,
        ..grpo(0.0, CLIP)
    };
    let a = f64s(unscaled.weigh(rewards.clone(), None, None).unwrap());
    let b = f64s(rloo(0.0, CLIP, false).weigh(rewards, None, None).unwrap());
    let times: Vec<f64> = a.iter().map(|a| a * N as f64 / (N - 1) as f64).collect();
    close(&b, &times, 1e-12);
    // Its term is the completion's: where the policy has not moved, the gradient of each of its tokens is A/N.
    let mut host = Host::random(3);
    host.logp_old = host.logp.clone();
    host.advantage = b.clone();
    let (_, grad) = whole(&rloo(0.0, CLIP, false), &host);
    for (i, grad) in grad.chunks(WIDTH).enumerate() {
        close(
            &grad[..host.lengths[i]],
            &vec![-b[i] / ROWS as f64; host.lengths[i]],
            1e-7,
        );
    }
}

#[test]
fn gcpo_without_its_parts_is_the_row_that_it_is_on() {
    for name in [
        "grpo",
        "dr_grpo",
        "dapo",
        "bnpo",
        "cispo",
        "sapo",
        "reinforce_pp_baseline",
    ] {
        let alone = row(name, |_| {});
        let composed = causal(alone, 2.0, 0.0, 1e-6, 10.0);
        let ones = tensor2(&[[1.0; N]; 2]);
        let rewards = || tensor2(&[[1.0, 0.25, -2.0], [0.0, 0.5, 3.0]]);
        let weights = f64s(alone.weigh(rewards(), None, None).unwrap());
        assert_eq!(
            f64s(composed.weigh(rewards(), None, Some(ones)).unwrap()),
            weights
        );
        holds(|host| {
            let host = Host {
                advantage: weights.clone(),
                ..host
            };
            assert_eq!(whole(&composed, &host), whole(&alone, &host), "{name}");
            // With κ it is that, and the second KL term as the row averages: twice κ adds twice as much.
            let with = |kappa| whole(&Objective { kappa, ..composed }, &host).0;
            let (base, once, twice) = (with(0.0), with(0.5), with(1.0));
            assert!(once > base, "{name}");
            close(&[twice - base], &[2.0 * (once - base)], 1e-12);
        });
    }
}

/// Weights 1, −1, 2 and ratios 0.5, 1, 1.5.
#[test]
fn what_can_be_worked_out_by_hand() {
    let log_ratios: [f64; 3] = [0.5f64.ln(), 0.0, 1.5f64.ln()];
    let batch = |logp: &[&[f64]], weights: Vec<f64>| {
        let [b, t] = [logp.len(), logp[0].len()];
        let keep = Tensor::<2, Bool>::from_data(TensorData::new(vec![true; b * t], [b, t]), &device());
        let weights = Tensor::from_data(TensorData::new(weights, [b, 1]), (&device(), DType::F64));
        let logp_bt = tensor2(logp).autodiff().require_grad();
        let old_bt = tensor2(&vec![vec![0.0; t]; b]);
        let inputs = LossInputs::new(logp_bt, old_bt, weights, keep);
        (inputs, BatchTotals::of(vec![t; b], t))
    };
    // PPO: min(0.5, 0.8) − 1 + min(3, 2.4), over three completions of one token.
    let one_each: Vec<&[f64]> = log_ratios.iter().map(std::slice::from_ref).collect();
    let (inputs, totals) = batch(&one_each, vec![1.0, -1.0, 2.0]);
    close(
        &[loss(&grpo(0.0, CLIP), &inputs, &totals).0],
        &[-1.9 / 3.0],
        1e-12,
    );
    // GSPO: one completion of three tokens has the ratio (0.5·1·1.5)^(1/3), and the mean of the weights.
    let (inputs, totals) = batch(&[&log_ratios], vec![2.0 / 3.0]);
    let expected = -0.75f64.powf(1.0 / 3.0) * 2.0 / 3.0;
    assert!((expected + 0.6057).abs() < 5e-5);
    for row in [gspo(0.0, CLIP), gspo_token(0.0, CLIP)] {
        let (loss, grad) = loss(&row, &inputs, &totals);
        close(&[loss], &[expected], 1e-12);
        close(&grad, &[expected / 3.0; 3], 1e-12);
    }
    // RLOO: the product.
    close(
        &[loss(&rloo(0.0, CLIP, false), &inputs, &totals).0],
        &[-0.8 * 2.0 / 3.0 * 0.75 / 0.8],
        1e-12,
    );
}

#[test]
fn the_highest_entropies_are_torchs_quantile() {
    let entropies = vec![0.5, 3.0, 1.0, 2.0, 0.0];
    for (share, least) in [(1.0, 0.0), (0.5, 1.0), (0.2, 2.2), (0.0, 3.0)] {
        let found = highest_entropies(entropies.clone(), share);
        assert!((found - least).abs() < 2e-5 && found < least, "{share}: {found}");
    }
    assert_eq!(highest_entropies(vec![], 0.5), f32::INFINITY);
}
