//! The engine against itself: a tree gives what flat sampling gives, whatever the batching.

mod lanes;

use std::path::Path;

use bytesize::ByteSize;
use gcpo_data::{Context, Part, Problem};
use gcpo_model::config::ModelConfig;
use gcpo_model::inference::Inference;
use gcpo_model::llama::Llama;
use gcpo_model::tokens::{Padding, Tokens};

use super::*;
use crate::group::{Candidate, Group};
use crate::objective::{Clip, gcpo};
use crate::projection::{FeatureContext, Features, Projection, ProjectionDraft, ProjectionPlan, project};
use crate::sample::sample;
use crate::testing::device;

const EOS: [u32; 2] = [1, 2];
const LIMIT: usize = 7;

fn model() -> Llama {
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": 24, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 128, "initializer_range": 0.3,
    });
    let config = ModelConfig::from_json(config.to_string().as_bytes(), Path::new("test")).unwrap();
    Llama::init(&config, 5, &device())
}

/// Short completions, and all the memory in the world.
fn how() -> Rollout {
    Rollout {
        max_completion_length: LIMIT,
        memory_budget: ByteSize(u64::MAX),
        ..Rollout::default()
    }
}

fn engine(model: &Inference, max_rows: usize) -> Engine<'_> {
    let how = Rollout {
        temperature: 0.8,
        max_rows,
        ..how()
    };
    Engine::new(model, &EOS, &how)
}

fn key(prompt: u64, sample: u64) -> StreamKey {
    StreamKey {
        seed: 9,
        step: 1,
        prompt,
        stage: Stage::Answer,
        sample,
    }
}

/// Questions of different lengths with the marks 20 (answer) and 21 (final).
fn plans(n: usize) -> Vec<Contexts> {
    [
        vec![3, 4, 5],
        vec![6, 7, 8, 9, 10],
        vec![11, 12],
        vec![13, 14, 15, 16],
    ]
    .into_iter()
    .map(|q| {
        let context = |count: usize| {
            let mut chunks = vec![Part::Tokens([q.clone(), vec![20]].concat()), Part::Candidate(0)];
            for k in 1..count {
                chunks.extend([Part::Tokens(vec![20]), Part::Candidate(k)]);
            }
            chunks
        };
        let mut integrate = context(n);
        integrate.push(Part::Tokens(vec![21]));
        let mut project = context(n - 1);
        project.extend([Part::Tokens(vec![21]), Part::Integration, Part::Tokens(vec![20])]);
        let (integrate, project) = (Context::new(integrate), Context::new(project));
        Contexts::new([q, vec![20]].concat(), integrate, project, 0).unwrap()
    })
    .collect()
}

/// A whole step's sampling and scoring; rewards alternate, the last prompt's are flat.
fn run(engine: &Engine, context: FeatureContext) -> Vec<Group> {
    let projection = Projection {
        integrations: 2,
        samples: 2,
        ..ProjectionDraft::default().complete(&Rollout::default()).unwrap()
    };
    let features = Features {
        context,
        ..Features::default()
    };
    let clip = Clip { low: 0.2, high: 0.2 };
    let plan = ProjectionPlan {
        projection: &projection,
        features: &features,
        objective: &gcpo(2.0, 0.06, 0.0, clip, 1e-6, 10.0),
        seed: 4,
        step: 2,
    };
    let contexts = plans(3).into_iter().enumerate();
    let mut groups: Vec<Group> = contexts
        .map(|(number, contexts)| Group::new(Problem::default(), number, String::new(), contexts))
        .collect();
    sample(engine, &mut groups, &plan.answers(3)).unwrap();
    for (number, group) in groups.iter_mut().enumerate() {
        for (at, candidate) in group.candidates.iter_mut().enumerate() {
            candidate.reward = Some(f64::from(u8::from(number < 3 && at == 1)));
        }
    }
    project(engine, &mut groups, &plan).unwrap();
    groups
}

fn close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

/// Bytes that hold the prefixes of about one problem of [`plans`].
fn little_memory(model: &Inference) -> usize {
    60 * model.row_bytes(LIMIT)
}

