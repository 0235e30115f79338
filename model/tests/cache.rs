//! The cache changes what is computed again, never what comes out.

mod common;

use burn::tensor::{DType, Tensor};
use common::{config, device, distance, families};
use gcpo_model::cache::Cache;
use gcpo_model::llama::Llama;
use gcpo_model::tokens::{Padding, Tokens};

const TOLERANCE: f32 = 2e-5;

fn model() -> Llama {
    Llama::init(&config(""), 7, &device())
}

/// One of each family that attends in a way of its own.
fn models() -> impl Iterator<Item = Llama> {
    families()
        .into_iter()
        .map(|config| Llama::init(&config, 7, &device()))
}

/// Some tokens, different for each seed.
fn ids(seed: u32, count: usize) -> Vec<u32> {
    (0..count as u32)
        .map(|i| (seed.wrapping_mul(7919) + i * i * 31 + i * 17 + 5) % 61)
        .collect()
}

/// Hidden states of one sequence, run alone and without a cache: `[t, d]`.
fn alone(model: &Llama, sequence: &[u32]) -> Tensor<2> {
    let tokens = Tokens::new(&[sequence], Padding::Right, &device());
    model.forward(&tokens, None).squeeze_dim(0)
}

fn right(rows: &[Vec<u32>]) -> Tokens {
    Tokens::new(rows, Padding::Right, &device())
}

/// Row `row` of `hidden`, columns `from..to`.
fn part(hidden: &Tensor<3>, row: usize, from: usize, to: usize) -> Tensor<2> {
    hidden
        .clone()
        .narrow(0, row, 1)
        .narrow(1, from, to - from)
        .squeeze_dim(0)
}

fn concat(parts: &[&[u32]]) -> Vec<u32> {
    parts.concat()
}

#[test]
fn decode_equals_prefill() {
    for model in models() {
        let sequences: Vec<Vec<u32>> = (0..3).map(|s| ids(s, 50)).collect();
        let mut cache = Cache::new(model.config(), 3, &device(), DType::F32);
        let prompts: Vec<Vec<u32>> = sequences.iter().map(|s| s[..7].to_vec()).collect();
        let hidden = model.forward(&right(&prompts), Some(&mut cache));
        let expected: Vec<Tensor<2>> = sequences.iter().map(|s| alone(&model, s)).collect();
        for (row, expected) in expected.iter().enumerate() {
            let e = expected.clone().narrow(0, 0, 7);
            assert!(distance(part(&hidden, row, 0, 7), e) < TOLERANCE);
        }
        for at in 7..50 {
            let step: Vec<Vec<u32>> = sequences.iter().map(|s| vec![s[at]]).collect();
            let hidden = model.forward(&right(&step), Some(&mut cache));
            for (row, expected) in expected.iter().enumerate() {
                let e = expected.clone().narrow(0, at, 1);
                let error = distance(part(&hidden, row, 0, 1), e);
                assert!(error < TOLERANCE, "row {row} position {at}: {error}");
            }
        }
        assert_eq!(cache.lengths(), &[50, 50, 50]);
    }
}

#[test]
fn a_batch_equals_its_rows_on_either_side() {
    for model in models() {
        let rows = vec![ids(1, 9), ids(2, 4), ids(3, 1), ids(4, 6)];
        for padding in [Padding::Left, Padding::Right] {
            let tokens = Tokens::new(&rows, padding, &device());
            let mut cache = Cache::new(model.config(), 4, &device(), DType::F32);
            let plain = model.forward(&tokens, None);
            let cached = model.forward(&tokens, Some(&mut cache));
            assert_eq!(cache.lengths(), &[9, 4, 1, 6]);
            for (row, sequence) in rows.iter().enumerate() {
                let (from, to) = (tokens.start(row), tokens.start(row) + sequence.len());
                let expected = alone(&model, sequence);
                assert!(distance(part(&plain, row, from, to), expected.clone()) < TOLERANCE);
                assert!(distance(part(&cached, row, from, to), expected) < TOLERANCE);
            }
        }
    }
}

