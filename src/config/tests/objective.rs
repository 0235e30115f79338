//! `[objective]`: every name, and options that a name has no use for.

use super::*;
use crate::objective::{Aggregation, Clip, Estimator, Surrogate, WhichDraft};

#[test]
fn every_name_is_a_row_of_its_name_and_reads_back() {
    for name in Which::NAMES {
        let set = format!("objective={{name=\"{name}\"}}");
        let config = read(FILE, &[&set]).unwrap();
        assert_eq!(config.objective_row().name, *name);
        let again = Config::from_str(&config.to_toml(), "configs/a.toml", &[]).unwrap();
        assert_eq!(again.differences(&config), Vec::<String>::new(), "{name}");
    }
    let error = "GRPO".parse::<WhichDraft>().unwrap_err();
    assert!(
        error.starts_with("there is no `GRPO`; expected one of `gcpo`, `grpo`"),
        "{error}"
    );
}

#[test]
fn a_name_begins_with_its_authors_values() {
    let clip = |name: &str, more: &[&str]| {
        let name = format!("objective.name={name}");
        let row = read("", &[&[name.as_str()], more].concat())
            .unwrap()
            .objective_row();
        match row.surrogate {
            Surrogate::Clipped { clip, .. } => clip,
            Surrogate::ClippedWeight { high } => Clip { low: 0.0, high },
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(clip("grpo", &[]), Clip { low: 0.2, high: 0.2 });
    assert_eq!(
        clip("grpo", &["objective.epsilon=0.1"]),
        Clip { low: 0.1, high: 0.1 }
    );
    assert_eq!(
        clip("dapo", &["objective.epsilon=0.1"]),
        Clip { low: 0.1, high: 0.28 }
    );
    assert_eq!(
        clip("gspo", &[]),
        Clip {
            low: 3e-4,
            high: 4e-4
        }
    );
    assert_eq!(clip("cispo", &[]), Clip { low: 0.0, high: 5.0 });
    let rloo = read("", &["objective.name=rloo", "objective.beta=0.1"])
        .unwrap()
        .objective_row();
    assert_eq!(
        (rloo.kl.estimator, rloo.kl_in_reward(), rloo.kl_in_loss()),
        (Estimator::K1, 0.1, 0.0)
    );
    let composed = read("", &["objective.base=dapo"]).unwrap().objective_row();
    assert_eq!(
        (composed.name, composed.aggregation),
        ("gcpo", Aggregation::PerToken)
    );
    assert!(composed.needs_projection() && composed.kappa == 0.06);
}

#[test]
fn an_option_without_effect_is_refused_and_says_why() {
    for (name, set, said) in [
        ("sapo", "epsilon=0.1", "`sapo` clips no ratio"),
        ("vespo", "epsilon_high=0.1", "`vespo` clips no ratio"),
        ("cispo", "epsilon=0.1", "`cispo` clips no ratio from below"),
        (
            "gvpo",
            "delta=2",
            "`gvpo` has no clip that could have a second side",
        ),
        ("grpo", "delta=1.1", "not above 1 + `epsilon_high`"),
        (
            "gspo",
            "importance_sampling_level=token",
            "says itself what has a ratio",
        ),
        (
            "rloo",
            "importance_sampling_level=sequence",
            "says itself what has a ratio",
        ),
        (
            "reinforce_pp",
            "scale_rewards=batch",
            "normalises over the whole step",
        ),
        ("grpo", "kl_estimator=k1", "has no KL term here"),
        ("grpo", "use_kl_in_reward=true", "has no KL term here"),
        ("grpo", "use_bias_correction_kl=true", "has no KL term here"),
        ("grpo", "sync_ref_model=true", "has no KL term here"),
        ("gvpo", "kl_estimator=k1", "has no KL term here"),
        ("gvpo", "beta=0", "GVPO has no gradient"),
        (
            "grpo",
            "ref_model_sync_steps=4",
            "the reference model does not follow the policy",
        ),
        (
            "grpo",
            "ref_model_mixup_alpha=0.5",
            "the reference model does not follow the policy",
        ),
        (
            "rloo",
            "multi_objective_aggregation=normalize_then_sum",
            "a comparison of its own",
        ),
        ("rloo", "top_entropy_quantile=0.2", "one term for a completion"),
        ("gvpo", "top_entropy_quantile=0.2", "one term for a completion"),
        (
            "gvpo",
            "off_policy_mask_threshold=0.2",
            "compares all completions",
        ),
        (
            "gvpo",
            "vllm_importance_sampling_correction=true",
            "no ratio that could be corrected",
        ),
        (
            "grpo",
            "vllm_importance_sampling_mode=token_mask",
            "nothing is corrected",
        ),
        (
            "grpo",
            "vllm_importance_sampling_clip_max=2",
            "nothing is corrected",
        ),
        ("grpo", "sapo_temperature_pos=2", "it belongs to `sapo`"),
        ("grpo", "loss_type=dapo", "`loss_type` is `objective.name` here"),
        ("grpo", "base=dapo", "it belongs to `gcpo`"),
        ("grpo", "normalize_advantages=true", "belongs to"),
    ] {
        let name = format!("objective={{name=\"{name}\"}}");
        let set = format!("objective.{set}");
        let text = error(FILE, &[&name, &set]);
        assert!(text.contains(said), "{name} {set}: {text}");
    }
    for (sets, said) in [
        (
            &[
                "multi_objective_aggregation=normalize_then_sum",
                "scale_rewards=batch",
            ][..],
            "each reward is divided by its deviation",
        ),
        (
            &["beta=0.1", "use_kl_in_reward=true", "use_bias_correction_kl=true"],
            "has its KL in the reward",
        ),
        (
            &[
                "beta=0.1",
                "use_kl_in_reward=true",
                "multi_objective_aggregation=normalize_then_sum",
            ],
            "there is no sum of rewards",
        ),
        (
            &[
                "name=vespo",
                "vllm_importance_sampling_correction=true",
                "vllm_importance_sampling_mode=sequence_mask",
            ],
            "VESPO takes the ratios of tokens",
        ),
        (
            &[
                "name=reinforce_pp",
                "beta=0.1",
                "use_kl_in_reward=true",
                "importance_sampling_level=sequence",
            ],
            "an advantage for each token",
        ),
    ] {
        let sets: Vec<String> = sets.iter().map(|set| format!("objective.{set}")).collect();
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let text = error("", &sets);
        assert!(text.contains(said), "{sets:?}: {text}");
    }
}

#[test]
fn dynamic_sampling_is_for_groups_that_are_compared() {
    for (sets, said) in [
        (
            &["rollout.max_num_gen_batches=3"][..],
            "a step is sampled in one round",
        ),
        (
            &["rollout.dynamic_sampling=true", "rollout.num_generations=1"],
            "a group of one candidate",
        ),
        (
            &["rollout.dynamic_sampling=true", "objective.name=reinforce_pp"],
            "compared with the whole step",
        ),
        (
            &[
                "rollout.dynamic_sampling=true",
                "objective.name=rloo",
                "objective.beta=0.1",
            ],
            "the KL is subtracted from the rewards",
        ),
    ] {
        let text = error("", sets);
        assert!(text.contains(said), "{sets:?}: {text}");
    }
    let config = read("", &["rollout.dynamic_sampling=true"]).unwrap();
    assert_eq!(config.rollout.max_num_gen_batches, Some(10));
}