#[test]
fn one_plan_gives_one_result_however_it_is_run() {
    let (fused, plain) = (Inference::new(&model()), Inference::plain(&model()));
    let with = |model, max_rows, memory_budget: usize| {
        let how = Rollout {
            temperature: 0.8,
            max_rows,
            memory_budget: ByteSize(memory_budget as u64),
            ..how()
        };
        Engine::new(model, &EOS, &how)
    };
    for context in [FeatureContext::Response, FeatureContext::InContext] {
        let whole = run(&with(&fused, 512, usize::MAX), context);
        let candidates = |groups: &[Group]| -> Vec<Candidate> {
            groups.iter().flat_map(|group| group.candidates.clone()).collect()
        };
        for (number, group) in whole.iter().enumerate() {
            assert!(
                group
                    .candidates
                    .iter()
                    .all(|c| c.upsilon.is_some() == (number < 3))
            );
            assert!(group.root.is_none(), "the prefixes are let go of");
        }
        let ways = [
            ("one row", with(&fused, 1, usize::MAX)),
            ("five rows", with(&fused, 5, usize::MAX)),
            ("little memory", with(&fused, 512, little_memory(&fused))),
            ("no tree", with(&fused, 7, usize::MAX).sharing(false)),
            ("tensor operations", with(&plain, 512, usize::MAX)),
            ("tensor operations, five rows", with(&plain, 5, usize::MAX)),
            (
                "tensor operations, little memory",
                with(&plain, 512, little_memory(&plain)),
            ),
            (
                "tensor operations, no tree",
                with(&plain, 3, usize::MAX).sharing(false),
            ),
        ];
        for (name, engine) in ways {
            let parts = run(&engine, context);
            for (a, b) in whole.iter().zip(&parts) {
                let tokens = |group: &Group| -> Vec<Vec<u32>> {
                    group.integrations.iter().map(|c| c.tokens.clone()).collect()
                };
                assert_eq!(tokens(a), tokens(b), "{name}");
            }
            for (a, b) in candidates(&whole).into_iter().zip(candidates(&parts)) {
                assert_eq!(a.tokens(), b.tokens(), "{name}");
                let (of_a, of_b) = (a.collider.unwrap(), b.collider.unwrap());
                assert_eq!(of_a.context, of_b.context);
                close(&of_a.logp_x.concat(), &of_b.logp_x.concat());
                assert_eq!(a.upsilon.is_some(), b.upsilon.is_some());
                let (a, b) = (a.upsilon.unwrap_or(0.0), b.upsilon.unwrap_or(0.0));
                assert!((a - b).abs() < 1e-3, "{a} {b}");
            }
        }
    }
}

