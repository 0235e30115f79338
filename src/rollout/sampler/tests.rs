//! Draws on the host and on the device against the distributions they claim.

use burn::tensor::{Bool, Tensor, TensorData};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::testing::device;

const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, -1.0, 0.0];

fn support(sampling: Rollout) -> Vec<u32> {
    let mut seen: Vec<u32> = (0..2000)
        .map(|i| sampling.draw(&LOGITS, &[], f64::from(i) / 2000.0).unwrap().token)
        .collect();
    seen.sort_unstable();
    seen.dedup();
    seen
}

#[test]
fn draws_follow_the_softmax_at_the_temperature() {
    let sampling = Rollout {
        temperature: 0.7,
        ..Rollout::default()
    };
    let n = 20_000;
    let mut counts = [0u32; 5];
    for i in 0..n {
        counts[sampling
            .draw(&LOGITS, &[], (f64::from(i) + 0.5) / f64::from(n))
            .unwrap()
            .token as usize] += 1;
    }
    let exps: Vec<f64> = LOGITS.iter().map(|&x| (f64::from(x) / 0.7).exp()).collect();
    let total: f64 = exps.iter().sum();
    for (count, exp) in counts.iter().zip(&exps) {
        assert!(
            (f64::from(*count) / f64::from(n) - exp / total).abs() < 1e-3,
            "{counts:?}"
        );
    }
}

#[test]
fn filters_keep_what_transformers_keeps() {
    let all = Rollout::default;
    assert_eq!(support(all()), [0, 1, 2, 3, 4]);
    assert_eq!(support(Rollout { top_k: 2, ..all() }), [1, 2]);
    // softmax: 0.086, 0.636, 0.234, 0.012, 0.032
    assert_eq!(support(Rollout { top_p: 0.6, ..all() }), [1]);
    assert_eq!(support(Rollout { top_p: 0.64, ..all() }), [1, 2]);
    assert_eq!(support(Rollout { top_p: 0.88, ..all() }), [0, 1, 2]);
    assert_eq!(support(Rollout { min_p: 0.2, ..all() }), [1, 2]);
    assert_eq!(support(Rollout { min_p: 1.0, ..all() }), [1]);
    assert_eq!(
        support(Rollout {
            top_k: 3,
            top_p: 0.99,
            min_p: 0.3,
            ..all()
        }),
        [1, 2]
    );
    assert_eq!(
        support(Rollout {
            temperature: 0.0,
            ..all()
        }),
        [1]
    );
}

#[test]
fn logp_is_of_the_whole_distribution() {
    let sampling = Rollout {
        temperature: 0.5,
        top_k: 1,
        ..Rollout::default()
    };
    let draw = sampling.draw(&LOGITS, &[], 0.9).unwrap();
    let total: f64 = LOGITS.iter().map(|&x| (2.0 * f64::from(x)).exp()).sum();
    assert_eq!(draw.token, 1);
    assert!((f64::from(draw.logp) - (6.0 - total.ln())).abs() < 1e-6);
}

#[test]
fn damaged_logits_are_refused() {
    let sampling = Rollout::default();
    assert_eq!(sampling.draw(&[0.0, f32::NAN], &[], 0.5), None);
    assert_eq!(sampling.draw(&[f32::NEG_INFINITY; 3], &[], 0.5), None);
    assert_eq!(sampling.draw(&[0.0, f32::INFINITY], &[], 0.5), None);
    assert_eq!(
        sampling
            .draw(&[0.0, f32::NEG_INFINITY], &[], 0.999)
            .unwrap()
            .token,
        0
    );
}

