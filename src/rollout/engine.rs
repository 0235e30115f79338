//! The engine: prefixes are run once, whatever is sampled or scored below them shares their keys and values.
//!
//! Three verbs over a [`Prefix`], which is a batch of nodes at one depth of the tree:
//! [`Engine::extend`] runs one more segment below some nodes, [`Engine::sample`] draws completions below them,
//! [`Engine::score`] gives the log-probabilities of given tokens below them. A caller chains them into any tree.
//!
//! Axes: `b` rows (lanes), `t` tokens, `v` vocabulary, `d` features.

use std::cell::Cell;
use std::collections::HashMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use gcpo_model::cache::Cache;
use gcpo_model::llama::Llama;
use gcpo_model::logp::token_logp;
use gcpo_model::tokens::{Padding, Tokens};
use rand_chacha::ChaCha8Rng;

use super::stream::uniform;
use super::{Completion, Finish, RolloutError, Sampled, Sampling, StreamKey};

/// Lanes are dropped from the batch once this share of them has ended.
const COMPACT_FRAC: f64 = 0.2;

/// A batch of nodes of the tree at one depth, run and frozen.
#[derive(Clone)]
pub struct Prefix {
    cache: Cache,
    /// `[b, d]`: state after the final norm at each node's last token.
    hidden_bd: Tensor<2>,
}

impl Prefix {
    /// Number of nodes.
    pub fn rows(&self) -> usize {
        self.cache.rows()
    }

    /// Bytes of keys and values held, what is shared counted once.
    pub fn bytes(&self) -> usize {
        self.cache.bytes()
    }
}

/// One completion to be sampled below a node.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// The node: its row in the [`Prefix`].
    pub row: usize,
    /// Where its random numbers come from.
    pub key: StreamKey,
}

/// What an engine has done since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Completions sampled.
    pub generations: usize,
    /// Tokens sampled.
    pub tokens: usize,
    /// Tokens run that were not sampled: prefixes, scored tokens, texts to represent.
    pub prefilled: usize,
}

/// A policy ready to generate.
pub struct Engine<'a> {
    model: &'a Llama,
    eos: &'a [u32],
    sampling: Sampling,
    max_completion_length: usize,
    max_rows: usize,
    work: Cell<Work>,
}

impl<'a> Engine<'a> {
    /// `model` must be free of autodiff. `eos` are all ids that end a completion. `max_rows` bounds how many
    /// sequences run together: memory and speed depend on it, results do not.
    pub fn new(
        model: &'a Llama,
        eos: &'a [u32],
        sampling: Sampling,
        max_completion_length: usize,
        max_rows: usize,
    ) -> Self {
        assert!(max_completion_length > 0 && max_rows > 0);
        Self {
            model,
            eos,
            sampling,
            max_completion_length,
            max_rows,
            work: Cell::default(),
        }
    }

    /// Most completions of one wave.
    pub fn max_rows(&self) -> usize {
        self.max_rows
    }

    /// What has been done so far.
    pub fn work(&self) -> Work {
        self.work.get()
    }

    /// Runs `prompts`, none empty, each from position 0.
    pub fn root(&self, prompts: &[impl AsRef<[u32]>]) -> Prefix {
        let cache = Cache::new(self.model.config(), prompts.len(), &self.device());
        self.run(cache, prompts)
    }

    /// Runs `segments[r]`, none empty, below the node `parents[r]`.
    pub fn extend(&self, prefix: &Prefix, parents: &[usize], segments: &[impl AsRef<[u32]>]) -> Prefix {
        assert_eq!(parents.len(), segments.len());
        self.run(prefix.cache.fork(parents), segments)
    }

    /// Samples one completion for each request.
    ///
    /// With `with_hidden` each completion's in-context representation comes along ([`Sampled::hidden_bd`]).
    ///
    /// # Errors
    /// [`RolloutError::NonFinite`] if the logits are damaged.
    pub fn sample(
        &self,
        prefix: &Prefix,
        requests: &[Request],
        with_hidden: bool,
    ) -> Result<Sampled, RolloutError> {
        let mut completions = Vec::with_capacity(requests.len());
        let mut hidden = Vec::new();
        for wave in requests.chunks(self.max_rows) {
            let sampled = self.sample_wave(prefix, wave, with_hidden)?;
            completions.extend(sampled.completions);
            hidden.extend(sampled.hidden_bd);
        }
        let mut work = self.work.get();
        work.generations += completions.len();
        work.tokens += completions.iter().map(|c| c.tokens.len()).sum::<usize>();
        self.work.set(work);
        let hidden_bd = (!hidden.is_empty()).then(|| Tensor::cat(hidden, 0));
        Ok(Sampled {
            completions,
            hidden_bd,
        })
    }

