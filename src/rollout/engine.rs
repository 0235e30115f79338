//! The engine: prefixes are run once, whatever is sampled or scored below them shares their keys and values.
//!
//! Three verbs over a [`Prefix`], which is a batch of nodes at one depth of the tree:
//! [`Engine::extend`] runs one more segment below some nodes, [`Engine::sample`] draws completions below them
//! (`lanes.rs`), [`Engine::score`] gives the log-probabilities of given tokens below them. A caller chains them
//! into any tree.
//!
//! Axes: `b` rows, `t` tokens, `v` vocabulary, `d` features.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Device, Int, Tensor, TensorData};
use gcpo_model::inference::{Inference, KvCache};

use super::{Rollout, RolloutError, Sampled, StreamKey};

/// A batch of nodes of the tree at one depth, run and frozen.
pub struct Prefix {
    /// The tokens of each node.
    nodes: Vec<Arc<Node>>,
    /// None in an engine that shares nothing.
    run: Option<PrefixState>,
}

/// What a prefix left behind when it was run.
pub(super) struct PrefixState {
    pub cache: Box<dyn KvCache>,
    /// `[b, d]`: state after the final norm at each node's last token.
    pub hidden_bd: Tensor<2>,
}

/// A node's own tokens, and the node that it continues.
struct Node {
    parent: Option<Arc<Node>>,
    tokens: Vec<u32>,
}

/// One completion to be sampled below a node.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// The node: its row in the [`Prefix`].
    pub row: usize,
    /// Where its random numbers come from.
    pub key: StreamKey,
    /// Its longest length in tokens, where that is less than the engine's.
    pub limit: Option<usize>,
}

/// What an engine has done since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Work {
    /// Completions sampled.
    pub generations: usize,
    /// Tokens sampled.
    pub tokens: usize,
    /// Tokens run so that the next could be sampled. Completions that have drawn the same tokens are run as one.
    pub decoded: usize,
    /// Tokens run that were not sampled: prefixes, scored tokens, texts to represent.
    pub prefilled: usize,
    /// Most bytes of keys and values held at a time while sampling, what is shared counted once.
    pub kv_bytes: usize,
    /// Seconds spent on scores.
    #[serde(with = "crate::ranks::bytes::seconds")]
    pub score_secs: f64,
    /// Seconds spent on texts to represent.
    #[serde(with = "crate::ranks::bytes::seconds")]
    pub represent_secs: f64,
}

impl Work {
    /// This and what another engine did at the same time, on a device of its own.
    fn in_parallel(self, other: Self) -> Self {
        Self {
            score_secs: self.score_secs.max(other.score_secs),
            represent_secs: self.represent_secs.max(other.represent_secs),
            kv_bytes: self.kv_bytes + other.kv_bytes,
            ..self.then(other)
        }
    }

    /// What the engines of several devices did at one time.
    pub fn of_engines(works: Vec<Self>) -> Self {
        works.into_iter().reduce(Self::in_parallel).unwrap_or_default()
    }

    /// This and what was done after it.
    pub fn then(self, other: Self) -> Self {
        Self {
            generations: self.generations + other.generations,
            tokens: self.tokens + other.tokens,
            decoded: self.decoded + other.decoded,
            prefilled: self.prefilled + other.prefilled,
            kv_bytes: self.kv_bytes.max(other.kv_bytes),
            score_secs: self.score_secs + other.score_secs,
            represent_secs: self.represent_secs + other.represent_secs,
        }
    }
}

/// Says whether a completion's tokens so far hold a stop string.
pub type Stops<'a> = &'a dyn Fn(&[u32]) -> bool;

/// A policy ready to generate.
pub struct Engine<'a> {
    pub(super) model: &'a Inference,
    pub(super) eos: &'a [u32],
    pub(super) how: Rollout,
    pub(super) stops: Option<Stops<'a>>,
    shares: bool,
    work: Cell<Work>,
}

