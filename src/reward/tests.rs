//! Rewards together: sums, gates, what does not apply.
