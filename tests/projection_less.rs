//! Stages 2 and 3 of GCPO with less to do, on the checkpoint in the binary: the options of `[projection]`.

use gcpo::config::Config;
use gcpo::group::Group;
use gcpo::projection::{ProjectionPlan, project};
use gcpo::rollout::{Engine, Work};
use gcpo::sample::sample;
use gcpo_model::device::of_tests;
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
    [projection]
    skip_flat_groups = false
"#;

fn config(sets: &[&str]) -> Result<Config, String> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::from_str(RUN, "test.toml", &sets).map_err(|error| error.to_string())
}

/// Groups after stages 2 and 3, and what these did.
fn projected(sets: &[&str]) -> (Vec<Group>, Work) {
    let sets: Vec<String> = sets.iter().map(|set| format!("projection.{set}")).collect();
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let config = config(&sets).unwrap();
    let policy = config.policy(Vec::new, &of_tests()).unwrap();
    let model = Inference::new(&policy.model);
    let engine = Engine::new(&model, &policy.eos, &config.rollout);
    let objective = config.objective_row();
    let plan = ProjectionPlan {
        projection: &config.projection,
        features: &config.features,
        objective: &objective,
        seed: 0,
        step: 1,
    };
    let problems = config.problems().unwrap();
    let group = |(number, problem)| policy.group(problem, number, Some((4, 0))).unwrap();
    let mut groups: Vec<Group> = problems.iter().take(12).enumerate().map(group).collect();
    sample(&engine, &mut groups, &plan.answers(4)).unwrap();
    let before = engine.work().tokens;
    project(&engine, &mut groups, &plan).unwrap();
    let work = engine.work();
    let tokens = work.tokens - before;
    (groups, Work { tokens, ..work })
}

fn upsilon(sets: &[&str]) -> Vec<f64> {
    let (groups, _) = projected(sets);
    let candidates = groups.iter().flat_map(|group| &group.candidates);
    candidates.map(|candidate| candidate.upsilon.unwrap()).collect()
}

fn difference(a: &[f64], b: &[f64]) -> f64 {
    let squares: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
    (squares / a.len() as f64).sqrt()
}

#[test]
fn with_one_integration_all_are_the_same() {
    let plain = upsilon(&["integrations=1", "samples=2"]);
    let common = upsilon(&["integrations=1", "samples=2", "common_random_numbers=true"]);
    assert_eq!(plain, common, "there is nothing to have numbers in common with");
    let pooled = upsilon(&["integrations=1", "samples=2", "estimator=pooled"]);
    assert!(difference(&plain, &pooled) < 1e-5);
}

#[test]
fn nothing_is_further_from_the_truth() {
    let truth = upsilon(&["samples=64"]);
    let error = |sets: &[&str]| difference(&upsilon(&[sets, &["samples=1"]].concat()), &truth);
    let own = error(&[]);
    let (common, pooled) = (
        error(&["common_random_numbers=true"]),
        error(&["estimator=pooled"]),
    );
    println!("own {own}, common random numbers {common}, pooled {pooled}");
    // This checkpoint answers nearly alike in all contexts: there may be no noise to lose.
    let most = own + 1e-4;
    assert!(common <= most && pooled <= most, "{own} {common} {pooled}");
}

#[test]
fn stage_3_alone_is_cut() {
    let (whole, all) = projected(&["samples=1"]);
    let (cut, fewer) = projected(&["samples=1", "max_completion_length=3"]);
    for (whole, cut) in whole.iter().zip(&cut) {
        assert_eq!(whole.integrations, cut.integrations);
    }
    let integrations: usize = cut
        .iter()
        .flat_map(|group| &group.integrations)
        .map(|y_n| y_n.tokens.len())
        .sum();
    let of_stage_3 = fewer.tokens - integrations;
    assert!(
        of_stage_3 <= 12 * 4 * 4 * 3 && fewer.tokens < all.tokens,
        "{of_stage_3}"
    );
}

#[test]
fn what_cannot_be_is_refused() {
    for (sets, said) in [
        (
            &["projection.max_completion_length=17"][..],
            "more than rollout.max_completion_length",
        ),
        (&["projection.max_completion_length=0"], "0 is too small"),
        (
            &["projection.estimator=pooled", "rollout.top_p=0.9"],
            "another distribution",
        ),
        (
            &["projection.estimator=pooled", "features.context=in_context"],
            "in every context",
        ),
        (&["projection.estimator=both"], "pooled"),
    ] {
        let error = config(sets).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}