impl<'a> Engine<'a> {
    /// `eos` are all ids that end a completion.
    pub fn new(model: &'a Inference, eos: &'a [u32], how: &Rollout) -> Self {
        assert!(how.max_completion_length > 0 && how.max_rows > 0);
        Self {
            model,
            eos,
            how: how.clone(),
            stops: None,
            shares: true,
            work: Cell::default(),
        }
    }

    /// Ends completions that hold a stop string, too.
    pub fn with_stops(mut self, stops: Option<Stops<'a>>) -> Self {
        self.stops = stops;
        self
    }

    /// With `shares = false`, every completion and every score runs its whole context by itself, as an engine
    /// without a tree does. For comparison; results are the same.
    pub fn sharing(mut self, shares: bool) -> Self {
        self.shares = shares;
        self
    }

    /// The same for completions of at most `tokens`; what it does is counted by itself ([`Engine::count`]).
    pub fn with_max_completion_length(&self, tokens: usize) -> Self {
        let how = Rollout {
            max_completion_length: tokens,
            ..self.how.clone()
        };
        let engine = Self::new(self.model, self.eos, &how);
        engine.with_stops(self.stops).sharing(self.shares)
    }

    /// Counts what another engine did as its own.
    pub fn count(&self, other: Work) {
        self.note(|work| *work = work.then(other));
    }

    /// How many of some prompts, from the first on, may be at work together: half of the memory is for their prefixes,
    /// whose lengths are given, the rest for what is sampled below them. At least one.
    pub fn prompts_at_once(&self, prefixes: impl Iterator<Item = Vec<usize>>) -> usize {
        let mut room = self.how.memory_bytes() / 2;
        let fitting = prefixes.take_while(|lengths| {
            let bytes: usize = lengths.iter().map(|&tokens| self.model.row_bytes(tokens)).sum();
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        });
        fitting.count().max(1)
    }

    /// Longest completion, in tokens.
    pub fn max_completion_length(&self) -> usize {
        self.how.max_completion_length
    }

