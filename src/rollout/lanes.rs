//! Sampling below a prefix: lanes that are never idle.
//!
//! A row of the batch is one sequence; its *members* are the completions that have drawn exactly these tokens so far.
//! Completions begin together with all that hang below the same node, share a row while they draw the same tokens, and
//! part where they differ; a row whose members have all ended gives its place to whoever waits. Where rows cannot be
//! reordered every completion has a row of its own, because parting would copy keys and values there.

use std::collections::VecDeque;

use burn::tensor::{Bool, Tensor, TensorData};
use gcpo_model::inference::{Lanes, Logits, RowSource};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::engine::{Engine, Prefix, Request, pick};
use super::sampler::Draw;
use super::{Completion, Finish, Rollout, RolloutError, Sampled, StreamKey};
use crate::stream::uniform;

/// Where rows cannot be reordered, those without members are dropped once this share of them has ended and nothing waits.
const COMPACT_FRAC: f64 = 0.2;

/// A sequence of the batch.
struct Row {
    /// Where its keys and values come from.
    source: RowSource,
    members: Vec<Member>,
}

/// A completion in the making.
struct Member {
    /// Its place among the requests.
    place: usize,
    /// Its longest length.
    limit: usize,
    key: StreamKey,
    rng: ChaCha8Rng,
    tokens: Vec<u32>,
    logp: Vec<f32>,
    sampling_logp: Vec<f32>,
    /// Set when it has all its tokens. It may still wait for its last one's state.
    finish: Option<Finish>,
}

/// Representations of completions that have ended, in the order in which they ended.
#[derive(Default)]
struct Kept {
    parts: Vec<Tensor<2>>,
    places: Vec<usize>,
}

