//! Every work of `gcpo bench` on the tiny network, beside what to expect of it: `cargo bench --bench speed`.
//!
//! Expected are the peers' figures on two cores of the same kind of machine, two threads, f32, vocabulary 512, medians of
//! five: transformers' `generate` with cache for `decode`, and TRL's step for `step` with GRPO, n = 8, β = 0.04. Neither
//! has a figure for the rest. `scripts/bench_peer.py` measures the peers again.
//!
//! | work | peer | first probe with burn | probe, restructured |
//! | --- | --- | --- | --- |
//! | decode tiny, 32 prompts × 64 tokens after 32 | 8,200 tok/s | 9,900 | 17,700 |
//! | decode small, 16 × 64 after 32 | 1,700 tok/s | about 1,400 | 1,530 |
//! | step grpo tiny, 8 prompts × 8 | 0.74 s | – | – |
//! | step grpo small, 8 prompts × 8 | 2.9 s | – | – |
//!
//! The first probe ran single-threaded element-wise operations, copied tensors before attention and all of the cache at
//! each token, and took buffers from the system anew at each operation. The second put q, k, v and gate, up into one
//! matrix each, and wrote into a cache in place; attention's many small products (43 %) and the feed-forward (33 %) were
//! what remained in tiny, skinny matrix products (75 %) in small.
//!
//! A GCPO step samples 2n + n³ completions a prompt where GRPO samples n: 20 times as many at n = 4, 66 times at n = 8.

use gcpo::bench::{Plan, Shape, Work, measure};
use gcpo::objective::Objective;

/// Work, objective, n, and what to expect.
const ROWS: [(Work, Objective, usize, &str); 8] = [
    (Work::Decode, Objective::Gcpo, 8, "8,200 tok/s (transformers)"),
    (Work::Prefill, Objective::Gcpo, 8, "no peer"),
    (Work::Train, Objective::Gcpo, 8, "no peer"),
    (Work::Rollout, Objective::Grpo, 4, "no peer"),
    (
        Work::Rollout,
        Objective::Gcpo,
        4,
        "20 times the rollout of grpo, by count",
    ),
    (Work::Step, Objective::Grpo, 8, "0.74 s (TRL)"),
    (Work::Step, Objective::Grpo, 4, "no peer"),
    (Work::Step, Objective::Gcpo, 4, "no peer"),
];

fn main() -> anyhow::Result<()> {
    let (device, name) = gcpo::device::open(&gcpo::device::DeviceSpec::Auto)?;
    println!("{:<44}| seen", "expected");
    for (work, objective, group, expected) in ROWS {
        let plan = Plan {
            shape: Shape::Tiny,
            work,
            objective,
            group,
            flat: false,
            repeats: 5,
        };
        println!("{expected:<44}| {}", measure(&plan, &device, name.clone())?);
    }
    Ok(())
}