/// Probabilities in f64, plain and as drawn, the long way: sort, cut, divide.
fn reference(how: &Rollout, logits: &[f32], seen: &[u32]) -> (Vec<f64>, Vec<f64>) {
    let softmax = |logits: &[f64]| {
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exps: Vec<f64> = logits
            .iter()
            .map(|x| ((x - max) / how.logp_temperature()).exp())
            .collect();
        let total: f64 = exps.iter().sum();
        exps.into_iter().map(|x| x / total).collect::<Vec<f64>>()
    };
    let mut logits: Vec<f64> = logits.iter().map(|&x| f64::from(x)).collect();
    let plain = softmax(&logits);
    let mut once = seen.to_vec();
    once.sort_unstable();
    once.dedup();
    for token in once {
        let x = &mut logits[token as usize];
        *x = if *x > 0.0 {
            *x / how.repetition_penalty
        } else {
            *x * how.repetition_penalty
        };
    }
    let mut drawn = softmax(&logits);
    let renormalise = |p: &mut Vec<f64>| {
        let total: f64 = p.iter().sum();
        p.iter_mut().for_each(|p| *p /= total);
    };
    let sorted = |p: &[f64]| {
        let mut sorted = p.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        sorted
    };
    let cut = |p: &mut Vec<f64>, least: f64| {
        // Equal logits give equal probabilities up to the last bits.
        p.iter_mut()
            .filter(|p| **p < least * (1.0 - 1e-12))
            .for_each(|p| *p = 0.0);
        renormalise(p);
    };
    if how.top_k > 0 && how.top_k < drawn.len() {
        let least = sorted(&drawn)[how.top_k - 1];
        cut(&mut drawn, least);
    }
    if how.top_p < 1.0 {
        let mut sum = 0.0;
        let least = sorted(&drawn).into_iter().find(|p| {
            sum += p;
            sum >= how.top_p
        });
        cut(&mut drawn, least.unwrap_or(0.0));
    }
    let least = how.min_p * sorted(&drawn)[0];
    cut(&mut drawn, least);
    (plain, drawn)
}

/// Logits with a few likely tokens and a long tail.
fn random_logits(rng: &mut ChaCha8Rng, vocab: usize) -> Vec<f32> {
    (0..vocab)
        .map(|_| {
            let u: f32 = (rng.next_u32() >> 8) as f32 / (1 << 24) as f32;
            let sign = if rng.next_u32().is_multiple_of(2) {
                1.0
            } else {
                -1.0
            };
            sign * 2.0 * -(1.0 - u).ln()
        })
        .collect()
}

fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Every combination of the steps, each on and off.
fn combinations() -> Vec<Rollout> {
    let mut all = Vec::new();
    for temperature in [0.0, 0.7, 1.0, 1.3] {
        for repetition_penalty in [1.0, 1.3] {
            for top_k in [0, 7] {
                for top_p in [1.0, 0.85] {
                    for min_p in [0.0, 0.08] {
                        all.push(Rollout {
                            repetition_penalty,
                            temperature,
                            top_k,
                            top_p,
                            min_p,
                            ..Rollout::default()
                        });
                    }
                }
            }
        }
    }
    all
}

fn batch(rows: &[Vec<f32>]) -> Tensor<2> {
    let shape = [rows.len(), rows[0].len()];
    Tensor::from_data(TensorData::new(rows.concat(), shape), &device())
}

fn seen_batch(seen: &[Vec<u32>], vocab: usize) -> Tensor<2, Bool> {
    let truths: Vec<bool> = seen
        .iter()
        .flat_map(|seen| (0..vocab as u32).map(|token| seen.contains(&token)))
        .collect();
    Tensor::from_data(TensorData::new(truths, [seen.len(), vocab]), &device())
}

