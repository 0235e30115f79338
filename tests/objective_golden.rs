//! GCPO's objective against references in float64, from two programs that share no code with it.
//!
//! `tests/fixtures/gcpo_objective.json` comes from `scripts/make_objective_goldens.py`. A second file of the same form is
//! read where the environment variable `GCPO_GOLDENS` names one.

use std::path::Path;

use burn::tensor::{Bool, DType, Device, Tensor, TensorData};
use gcpo::objective::{BatchTotals, Clip, LossInputs, LossMetrics, Objective, Projected, gcpo, grpo};
use gcpo::projection::{Features, Similarity, align, reference};
use gcpo_model::device::{of_tests, of_tests_in_f64};
use serde::Deserialize;

type Grid = Vec<Vec<f64>>;

#[derive(Deserialize)]
struct Goldens {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    n: usize,
    integrations: usize,
    samples: usize,
    lengths: Vec<usize>,
    hyper: CaseHyper,
    rewards: Vec<f64>,
    z: Grid,
    #[serde(rename = "Z")]
    projections: Vec<Vec<Grid>>,
    logp: Grid,
    logp_old: Grid,
    logp_ref: Grid,
    p_x_l: Vec<Grid>,
    logp_x: Grid,
    expect: Expect,
}

#[derive(Deserialize)]
struct CaseHyper {
    alpha: f64,
    kappa: f64,
    beta: f64,
    epsilon_low: f64,
    epsilon_high: f64,
    floor: f64,
    ratio_max: f64,
    similarity: Similarity,
}

#[derive(Deserialize)]
struct Expect {
    advantage: Vec<f64>,
    upsilon: Vec<f64>,
    b: Vec<f64>,
    pi_ref: Grid,
    kl: Grid,
    kl_projected: Grid,
    clamped_frac: f64,
    loss: f64,
    grad_logp: Grid,
    grad_logp_x: Grid,
}

/// A case on a device: every tensor in one dtype.
struct OnDevice<'a> {
    case: &'a Case,
    device: Device,
    dtype: DType,
}

impl OnDevice<'_> {
    fn floats<const D: usize>(&self, flat: Vec<f64>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(flat, shape), (&self.device, self.dtype))
    }

    fn grid(&self, grid: &Grid) -> Tensor<2> {
        self.floats(grid.concat(), [grid.len(), grid[0].len()])
    }

    fn keep_bt(&self) -> Tensor<2, Bool> {
        let width = self.case.logp[0].len();
        let rows = self.case.lengths.iter();
        let flags: Vec<bool> = rows.flat_map(|&n| (0..width).map(move |t| t < n)).collect();
        Tensor::from_data(TensorData::new(flags, [self.case.n, width]), &self.device)
    }

    fn objective(&self) -> Objective {
        let h = &self.case.hyper;
        let clip = Clip {
            low: h.epsilon_low,
            high: h.epsilon_high,
        };
        gcpo(h.alpha, h.kappa, h.beta, clip, h.floor, h.ratio_max)
    }

    fn rewards_pg(&self) -> Tensor<2> {
        self.floats(self.case.rewards.clone(), [1, self.case.n])
    }

    fn upsilon_pg(&self) -> Tensor<2> {
        let Case {
            n,
            integrations,
            samples,
            ..
        } = *self.case;
        let d = self.case.z[0].len();
        let z_pgd = self.floats(self.case.z.concat(), [1, n, d]);
        let flat = self.case.projections.concat().concat().concat();
        let projections_pgjmd = self.floats(flat, [1, n, integrations, samples, d]);
        let features = Features {
            similarity: self.case.hyper.similarity,
            ..Features::default()
        };
        let alpha = self.case.hyper.alpha;
        align(z_pgd, projections_pgjmd, alpha, &features)
            .unwrap()
            .upsilon_pg
    }

    fn pi_ref_bt(&self) -> Tensor<2> {
        let [b, t] = [self.case.n, self.case.logp[0].len()];
        let p_x: Vec<f64> = self.case.p_x_l.concat().concat();
        let logp_x = p_x.iter().map(|p| p.ln()).collect();
        let logp_x_blt = self.floats(logp_x, [b, self.case.integrations, t]);
        reference(self.grid(&self.case.logp_old), logp_x_blt, self.keep_bt()).unwrap()
    }
}

struct Report<'a> {
    case: &'a Case,
    place: String,
    tolerance: f64,
}

impl Report<'_> {
    fn close(&self, what: &str, got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len(), "{}: {what}", self.place);
        for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
            assert!(
                (got - expected).abs() <= self.tolerance,
                "{}: {what}[{index}] is {got}, expected {expected}",
                self.place
            );
        }
    }

    /// Kept tokens only: a reference may hold anything in the padding.
    fn close_kept(&self, what: &str, got: &[f64], expected: &Grid) {
        let width = expected[0].len();
        for (row, &length) in self.case.lengths.iter().enumerate() {
            let got = &got[row * width..row * width + length];
            self.close(&format!("{what}[{row}]"), got, &expected[row][..length]);
        }
    }
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.try_into_vec_as().unwrap()
}

