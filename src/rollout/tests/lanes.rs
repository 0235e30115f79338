//! Lanes, what ends a completion, and what the trainer says of its tokens.

use super::*;

fn requests(rows: &[usize]) -> Vec<Request> {
    let key = |(sample, &row): (usize, &usize)| Request {
        row,
        key: key(row as u64, sample as u64),
        limit: None,
    };
    rows.iter().enumerate().map(key).collect()
}

#[test]
fn lanes_are_refilled_and_rows_that_agree_are_run_once() {
    let model = Inference::new(&model());
    let prompts = [vec![3, 4, 5], vec![6, 7, 8, 9], vec![10]];
    let rows: Vec<usize> = (0..60).map(|i| i / 20).collect();
    let sampled = |max_rows: usize, temperature: f64| {
        let how = Rollout {
            temperature,
            max_rows,
            ..how()
        };
        let engine = Engine::new(&model, &[1], &how);
        let completions = engine
            .sample(&engine.root(&prompts), &requests(&rows), false)
            .unwrap()
            .completions;
        (completions, engine.work())
    };
    let (all, work) = sampled(64, 0.8);
    let (few, fewer) = sampled(7, 0.8);
    assert_eq!(all, few);
    let longest = all.iter().map(|c| c.tokens.len()).max().unwrap();
    assert!(work.tokens < 60 * longest, "some end early");
    // Every token but a completion's last is run, those that several have in common once.
    assert!(
        work.decoded <= work.tokens - 60 && fewer.decoded <= fewer.tokens - 60,
        "{work:?}"
    );
    assert!(fewer.kv_bytes < work.kv_bytes);
    // The likeliest token is the same for all: each prompt is one row.
    let (_, work) = sampled(64, 0.0);
    assert_eq!(work.decoded, work.tokens / 20 - 3);
}

#[test]
fn stop_strings_end_completions_and_stay() {
    let model = Inference::new(&model());
    let stops = |tokens: &[u32]| tokens.ends_with(&[7]) || tokens.windows(2).any(|pair| pair[0] == pair[1]);
    let engine = engine(&model, 16).with_stops(Some(&stops));
    let root = engine.root(&[vec![3, 4, 5]]);
    for with_hidden in [false, true] {
        let sampled = engine.sample(&root, &requests(&[0; 64]), with_hidden).unwrap();
        let stopped: Vec<_> = sampled
            .completions
            .iter()
            .filter(|c| c.finish == Finish::Stop)
            .collect();
        assert!(!stopped.is_empty());
        for completion in stopped {
            assert!(stops(&completion.tokens) && !stops(&completion.tokens[..completion.tokens.len() - 1]));
            assert_eq!(completion.text(), completion.tokens);
            assert_eq!(completion.quote(0), completion.tokens);
        }
        for completion in &sampled.completions {
            assert!(completion.finish == Finish::Stop || !stops(&completion.tokens));
        }
        // The state is that of the whole text, the stopping token included.
        if let Some(hidden_bd) = sampled.hidden_bd {
            for (row, completion) in sampled.completions.iter().enumerate().take(8) {
                let whole = [&[3, 4, 5], completion.text()].concat();
                let read: Vec<f32> = model.read(&[&whole]).try_into_vec_as().unwrap();
                let kept: Vec<f32> = hidden_bd.clone().narrow(0, row, 1).try_into_vec_as().unwrap();
                close(&kept, &read);
            }
        }
    }
}