#[test]
fn host_and_device_draw_the_same_and_say_its_probability() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for (vocab, rows) in [(24, 40), (512, 20), (5000, 6)] {
        for how in combinations() {
            let logits: Vec<Vec<f32>> = (0..rows).map(|_| random_logits(&mut rng, vocab)).collect();
            let seen: Vec<Vec<u32>> = (0..rows)
                .map(|_| (0..vocab / 2).map(|_| rng.next_u32() % vocab as u32).collect())
                .collect();
            let uniforms: Vec<f64> = (0..rows).map(|_| uniform(&mut rng)).collect();
            let on_device = how.draw_on_device(batch(&logits), Some(seen_batch(&seen, vocab)), &uniforms);
            for row in 0..rows {
                let host = how.draw(&logits[row], &seen[row], uniforms[row]).unwrap();
                let there = on_device[row].unwrap();
                assert_eq!(host.token, there.token, "{how:?}, {vocab} tokens, row {row}");
                let (plain, drawn) = reference(&how, &logits[row], &seen[row]);
                let token = host.token as usize;
                if how.temperature > 0.0 {
                    // The token is where the cumulative distribution passes the number.
                    let before: f64 = drawn[..token].iter().sum();
                    assert!(before < uniforms[row] + 1e-6, "{how:?}");
                    assert!(before + drawn[token] > uniforms[row] - 1e-6, "{how:?}");
                } else {
                    assert_eq!(host.sampling_logp, 0.0);
                }
                let sampling_logp = if how.temperature > 0.0 {
                    drawn[token].ln()
                } else {
                    0.0
                };
                for (draw, tolerance) in [(host, 1e-6), (there, 3e-6)] {
                    let error = |said: f32, is: f64| (f64::from(said) - is).abs();
                    assert!(
                        error(draw.logp, plain[token].ln()) < tolerance,
                        "{how:?} {draw:?}"
                    );
                    assert!(
                        error(draw.sampling_logp, sampling_logp) < tolerance,
                        "{how:?} {draw:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn frequencies_are_those_of_the_distribution() {
    let how = Rollout {
        repetition_penalty: 1.5,
        temperature: 0.8,
        top_k: 20,
        top_p: 0.9,
        min_p: 0.02,
        ..Rollout::default()
    };
    let logits = random_logits(&mut ChaCha8Rng::seed_from_u64(8), 24);
    let seen = vec![1, 5, 5, 17];
    let n = 4000;
    let uniforms: Vec<f64> = (0..n).map(|i| (f64::from(i) + 0.5) / f64::from(n)).collect();
    let rows = vec![logits.clone(); n as usize];
    for how in [Rollout::default(), how] {
        let (_, drawn) = reference(&how, &logits, &seen);
        let seen_bv = seen_batch(&vec![seen.clone(); n as usize], 24);
        let there = how.draw_on_device(batch(&rows), Some(seen_bv), &uniforms);
        let here = uniforms.iter().map(|&u| how.draw(&logits, &seen, u)).collect();
        for draws in [there, here] {
            let mut counts = vec![0f64; 24];
            for draw in draws {
                counts[draw.unwrap().token as usize] += 1.0 / f64::from(n);
            }
            for (count, is) in counts.iter().zip(&drawn) {
                assert!((count - is).abs() < 1.5 / f64::from(n), "{counts:?} {drawn:?}");
            }
        }
    }
}

#[test]
fn ties_share_their_fate() {
    let tied = [2.0, 0.0, 2.0, 1.0, 2.0, 0.0];
    let uniforms: Vec<f64> = (0..600).map(|i| f64::from(i) / 600.0).collect();
    let all = Rollout::default;
    for (how, expected) in [
        (Rollout { top_k: 1, ..all() }, vec![0, 2, 4]),
        (Rollout { top_k: 4, ..all() }, vec![0, 2, 3, 4]),
        (Rollout { top_k: 5, ..all() }, vec![0, 1, 2, 3, 4, 5]),
        (Rollout { top_p: 0.1, ..all() }, vec![0, 2, 4]),
        (
            Rollout {
                top_k: 2,
                top_p: 0.99,
                ..all()
            },
            vec![0, 2, 4],
        ),
    ] {
        let rows = vec![tied.to_vec(); uniforms.len()];
        let there = how.draw_on_device(batch(&rows), None, &uniforms);
        let here = uniforms.iter().map(|&u| how.draw(&tied, &[], u)).collect();
        for draws in [there, here] {
            let mut support: Vec<u32> = draws.into_iter().map(|draw| draw.unwrap().token).collect();
            support.sort_unstable();
            support.dedup();
            assert_eq!(support, expected, "{how:?}");
        }
    }
}

#[test]
fn the_search_separates_what_f32_separates() {
    // 1e-10 apart: 32 rounds of bisection are too few, so the second attempt must serve.
    let logits: Vec<f32> = (0..24).map(|i| -1e-10 * ((i * 7) % 24) as f32).collect();
    let how = Rollout {
        top_k: 5,
        ..Rollout::default()
    };
    let uniforms: Vec<f64> = (0..100).map(|i| f64::from(i) / 100.0).collect();
    let mut support: Vec<u32> = how
        .draw_on_device(batch(&vec![logits; 100]), None, &uniforms)
        .into_iter()
        .map(|draw| draw.unwrap().token)
        .collect();
    support.sort_unstable();
    support.dedup();
    let expected: Vec<u32> = (0..24).filter(|i| (i * 7) % 24 < 5).collect();
    assert_eq!(support, expected);
}

#[test]
fn a_token_without_weight_is_never_drawn() {
    let almost_one = 1.0 - f64::EPSILON / 2.0;
    for vocab in [3, 130, 5000] {
        // Half of the vocabulary is flat and ends in tokens that cannot be.
        let mut logits = vec![f32::NEG_INFINITY; vocab];
        logits[1..vocab / 2 + 1].fill(0.3);
        let how = Rollout::default();
        let uniforms = [0.0, almost_one];
        let there = how.draw_on_device(batch(&[logits.clone(), logits.clone()]), None, &uniforms);
        for (draw, u) in there.into_iter().zip(uniforms) {
            let expected = if u == 0.0 { 1 } else { vocab as u32 / 2 };
            assert_eq!(draw.unwrap().token, expected);
            assert_eq!(how.draw(&logits, &[], u).unwrap().token, expected);
        }
    }
}

#[test]
fn damaged_rows_are_refused_and_others_are_not() {
    let inf = f32::INFINITY;
    let rows = [
        vec![0.0, f32::NAN, 1.0],
        vec![-inf, -inf, -inf],
        vec![0.0, inf, 1.0],
        vec![f32::NAN; 3],
        vec![0.0, -inf, -inf],
    ];
    for how in combinations() {
        let seen = vec![vec![0, 2]; rows.len()];
        let there = how.draw_on_device(batch(&rows), Some(seen_batch(&seen, 3)), &[0.9999; 5]);
        for (row, draw) in there.iter().enumerate() {
            assert_eq!(draw.map(|d| d.token), (row == 4).then_some(0), "{how:?}");
            let here = how.draw(&rows[row], &seen[row], 0.9999);
            assert_eq!(here.map(|d| d.token), (row == 4).then_some(0), "{how:?}");
        }
    }
}

#[test]
fn what_was_seen_counts_once_and_only_with_a_penalty() {
    let how = Rollout {
        repetition_penalty: 2.0,
        temperature: 0.0,
        ..Rollout::default()
    };
    // 3 / 2 < 2; ids beyond the vocabulary have no logit.
    assert_eq!(how.draw(&LOGITS, &[1, 1, 1, 99], 0.5).unwrap().token, 2);
    assert_eq!(how.draw(&LOGITS, &[1, 2], 0.5).unwrap().token, 1);
    // Negative logits become more so.
    assert_eq!(how.draw(&[-1.0, -1.5], &[0], 0.5).unwrap().token, 1);
    let plain = Rollout {
        temperature: 0.0,
        ..Rollout::default()
    };
    assert_eq!(plain.draw(&LOGITS, &[1], 0.5).unwrap().token, 1);
}