#[test]
fn ragged_appends_leave_holes_that_nobody_sees() {
    for model in models() {
        for padding in [Padding::Left, Padding::Right] {
            let pieces = [
                vec![ids(1, 5), ids(2, 2), ids(3, 7)],
                vec![ids(4, 1), ids(5, 6), ids(6, 3)],
                vec![ids(7, 1), ids(8, 1), ids(9, 1)],
                vec![ids(10, 2), ids(11, 4), ids(12, 4)],
            ];
            let mut cache = Cache::new(model.config(), 3, &device(), DType::F32);
            let mut so_far = vec![Vec::new(); 3];
            for piece in &pieces {
                let tokens = Tokens::new(piece, padding, &device());
                let hidden = model.forward(&tokens, Some(&mut cache));
                for row in 0..3 {
                    let seen = so_far[row].len();
                    so_far[row].extend(&piece[row]);
                    let expected = alone(&model, &so_far[row]).narrow(0, seen, piece[row].len());
                    let from = tokens.start(row);
                    let got = part(&hidden, row, from, from + piece[row].len());
                    let error = distance(got, expected);
                    assert!(error < TOLERANCE, "{padding:?} row {row}: {error}");
                }
            }
            // A level with holes.
            let mut forked = cache.fork(&[2, 0, 0]);
            let hidden = model.forward(&right(&[ids(1, 2), ids(2, 3), ids(3, 1)]), Some(&mut forked));
            for (row, (parent, seed, count)) in [(2, 1, 2), (0, 2, 3), (0, 3, 1)].iter().enumerate() {
                let sequence = concat(&[&so_far[*parent], &ids(*seed, *count)]);
                let expected = alone(&model, &sequence).narrow(0, so_far[*parent].len(), *count);
                assert!(distance(part(&hidden, row, 0, *count), expected) < TOLERANCE);
            }
        }
    }
}

/// Runs a chain of forks, `plan[level]` giving for each row its parent and its tokens, and compares every row of every
/// level with its flat run.
fn check_tree(plan: &[Vec<(usize, Vec<u32>)>]) -> Cache {
    let mut caches: Vec<Cache> = models().map(|model| check_tree_of(&model, plan)).collect();
    caches.swap_remove(0)
}

fn check_tree_of(model: &Llama, plan: &[Vec<(usize, Vec<u32>)>]) -> Cache {
    let mut cache = Cache::new(model.config(), plan[0].len(), &device(), DType::F32);
    let mut so_far: Vec<Vec<u32>> = vec![Vec::new(); plan[0].len()];
    for (depth, rows) in plan.iter().enumerate() {
        if depth > 0 {
            let parents: Vec<usize> = rows.iter().map(|row| row.0).collect();
            cache = cache.fork(&parents);
            so_far = parents.iter().map(|&p| so_far[p].clone()).collect();
        }
        let tokens: Vec<Vec<u32>> = rows.iter().map(|row| row.1.clone()).collect();
        let hidden = model.forward(&right(&tokens), Some(&mut cache));
        for (row, new) in tokens.iter().enumerate() {
            let seen = so_far[row].len();
            so_far[row].extend(new);
            assert_eq!(cache.lengths()[row], so_far[row].len());
            let expected = alone(model, &so_far[row]).narrow(0, seen, new.len());
            let error = distance(part(&hidden, row, 0, new.len()), expected);
            assert!(error < TOLERANCE, "depth {depth} row {row}: {error}");
        }
    }
    cache
}

#[test]
fn a_fork_equals_its_original() {
    check_tree(&[
        vec![(0, ids(1, 6)), (0, ids(2, 9))],
        vec![(0, ids(3, 2)), (0, ids(4, 2)), (1, ids(5, 2)), (1, ids(6, 2))],
    ]);
}

#[test]
fn three_levels_with_uneven_rows_equal_flat_runs() {
    check_tree(&[
        vec![(0, ids(1, 6)), (0, ids(2, 3)), (0, ids(3, 8))],
        vec![
            (2, ids(4, 3)),
            (0, ids(5, 1)),
            (2, ids(6, 4)),
            (2, ids(7, 2)),
            (1, ids(8, 5)),
        ],
        vec![
            (1, ids(9, 2)),
            (4, ids(10, 2)),
            (0, ids(11, 1)),
            (0, ids(12, 3)),
            (4, ids(13, 1)),
            (3, ids(14, 2)),
        ],
        vec![
            (5, ids(15, 1)),
            (0, ids(16, 1)),
            (1, ids(17, 1)),
            (1, ids(18, 1)),
            (1, ids(19, 1)),
        ],
    ]);
}

