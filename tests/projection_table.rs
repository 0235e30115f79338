//! The projection on a "language model" that can be enumerated.
//!
//! Three tokens (a, b, end), completions of at most two, two candidates. The model is a table: a
//! distribution of the next token for every context. All expectations of the stages are then sums
//! over seven completions, and the estimates by the crate's projection must approach them as
//! `1/√samples`.

use burn::tensor::{DType, Tensor, TensorData};
use gcpo::projection::{Features, align, projection_means, reference};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const END: usize = 2;
const FEATURES: usize = 4;
const CANDIDATES: usize = 2;

/// An index into [`COMPLETIONS`].
type Completion = usize;

/// Every completion: it ends with `END`, or at two tokens.
const COMPLETIONS: [&[usize]; 7] = [&[END], &[0, END], &[1, END], &[0, 0], &[0, 1], &[1, 0], &[1, 1]];

/// What a completion is generated after.
#[derive(Clone, Copy)]
enum Context {
    /// `q`
    Query,
    /// `q, y_0, y_1`
    Integrate(Completion, Completion),
    /// `x_i`: `q`, the other candidate, the integration
    Project(Completion, Completion),
}

impl Context {
    fn seed(self) -> u64 {
        match self {
            Context::Query => 1,
            Context::Integrate(y_0, y_1) => 1000 + (10 * y_0 + y_1) as u64,
            Context::Project(other, y_n) => 2000 + (10 * other + y_n) as u64,
        }
    }

    /// `π(token | context, before)`: a row of the table, drawn once and for all.
    fn next(self, before: &[usize]) -> [f64; 3] {
        let prefix = before.first().map_or(0, |token| token + 1) as u64;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed() * 10 + prefix);
        let weights: [f64; 3] = std::array::from_fn(|_| (3.0 * rng.random::<f64>()).exp());
        let total: f64 = weights.iter().sum();
        weights.map(|w| w / total)
    }

    /// `π(token t of y | context, the tokens before it)`.
    fn token_probability(self, y: Completion, t: usize) -> f64 {
        let tokens = COMPLETIONS[y];
        self.next(&tokens[..t])[tokens[t]]
    }

    fn probability(self, y: Completion) -> f64 {
        (0..COMPLETIONS[y].len())
            .map(|t| self.token_probability(y, t))
            .product()
    }

    fn probabilities(self) -> [f64; 7] {
        std::array::from_fn(|y| self.probability(y))
    }

    /// `E[f(y)]` over this context's completions.
    fn expect(self, f: impl Fn(Completion) -> Vec<f64>) -> Vec<f64> {
        let mut sum: Vec<f64> = Vec::new();
        for y in 0..COMPLETIONS.len() {
            let value = f(y);
            sum.resize(value.len(), 0.0);
            for (sum, value) in sum.iter_mut().zip(value) {
                *sum += self.probability(y) * value;
            }
        }
        sum
    }
}

/// Samples completions from their probabilities.
struct Sampler {
    rng: ChaCha8Rng,
}

impl Sampler {
    fn new(seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { rng }
    }

    fn draw(&mut self, probabilities: &[f64; 7]) -> Completion {
        let mut left: f64 = self.rng.random();
        for (y, p) in probabilities.iter().enumerate() {
            left -= p;
            if left < 0.0 {
                return y;
            }
        }
        COMPLETIONS.len() - 1
    }
}

/// The representation of a completion.
fn feature(y: Completion) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(77 + y as u64);
    (0..FEATURES).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn tensor<const D: usize>(values: Vec<f64>, shape: [usize; D]) -> Tensor<D> {
    let data = TensorData::new(values, shape);
    Tensor::from_data(data, (&gcpo_model::device::of_tests_in_f64(), DType::F64))
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.try_into_vec_as().unwrap()
}

/// The candidates of one query.
struct Given {
    y: [Completion; CANDIDATES],
}

impl Given {
    fn project(&self, i: usize, y_n: Completion) -> Context {
        Context::Project(self.y[1 - i], y_n)
    }

    fn integrate(&self) -> Context {
        Context::Integrate(self.y[0], self.y[1])
    }

    /// `E[z(O)]` of candidate `i`, one integration given.
    fn given_integration(&self, i: usize, y_n: Completion) -> Vec<f64> {
        self.project(i, y_n).expect(feature)
    }

    /// `Φ` of it: over the integrations too.
    fn phi(&self, i: usize) -> Vec<f64> {
        let of = |y_n| self.given_integration(i, y_n);
        self.integrate().expect(of)
    }

    fn z(&self) -> Vec<f64> {
        self.y.iter().flat_map(|&y| feature(y)).collect()
    }

