//! A few completions of a step with what they earned, for people who watch a run.

use super::Sample;
use crate::console::harmless;
use crate::rollout::Finish;

/// Characters of a completion that are shown.
const MOST_CHARS: usize = 1_000;

/// The first candidates of as many problems as `count` takes, then their second ones, and so on: each with its reward, Υ and advantage,
/// and its text below. Nothing where nothing was sampled.
pub fn completions(samples: &[Sample], count: usize) -> String {
    let most = samples
        .iter()
        .map(|sample| sample.completions.len())
        .max()
        .unwrap_or(0);
    let all = (0..most).flat_map(|at| samples.iter().map(move |sample| (sample, at)));
    let there: Vec<(&Sample, usize)> = all
        .filter(|(sample, at)| *at < sample.completions.len())
        .collect();
    if there.is_empty() {
        return String::new();
    }
    let shown = count.min(there.len());
    let mut lines = vec![format!(
        "step {}: {shown} of {} completions",
        samples[0].step,
        there.len()
    )];
    for (sample, at) in there.into_iter().take(shown) {
        lines.push(format!(
            "  {}, candidate {}: {}",
            sample.problem,
            at + 1,
            numbers(sample, at)
        ));
        let text: String = sample.completions[at].chars().take(MOST_CHARS).collect();
        let left = sample.completions[at].chars().count().saturating_sub(MOST_CHARS);
        lines.extend(text.lines().map(|line| format!("    {line}")));
        if left > 0 {
            lines.push(format!("    … {left} more characters"));
        }
    }
    harmless(&lines.join("\n")).into_owned()
}

/// What is known of a candidate.
fn numbers(sample: &Sample, at: usize) -> String {
    let mut parts = vec![match sample.rewards.get(at).copied().flatten() {
        Some(reward) => format!("reward {reward:.3}"),
        None => "no reward".to_owned(),
    }];
    parts.extend(sample.upsilon.get(at).map(|upsilon| format!("Υ {upsilon:.2}")));
    let advantage = sample.advantages.get(at).copied().flatten();
    parts.extend(advantage.map(|advantage| format!("advantage {advantage:+.2}")));
    parts.extend(sample.lengths.get(at).map(|length| format!("{length} tokens")));
    parts.extend(sample.finish.get(at).map(|finish| {
        let word = match finish {
            Finish::Eos => "eos",
            Finish::Stop => "stop",
            Finish::Length => "length",
        };
        word.to_owned()
    }));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_take_turns_and_what_is_not_shown_is_said() {
        let sample = |problem: &str| Sample {
            step: 7,
            problem: problem.into(),
            completions: vec!["one\ntwo".into(), format!("\u{1b}[2J{}", "x".repeat(1_010))],
            rewards: vec![Some(1.0), None],
            upsilon: vec![1.5, 0.5],
            advantages: vec![Some(-0.5), None],
            lengths: vec![3, 99],
            finish: vec![Finish::Eos, Finish::Length],
            ..Sample::default()
        };
        let text = completions(&[sample("a"), sample("b")], 3);
        let expected = "\
step 7: 3 of 4 completions
  a, candidate 1: reward 1.000, Υ 1.50, advantage -0.50, 3 tokens, eos
    one
    two
  b, candidate 1: reward 1.000, Υ 1.50, advantage -0.50, 3 tokens, eos
    one
    two
  a, candidate 2: no reward, Υ 0.50, 99 tokens, length
    \\u{1b}[2Jxxx";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.ends_with("\n    … 14 more characters"), "{text}");
        assert_eq!(completions(&[], 3), "");
    }
}