#[test]
fn nodes_without_rows_go() {
    // Middle nodes go by a copy, edges by a view.
    let few = check_tree(&[
        (0..6).map(|s| (0, ids(s, 4))).collect(),
        vec![(1, ids(9, 1)), (5, ids(8, 1))],
        vec![(0, ids(7, 1)), (1, ids(6, 1))],
    ]);
    let per_token = config("").kv_numbers_per_token() * size_of::<f32>();
    assert_eq!(few.bytes(), (2 * 4 + 2 + 2) * per_token);
    let edge = check_tree(&[
        (0..6).map(|s| (0, ids(s, 4))).collect(),
        vec![(2, ids(9, 1)), (3, ids(8, 1)), (4, ids(8, 1))],
    ]);
    assert_eq!(edge.bytes(), (3 * 4 + 3) * per_token);
}

#[test]
fn keep_drops_rows_and_nothing_else() {
    for model in models() {
        let mut base = Cache::new(model.config(), 2, &device(), DType::F32);
        let prompts = [ids(1, 5), ids(2, 8)];
        model.forward(&right(&prompts), Some(&mut base));
        let parents = [0, 0, 0, 1, 1, 1];
        let mut cache = base.fork(&parents);
        let mut so_far: Vec<Vec<u32>> = parents.iter().map(|&p| prompts[p].clone()).collect();
        let step = |cache: &mut Cache, so_far: &mut Vec<Vec<u32>>, seed: u32| {
            let new: Vec<Vec<u32>> = (0..so_far.len() as u32).map(|r| ids(seed + r, 1)).collect();
            let hidden = model.forward(&right(&new), Some(cache));
            for (row, new) in new.iter().enumerate() {
                so_far[row].extend(new);
                let expected = alone(&model, &so_far[row]).narrow(0, so_far[row].len() - 1, 1);
                assert!(distance(part(&hidden, row, 0, 1), expected) < TOLERANCE);
            }
        };
        step(&mut cache, &mut so_far, 20);
        step(&mut cache, &mut so_far, 30);
        for (rows, seed) in [(vec![0, 1, 2, 4, 5], 40), (vec![4, 0, 3], 50), (vec![0, 2], 60)] {
            cache.keep(&rows);
            so_far = rows.iter().map(|&r| so_far[r].clone()).collect();
            step(&mut cache, &mut so_far, seed);
            step(&mut cache, &mut so_far, seed + 5);
        }
        // Only the second prompt is left of the shared level.
        assert_eq!(cache.rows(), 2);
    }
}

#[test]
fn a_prefix_is_continued_many_times() {
    for model in models() {
        let mut prefix = Cache::new(model.config(), 1, &device(), DType::F32);
        let prompt = ids(1, 10);
        model.forward(&right(std::slice::from_ref(&prompt)), Some(&mut prefix));
        let prefix = prefix.fork(&[0]);
        for seed in 2..5 {
            let mut once = prefix.fork(&[0, 0]);
            let new = [ids(seed, 3), ids(seed + 10, 3)];
            let hidden = model.forward(&right(&new), Some(&mut once));
            for (row, new) in new.iter().enumerate() {
                let expected = alone(&model, &concat(&[&prompt, new])).narrow(0, 10, 3);
                assert!(distance(part(&hidden, row, 0, 3), expected) < TOLERANCE);
            }
        }
    }
}

#[test]
fn reserved_room_does_not_grow() {
    let model = model();
    let mut cache = Cache::new(model.config(), 4, &device(), DType::F32);
    cache.reserve(40);
    let bytes = cache.bytes();
    for at in 0..40 {
        model.forward(&right(&vec![ids(at, 1); 4]), Some(&mut cache));
    }
    assert_eq!(cache.bytes(), bytes);
    assert_eq!(
        bytes,
        4 * 40 * model.config().kv_numbers_per_token() * size_of::<f32>()
    );
    model.forward(&right(&vec![ids(0, 1); 4]), Some(&mut cache));
    assert!(cache.bytes() > bytes);
}