    fn draw_integrations(&self, count: usize, sampler: &mut Sampler) -> Vec<Completion> {
        let table = self.integrate().probabilities();
        (0..count).map(|_| sampler.draw(&table)).collect()
    }

    /// The representations of stage 3: `[candidate][integration][sample][feature]`.
    fn draw_projections(
        &self,
        integrations: &[Completion],
        samples: usize,
        sampler: &mut Sampler,
    ) -> Vec<f64> {
        let mut drawn = Vec::new();
        for i in 0..CANDIDATES {
            for &y_n in integrations {
                let table = self.project(i, y_n).probabilities();
                for _ in 0..samples {
                    drawn.extend(feature(sampler.draw(&table)));
                }
            }
        }
        drawn
    }
}

/// Root mean square of `got − expected`, where `expected` repeats.
fn rms(got: &[f64], expected: &[f64]) -> f64 {
    let expected = expected.iter().cycle();
    let squares: f64 = got.iter().zip(expected).map(|(g, e)| (g - e).powi(2)).sum();
    (squares / got.len() as f64).sqrt()
}

/// Least-squares slope of `log error` over `log count`.
fn slope(points: &[(usize, f64)]) -> f64 {
    let logs: Vec<_> = points.iter().map(|&(n, e)| ((n as f64).ln(), e.ln())).collect();
    let n = logs.len() as f64;
    let x_mean = logs.iter().map(|p| p.0).sum::<f64>() / n;
    let y_mean = logs.iter().map(|p| p.1).sum::<f64>() / n;
    let covariance: f64 = logs.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    covariance / logs.iter().map(|(x, _)| (x - x_mean).powi(2)).sum::<f64>()
}

fn assert_root_rate(what: &str, points: &[(usize, f64)]) {
    let slope = slope(points);
    assert!((slope + 0.5).abs() < 0.08, "{what}: slope {slope}, {points:?}");
}

const GIVEN: Given = Given { y: [3, 2] };
const REPLICAS: usize = 64;
const COUNTS: [usize; 5] = [4, 8, 16, 32, 64];

#[test]
fn the_table_is_a_distribution() {
    for context in [Context::Query, Context::Integrate(3, 6), Context::Project(0, 4)] {
        let sum: f64 = context.probabilities().iter().sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }
    // It depends on the collider: otherwise there would be nothing to project.
    assert!(rms(&GIVEN.given_integration(0, 5), &GIVEN.phi(0)) > 0.05);
}

/// With the integrations given, everything converges in the number of samples.
#[test]
fn features_converge_in_samples() {
    const INTEGRATIONS: [Completion; 3] = [5, 0, 3];
    let mut first = Vec::new();
    let mut average = Vec::new();
    for i in 0..CANDIDATES {
        let of = INTEGRATIONS.map(|y_n| GIVEN.given_integration(i, y_n));
        first.extend(of[0].clone());
        average.extend((0..FEATURES).map(|d| of.iter().map(|f| f[d]).sum::<f64>() / 3.0));
    }
    let z = GIVEN.z();
    let group: Vec<f64> = (0..FEATURES).map(|d| (z[d] + z[FEATURES + d]) / 2.0).collect();
    let argument_of = |first: &[f64], average: &[f64]| -> Vec<f64> {
        let pairs = first.iter().zip(average).zip(group.iter().cycle());
        pairs
            .map(|((first, average), group)| first - average + group)
            .collect()
    };
    let argument = argument_of(&first, &average);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let vectors = z.chunks(FEATURES).zip(argument.chunks(FEATURES));
    let upsilon: Vec<f64> = vectors
        .map(|(a, b)| 2.0 * dot(a, b) / (dot(a, a) * dot(b, b)).sqrt())
        .collect();

    let mut sampler = Sampler::new(1);
    let mut errors: [Vec<(usize, f64)>; 4] = Default::default();
    // Many, since a cosine is far from linear where its argument is still rough.
    for count in COUNTS.map(|count| 16 * count) {
        let drawn: Vec<f64> = (0..REPLICAS)
            .flat_map(|_| GIVEN.draw_projections(&INTEGRATIONS, count, &mut sampler))
            .collect();
        let shape = [REPLICAS, CANDIDATES, INTEGRATIONS.len(), count, FEATURES];
        let projections_pgjmd = tensor(drawn, shape);
        let z_pgd = tensor(z.repeat(REPLICAS), [REPLICAS, CANDIDATES, FEATURES]);
        let means = projection_means(projections_pgjmd.clone()).unwrap();
        let first_got = values(means.first_pgd);
        let average_got = values(means.average_pgd);
        let aligned = align(z_pgd, projections_pgjmd, 2.0, &Features::default());
        let errors_now = [
            rms(&first_got, &first),
            rms(&average_got, &average),
            rms(&argument_of(&first_got, &average_got), &argument),
            rms(&values(aligned.unwrap().upsilon_pg), &upsilon),
        ];
        for (errors, error) in errors.iter_mut().zip(errors_now) {
            errors.push((count, error));
        }
    }
    for (what, errors) in ["Z̄", "Z̄'", "Υ's argument", "Υ"].iter().zip(&errors) {
        assert_root_rate(what, errors);
    }
}

