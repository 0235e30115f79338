//! Where a mini-batch is cut into forward and backward passes changes the order of sums, and nothing else.

use gcpo::config::Config;
use gcpo::group::Group;
use gcpo::learner::{Learner, Learnt, PolicyGradient};
use gcpo::ranks::Ranks;
use gcpo::recipe::Rl;
use gcpo::weigh::weigh;
use gcpo_model::device::of_tests;

const RUN: &str = r#"
    [data]
    generator = "arithmetic"
    [prompt]
    style = "marks"
    [rollout]
    num_generations = 4
    max_completion_length = 16
    [projection]
    integrations = 2
    samples = 2
    [train]
    prompts_per_step = 6
    max_grad_norm = 0.0
"#;

/// The fused passes of the processor, and a network that is run by tensor operations there.
const MODELS: [&[&str]; 2] = [
    &["model.path=quickstart"],
    &[
        "model.init=random",
        "model.tokenizer=arithmetic",
        "model.shape={model_type = \"olmo2\", hidden_size = 32, intermediate_size = 64, num_hidden_layers = 2, num_attention_heads = 2}",
    ],
];

fn config(sets: &[&str]) -> Config {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::from_str(RUN, "test.toml", &sets).unwrap()
}

/// A step's groups as they come to the learner. Neither ratio nor KL is at its least.
fn groups(config: &Config) -> Vec<Group> {
    let policy = config.policy(Vec::new, &of_tests().autodiff()).unwrap();
    let mut rl = Rl::new(
        config.clone(),
        policy,
        config.problems().unwrap(),
        &[],
        Ranks::alone(),
    )
    .unwrap();
    let (mut groups, _) = rl.roll_out(1).unwrap();
    weigh(&mut groups, &config.objective_row(), &[1.0], &of_tests()).unwrap();
    let candidates = groups.iter_mut().flat_map(|group| &mut group.candidates);
    for (row, candidate) in candidates.enumerate() {
        let shift = 0.1 * ((row % 5) as f32 - 2.0);
        let logp = &mut candidate.completion.logp;
        logp.iter_mut().for_each(|logp| *logp += shift);
        candidate.logp_ref = Some(logp.iter().map(|logp| logp - 0.3 - shift).collect());
        // Groups of a network that knows nothing all earn the same.
        candidate.weight = Some(1.0 + f64::from(shift));
    }
    groups
}

fn learnt(sets: &[&str], groups: &mut Vec<Group>) -> Learnt {
    let config = config(sets);
    let policy = config.policy(Vec::new, &of_tests().autodiff()).unwrap();
    let mut learner = Learner::new(
        &config.train,
        config.format(),
        config.seed,
        policy,
        1,
        &[],
        Ranks::alone(),
    );
    let gradient = PolicyGradient::new(config.objective_row(), &config.rollout);
    learner.update(1, groups, &gradient).unwrap()
}

#[test]
fn loss_and_gradient_do_not_depend_on_the_cut() {
    for model in MODELS {
        for objective in [
            "objective={name = \"grpo\", beta = 0.04}",
            "objective={name = \"gcpo\", beta = 0.04}",
        ] {
            let sets = [model, &[objective]].concat();
            let mut groups = groups(&config(&sets));
            let mut run = |rows: usize, tokens: usize| {
                let rows = format!("train.per_device_train_batch_size={rows}");
                let tokens = format!("train.max_tokens_per_micro_batch={tokens}");
                learnt(
                    &[&sets, &[rows.as_str(), tokens.as_str()][..]].concat(),
                    &mut groups,
                )
            };
            let whole = run(24, 0);
            assert!(whole.loss.abs() > 1e-3, "{}", whole.loss);
            let mut seen = Vec::new();
            // κ's gradient holds π'_ref / π_θ, up to 10, of tokens as unlikely as e^-15: of their log-probabilities float32 holds 1e-6.
            let allowed = if objective.contains("gcpo") { 5e-6 } else { 1e-6 };
            for (rows, tokens) in [
                (24, 1),
                (24, 60),
                (24, 150),
                (24, 400),
                (5, 0),
                (5, 200),
                (24, 100_000),
            ] {
                let cut = run(rows, tokens);
                let near = |a: f64, b: f64, allowed: f64| (a - b).abs() <= allowed * b.abs();
                let norms = (cut.update.grad_norm, whole.update.grad_norm);
                assert!(
                    near(cut.loss, whole.loss, 1e-6) && near(norms.0, norms.1, allowed),
                    "{objective} {rows} rows, {tokens} tokens: {} {}, {norms:?}",
                    cut.loss,
                    whole.loss
                );
                seen.push(cut.tokens.run);
            }
            assert_eq!(whole.tokens.run, seen[6], "no limit, and one that is far");
            if model == MODELS[0] {
                // Alone, no row shares anything; whole groups share their prompts.
                assert_eq!(seen[0], whole.tokens.of_rows);
                assert!(whole.tokens.run_frac() < 0.9, "{}", whole.tokens.run_frac());
            } else {
                assert!(whole.tokens.run_frac() <= 1.1, "{}", whole.tokens.run_frac());
            }
        }
    }
}
