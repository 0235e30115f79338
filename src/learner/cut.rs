//! Where the rows of an update are cut into passes. It changes memory and speed only: gradients are added up.

use gcpo_model::llama::Llama;
use gcpo_model::logp::{is_fused, tokens_run};

use super::Train;
use super::batch::{Member, asked, projected};

/// What one pass may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    rows: usize,
    /// 0: any number.
    tokens: usize,
}

impl Limits {
    /// Those of `[train]`.
    pub fn of(train: &Train) -> Self {
        Self {
            rows: train.per_device_train_batch_size,
            tokens: train.max_tokens_per_micro_batch,
        }
    }

    /// The same with `rows` rows at most.
    pub fn with_rows(self, rows: usize) -> Self {
        Self {
            rows: self.rows.min(rows).max(1),
            ..self
        }
    }

    /// Items in passes, in their order. `families` are items that had better stay together: one that fits into a pass is not cut.
    /// `run` counts the tokens that a pass over some items runs; one item alone may be more than the limit.
    pub fn cut<'a, T>(
        &self,
        items: &'a [T],
        is_family: impl Fn(&T, &T) -> bool,
        run: impl Fn(&[T]) -> usize,
    ) -> Vec<&'a [T]> {
        if self.tokens == 0 {
            return items.chunks(self.rows).collect();
        }
        let fits = |items: &[T]| items.len() <= self.rows && run(items) <= self.tokens;
        let mut passes = Vec::new();
        let mut from = 0;
        let mut at = 0;
        for family in items.chunk_by(is_family) {
            let end = at + family.len();
            if at > from && fits(family) && !fits(&items[from..end]) {
                passes.push(&items[from..at]);
                from = at;
            }
            for next in at..end {
                if next > from && !fits(&items[from..=next]) {
                    passes.push(&items[from..next]);
                    from = next;
                }
            }
            at = end;
        }
        passes.extend((from < items.len()).then(|| &items[from..]));
        passes
    }
}

impl Limits {
    /// [`Limits::cut`] where no family may be cut, even one that is too large by itself.
    pub fn cut_between<'a, T>(
        &self,
        items: &'a [T],
        is_family: impl Fn(&T, &T) -> bool,
        run: impl Fn(&[T]) -> usize,
    ) -> Vec<&'a [T]> {
        let fits = |items: &[T]| items.len() <= self.rows && (self.tokens == 0 || run(items) <= self.tokens);
        let (mut passes, mut from, mut at) = (Vec::new(), 0, 0);
        for family in items.chunk_by(is_family) {
            let end = at + family.len();
            if at > from && !fits(&items[from..end]) {
                passes.push(&items[from..at]);
                from = at;
            }
            at = end;
        }
        passes.extend((from < items.len()).then(|| &items[from..]));
        passes
    }
}

/// Candidates in the order in which passes take them. Where what a group begins with is run once, groups stay together, and those of
/// similar length are neighbours; elsewhere rows of similar length are, of which little is padding.
/// `whole`: they do everywhere.
pub(super) fn in_order<'a>(model: &Llama, members: &[Member<'a>], whole: bool) -> Vec<Member<'a>> {
    let length = |(group, candidate): &Member| {
        let projected = candidate
            .collider
            .as_ref()
            .map_or(0, |collider| collider.context.len());
        candidate.tokens().len() + group.contexts.answer().len().max(projected)
    };
    if !whole && !is_fused(model) {
        let mut rows = members.to_vec();
        rows.sort_by_key(length);
        return rows;
    }
    let mut groups: Vec<&[Member]> = members.chunk_by(is_group).collect();
    groups.sort_by_key(|group| group.iter().map(length).max());
    groups.concat()
}

/// Whether two candidates are of one group.
pub(super) fn is_group((a, _): &Member, (b, _): &Member) -> bool {
    std::ptr::eq(*a, *b)
}

/// Tokens of passes of the policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PassTokens {
    /// Those that were run.
    pub run: usize,
    /// Those of the rows.
    pub of_rows: usize,
}

impl PassTokens {
    /// Of one pass over some candidates, in the κ term's contexts too.
    pub(super) fn of(model: &Llama, members: &[Member]) -> Self {
        let passes = [asked(members), projected(members)];
        let of_rows = |pairs: &Vec<(&[u32], &[u32])>| -> usize {
            let lengths = pairs
                .iter()
                .map(|(context, tokens)| context.len() + tokens.len() - 1);
            lengths.sum()
        };
        Self {
            run: passes.iter().map(|pairs| tokens_run(model, pairs)).sum(),
            of_rows: passes.iter().map(of_rows).sum(),
        }
    }

    /// Those that were run for one of a row: below 1 where rows share what they begin with, above where they are padded.
    pub fn run_frac(&self) -> f64 {
        self.run as f64 / self.of_rows as f64
    }
}

impl std::ops::AddAssign for PassTokens {
    fn add_assign(&mut self, other: Self) {
        self.run += other.run;
        self.of_rows += other.of_rows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items are (family, tokens).
    fn cut(rows: usize, tokens: usize, items: &[(u8, usize)]) -> Vec<Vec<usize>> {
        let passes = Limits { rows, tokens }.cut(
            items,
            |(a, _), (b, _)| a == b,
            |items| items.iter().map(|(_, tokens)| tokens).sum(),
        );
        let tokens = |pass: &&[(u8, usize)]| pass.iter().map(|(_, tokens)| *tokens).collect();
        passes.iter().map(tokens).collect()
    }

    #[test]
    fn passes_are_as_full_as_they_may_be_and_families_whole_where_they_fit() {
        let items = [(0, 3), (0, 3), (0, 3), (1, 4), (1, 4), (2, 30), (3, 1), (3, 2)];
        assert_eq!(cut(3, 0, &items), [vec![3, 3, 3], vec![4, 4, 30], vec![1, 2]]);
        // 3 + 3 + 3 + 4 would fit, but then the second family would be cut.
        assert_eq!(
            cut(8, 14, &items),
            [vec![3, 3, 3], vec![4, 4], vec![30], vec![1, 2]]
        );
        assert_eq!(
            cut(2, 14, &items),
            [vec![3, 3], vec![3], vec![4, 4], vec![30], vec![1, 2]]
        );
        assert_eq!(
            cut(8, 5, &items),
            [vec![3], vec![3], vec![3], vec![4], vec![4], vec![30], vec![1, 2]]
        );
        assert_eq!(cut(8, 100, &items).len(), 1);
        let whole = Limits { rows: 2, tokens: 0 }.cut_between(&items, |(a, _), (b, _)| a == b, |_| 0);
        assert_eq!(whole, [&items[..3], &items[3..5], &items[5..6], &items[6..]]);
        assert!(cut(8, 100, &[]).is_empty());
    }
}