#[test]
fn penalties_see_the_context_on_every_way() {
    let sampled = |model: &Inference, max_rows: usize, repetition_penalty: f64| {
        let how = Rollout {
            repetition_penalty,
            temperature: 0.9,
            top_k: 12,
            max_rows,
            ..how()
        };
        let engine = Engine::new(model, &EOS, &how);
        let root = engine.root(&[vec![3, 4, 5, 6, 7, 8], vec![9, 10]]);
        let leaves = engine.extend(&root, &[0, 1, 1], &[vec![11, 12], vec![13], vec![14, 15]]);
        let rows: Vec<usize> = (0..24).map(|i| i / 8).collect();
        engine
            .sample(&leaves, &requests(&rows), false)
            .unwrap()
            .completions
    };
    let (fused, plain) = (Inference::new(&model()), Inference::plain(&model()));
    let all = sampled(&fused, 64, 1.7);
    for other in [
        sampled(&fused, 5, 1.7),
        sampled(&plain, 64, 1.7),
        sampled(&plain, 5, 1.7),
    ] {
        for (a, b) in all.iter().zip(&other) {
            assert_eq!(a.tokens, b.tokens);
            close(&a.logp, &b.logp);
            close(&a.sampling_logp, &b.sampling_logp);
        }
    }
    assert_ne!(
        all.iter().map(|c| &c.tokens).collect::<Vec<_>>(),
        sampled(&fused, 64, 1.0)
            .iter()
            .map(|c| &c.tokens)
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_budget_that_holds_nothing_is_refused_with_what_is_needed() {
    let model = Inference::new(&model());
    let how = Rollout {
        memory_budget: ByteSize(1000),
        ..how()
    };
    let engine = Engine::new(&model, &EOS, &how);
    let root = engine.root(&[vec![3, 4, 5]]);
    let error = engine
        .sample(&root, &requests(&[0]), false)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("rollout.memory_budget is 1000: raise it"),
        "{error}"
    );
    assert!(engine.score(&root, &[(0, &[5, 6])]).is_err());
    assert!(engine.sample(&root, &[], true).unwrap().completions.is_empty());
}

/// The engine and the trainer are one model: mean exp |Δ log p| over 10,000 tokens is 1 within 1e-4, whatever the
/// temperature and the filters.
#[test]
fn ten_thousand_tokens_have_the_log_probabilities_of_the_trainers_forward() {
    let model = model();
    for inference in [Inference::new(&model), Inference::plain(&model)] {
        for (temperature, top_p) in [(1.0, 1.0), (0.7, 1.0), (1.3, 0.9)] {
            let how = Rollout {
                temperature,
                top_p,
                max_completion_length: 40,
                ..how()
            };
            let engine = Engine::new(&inference, &[], &how);
            let prompts: Vec<Vec<u32>> = (1..6)
                .map(|length| (0..5 * length).map(|i| i % 24).collect())
                .collect();
            let rows: Vec<usize> = (0..250).map(|i| i % 5).collect();
            let completions = engine
                .sample(&engine.root(&prompts), &requests(&rows), false)
                .unwrap()
                .completions;
            let pairs: Vec<(&[u32], &[u32])> = rows
                .iter()
                .zip(&completions)
                .map(|(&row, c)| (prompts[row].as_slice(), c.tokens.as_slice()))
                .collect();
            let trained = gcpo_model::logp::completion_logp(&model, &pairs, temperature).logp_bt;
            let trained: Vec<f32> = trained.try_into_vec_as().unwrap();
            let sampled: Vec<f32> = completions.iter().flat_map(|c| c.logp.clone()).collect();
            assert_eq!((sampled.len(), trained.len()), (10_000, 10_000));
            let gaps = sampled
                .iter()
                .zip(&trained)
                .map(|(a, b)| f64::from((a - b).abs()).exp());
            let gap = gaps.sum::<f64>() / 1e4;
            assert!(
                (gap - 1.0).abs() < 1e-4,
                "T = {temperature}, top_p = {top_p}: {gap}"
            );
        }
    }
}

#[test]
fn a_request_may_be_shorter_than_the_rest() {
    let model = Inference::new(&model());
    let engine = engine(&model, 16);
    let root = engine.root(&[vec![3, 4, 5]]);
    let whole = requests(&[0; 6]);
    let mut cut = whole.clone();
    cut[1].limit = Some(2);
    cut[4].limit = Some(1);
    // More than the engine's own is no more than that.
    cut[5].limit = Some(1000);
    let [whole, cut] =
        [whole, cut].map(|requests| engine.sample(&root, &requests, false).unwrap().completions);
    for (at, (whole, cut)) in whole.iter().zip(&cut).enumerate() {
        let limit = [usize::MAX, 2, usize::MAX, usize::MAX, 1, usize::MAX][at];
        let tokens = &whole.tokens[..whole.tokens.len().min(limit)];
        assert_eq!(cut.tokens, tokens, "{at}");
        let ends = whole.tokens.len() <= limit;
        assert_eq!(
            cut.finish,
            if ends { whole.finish } else { Finish::Length },
            "{at}"
        );
    }
}