    /// What has been done so far.
    pub fn work(&self) -> Work {
        self.work.get()
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut Work)) {
        let mut work = self.work.get();
        change(&mut work);
        self.work.set(work);
    }

    /// Runs `prompts`, none empty, each from position 0.
    pub fn root(&self, prompts: &[impl AsRef<[u32]>]) -> Prefix {
        let nodes = prompts
            .iter()
            .map(|tokens| Node::below(None, tokens.as_ref()))
            .collect();
        let run = self
            .shares
            .then(|| self.run(self.model.cache(prompts.len()), prompts));
        Prefix { nodes, run }
    }

    /// Runs `segments[r]`, none empty, below the node `parents[r]`.
    pub fn extend(&self, prefix: &Prefix, parents: &[usize], segments: &[impl AsRef<[u32]>]) -> Prefix {
        assert_eq!(parents.len(), segments.len());
        let nodes = parents
            .iter()
            .zip(segments)
            .map(|(&parent, tokens)| Node::below(Some(&prefix.nodes[parent]), tokens.as_ref()))
            .collect();
        let run = prefix
            .run
            .as_ref()
            .map(|run| self.run(run.cache.fork(parents), segments));
        Prefix { nodes, run }
    }

    /// Samples one completion for each request, telling `heard` of every token as it comes: the request's place, and
    /// the token. Requests that come first are begun first.
    ///
    /// With `with_hidden` each completion's in-context representation comes along ([`Sampled::hidden_bd`]).
    ///
    /// # Errors
    /// [`RolloutError::NonFinite`] if the logits are damaged, [`RolloutError::Memory`] if the memory budget does not
    /// hold the prefix and one completion.
    pub fn sample_heard(
        &self,
        prefix: &Prefix,
        requests: &[Request],
        with_hidden: bool,
        heard: &mut dyn FnMut(usize, u32),
    ) -> Result<Sampled, RolloutError> {
        if requests.is_empty() {
            return Ok(Sampled {
                completions: Vec::new(),
                hidden_bd: None,
            });
        }
        let rows: Vec<usize> = requests.iter().map(|request| request.row).collect();
        let sampled = if prefix.run.is_some() {
            let lanes = self.lanes(prefix, &rows, self.how.max_completion_length)?;
            self.sample_lanes(prefix, requests, lanes, with_hidden, heard)?
        } else {
            let mut completions = Vec::with_capacity(requests.len());
            let mut hidden = Vec::new();
            let most = self.how.max_rows;
            for (wave, requests) in requests.chunks(most).enumerate() {
                let (own, requests) = self.apart(prefix, requests);
                let mut heard = |place, token| heard(wave * most + place, token);
                let sampled = self.sample_lanes(&own, &requests, most, with_hidden, &mut heard)?;
                completions.extend(sampled.completions);
                hidden.extend(sampled.hidden_bd);
            }
            Sampled {
                completions,
                hidden_bd: (!hidden.is_empty()).then(|| Tensor::cat(hidden, 0)),
            }
        };
        self.note(|work| {
            work.generations += sampled.completions.len();
            work.tokens += sampled.completions.iter().map(|c| c.tokens.len()).sum::<usize>();
        });
        Ok(sampled)
    }

    /// [`Engine::sample_heard`] without a listener.
    ///
    /// # Errors
    /// The same.
    pub fn sample(
        &self,
        prefix: &Prefix,
        requests: &[Request],
        with_hidden: bool,
    ) -> Result<Sampled, RolloutError> {
        self.sample_heard(prefix, requests, with_hidden, &mut |_, _| {})
    }

    /// Rows that may run together below some nodes of a prefix, each of at most `tokens` tokens.
    fn lanes(&self, prefix: &Prefix, rows: &[usize], tokens: usize) -> Result<usize, RolloutError> {
        let (held, each) = (prefix.bytes(), self.model.row_bytes(tokens));
        let budget = self.how.memory_bytes();
        match budget.saturating_sub(held) / each {
            0 => Err(RolloutError::Memory {
                needed: held + each,
                budget,
                longest: rows
                    .iter()
                    .map(|&row| prefix.context(row).len())
                    .max()
                    .unwrap_or(0),
            }),
            lanes => Ok(lanes.min(self.how.max_rows)),
        }
    }

    /// The contexts of some requests, each run by itself.
    fn apart(&self, prefix: &Prefix, requests: &[Request]) -> (Prefix, Vec<Request>) {
        let contexts: Vec<Vec<u32>> = requests
            .iter()
            .map(|request| prefix.context(request.row))
            .collect();
        let nodes = requests
            .iter()
            .map(|request| prefix.nodes[request.row].clone())
            .collect();
        let run = Some(self.run(self.model.cache(contexts.len()), &contexts));
        let requests = requests
            .iter()
            .enumerate()
            .map(|(row, request)| Request { row, ..*request })
            .collect();
        (Prefix { nodes, run }, requests)
    }

    /// Log-probabilities, at the sampling temperature, of `tokens` (not empty) below the node `row`, for each
    /// `(row, tokens)`.
    ///
    /// # Errors
    /// [`RolloutError::Memory`] if the memory budget does not hold the prefix and one of the texts.
    pub fn score(
        &self,
        prefix: &Prefix,
        requests: &[(usize, &[u32])],
    ) -> Result<Vec<Vec<f32>>, RolloutError> {
        let rows: Vec<usize> = requests.iter().map(|request| request.0).collect();
        let longest = requests.iter().map(|request| request.1.len()).max().unwrap_or(0);
        let lanes = self.lanes(prefix, &rows, longest)?;
        let started = Instant::now();
        let mut scores = Vec::with_capacity(requests.len());
        for wave in requests.chunks(lanes) {
            let tokens: Vec<&[u32]> = wave.iter().map(|request| request.1).collect();
            let parents: Vec<usize> = wave.iter().map(|request| request.0).collect();
            let PrefixState { mut cache, hidden_bd } = match &prefix.run {
                Some(run) => PrefixState {
                    cache: run.cache.fork(&parents),
                    hidden_bd: pick(&run.hidden_bd, &parents),
                },
                None => {
                    let contexts: Vec<Vec<u32>> = parents.iter().map(|&row| prefix.context(row)).collect();
                    self.run(self.model.cache(contexts.len()), &contexts)
                }
            };
            self.note(|work| work.prefilled += tokens.iter().map(|t| t.len() - 1).sum::<usize>());
            let temperature = self.how.logp_temperature();
            scores.extend(cache.score(hidden_bd, &tokens, temperature));
        }
        self.note(|work| work.score_secs += started.elapsed().as_secs_f64());
        Ok(scores)
    }

    /// Representations of texts run alone, with nothing in front (docs/algorithms.md, section 3): `[texts, d]`, the last
    /// layer's state after the final norm at each text's last token. Equal texts are run once.
    pub fn represent(&self, texts: &[&[u32]]) -> Tensor<2> {
        let started = Instant::now();
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
            .chunks(self.how.max_rows)
            .map(|chunk| {
                let wave: Vec<&[u32]> = chunk.iter().map(|&i| unique[i]).collect();
                self.count_prefilled(&wave);
                self.model.read(&wave)
            })
            .collect();
        self.note(|work| work.represent_secs += started.elapsed().as_secs_f64());
        let picks: Vec<usize> = which.iter().map(|&w| place[w]).collect();
        pick(&Tensor::cat(rows, 0), &picks)
    }

    fn count_prefilled(&self, rows: &[&[u32]]) {
        let tokens: usize = rows.iter().map(|row| row.len()).sum();
        self.note(|work| work.prefilled += tokens);
    }

    fn run(&self, mut cache: Box<dyn KvCache>, segments: &[impl AsRef<[u32]>]) -> PrefixState {
        let segments: Vec<&[u32]> = segments.iter().map(AsRef::as_ref).collect();
        self.count_prefilled(&segments);
        let hidden_bd = cache.advance(&segments);
        PrefixState { cache, hidden_bd }
    }
}

