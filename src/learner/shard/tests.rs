//! Ranks that are threads make the update of one.

use std::collections::BTreeMap;

use gcpo_model::logp::completion_logp;
use safetensors::SafeTensors;

use super::super::{Learner, Update};
use crate::config::Config;
use crate::ranks::{Ranks, local};
use crate::testing::device;

const TEXTS: [&[u32]; 7] = [
    &[1, 2, 3, 4],
    &[2, 3],
    &[5, 4, 3, 2, 1],
    &[7, 7, 7],
    &[3, 1, 4],
    &[6, 5],
    &[1, 8, 2, 8],
];

fn config(dtype: &str) -> Config {
    let text = format!(
        r#"
        [model]
        init = "random"
        tokenizer = "arithmetic"
        [model.shape]
        hidden_size = 16
        intermediate_size = 24
        num_hidden_layers = 2
        num_attention_heads = 2
        num_key_value_heads = 1
        max_position_embeddings = 64
        initializer_range = 0.3
        [train]
        learning_rate = 1e-2
        dtype = "{dtype}"
        ddp_bucket_cap_mb = 0.002
    "#
    );
    Config::from_str(&text, "test.toml", &[]).unwrap()
}

type Numbers = BTreeMap<String, Vec<f32>>;

/// What three updates come to: norms, and the checkpoint's weights and optimiser, which the first rank has.
fn trained(config: &Config, ranks: Ranks, saved: Option<&std::path::Path>) -> Vec<Update> {
    let policy = config.policy(Vec::new, &device().autodiff()).unwrap();
    let own: Vec<&[u32]> = TEXTS
        .into_iter()
        .enumerate()
        .filter(|(at, _)| at % ranks.size() == ranks.rank())
        .map(|(_, text)| text)
        .collect();
    let mut learner = Learner::new(&config.train, config.format(), 0, policy, 9, &[], ranks);
    let updates = (0..3).map(|update| {
        let made = learner.step(update, &own, |model, text| {
            let loss = completion_logp(model, &[text.split_at(1)], 1.0).logp_bt;
            Ok((loss.sum().neg(), ()))
        });
        made.unwrap().0
    });
    let updates = updates.collect();
    if let (Some(whole), Some(dir)) = (learner.whole().unwrap(), saved) {
        learner.save(dir, &whole).unwrap();
    }
    updates
}

fn numbers(path: &std::path::Path) -> Numbers {
    let bytes = std::fs::read(path).unwrap();
    let floats = |bytes: &[u8]| -> Vec<f32> {
        let values = bytes.chunks_exact(4);
        values
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    let all = SafeTensors::deserialize(&bytes).unwrap();
    let all = all.tensors().into_iter();
    all.map(|(name, view)| (name, floats(view.data()))).collect()
}

#[test]
fn updates_of_several_ranks_are_those_of_one_and_so_is_what_is_saved() {
    for (dtype, most) in [("float32", 1e-5), ("bfloat16", 3e-2)] {
        let config = config(dtype);
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let one = at("one");
        let expected = trained(&config, Ranks::alone(), Some(&one));
        for size in [2, 3, 8] {
            let several = at(&size.to_string());
            for found in local::run(size, |ranks| trained(&config, ranks, Some(&several))) {
                for (a, b) in found.iter().zip(&expected) {
                    assert!(
                        (a.grad_norm - b.grad_norm).abs() < most as f64 * b.grad_norm.max(1.0),
                        "{a:?} {b:?}"
                    );
                    assert_eq!(a.learning_rate, b.learning_rate);
                }
            }
            for file in ["model.safetensors", "trainer/optimizer.safetensors"] {
                let (a, b) = (numbers(&several.join(file)), numbers(&one.join(file)));
                assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
                for (name, a) in a {
                    let gap = a
                        .iter()
                        .zip(&b[&name])
                        .map(|(a, b)| (a - b).abs())
                        .fold(0.0, f32::max);
                    assert!(
                        a.len() == b[&name].len() && gap < most,
                        "{size} ranks, {dtype}, {file}, {name}: {gap}"
                    );
                }
            }
            // What was saved by several is read by one and by several.
            let policy = || config.policy(Vec::new, &device().autodiff()).unwrap();
            let restored = |ranks: Ranks| {
                let mut learner = Learner::new(&config.train, config.format(), 0, policy(), 9, &[], ranks);
                learner.restore(&several).unwrap();
                let again = dir
                    .path()
                    .join(format!("again-{size}-{}", learner.ranks().size()));
                if let Some(whole) = learner.whole().unwrap() {
                    std::fs::create_dir(&again).unwrap();
                    learner.save(&again, &whole).unwrap();
                }
                again
            };
            let read =
                |path: &std::path::Path| std::fs::read(path.join("trainer/optimizer.safetensors")).unwrap();
            assert!(read(&restored(Ranks::alone())) == read(&several));
            assert!(read(&local::run(3, restored)[0]) == read(&several));
        }
    }
}