impl Engine<'_> {
    /// [`Engine::sample_heard`] with at most `most` completions at a time.
    pub(super) fn sample_lanes(
        &self,
        prefix: &Prefix,
        requests: &[Request],
        most: usize,
        with_hidden: bool,
        heard: &mut dyn FnMut(usize, u32),
    ) -> Result<Sampled, RolloutError> {
        let ran = prefix.ran();
        let nodes: Vec<usize> = requests.iter().map(|request| request.row).collect();
        let mut waiting: VecDeque<usize> = (0..requests.len()).collect();
        let mut done: Vec<Option<Completion>> = vec![None; requests.len()];
        let mut kept = Kept::default();
        let mut batch = Batch::new(ran.cache.lanes(&nodes), self.how.max_completion_length);
        loop {
            let active: usize = batch.rows.iter().map(|row| row.members.len()).sum();
            let newcomers = batch.admit(requests, &mut waiting, most - active);
            if active == 0 && newcomers.is_empty() {
                break;
            }
            let picks: Vec<usize> = newcomers.iter().map(|row| nodes[row.members[0].place]).collect();
            let mut hidden: Vec<Tensor<2>> = batch.hidden_bd.take().into_iter().collect();
            if !picks.is_empty() {
                hidden.push(pick(&ran.hidden_bd, &picks));
            }
            let hidden_bd = match hidden.len() {
                1 => hidden.remove(0),
                _ => Tensor::cat(hidden, 0),
            };
            let old = batch.rows.len();
            batch.rows.extend(newcomers);
            // Those that only waited for their last state have it now.
            batch.close(&hidden_bd, &mut kept, &mut done);
            self.draw(&mut batch, prefix, requests, &hidden_bd, heard)?;
            for row in &mut batch.rows {
                for member in &mut row.members {
                    member.judge(self);
                }
            }
            batch.end(&hidden_bd, with_hidden, &mut kept, &mut done);
            batch.regroup(old, waiting.is_empty());
            self.arrange(&mut batch, old);
            if batch.rows.iter().any(|row| !row.members.is_empty()) {
                self.feed(&mut batch);
            } else {
                // Nobody goes on: whoever waits begins a new batch.
                batch.clear();
            }
        }
        Ok(Sampled {
            completions: done
                .into_iter()
                .map(|done| done.expect("every request was answered"))
                .collect(),
            hidden_bd: with_hidden.then(|| kept.in_order()),
        })
    }

    /// A token for every member that goes on.
    fn draw(
        &self,
        batch: &mut Batch,
        prefix: &Prefix,
        requests: &[Request],
        hidden_bd: &Tensor<2>,
        heard: &mut dyn FnMut(usize, u32),
    ) -> Result<(), RolloutError> {
        let context = |member: &Member| {
            let mut context = prefix.context(requests[member.place].row);
            context.extend(&member.tokens);
            context
        };
        let draws = match self.model.logits(hidden_bd.clone()) {
            Logits::Host(logits) => batch.draw_on_host(&self.how, &logits, context),
            Logits::Device(logits_bv) => batch.draw_on_device(&self.how, logits_bv, context),
        };
        for (row, draws) in batch.rows.iter_mut().zip(draws) {
            for (member, draw) in row.members.iter_mut().zip(draws) {
                let draw = draw.ok_or(RolloutError::NonFinite {
                    prompt: member.key.prompt,
                    sample: member.key.sample,
                })?;
                member.tokens.push(draw.token);
                member.logp.push(draw.logp);
                member.sampling_logp.push(draw.sampling_logp);
                heard(member.place, draw.token);
            }
        }
        Ok(())
    }

    /// Keys and values follow the rows. The first `old` rows were in the batch before.
    fn arrange(&self, batch: &mut Batch, old: usize) {
        let sources: Vec<RowSource> = batch.rows.iter().map(|row| row.source).collect();
        let in_place = |(at, source): (usize, &RowSource)| *source == RowSource::Row(at);
        if sources.len() != old || !sources.iter().enumerate().all(in_place) {
            batch.seen = None;
            let held = batch.lanes.bytes();
            self.note(|work| work.kv_bytes = work.kv_bytes.max(held));
            batch.lanes.arrange(&sources);
        }
        for (at, row) in batch.rows.iter_mut().enumerate() {
            row.source = RowSource::Row(at);
        }
    }

    /// Runs every row's last token.
    fn feed(&self, batch: &mut Batch) {
        // A row that has ended goes on with any token: nobody reads it.
        let tokens: Vec<u32> = batch
            .rows
            .iter()
            .map(|row| row.members.first().map_or(0, Member::last))
            .collect();
        batch.hidden_bd = Some(batch.lanes.step(&tokens));
        self.note(|work| work.decoded += tokens.len());
    }
}

/// The rows at work.
struct Batch {
    rows: Vec<Row>,
    /// Longest completion, in tokens.
    longest: usize,
    /// Their keys and values.
    lanes: Box<dyn Lanes>,
    /// `[rows, d]`: states at the rows' last tokens.
    hidden_bd: Option<Tensor<2>>,
    /// `[rows, v]`: tokens of contexts and completions, where a device needs them.
    seen: Option<Tensor<2>>,
}

impl Batch {
    fn new(lanes: Box<dyn Lanes>, longest: usize) -> Self {
        Self {
            rows: Vec::new(),
            longest,
            lanes,
            hidden_bd: None,
            seen: None,
        }
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.lanes.arrange(&[]);
        (self.hidden_bd, self.seen) = (None, None);
    }

    /// Rows for those who wait, as long as there are lanes; where rows can part, neighbours below one node begin as one.
    fn admit(&self, requests: &[Request], waiting: &mut VecDeque<usize>, mut free: usize) -> Vec<Row> {
        let together = self.lanes.can_reorder();
        let mut rows: Vec<Row> = Vec::new();
        while free > 0
            && let Some(place) = waiting.pop_front()
        {
            free -= 1;
            let member = Member::new(place, &requests[place], self.longest);
            let node = |row: &Row| requests[row.members[0].place].row;
            match rows.last_mut() {
                Some(row) if together && node(row) == requests[place].row => row.members.push(member),
                _ => rows.push(Row {
                    source: RowSource::Trunk(place),
                    members: vec![member],
                }),
            }
        }
        rows
    }

