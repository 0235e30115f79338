//! `gcpo score`: the log-probability of each token of given texts.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use gcpo_data::Tokenizer;
use gcpo_model::llama::Llama;
use gcpo_model::logp::completion_logp;
use gcpo_model::lora::Peft;
use serde::{Deserialize, Serialize};

use super::args::ScoreArgs;
use super::run::{open_device, print_line, read_input};
use crate::policy::open;

/// Tokens, padding included, that are run together.
const TOKENS_AT_ONCE: usize = 8192;

/// A row of the input: one of the two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    text: Option<String>,
    ids: Option<Vec<u32>>,
}

/// A row of the output. The first token has nothing before it, so it has no probability.
#[derive(Debug, Serialize, PartialEq)]
struct Scored {
    ids: Vec<u32>,
    logprobs: Vec<Option<f32>>,
}

/// Prints the log-probabilities of each row of the input, in its order.
///
/// # Errors
/// The model or the input cannot be read, a row is malformed, too long, or has an id that the model does not know.
pub fn run(args: &ScoreArgs) -> Result<()> {
    let dtype = args.dtype.dtype;
    let opened = open_device(&args.device.device, dtype)?;
    let mut model = open::network(&args.model, dtype, &opened.device)?.model;
    if let Some(adapter) = &args.adapter.adapter {
        model = Peft::load(model, adapter)?.0;
    }
    let rows = read(args, &model)?;
    let mut start = 0;
    while start < rows.len() {
        let end = batch_end(&rows, start, TOKENS_AT_ONCE);
        for scored in score(&model, &rows[start..end])? {
            print_line(if args.json {
                serde_json::to_string(&scored)?
            } else {
                in_words(&scored)
            })?;
        }
        start = end;
    }
    Ok(())
}

/// The token ids of each row. The tokenizer is read only if a row is text.
fn read(args: &ScoreArgs, model: &Llama) -> Result<Vec<Vec<u32>>> {
    let text = read_input(&args.input)?;
    let mut tokenizer = None;
    let mut rows = Vec::new();
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let place = || format!("{}:{}", args.input.display(), number + 1);
        let ids = match parse(line).with_context(place)? {
            Row { ids: Some(ids), .. } => ids,
            Row { text, .. } => {
                let tokenizer: &Tokenizer = match &mut tokenizer {
                    Some(tokenizer) => tokenizer,
                    none => none.insert(Tokenizer::load(&args.model)?),
                };
                tokenizer
                    .encode(&text.unwrap_or_default(), true)
                    .with_context(place)?
            }
        };
        check(&ids, model, &args.model).with_context(place)?;
        rows.push(ids);
    }
    Ok(rows)
}

fn parse(line: &str) -> Result<Row> {
    const HELP: &str = r#"a row is {"text": "…"} or {"ids": [1, 2, …]}"#;
    let row: Row = serde_json::from_str(line).context(HELP)?;
    if row.text.is_some() == row.ids.is_some() {
        bail!(HELP);
    }
    Ok(row)
}

fn check(ids: &[u32], model: &Llama, dir: &Path) -> Result<()> {
    let config = model.config();
    if let Some(id) = ids.iter().find(|&&id| id as usize >= config.vocab_size) {
        bail!(
            "token id {id} is not one of the {} of {}",
            config.vocab_size,
            dir.display()
        );
    }
    ensure!(
        ids.len() <= config.positions(),
        "{} tokens are more than the {} positions of {}; shorten the text",
        ids.len(),
        config.positions(),
        dir.display()
    );
    Ok(())
}

/// The end of the batch that begins at `start`: as many rows as fit, padded to the longest, and at least one.
fn batch_end(rows: &[Vec<u32>], start: usize, tokens: usize) -> usize {
    let mut width = 0;
    for (count, row) in rows[start..].iter().enumerate() {
        width = width.max(row.len());
        if count > 0 && (count + 1) * width > tokens {
            return start + count;
        }
    }
    rows.len()
}