#[test]
fn a_long_prompt_in_windows_equals_one_forward() {
    // 4 heads * 240 rows * 156² scores are more than one window holds (2^24).
    let model = model();
    let rows: Vec<Vec<u32>> = (0..240).map(|s| ids(s, 150 + s as usize % 7)).collect();
    for padding in [Padding::Left, Padding::Right] {
        let tokens = Tokens::new(&rows, padding, &device());
        let mut cache = Cache::new(model.config(), rows.len(), &device(), DType::F32);
        let cached = model.forward(&tokens, Some(&mut cache));
        for row in [0, 5, 239] {
            let expected = alone(&model, &rows[row]);
            let (from, to) = (tokens.start(row), tokens.start(row) + rows[row].len());
            assert!(distance(part(&cached, row, from, to), expected) < TOLERANCE);
        }
    }
}

/// Lanes over more requests than there are rows: whoever has all its tokens makes room for the next request.
struct Refilled<'a> {
    model: &'a Llama,
    trunk: Cache,
    cache: Cache,
    /// Per request: the prefix and what is to be appended one by one.
    requests: Vec<(Vec<u32>, Vec<u32>)>,
    /// Per row: its request and how many of its tokens are in.
    rows: Vec<(usize, usize)>,
    waiting: usize,
}

impl<'a> Refilled<'a> {
    /// Two levels of nodes, which the requests continue in uneven numbers.
    fn new(model: &'a Llama, lanes: usize, lengths: &[usize]) -> Self {
        let prompts = [ids(1, 5), ids(2, 9), ids(3, 2)];
        let branches = [(0, ids(4, 3)), (0, ids(5, 1)), (2, ids(6, 4)), (1, ids(7, 2))];
        let of = [0, 0, 0, 1, 3, 2, 2, 3, 3, 0, 1, 2, 2, 2, 0];
        let mut root = Cache::new(model.config(), 3, &device(), DType::F32);
        model.forward(&right(&prompts), Some(&mut root));
        let mut leaves = root.fork(&branches.each_ref().map(|b| b.0));
        model.forward(
            &right(&branches.each_ref().map(|b| b.1.clone())),
            Some(&mut leaves),
        );
        let parents: Vec<usize> = of.iter().cycle().take(lengths.len()).copied().collect();
        let trunk = leaves.fork(&parents);
        let requests = parents
            .iter()
            .zip(lengths)
            .enumerate()
            .map(|(i, (&parent, &length))| {
                let prefix = concat(&[&prompts[branches[parent].0], &branches[parent].1]);
                (prefix, ids(20 + i as u32, length))
            })
            .collect();
        Self {
            model,
            cache: trunk.lanes(&(0..lanes).collect::<Vec<_>>()),
            trunk,
            requests,
            rows: (0..lanes).map(|request| (request, 0)).collect(),
            waiting: lanes,
        }
    }

    /// What the lanes hold beside the trunk, all of whose nodes they keep.
    fn own_bytes(&self) -> usize {
        self.cache.bytes() - self.trunk.bytes()
    }

    /// Appends the next `width` tokens of every row and compares the rows with their flat runs.
    fn step(&mut self, width: usize) {
        let new: Vec<Vec<u32>> = self
            .rows
            .iter()
            .map(|&(request, done)| {
                let all = &self.requests[request].1;
                all[done..all.len().min(done + width)].to_vec()
            })
            .collect();
        let hidden = self.model.forward(&right(&new), Some(&mut self.cache));
        for (row, new) in new.iter().enumerate() {
            let (request, done) = &mut self.rows[row];
            *done += new.len();
            let (prefix, tokens) = &self.requests[*request];
            let so_far = concat(&[prefix, &tokens[..*done]]);
            assert_eq!(self.cache.lengths()[row], so_far.len());
            let expected = alone(self.model, &so_far).narrow(0, so_far.len() - new.len(), new.len());
            let error = distance(part(&hidden, row, 0, new.len()), expected);
            assert!(error < 1e-5, "request {request}, {done} tokens: {error}");
        }
    }

