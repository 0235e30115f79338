//! Which steps' texts a page holds, where it cannot hold them all.

use std::collections::{BTreeMap, BTreeSet};

use super::samples::{MOST_PROBLEMS, Sampled};

/// Steps of which the texts take about `most` bytes: those that are asked for, the last and the first, and between them ever finer.
/// Every run of some has a step's texts, so that runs stand side by side.
pub fn choose(runs: &[Sampled], asked: &[usize], most: usize) -> BTreeSet<usize> {
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    for run in runs {
        for entries in run.entries.chunk_by(|a, b| a.step == b.step) {
            let bytes: usize = entries.iter().take(MOST_PROBLEMS).map(|entry| entry.bytes).sum();
            *sizes.entry(entries[0].step).or_default() += bytes;
        }
    }
    let steps: Vec<usize> = sizes.keys().copied().collect();
    let mut chosen = BTreeSet::new();
    let mut left = most;
    for step in asked.iter().filter(|step| sizes.contains_key(step)) {
        if chosen.insert(*step) {
            left = left.saturating_sub(sizes[step]);
        }
    }
    for at in ever_finer(steps.len()) {
        let step = steps[at];
        // One step is shown, however long it is.
        if chosen.contains(&step) || (sizes[&step] > left && !chosen.is_empty()) {
            continue;
        }
        left = left.saturating_sub(sizes[&step]);
        chosen.insert(step);
    }
    chosen
}

/// All of `0..count`: the last, the first, the one in the middle of these, those in the middle of the halves…
fn ever_finer(count: usize) -> Vec<usize> {
    let Some(last) = count.checked_sub(1) else {
        return Vec::new();
    };
    let (mut order, mut seen) = (vec![last, 0], BTreeSet::from([last, 0]));
    if last == 0 {
        order.pop();
    }
    let mut gaps = std::collections::VecDeque::from([(0, last)]);
    while let Some((low, high)) = gaps.pop_front() {
        let middle = low + (high - low) / 2;
        if high - low > 1 {
            if seen.insert(middle) {
                order.push(middle);
            }
            gaps.extend([(low, middle), (middle, high)]);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn steps_are_taken_ever_finer() {
        assert!(ever_finer(0).is_empty());
        assert_eq!(ever_finer(1), [0]);
        assert_eq!(ever_finer(5), [4, 0, 2, 1, 3]);
        let mut all = ever_finer(1000);
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_asked_for_is_there_and_the_rest_fits() {
        let dir = tempfile::tempdir().unwrap();
        let line = |step: usize| format!("{{\"step\":{step},\"prompt\":\"{}\"}}\n", "x".repeat(100));
        let text: String = (1..=100).map(line).collect();
        fs::write(dir.path().join("samples.jsonl"), text).unwrap();
        let runs = [Sampled::read(dir.path()), Sampled::read(dir.path())];
        let all = choose(&runs, &[], 1 << 20);
        assert_eq!(all.len(), 100);
        let some = choose(&runs, &[77, 500], 1500);
        assert!(
            some.contains(&77) && some.contains(&100) && some.contains(&1) && !some.contains(&500),
            "{some:?}"
        );
        assert!((4..8).contains(&some.len()), "{some:?}");
        assert_eq!(choose(&runs, &[], 1), BTreeSet::from([100]));
    }
}