    /// A token for each row's members.
    fn draw_on_host(
        &mut self,
        how: &Rollout,
        logits: &[f32],
        context: impl Fn(&Member) -> Vec<u32> + Sync,
    ) -> Vec<Vec<Option<Draw>>> {
        let vocab = logits.len() / self.rows.len();
        self.rows
            .par_iter_mut()
            .zip(logits.par_chunks_exact(vocab))
            .map(|(row, logits)| {
                let seen = match (how.penalises(), row.members.first()) {
                    (true, Some(member)) => context(member),
                    _ => Vec::new(),
                };
                let draw = |member: &mut Member| how.draw(logits, &seen, uniform(&mut member.rng));
                row.members.iter_mut().map(draw).collect()
            })
            .collect()
    }

    /// A token for each row's one member; where it has none, one that nobody reads.
    fn draw_on_device(
        &mut self,
        how: &Rollout,
        logits_bv: Tensor<2>,
        context: impl Fn(&Member) -> Vec<u32>,
    ) -> Vec<Vec<Option<Draw>>> {
        let seen = how.penalises().then(|| self.seen(&logits_bv, context));
        let member_uniform = |row: &mut Row| {
            let member = row.members.first_mut();
            member.map_or(0.0, |member| uniform(&mut member.rng))
        };
        let uniforms: Vec<f64> = self.rows.iter_mut().map(member_uniform).collect();
        let draws = how.draw_on_device(logits_bv, seen, &uniforms);
        draws.into_iter().map(|draw| vec![draw]).collect()
    }

    /// Gives every continuation of a row a row: members that drew the same token stay together. The first `old` rows
    /// are in the batch, those after them begin; `last` says that nobody waits.
    fn regroup(&mut self, old: usize, last: bool) {
        let mut rows = std::mem::take(&mut self.rows);
        if self.lanes.can_reorder() {
            self.rows = rows.into_iter().flat_map(Row::into_parts).collect();
            return;
        }
        // Rows stay where they are; newcomers take the places of those that have ended.
        let mut newcomers = rows
            .split_off(old)
            .into_iter()
            .filter(|row| old == 0 || !row.members.is_empty());
        for row in &mut rows {
            if row.members.is_empty()
                && let Some(newcomer) = newcomers.next()
            {
                *row = newcomer;
            }
        }
        rows.extend(newcomers);
        let idle = rows.iter().filter(|row| row.members.is_empty()).count();
        let begins = rows.iter().any(|row| matches!(row.source, RowSource::Trunk(_)));
        if last && (old == 0 || !begins) && idle as f64 >= COMPACT_FRAC * rows.len() as f64 {
            rows.retain(|row| !row.members.is_empty());
        }
        self.rows = rows;
    }

    /// Takes the states of members that have all their tokens and waited for the last one's.
    fn close(&mut self, hidden_bd: &Tensor<2>, kept: &mut Kept, done: &mut [Option<Completion>]) {
        let mut picks = Vec::new();
        for (at, row) in self.rows.iter_mut().enumerate() {
            for member in row.members.extract_if(.., |member| member.finish.is_some()) {
                picks.push(at);
                kept.places.push(member.place);
                let place = member.place;
                done[place] = Some(member.into_completion());
            }
        }
        kept.add(hidden_bd, &picks);
    }

    /// Takes out the members that have just drawn their last token, except those whose state after it is wanted.
    fn end(
        &mut self,
        hidden_bd: &Tensor<2>,
        with_hidden: bool,
        kept: &mut Kept,
        done: &mut [Option<Completion>],
    ) {
        let mut picks = Vec::new();
        for (at, row) in self.rows.iter_mut().enumerate() {
            let ends = |member: &mut Member| match member.finish {
                // The text goes without its EOS: the state in front of that is its last.
                Some(Finish::Eos) if member.tokens.len() > 1 => true,
                Some(_) => !with_hidden || member.finish == Some(Finish::Eos),
                None => false,
            };
            for member in row.members.extract_if(.., ends) {
                if with_hidden {
                    picks.push(at);
                    kept.places.push(member.place);
                }
                let place = member.place;
                done[place] = Some(member.into_completion());
            }
        }
        kept.add(hidden_bd, &picks);
    }