    /// Seats waiting requests where rows have ended, else drops those rows. False once no row is left.
    fn refill(&mut self) -> bool {
        let mut seats = Vec::new();
        for (row, (request, done)) in self.rows.iter_mut().enumerate() {
            if *done == self.requests[*request].1.len() && self.waiting < self.requests.len() {
                (*request, *done) = (self.waiting, 0);
                seats.push((row, self.waiting));
                self.waiting += 1;
            }
        }
        self.cache.exchange(&self.trunk, &seats);
        let live: Vec<usize> = (0..self.rows.len())
            .filter(|&row| self.rows[row].1 < self.requests[self.rows[row].0].1.len())
            .collect();
        if live.is_empty() {
            return false;
        }
        self.cache.keep(&live);
        self.rows = live.iter().map(|&row| self.rows[row]).collect();
        true
    }
}

const LENGTHS: [usize; 15] = [7, 2, 9, 4, 1, 9, 3, 5, 8, 1, 6, 9, 2, 7, 4];

#[test]
fn an_exchanged_row_equals_a_fresh_one() {
    for model in models() {
        for lanes in [1, 2, 5] {
            let mut run = Refilled::new(&model, lanes, &LENGTHS);
            run.cache.reserve(9);
            let bytes = run.own_bytes();
            assert_eq!(
                bytes,
                lanes * 9 * model.config().kv_numbers_per_token() * size_of::<f32>()
            );
            let mut steps = 0;
            loop {
                run.step(1);
                steps += 1;
                // 77 tokens a lane at most go round and round in 9 columns.
                assert_eq!(run.own_bytes(), bytes / lanes * run.cache.rows());
                if !run.refill() {
                    break;
                }
            }
            assert_eq!(run.waiting, LENGTHS.len());
            assert!(steps >= LENGTHS.iter().sum::<usize>().div_ceil(lanes));
        }
    }
}

#[test]
fn a_ring_that_is_too_short_grows() {
    let model = model();
    let lengths: Vec<usize> = [3, 2, 3, 2, 40, 1, 2, 3, 1, 70, 2, 1, 3].to_vec();
    let mut run = Refilled::new(&model, 3, &lengths);
    run.cache.reserve(3);
    while {
        run.step(1);
        run.refill()
    } {}
    assert_eq!(run.waiting, lengths.len());
    assert_eq!(
        run.own_bytes(),
        96 * model.config().kv_numbers_per_token() * size_of::<f32>()
    );
}

#[test]
fn several_tokens_at_once_and_forks_unroll_a_ring() {
    for model in models() {
        for width in [2, 3, 7] {
            let mut run = Refilled::new(&model, 3, &LENGTHS);
            run.cache.reserve(12);
            for at in 0.. {
                run.step(if at % 4 == 3 { width } else { 1 });
                let rows: Vec<usize> = (0..run.rows.len()).rev().flat_map(|row| [row, row]).collect();
                let new: Vec<Vec<u32>> = (0..rows.len() as u32)
                    .map(|i| ids(at + i, 1 + i as usize % 3))
                    .collect();
                let hidden = model.forward(&right(&new), Some(&mut run.cache.fork(&rows)));
                for (i, (&row, new)) in rows.iter().zip(&new).enumerate() {
                    let (request, done) = run.rows[row];
                    let (prefix, tokens) = &run.requests[request];
                    let whole = concat(&[prefix, &tokens[..done], new]);
                    let expected = alone(&model, &whole).narrow(0, whole.len() - new.len(), new.len());
                    assert!(distance(part(&hidden, i, 0, new.len()), expected) < 1e-5);
                }
                if !run.refill() {
                    break;
                }
            }
            assert_eq!(run.waiting, LENGTHS.len());
        }
    }
}

#[test]
#[should_panic(expected = "not the trunk")]
fn a_strange_trunk_is_refused() {
    let model = model();
    let mut run = Refilled::new(&model, 2, &LENGTHS);
    let other = Refilled::new(&model, 2, &LENGTHS).trunk;
    run.cache.exchange(&other, &[(0, 3)]);
}