fn score(model: &Llama, rows: &[Vec<u32>]) -> Result<Vec<Scored>> {
    // A row of fewer than two tokens has nothing to score.
    let long = rows.iter().filter(|ids| ids.len() > 1);
    // With one more behind it, which nobody asks about, a row's last token is run too: results keep their last bits.
    let longer: Vec<Vec<u32>> = long.map(|ids| [ids.as_slice(), &[0]].concat()).collect();
    let pairs: Vec<(&[u32], &[u32])> = longer.iter().map(|ids| ids.split_at(1)).collect();
    let mut logps: Vec<f32> = Vec::new();
    let mut width = 0;
    if !pairs.is_empty() {
        let logp_bt = completion_logp(model, &pairs, 1.0).logp_bt;
        width = logp_bt.dims()[1];
        logps = logp_bt.try_into_vec_as()?;
    }
    let mut next = logps.chunks(width.max(1));
    let scored = rows.iter().map(|ids| {
        let mut logprobs: Vec<Option<f32>> = ids.first().map(|_| None).into_iter().collect();
        if ids.len() > 1 {
            let row = next.next().unwrap_or_default();
            logprobs.extend(row[..ids.len() - 1].iter().copied().map(Some));
        }
        Scored {
            ids: ids.clone(),
            logprobs,
        }
    });
    Ok(scored.collect())
}

/// A row for people.
fn in_words(scored: &Scored) -> String {
    let sum: f64 = scored
        .logprobs
        .iter()
        .flatten()
        .map(|&logp| f64::from(logp))
        .sum();
    let count = scored.logprobs.iter().flatten().count();
    let perplexity = if count == 0 {
        f64::NAN
    } else {
        (-sum / count as f64).exp()
    };
    format!(
        "{} tokens  log-probability {sum:.4}  perplexity {perplexity:.4}",
        scored.ids.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Llama {
        let shape = br#"{"model_type": "llama", "vocab_size": 11, "hidden_size": 8, "intermediate_size": 16,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
            "max_position_embeddings": 16, "rms_norm_eps": 1e-6, "initializer_range": 0.5}"#;
        let config = gcpo_model::config::ModelConfig::from_json(shape, Path::new("config.json")).unwrap();
        Llama::init(&config, 1, &crate::testing::device())
    }

    #[test]
    fn a_batch_scores_as_its_rows_and_probabilities_sum_to_one() {
        let model = model();
        let rows = vec![vec![1, 2, 3, 4, 5], vec![7], vec![], vec![9, 10, 1]];
        let batch = score(&model, &rows).unwrap();
        for (ids, scored) in rows.iter().zip(&batch) {
            assert_eq!(&scored.ids, ids);
            assert_eq!(scored.logprobs.len(), ids.len());
            assert!(scored.logprobs.first().is_none_or(Option::is_none));
            let alone = score(&model, std::slice::from_ref(ids)).unwrap().remove(0);
            for (a, b) in scored
                .logprobs
                .iter()
                .flatten()
                .zip(alone.logprobs.iter().flatten())
            {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
        let nexts: Vec<Vec<u32>> = (0..11).map(|next| vec![3, 4, next]).collect();
        let total: f32 = score(&model, &nexts)
            .unwrap()
            .iter()
            .map(|s| s.logprobs[2].unwrap().exp())
            .sum();
        assert!((total - 1.0).abs() < 1e-5, "{total}");
    }

    #[test]
    fn batches_hold_as_many_rows_as_fit() {
        let rows: Vec<Vec<u32>> = [3, 4, 5, 9, 1].map(|length| vec![0; length]).to_vec();
        let mut start = 0;
        let mut ends = Vec::new();
        while start < rows.len() {
            start = batch_end(&rows, start, 10);
            ends.push(start);
        }
        assert_eq!(ends, [2, 3, 4, 5]);
    }

    #[test]
    fn a_malformed_row_says_what_a_row_is() {
        for line in [
            "",
            "[1]",
            "{}",
            r#"{"text": "a", "ids": [1]}"#,
            r#"{"txt": "a"}"#,
            r#"{"ids": [-1]}"#,
        ] {
            let error = format!("{:#}", parse(line).unwrap_err());
            assert!(
                error.contains(r#"{"text": "…"} or {"ids": [1, 2, …]}"#),
                "{line}: {error}"
            );
        }
    }

    #[test]
    fn what_the_model_cannot_take_is_refused() {
        let model = model();
        assert!(
            check(&[11], &model, Path::new("m"))
                .unwrap_err()
                .to_string()
                .contains("token id 11")
        );
        assert!(
            check(&[0; 17], &model, Path::new("m"))
                .unwrap_err()
                .to_string()
                .contains("16 positions")
        );
        assert!(check(&[10; 16], &model, Path::new("m")).is_ok());
    }
}
