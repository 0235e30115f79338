//! Theorem 1 and Corollary 2 of Gu et al. (arXiv 2508.05428) on a linear-Gaussian collider.
//!
//! `q ~ N(0, 1)`, `y_i = A q + e_i`, and the collider `y_n = B q + C Σ_i y_i + e_n`. A least-squares
//! predictor of `y_0` from `x = (q, y_1 … y_n)`, fitted on few samples, is projected with the
//! crate's formula. `Φ` is known: given `(q, y_1 … y_{n-1})`, `y_n` is normal.

use burn::tensor::{DType, Tensor, TensorData};
use gcpo::projection::project_prediction;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const CANDIDATES: usize = 5;
const A: f64 = 0.8;
const B: f64 = 0.5;
const C: f64 = 1.0;
const NOISE: f64 = 0.7;
const TRAIN: usize = 16;
const TEST: usize = 400;
const SEEDS: u64 = 200;

struct Rng(ChaCha8Rng);

impl Rng {
    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.0.random::<f64>()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.0.random::<f64>()).cos()
    }
}

struct Sample {
    q: f64,
    y: [f64; CANDIDATES],
    y_n: f64,
}

impl Sample {
    fn draw(rng: &mut Rng) -> Self {
        let q = rng.normal();
        let y = std::array::from_fn(|_| A * q + rng.normal());
        let y_n = B * q + C * y.iter().sum::<f64>() + NOISE * rng.normal();
        Self { q, y, y_n }
    }

    /// `(1, q, y_1 … y_{n-1}, y_n)` with another `y_n`.
    fn x_with(&self, y_n: f64) -> Vec<f64> {
        let mut x = vec![1.0, self.q];
        x.extend(&self.y[1..]);
        x.push(y_n);
        x
    }

    /// Mean and standard deviation of `y_n` given `(q, y_1 … y_{n-1})`.
    fn collider(&self) -> (f64, f64) {
        let others: f64 = self.y[1..].iter().sum();
        let mean = B * self.q + C * (A * self.q + others);
        (mean, (C * C + NOISE * NOISE).sqrt())
    }
}