impl Prefix {
    /// Number of nodes.
    pub fn rows(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes of keys and values held, what is shared counted once.
    pub fn bytes(&self) -> usize {
        self.run.as_ref().map_or(0, |run| run.cache.bytes())
    }

    /// What running it left behind.
    ///
    /// # Panics
    /// It was not run: the engine shares nothing.
    pub(super) fn ran(&self) -> &PrefixState {
        self.run.as_ref().expect("samples go below a prefix that was run")
    }

    /// All tokens of a node's context, from position 0.
    pub fn context(&self, row: usize) -> Vec<u32> {
        let mut chain = Vec::new();
        let mut node = Some(&self.nodes[row]);
        while let Some(here) = node {
            chain.push(here.tokens.as_slice());
            node = here.parent.as_ref();
        }
        chain.reverse();
        chain.concat()
    }
}

impl Node {
    fn below(parent: Option<&Arc<Node>>, tokens: &[u32]) -> Arc<Node> {
        Arc::new(Node {
            parent: parent.cloned(),
            tokens: tokens.to_vec(),
        })
    }
}

/// Rows of a matrix.
pub(super) fn pick(rows_bd: &Tensor<2>, picks: &[usize]) -> Tensor<2> {
    if picks.iter().copied().eq(0..rows_bd.dims()[0]) {
        return rows_bd.clone();
    }
    rows_bd.clone().select(0, indices(picks, &rows_bd.device()))
}

fn indices(picks: &[usize], device: &Device) -> Tensor<1, Int> {
    let picks: Vec<i64> = picks.iter().map(|&i| i as i64).collect();
    let count = picks.len();
    Tensor::from_data(TensorData::new(picks, [count]), device)
}