    /// `[rows, v]`: which tokens each row holds. It stays on the device, where a step adds one token a row; when other
    /// rows come it is made again.
    fn seen(&mut self, logits_bv: &Tensor<2>, context: impl Fn(&Member) -> Vec<u32>) -> Tensor<2, Bool> {
        let [rows, vocab] = logits_bv.dims();
        let device = logits_bv.device();
        let members = || self.rows.iter().map(|row| row.members.first());
        let seen = match self.seen.take().filter(|seen| seen.dims()[0] == rows) {
            Some(seen) => {
                let last = members()
                    .map(|member| i64::from(member.map_or(0, Member::last)))
                    .collect();
                let last = Tensor::from_data(TensorData::new::<i64, _>(last, [rows, 1]), &device);
                let ones = Tensor::ones([rows, 1], &device);
                seen.scatter(1, last, ones, burn::tensor::IndexingUpdateOp::Add)
            }
            None => {
                let mut seen = vec![0f32; rows * vocab];
                for (row, member) in members().enumerate() {
                    for token in member.map(&context).unwrap_or_default() {
                        seen[row * vocab + token as usize] = 1.0;
                    }
                }
                Tensor::from_data(TensorData::new(seen, [rows, vocab]), &device)
            }
        };
        self.seen = Some(seen.clone());
        seen.greater_elem(0.0)
    }
}

impl Kept {
    fn add(&mut self, hidden_bd: &Tensor<2>, picks: &[usize]) {
        if !picks.is_empty() {
            self.parts.push(pick(hidden_bd, picks));
        }
    }

    /// `[completions, d]`, in the order of their places.
    fn in_order(self) -> Tensor<2> {
        let mut order = vec![0; self.places.len()];
        for (at, &place) in self.places.iter().enumerate() {
            order[place] = at;
        }
        pick(&Tensor::cat(self.parts, 0), &order)
    }
}

impl Row {
    /// A row for each token that members have drawn, in the order in which they were first drawn.
    fn into_parts(self) -> Vec<Row> {
        let mut parts: Vec<Row> = Vec::new();
        for member in self.members {
            match parts
                .iter_mut()
                .find(|part| part.members[0].last() == member.last())
            {
                Some(part) => part.members.push(member),
                None => parts.push(Row {
                    source: self.source,
                    members: vec![member],
                }),
            }
        }
        parts
    }
}

impl Member {
    fn new(place: usize, request: &Request, longest: usize) -> Self {
        Self {
            place,
            limit: request.limit.map_or(longest, |limit| limit.min(longest)),
            rng: request.key.rng(),
            key: request.key,
            tokens: Vec::new(),
            logp: Vec::new(),
            sampling_logp: Vec::new(),
            finish: None,
        }
    }

    fn last(&self) -> u32 {
        *self.tokens.last().expect("a member has drawn a token")
    }

    /// Whether the token just drawn is its last.
    fn judge(&mut self, engine: &Engine) {
        if engine.eos.contains(&self.last()) {
            self.finish = Some(Finish::Eos);
        } else if engine.stops.is_some_and(|stops| stops(&self.tokens)) {
            self.finish = Some(Finish::Stop);
        } else if self.tokens.len() >= self.limit {
            self.finish = Some(Finish::Length);
        }
    }

    fn into_completion(self) -> Completion {
        Completion {
            tokens: self.tokens,
            logp: self.logp,
            sampling_logp: self.sampling_logp,
            finish: self.finish.expect("it has ended"),
        }
    }
}