/// Least squares by the normal equations, eliminated with pivots.
fn least_squares(rows: &[Vec<f64>], targets: &[f64]) -> Vec<f64> {
    let k = rows[0].len();
    let mut m = vec![vec![0.0; k + 1]; k];
    for (row, target) in rows.iter().zip(targets) {
        for i in 0..k {
            for j in 0..k {
                m[i][j] += row[i] * row[j];
            }
            m[i][k] += row[i] * target;
        }
    }
    for i in 0..k {
        let pivot = (i..k).max_by(|&a, &b| m[a][i].abs().total_cmp(&m[b][i].abs()));
        m.swap(i, pivot.unwrap());
        let pivot_row = m[i].clone();
        for (r, row) in m.iter_mut().enumerate() {
            if r != i {
                let factor = row[i] / pivot_row[i];
                for (cell, pivot) in row.iter_mut().zip(&pivot_row) {
                    *cell -= factor * pivot;
                }
            }
        }
    }
    (0..k).map(|i| m[i][k] / m[i][i]).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn mean_square(predictions: &[f64], samples: &[Sample]) -> f64 {
    let squares = predictions.iter().zip(samples).map(|(p, s)| (p - s.y[0]).powi(2));
    squares.sum::<f64>() / samples.len() as f64
}

/// `π(x) − mean_l π(x_l) + π(q)` through the crate: tests are rows, one token each.
fn project_all(of_query: &[f64], of_x: &[Vec<f64>]) -> Vec<f64> {
    let options = (&gcpo_model::device::of_tests_in_f64(), DType::F64);
    let (b, l) = (of_x.len(), of_x[0].len());
    let p_q = Tensor::from_data(TensorData::new(of_query.to_vec(), [b, 1]), options);
    let p_x = Tensor::from_data(TensorData::new(of_x.concat(), [b, l, 1]), options);
    project_prediction(p_q, p_x).try_into_vec_as().unwrap()
}

struct Errors {
    of_x: f64,
    of_query: f64,
    projected: f64,
    projected_by_samples: f64,
    /// With the paper's printed sum in place of the mean.
    projected_by_sum: f64,
}

fn errors(seed: u64) -> Errors {
    let mut rng = Rng(ChaCha8Rng::seed_from_u64(seed));
    let train: Vec<_> = (0..TRAIN).map(|_| Sample::draw(&mut rng)).collect();
    let targets: Vec<_> = train.iter().map(|s| s.y[0]).collect();
    let xs: Vec<_> = train.iter().map(|s| s.x_with(s.y_n)).collect();
    let queries: Vec<_> = train.iter().map(|s| vec![1.0, s.q]).collect();
    let predictor_x = least_squares(&xs, &targets);
    let predictor_q = least_squares(&queries, &targets);

    let test: Vec<_> = (0..TEST).map(|_| Sample::draw(&mut rng)).collect();
    let at = |s: &Sample, y_n: f64| dot(&predictor_x, &s.x_with(y_n));
    let of_query: Vec<_> = test.iter().map(|s| dot(&predictor_q, &[1.0, s.q])).collect();
    let of_x: Vec<_> = test.iter().map(|s| at(s, s.y_n)).collect();
    // The predictor is linear: with y_n mirrored at its conditional mean, the mean of the two is
    // its conditional expectation, without an error of sampling.
    let exact: Vec<_> = (test.iter())
        .map(|s| vec![at(s, s.y_n), at(s, 2.0 * s.collider().0 - s.y_n)])
        .collect();
    let sampled: Vec<_> = (test.iter())
        .map(|s| {
            let (mean, std) = s.collider();
            let mut all = vec![at(s, s.y_n)];
            all.resize_with(32, || at(s, mean + std * rng.normal()));
            all
        })
        .collect();
    let by_sum: Vec<_> = (sampled.iter().zip(&of_query))
        .map(|(all, of_query)| all[0] - all.iter().sum::<f64>() + of_query)
        .collect();
    Errors {
        of_x: mean_square(&of_x, &test),
        of_query: mean_square(&of_query, &test),
        projected: mean_square(&project_all(&of_query, &exact), &test),
        projected_by_samples: mean_square(&project_all(&of_query, &sampled), &test),
        projected_by_sum: mean_square(&by_sum, &test),
    }
}

#[test]
fn the_projected_predictor_has_the_lowest_risk() {
    let all: Vec<_> = (0..SEEDS).map(errors).collect();
    let mean = |of: fn(&Errors) -> f64| all.iter().map(of).sum::<f64>() / SEEDS as f64;
    let (of_x, of_query) = (mean(|e| e.of_x), mean(|e| e.of_query));
    let projected = mean(|e| e.projected);
    let by_samples = mean(|e| e.projected_by_samples);
    println!("x {of_x:.3}, q {of_query:.3}, projected {projected:.3}, by samples {by_samples:.3}");
    // Theorem 1 and Corollary 2, with room.
    assert!(projected < 0.9 * of_x, "{projected} for {of_x}");
    assert!(projected < 0.9 * of_query, "{projected} for {of_query}");
    assert!(by_samples < 0.9 * of_x && by_samples < 0.9 * of_query);
    // Not by a few lucky seeds: the paired gain is many standard errors from 0.
    let gains: Vec<_> = all.iter().map(|e| e.of_x - e.projected).collect();
    let gain = of_x - projected;
    let variance = gains.iter().map(|g| (g - gain).powi(2)).sum::<f64>() / (SEEDS - 1) as f64;
    let standard_errors = gain / (variance / SEEDS as f64).sqrt();
    assert!(standard_errors > 4.0, "{standard_errors}");
    // Why Φ is a mean here: the sum that the paper prints is far off.
    assert!(mean(|e| e.projected_by_sum) > 2.0 * of_x);
}
