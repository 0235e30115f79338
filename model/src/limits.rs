//! How many numbers the tensor operations hold at once where there could be any number of them.

/// Numbers of each kind. The plain ways, whose graph keeps what it made, end where a gradient would keep more than a layer's states and
/// weights do anyway; beyond, parts are computed again on the way back, whose size weighs memory against the many small
/// operations that a device does slowly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Logits that are held at once, and for the way back kept.
    pub logits: usize,
    /// Logits that are held at once on the way back where they are computed again.
    pub logits_again: usize,
    /// Scores of attention that a layer keeps for the way back: of 9 heads those of a text of 680 tokens.
    pub scores_kept: usize,
    /// Scores of attention that are held at once.
    pub scores: usize,
}

impl Limits {
    /// 16 MiB of what is kept, 64 MiB of what is not; there are a handful of each at a time.
    pub const USUAL: Self = Self {
        logits: 1 << 22,
        logits_again: 1 << 24,
        scores_kept: 1 << 22,
        scores: 1 << 24,
    };

    /// Whether the scores of a layer's attention over `rows` whole texts are few enough to be kept.
    pub fn keep_scores(&self, heads: usize, rows: usize, width: usize) -> bool {
        let scores = [rows, width, width]
            .into_iter()
            .fold(heads, usize::saturating_mul);
        scores <= self.scores_kept
    }
}