    /// Log-probabilities, at the sampling temperature, of `tokens` (not empty) below the node `row`, for each
    /// `(row, tokens)`.
    pub fn score(&self, prefix: &Prefix, requests: &[(usize, &[u32])]) -> Vec<Vec<f32>> {
        let mut scores = Vec::with_capacity(requests.len());
        for wave in requests.chunks(self.max_rows) {
            let parents: Vec<usize> = wave.iter().map(|r| r.0).collect();
            let tokens: Vec<&[u32]> = wave.iter().map(|r| r.1).collect();
            let longest = tokens.iter().map(|t| t.len()).max().unwrap_or(0);
            let before_bd = self.select(&prefix.hidden_bd, &parents);
            // The state before token 0 is the node's own; the state at the last token predicts nothing here.
            let mut hidden_btd = before_bd.unsqueeze_dim::<3>(1);
            if longest > 1 {
                let fed: Vec<&[u32]> = tokens.iter().map(|t| &t[..(t.len() - 1).max(1)]).collect();
                let states_btd = self.forward(&mut prefix.cache.fork(&parents), &fed);
                hidden_btd = Tensor::cat(vec![hidden_btd, states_btd], 1);
            }
            let targets: Vec<i64> = tokens
                .iter()
                .flat_map(|t| (0..longest).map(|i| t.get(i).map_or(0, |&id| i64::from(id))))
                .collect();
            let targets_bt =
                Tensor::<2, Int>::from_data(TensorData::new(targets, [wave.len(), longest]), &self.device());
            let logp_bt = token_logp(
                self.model,
                hidden_btd,
                targets_bt,
                self.sampling.logp_temperature(),
            )
            .logp_bt;
            let flat = to_host(logp_bt);
            scores.extend(
                tokens
                    .iter()
                    .enumerate()
                    .map(|(b, t)| flat[b * longest..b * longest + t.len()].to_vec()),
            );
        }
        scores
    }

    /// Representations of texts run alone, with nothing in front (gcpo.md, section 3): `[texts, d]`, the last
    /// layer's state after the final norm at each text's last token. Equal texts are run once.
    pub fn represent(&self, texts: &[&[u32]]) -> Tensor<2> {
        let mut index = HashMap::new();
        let mut unique: Vec<&[u32]> = Vec::new();
        let which: Vec<usize> = texts
            .iter()
            .map(|&text| {
                *index.entry(text).or_insert_with(|| {
                    unique.push(text);
                    unique.len() - 1
                })
            })
            .collect();
        // Neighbours of similar length waste little on padding.
        let mut order: Vec<usize> = (0..unique.len()).collect();
        order.sort_by_key(|&i| unique[i].len());
        let mut place = vec![0; order.len()];
        for (at, &i) in order.iter().enumerate() {
            place[i] = at;
        }
        let rows: Vec<Tensor<2>> = order
            .chunks(self.max_rows)
            .map(|chunk| {
                let wave: Vec<&[u32]> = chunk.iter().map(|&i| unique[i]).collect();
                let tokens = Tokens::new(&wave, Padding::Right, &self.device());
                self.count_prefilled(&wave);
                last_states(self.model.forward(&tokens, None), &tokens.lengths)
            })
            .collect();
        let picks: Vec<usize> = which.iter().map(|&w| place[w]).collect();
        self.select(&Tensor::cat(rows, 0), &picks)
    }

    fn device(&self) -> Device {
        self.model.device()
    }

    fn count_prefilled(&self, rows: &[impl AsRef<[u32]>]) {
        let mut work = self.work.get();
        work.prefilled += rows.iter().map(|r| r.as_ref().len()).sum::<usize>();
        self.work.set(work);
    }

    /// Appends right-padded `rows` to `cache`: states `[b, t, d]`.
    fn forward(&self, cache: &mut Cache, rows: &[impl AsRef<[u32]>]) -> Tensor<3> {
        self.count_prefilled(rows);
        self.model
            .forward(&Tokens::new(rows, Padding::Right, &self.device()), Some(cache))
    }

    fn run(&self, mut cache: Cache, segments: &[impl AsRef<[u32]>]) -> Prefix {
        let lengths: Vec<usize> = segments.iter().map(|s| s.as_ref().len()).collect();
        let hidden_btd = self.forward(&mut cache, segments);
        Prefix {
            cache,
            hidden_bd: last_states(hidden_btd, &lengths),
        }
    }

    fn select(&self, rows_bd: &Tensor<2>, picks: &[usize]) -> Tensor<2> {
        if picks.iter().copied().eq(0..rows_bd.dims()[0]) {
            return rows_bd.clone();
        }
        rows_bd.clone().select(0, indices(picks, &rows_bd.device()))
    }

