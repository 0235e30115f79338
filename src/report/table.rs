//! The table at a run's end.

use crate::metrics::Metrics;

use super::line::duration;

/// The stages whose seconds are shown, in the order of the flow.
const STAGES: [&str; 6] = ["rollout", "reward", "project", "score", "train", "eval"];

/// What a run came to, from its `metrics.jsonl`, and where things were written (`places`: what, where).
///
/// Means over all steps count each step alike; rewards are of the first and the last tenth of the steps.
pub fn summary(steps: &[Metrics], places: &[(&str, String)]) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    let all = |key: &str| -> Vec<f64> {
        steps
            .iter()
            .filter_map(|step| step.get(key))
            .filter(|value| value.is_finite())
            .collect()
    };

    for (key, name) in [
        ("eval/pass@1", "pass@1"),
        ("eval/candidates_pass@1", "of candidates"),
        ("eval/integrated_pass@1", "of integrations"),
    ] {
        match all(key).as_slice() {
            [] => {}
            [once] => row(name, format!("{once:.3}")),
            [before, .., after] => {
                row(
                    name,
                    format!("{before:.3} before, {after:.3} after ({:+.3})", after - before),
                );
            }
        }
    }
    let rewards = all("reward/mean");
    if !rewards.is_empty() {
        let tenth = rewards.len().div_ceil(10);
        let (first, last) = (mean(&rewards[..tenth]), mean(&rewards[rewards.len() - tenth..]));
        row("reward", format!("{first:.3} at first, {last:.3} at last"));
    }
    let upsilon = all("projection/upsilon_mean");
    if !upsilon.is_empty() {
        let (low, high) = (all("projection/upsilon_min"), all("projection/upsilon_max"));
        row(
            "Υ",
            format!(
                "mean {:.3}, spread {:.3}, from {:.3} to {:.3}",
                mean(&upsilon),
                mean(&all("projection/upsilon_std")),
                low.into_iter().fold(f64::INFINITY, f64::min),
                high.into_iter().fold(f64::NEG_INFINITY, f64::max),
            ),
        );
    }
    let clamped = all("projection/clamped_frac");
    if !clamped.is_empty() {
        row("clamped tokens", format!("{:.1} %", 100.0 * mean(&clamped)));
    }
    let (tokens, generations) = (all("rollout/tokens"), all("rollout/generations"));
    if !tokens.is_empty() {
        let (tokens, generations): (f64, f64) = (tokens.iter().sum(), generations.iter().sum());
        row(
            "sampled",
            format!(
                "{} tokens in {} generations",
                thousands(tokens),
                thousands(generations)
            ),
        );
    }
    let total: f64 = all("time/step_secs").iter().sum();
    let mut spent: Vec<String> = Vec::new();
    for stage in STAGES {
        let secs: f64 = all(&format!("time/{stage}_secs")).iter().sum();
        // The built-in rewards take no time worth a word; a program may.
        if secs > 0.001 * total {
            spent.push(format!("{stage} {}", duration(secs)));
        }
    }
    if total > 0.0 {
        let count = all("time/step_secs").len();
        let stages = if spent.is_empty() {
            String::new()
        } else {
            format!(": {}", spent.join(", "))
        };
        row(
            "time",
            format!(
                "{} for {count} step{}{stages}",
                duration(total),
                if count == 1 { "" } else { "s" }
            ),
        );
    }
    for (what, place) in places {
        row(what, place.clone());
    }

    columns(&rows)
}

/// Two columns, the first as wide as its longest entry; every line ends.
pub fn columns(rows: &[(String, String)]) -> String {
    let width = rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    rows.iter()
        .map(|(name, value)| format!("{name}{}  {value}\n", " ".repeat(width - name.chars().count())))
        .collect()
}

/// Columns as wide as their longest entries, the first to the left and the others to the right; every line ends.
pub fn grid(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let entries = rows.iter().filter_map(|row| row.get(column));
        entries.map(|entry| entry.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let entries = row.iter().zip(&widths).enumerate();
        let entries = entries.map(|(column, (entry, &width))| match column {
            0 => format!("{entry:<width$}"),
            _ => format!("{entry:>width$}"),
        });
        entries.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A count with a comma between thousands.
pub fn thousands(count: f64) -> String {
    let digits = format!("{count:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: usize, values: &[(&str, f64)]) -> Metrics {
        let mut metrics = Metrics::new(number);
        values.iter().for_each(|(key, value)| metrics.put(*key, *value));
        metrics
    }

    #[test]
    fn a_summary_says_what_the_steps_said() {
        let common = |reward: f64, upsilon: f64| {
            [
                ("reward/mean", reward),
                ("projection/upsilon_mean", upsilon),
                ("projection/upsilon_std", 0.25),
                ("projection/upsilon_min", upsilon - 1.0),
                ("projection/upsilon_max", upsilon + 0.5),
                ("projection/clamped_frac", 0.125),
                ("rollout/tokens", 617_283.0),
                ("rollout/generations", 80.0),
                ("time/rollout_secs", 45.0),
                ("time/train_secs", 20.0),
                ("time/step_secs", 70.0),
            ]
        };
        let mut steps = vec![step(0, &[("eval/pass@1", 0.5)])];
        steps.push(step(1, &common(0.25, 1.0)));
        steps.push(step(2, &common(0.75, 1.5)));
        steps[2].put("eval/pass@1", 0.875);
        let text = summary(&steps, &[("written to", "runs/x".into())]);
        let expected = "\
pass@1          0.500 before, 0.875 after (+0.375)
reward          0.250 at first, 0.750 at last
Υ               mean 1.250, spread 0.250, from 0.000 to 2.000
clamped tokens  12.5 %
sampled         1,234,566 tokens in 160 generations
time            2m20s for 2 steps: rollout 1m30s, train 40s
written to      runs/x
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_was_not_measured_is_not_shown() {
        assert_eq!(
            summary(&[step(0, &[("eval/pass@1", 0.5)])], &[]),
            "pass@1  0.500\n"
        );
        assert_eq!(summary(&[step(0, &[("reward/mean", f64::NAN)])], &[]), "");
    }
}
