//! Every work of `gcpo bench` on the tiny network, beside what to expect of it: `cargo bench --bench speed`.
//!
//! Expected are the peers' figures on two cores of the same kind of machine, two threads, f32, vocabulary 512, medians of
//! five: transformers' `generate` with cache for `decode`, and TRL's step for `step` with GRPO, n = 8, β = 0.04. Neither
//! has a figure for the rest. `scripts/bench_peer.py` measures the peers again.
//!
//! | work | peer, same script | probe with burn, restructured | expected of the engine | seen |
//! | --- | --- | --- | --- | --- |
//! | decode tiny, 32 prompts × 64 tokens after 32 | 6,100 to 7,900 tok/s | 17,700 | 3 × peer | 40,900 to 45,700 tok/s, 5.7 to 6.7 × |
//! | decode small, 16 × 64 after 32 | 1,030 to 1,060 tok/s | 1,530 | 2 × peer | 3,110 to 3,350 tok/s, 2.9 to 3.2 × |
//! | prefill tiny, 32 × 512 | – | – | – | 65,000 tok/s (11,000 by tensor operations) |
//! | prefill small, 16 × 512 | – | – | – | 7,300 tok/s |
//! | step grpo tiny, 8 prompts × 8 | 0.74 s (TRL, earlier) | – | – | 0.88 s: sampling 0.08, training 0.65 |
//! | rollout gcpo over grpo, tiny, n = 4 / 8 | 20 / 66 by completions | – | 5 / 12 | 41 / 129 |
//! | rollout gcpo, tree over flat, n = 4 / 8 | 1 | – | 4 / 8 times faster | 3.0 / 5.1; sampling and scoring alone 3.6 / 6.4 |
//! | most keys and values, tree over flat, n = 4 | 1 | – | 1/4 | 0.28 |
//! | scoring `y_i` under all `x_{i,l}`, over running them afresh | 1 | – | 1/3 | 0.21 / 0.14 |
//!
//! What holds the ones that were not reached:
//! * GCPO over GRPO. At n = 4 the rollout runs 75,000 tokens (30,100 sampled; 24,600 + 1,500 texts of 48 tokens once more
//!   alone, to represent them; 19,000 of prefixes and scores) where GRPO runs 1,800: 41 times. Both run at the rate of the
//!   matrix product, which the profile of GCPO's puts at 41 % of the time for weights and 24 % for attention, at about 100
//!   GFLOP/s a core of 118 possible. 5 would need GRPO's own rollout to waste seven eighths of the machine.
//! * Tree over flat. Flat runs 250,000 tokens at n = 4, the tree 75,000: 3.3 times by count. What both do alike, decoding
//!   and representing, is three quarters of the tree's work.
//! * Memory. 48 new tokens take two blocks of 32; with blocks of 16 it would be 0.24.
//!
//! Where the time went before: operations of one thread, tensors copied before attention, buffers taken from the system
//! anew at each operation (15 to 25 %), exponentials one by one, filling. None of it is left in `model/src/cpu/`.

use gcpo::bench::{Plan, Size, Workload, measure};
use gcpo_model::dtype::Dtype;

/// Workload, objective, n, and what to expect.
const ROWS: [(Workload, &str, usize, &str); 8] = [
    (Workload::Decode, "gcpo", 8, "8,200 tok/s (transformers)"),
    (Workload::Prefill, "gcpo", 8, "no peer"),
    (Workload::Train, "gcpo", 8, "no peer"),
    (Workload::Rollout, "grpo", 4, "no peer"),
    (
        Workload::Rollout,
        "gcpo",
        4,
        "20 times the rollout of grpo, by count",
    ),
    (Workload::Step, "grpo", 8, "0.74 s (TRL)"),
    (Workload::Step, "grpo", 4, "no peer"),
    (Workload::Step, "gcpo", 4, "no peer"),
];

fn main() -> anyhow::Result<()> {
    let opened = gcpo_model::device::open(&gcpo_model::device::DeviceSpec::Auto)?;
    println!("{:<44}| seen", "expected");
    for (work, objective, group, expected) in ROWS {
        let plan = Plan {
            shape: Size::Tiny,
            work,
            objective: objective.parse().map_err(anyhow::Error::msg)?,
            group,
            flat: false,
            rows: None,
            length: None,
            vocab: None,
            hidden: None,
            checkpointing: false,
            dtype: Dtype::F32,
            repeats: 5,
        };
        println!("{expected:<44}| {}", measure(&plan, &opened)?);
    }
    Ok(())
}