    fn sample_wave(
        &self,
        prefix: &Prefix,
        wave: &[Request],
        with_hidden: bool,
    ) -> Result<Sampled, RolloutError> {
        let parents: Vec<usize> = wave.iter().map(|r| r.row).collect();
        let mut cache = prefix.cache.fork(&parents);
        let mut hidden_bd = self.select(&prefix.hidden_bd, &parents);
        let mut lanes: Vec<Lane> = wave.iter().map(|r| Lane::new(r.key)).collect();
        // Which lane each row of the batch belongs to.
        let mut rows: Vec<usize> = (0..wave.len()).collect();
        let mut kept = Kept::default();
        loop {
            let logits = to_host(self.model.lm_head(hidden_bd.clone()));
            let vocab = logits.len() / rows.len();
            let mut at_end = Vec::new();
            for (row, &lane) in rows.iter().enumerate() {
                let state = &mut lanes[lane];
                match state.phase {
                    Phase::Done => continue,
                    Phase::Closing => {}
                    Phase::Open => {
                        let logits = &logits[row * vocab..(row + 1) * vocab];
                        let draw = self
                            .sampling
                            .draw(logits, &state.tokens, uniform(&mut state.rng))
                            .ok_or(RolloutError::NonFinite {
                                prompt: state.key.prompt,
                                sample: state.key.sample,
                            })?;
                        state.push(
                            draw.token,
                            draw.logp,
                            self.eos,
                            self.max_completion_length,
                            with_hidden,
                        );
                    }
                }
                // A truncated lane is fed its last token before its state is taken.
                if state.phase == Phase::Done {
                    at_end.push((row, lane));
                } else if state.phase == Phase::Closing && state.fed {
                    state.phase = Phase::Done;
                    at_end.push((row, lane));
                }
            }
            if with_hidden && !at_end.is_empty() {
                let picks: Vec<usize> = at_end.iter().map(|e| e.0).collect();
                kept.parts.push(self.select(&hidden_bd, &picks));
                kept.lanes.extend(at_end.iter().map(|e| e.1));
            }
            let live: Vec<usize> = (0..rows.len())
                .filter(|&row| lanes[rows[row]].phase != Phase::Done)
                .collect();
            if live.is_empty() {
                break;
            }
            if (rows.len() - live.len()) as f64 >= COMPACT_FRAC * rows.len() as f64 {
                cache.keep(&live);
                rows = live.iter().map(|&row| rows[row]).collect();
            }
            let next: Vec<[u32; 1]> = rows
                .iter()
                .map(|&lane| {
                    lanes[lane].fed = true;
                    [*lanes[lane].tokens.last().expect("every lane has drawn a token")]
                })
                .collect();
            let tokens = Tokens::new(&next, Padding::Right, &self.device());
            hidden_bd = self.model.forward(&tokens, Some(&mut cache)).squeeze_dim(1);
        }
        let hidden_bd = with_hidden.then(|| {
            let mut place = vec![0; wave.len()];
            for (at, &lane) in kept.lanes.iter().enumerate() {
                place[lane] = at;
            }
            self.select(&Tensor::cat(kept.parts, 0), &place)
        });
        Ok(Sampled {
            completions: lanes.into_iter().map(Lane::finish).collect(),
            hidden_bd,
        })
    }
}

/// States of lanes that have ended, in the order in which they ended.
#[derive(Default)]
struct Kept {
    parts: Vec<Tensor<2>>,
    lanes: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Draws a token each turn.
    Open,
    /// Has all its tokens, but its last one's state is still wanted.
    Closing,
    Done,
}

/// A completion in the making.
struct Lane {
    key: StreamKey,
    rng: ChaCha8Rng,
    tokens: Vec<u32>,
    logp: Vec<f32>,
    finish: Finish,
    phase: Phase,
    /// Whether the last token has been run.
    fed: bool,
}

impl Lane {
    fn new(key: StreamKey) -> Self {
        Self {
            rng: key.rng(),
            key,
            tokens: Vec::new(),
            logp: Vec::new(),
            finish: Finish::Length,
            phase: Phase::Open,
            fed: false,
        }
    }

    fn push(&mut self, token: u32, logp: f32, eos: &[u32], limit: usize, with_hidden: bool) {
        self.tokens.push(token);
        self.logp.push(logp);
        self.fed = false;
        if eos.contains(&token) {
            self.finish = Finish::Eos;
            self.phase = Phase::Done;
        } else if self.tokens.len() == limit {
            self.phase = if with_hidden { Phase::Closing } else { Phase::Done };
        }
    }

    fn finish(self) -> Completion {
        Completion {
            tokens: self.tokens,
            logp: self.logp,
            finish: self.finish,
        }
    }
}

/// `[b, t, d]` → `[b, d]`: the state at the last of each row's `lengths` tokens, rows padded on the right.
fn last_states(hidden_btd: Tensor<3>, lengths: &[usize]) -> Tensor<2> {
    let [b, t, d] = hidden_btd.dims();
    let picks: Vec<usize> = lengths
        .iter()
        .enumerate()
        .map(|(row, &length)| row * t + length - 1)
        .collect();
    let device = hidden_btd.device();
    hidden_btd.reshape([b * t, d]).select(0, indices(&picks, &device))
}

fn indices(picks: &[usize], device: &Device) -> Tensor<1, Int> {
    let picks: Vec<i64> = picks.iter().map(|&i| i as i64).collect();
    let count = picks.len();
    Tensor::from_data(TensorData::new(picks, [count]), device)
}

fn to_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .into_data()
        .convert::<f32>()
        .try_into_vec()
        .expect("converted to f32")
}