#[test]
fn the_tree_gives_what_flat_sampling_gives_token_for_token() {
    let model = model();
    let inference = Inference::new(&model);
    let engine = engine(&inference, 512);
    let (trunk, branches) = (vec![3, 4, 5], [vec![6, 7, 8], vec![9, 20]]);
    let root = engine.root(&[trunk.clone(), vec![11, 12]]);
    let twigs = [vec![10], vec![13, 14], vec![15, 16, 17]];
    let level = engine.extend(&root, &[0, 0], &branches);
    let leaves = engine.extend(&level, &[0, 1, 1], &twigs);
    let requests: Vec<Request> = [0, 0, 0, 1, 2, 2, 0]
        .iter()
        .enumerate()
        .map(|(sample, &row)| Request {
            row,
            key: key(row as u64, sample as u64),
            limit: None,
        })
        .collect();
    let tree = engine.sample(&leaves, &requests, true).unwrap();

    let contexts: Vec<Vec<u32>> = requests
        .iter()
        .map(|r| {
            [
                trunk.clone(),
                branches[usize::from(r.row > 0)].clone(),
                twigs[r.row].clone(),
            ]
            .concat()
        })
        .collect();
    let flat_root = engine.root(&contexts);
    let flat: Vec<Request> = requests
        .iter()
        .enumerate()
        .map(|(row, r)| Request { row, ..*r })
        .collect();
    let flat = engine.sample(&flat_root, &flat, true).unwrap();
    for (a, b) in tree.completions.iter().zip(&flat.completions) {
        assert_eq!((&a.tokens, a.finish), (&b.tokens, b.finish));
        close(&a.logp, &b.logp);
    }
    // Scores are what sampling said, and what the trainer's forward says.
    let scored: Vec<(usize, &[u32])> = requests
        .iter()
        .zip(&tree.completions)
        .map(|(r, c)| (r.row, c.tokens.as_slice()))
        .collect();
    let pairs: Vec<(&[u32], &[u32])> = contexts
        .iter()
        .zip(&tree.completions)
        .map(|(x, c)| (x.as_slice(), c.tokens.as_slice()))
        .collect();
    let trained = gcpo_model::logp::completion_logp(&model, &pairs, 0.8).logp_bt;
    let t = trained.dims()[1];
    let trained: Vec<f32> = trained.try_into_vec_as().unwrap();
    for (row, (score, completion)) in engine
        .score(&leaves, &scored)
        .unwrap()
        .iter()
        .zip(&tree.completions)
        .enumerate()
    {
        close(score, &completion.logp);
        close(&trained[row * t..row * t + score.len()], &completion.logp);
    }
    // The in-context state is that of the text's last token.
    let hidden = tree.hidden_bd.unwrap();
    for (row, (context, completion)) in contexts.iter().zip(&tree.completions).enumerate() {
        let text = match completion.finish {
            Finish::Eos => &completion.tokens[..completion.tokens.len() - 1],
            _ => &completion.tokens,
        };
        let whole = [context, text].concat();
        let states = model.forward(&Tokens::new(&[&whole], Padding::Right, &device()), None);
        let d = states.dims()[2];
        let last: Vec<f32> = states
            .narrow(1, whole.len() - 1, 1)
            .reshape([d])
            .try_into_vec_as()
            .unwrap();
        let kept: Vec<f32> = hidden
            .clone()
            .narrow(0, row, 1)
            .reshape([d])
            .try_into_vec_as()
            .unwrap();
        close(&last, &kept);
    }
}

#[test]
fn completions_end_at_any_eos_and_hold_it() {
    let model = Inference::new(&model());
    let engine = engine(&model, 64);
    let root = engine.root(&[vec![3, 4, 5]]);
    let requests: Vec<Request> = (0..64)
        .map(|sample| Request {
            row: 0,
            key: key(0, sample),
            limit: None,
        })
        .collect();
    let sampled = engine.sample(&root, &requests, false).unwrap();
    let mut ends = std::collections::BTreeSet::new();
    for completion in &sampled.completions {
        let (last, body) = completion.tokens.split_last().unwrap();
        assert!(body.iter().all(|token| !EOS.contains(token)));
        assert_eq!(completion.tokens.len(), completion.logp.len());
        match completion.finish {
            Finish::Eos => {
                assert!(EOS.contains(last));
                ends.insert(*last);
            }
            Finish::Length => assert_eq!(completion.tokens.len(), LIMIT),
            Finish::Stop => panic!("no stop string was given"),
        }
    }
    assert_eq!(
        ends.into_iter().collect::<Vec<_>>(),
        EOS,
        "both EOS ids end completions"
    );
    assert_eq!(engine.work().generations, 64);
}

#[test]
fn equal_texts_are_represented_once() {
    let model = model();
    let inference = Inference::new(&model);
    let engine = engine(&inference, 2);
    let texts: [&[u32]; 4] = [&[3, 4, 5], &[6], &[3, 4, 5], &[7, 8]];
    let rows = engine.represent(&texts);
    assert_eq!(rows.dims(), [4, 32]);
    assert_eq!(engine.work().prefilled, 6);
    let rows: Vec<f32> = rows.try_into_vec_as().unwrap();
    assert_eq!(rows[..32], rows[64..96]);
    let alone = model.forward(&Tokens::new(&[texts[3]], Padding::Right, &device()), None);
    let alone: Vec<f32> = alone.narrow(1, 1, 1).reshape([32]).try_into_vec_as().unwrap();
    close(&rows[96..], &alone);
}