/// `Z̄'` estimates `Φ` by its integrations: two samples of each are enough.
#[test]
fn the_average_converges_in_integrations() {
    let phi: Vec<f64> = (0..CANDIDATES).flat_map(|i| GIVEN.phi(i)).collect();
    let mut sampler = Sampler::new(4);
    let (replicas, samples) = (4 * REPLICAS, 2);
    let mut errors = Vec::new();
    for count in COUNTS {
        let mut drawn = Vec::new();
        for _ in 0..replicas {
            let integrations = GIVEN.draw_integrations(count, &mut sampler);
            drawn.extend(GIVEN.draw_projections(&integrations, samples, &mut sampler));
        }
        let shape = [replicas, CANDIDATES, count, samples, FEATURES];
        let means = projection_means(tensor(drawn, shape)).unwrap();
        errors.push((count, rms(&values(means.average_pgd), &phi)));
    }
    assert_root_rate("Z̄'", &errors);
}

#[test]
fn the_reference_converges_to_the_enumerated_expectation() {
    let tokens: Vec<(usize, usize)> = (0..CANDIDATES)
        .flat_map(|i| (0..COMPLETIONS[GIVEN.y[i]].len()).map(move |t| (i, t)))
        .collect();
    let p_x = |i: usize, t: usize, y_n| GIVEN.project(i, y_n).token_probability(GIVEN.y[i], t);
    let p_q = |i: usize, t: usize| Context::Query.token_probability(GIVEN.y[i], t);
    let phi: Vec<f64> = (tokens.iter())
        .map(|&(i, t)| GIVEN.integrate().expect(|y_n| vec![p_x(i, t, y_n)])[0])
        .collect();

    let mut sampler = Sampler::new(2);
    let mut errors = Vec::new();
    // Few numbers, so many replicas: the tokens of one share their integrations.
    let replicas = 512;
    for count in COUNTS {
        let (mut logp_q, mut logp_x, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..replicas {
            let integrations = GIVEN.draw_integrations(count, &mut sampler);
            for (&(i, t), phi) in tokens.iter().zip(&phi) {
                expected.push(p_x(i, t, integrations[0]) - phi + p_q(i, t));
                logp_q.push(p_q(i, t).ln());
            }
            for &y_n in &integrations {
                logp_x.extend(tokens.iter().map(|&(i, t)| p_x(i, t, y_n).ln()));
            }
        }
        let keep_bt = Tensor::from_data(
            TensorData::new(vec![true; logp_q.len()], [replicas, tokens.len()]),
            &gcpo_model::device::of_tests_in_f64(),
        );
        let pi_ref_bt = reference(
            tensor(logp_q, [replicas, tokens.len()]),
            tensor(logp_x, [replicas, count, tokens.len()]),
            keep_bt,
        );
        errors.push((count, rms(&values(pi_ref_bt.unwrap()), &expected)));
    }
    assert_root_rate("π'_ref", &errors);
}

/// Over everything that is drawn, candidates included, the projected part has mean zero (eq. 1):
/// what is left of Υ's argument is the expectation of `z` under the query.
#[test]
fn the_projected_part_vanishes_on_average() {
    let expected = Context::Query.expect(feature);
    let mut sampler = Sampler::new(3);
    let (integrations, samples, repeats) = (3, 2, 32);
    let mut errors = Vec::new();
    for queries in [16, 64, 256, 1024] {
        let mut estimates = Vec::new();
        for _ in 0..repeats {
            let (mut z, mut drawn) = (Vec::new(), Vec::new());
            let table = Context::Query.probabilities();
            for _ in 0..queries {
                let y = [sampler.draw(&table), sampler.draw(&table)];
                let given = Given { y };
                z.extend(given.z());
                let all = given.draw_integrations(integrations, &mut sampler);
                drawn.extend(given.draw_projections(&all, samples, &mut sampler));
            }
            let shape = [queries, CANDIDATES, integrations, samples, FEATURES];
            let means = projection_means(tensor(drawn, shape)).unwrap();
            let z_pgd = tensor(z, [queries, CANDIDATES, FEATURES]);
            let argument_pgd = means.first_pgd - means.average_pgd + z_pgd.mean_dim(1);
            estimates.extend(values(argument_pgd.mean_dim(0).mean_dim(1)));
        }
        errors.push((queries, rms(&estimates, &expected)));
    }
    assert_root_rate("mean of Υ's argument", &errors);
}