fn check(place: &str, case: &Case, dtype: DType, tolerance: f64) {
    let on = OnDevice {
        case,
        device: match dtype {
            DType::F64 => of_tests_in_f64(),
            _ => of_tests(),
        },
        dtype,
    };
    let report = Report {
        case,
        place: format!("{place} ({dtype:?})"),
        tolerance,
    };
    let expect = &case.expect;
    let objective = on.objective();

    // GRPO's weights are the advantages.
    let clip = Clip { low: 0.2, high: 0.2 };
    let advantage_pg = grpo(0.0, clip).weigh(on.rewards_pg(), None, None);
    report.close("advantage", &values(advantage_pg.unwrap()), &expect.advantage);
    report.close("upsilon", &values(on.upsilon_pg()), &expect.upsilon);
    let b_pg = objective
        .weigh(on.rewards_pg(), None, Some(on.upsilon_pg()))
        .unwrap();
    report.close("b", &values(b_pg.clone()), &expect.b);
    report.close_kept("pi_ref", &values(on.pi_ref_bt()), &expect.pi_ref);

    let whole = run(&on, b_pg.clone().reshape([case.n, 1]), on.keep_bt());
    report.close("loss", &[whole.loss], &[expect.loss]);
    report.close("loss metric", &[whole.metrics.loss], &[expect.loss]);
    report.close("grad_logp", &whole.grad_logp, &expect.grad_logp.concat());
    report.close("grad_logp_x", &whole.grad_logp_x, &expect.grad_logp_x.concat());
    report.close(
        "clamped_frac",
        &[whole.metrics.clamped_frac().unwrap()],
        &[expect.clamped_frac],
    );

    // The loss reports the KL terms as sums over tokens. Alone among the kept, each shows itself.
    let width = case.logp[0].len();
    for (row, &length) in case.lengths.iter().enumerate() {
        for t in 0..length {
            let mut only = vec![false; case.n * width];
            only[row * width + t] = true;
            let only = TensorData::new(only, [case.n, width]);
            let only_bt = Tensor::from_data(only, &on.device);
            let metrics = run(&on, b_pg.clone().reshape([case.n, 1]), only_bt).metrics;
            let place = format!("[{row}][{t}]");
            let kl = [metrics.kl_ref().unwrap()];
            report.close(&format!("kl{place}"), &kl, &[expect.kl[row][t]]);
            let kl = [metrics.kl_projected().unwrap()];
            let expected = [expect.kl_projected[row][t]];
            report.close(&format!("kl_projected{place}"), &kl, &expected);
        }
    }
}

struct Ran {
    loss: f64,
    metrics: LossMetrics,
    grad_logp: Vec<f64>,
    grad_logp_x: Vec<f64>,
}

fn run(on: &OnDevice, advantage_b1: Tensor<2>, keep_bt: Tensor<2, Bool>) -> Ran {
    let case = on.case;
    let logp_bt = on.grid(&case.logp).autodiff().require_grad();
    let logp_x_bt = on.grid(&case.logp_x).autodiff().require_grad();
    let inputs = LossInputs {
        logp_ref_bt: Some(on.grid(&case.logp_ref)),
        projected: Some(Projected {
            logp_x_bt: logp_x_bt.clone(),
            pi_ref_bt: on.pi_ref_bt(),
        }),
        ..LossInputs::new(logp_bt.clone(), on.grid(&case.logp_old), advantage_b1, keep_bt)
    };
    let totals = BatchTotals::of(case.lengths.iter().copied(), case.logp[0].len());
    let output = on.objective().loss(&inputs, &totals).unwrap();
    let grads = output.loss.backward();
    Ran {
        loss: values(output.loss)[0],
        metrics: output.sums.read().unwrap(),
        grad_logp: values(logp_bt.grad(&grads).unwrap()),
        grad_logp_x: values(logp_x_bt.grad(&grads).unwrap()),
    }
}

fn check_file(path: &Path) {
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    let goldens: Goldens = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{} is no golden file: {error}", path.display()));
    assert!(!goldens.cases.is_empty(), "{} has no cases", path.display());
    for (index, case) in goldens.cases.iter().enumerate() {
        let place = format!("{} case {index}", path.display());
        check(&place, case, DType::F64, 1e-6);
        check(&place, case, DType::F32, 1e-4);
    }
}

#[test]
fn golden_fixture() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    check_file(&root.join("tests/fixtures/gcpo_objective.json"));
}

#[test]
fn golden_from_environment() {
    match std::env::var_os("GCPO_GOLDENS") {
        Some(path) => check_file(Path::new(&path)),
        None => println!("skipped: GCPO_GOLDENS is not set"),
    }
}
