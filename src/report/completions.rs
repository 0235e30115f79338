//! A few completions of a step with what they earned, for people who watch a run.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value;

use super::Sample;
use crate::console::{harmless, width};
use crate::rollout::Finish;

/// Characters of a completion that are shown.
const MOST_CHARS: usize = 1_000;

/// Columns of a table that no terminal limits, and the fewest that one has.
const COLUMNS: [usize; 2] = [120, 60];

/// The first candidates of as many problems as `count` takes, then their second ones, and so on, as a table: each with its reward (and what
/// that is the sum of), Υ, advantage and text. Nothing where nothing was sampled.
pub fn completions(samples: &[Sample], count: usize) -> String {
    let [columns, least] = COLUMNS;
    table(samples, count, width().map_or(columns, |width| width.max(least)))
}

fn table(samples: &[Sample], count: usize, columns: usize) -> String {
    let most = samples.iter().map(|sample| sample.completions.len()).max();
    let all = (0..most.unwrap_or(0)).flat_map(|at| samples.iter().map(move |sample| (sample, at)));
    let there: Vec<(&Sample, usize)> = all
        .filter(|(sample, at)| *at < sample.completions.len())
        .collect();
    if there.is_empty() {
        return String::new();
    }
    let shown = count.min(there.len());
    let head = format!("step {}: {shown} of {} completions", samples[0].step, there.len());
    let rows: Vec<Row> = there[..shown]
        .iter()
        .map(|(sample, at)| row(sample, *at))
        .collect();
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(columns).unwrap_or(u16::MAX));
    // A column that says nothing in any row is not there.
    let is_said = |at: usize| rows.iter().any(|row| !row[at].1.is_empty());
    let kept: Vec<usize> = (0..rows[0].len()).filter(|at| is_said(*at)).collect();
    table.set_header(kept.iter().map(|at| harmless(&rows[0][*at].0).into_owned()));
    for row in &rows {
        table.add_row(kept.iter().map(|at| {
            let cell = Cell::new(plain(&row[*at].1));
            match row[*at].2 {
                true => cell.set_alignment(CellAlignment::Right),
                false => cell,
            }
        }));
    }
    format!("{head}\n{}", table.trim_fmt())
}

/// A candidate: what each column is called, what it says, and whether that is a number.
type Row = Vec<(String, String, bool)>;

fn row(sample: &Sample, at: usize) -> Row {
    let optional = |values: &[Option<f64>]| values.get(at).copied().flatten();
    let number = |name: &str, text: Option<String>| (name.to_owned(), text.unwrap_or_default(), true);
    let mut row = vec![
        (
            "problem".to_owned(),
            format!("{}, {}", sample.problem, at + 1),
            false,
        ),
        number(
            "reward",
            Some(optional(&sample.rewards).map_or("none".to_owned(), |reward| format!("{reward:.3}"))),
        ),
    ];
    if sample.components.len() > 1 {
        row.extend(sample.components.iter().map(|(label, values)| {
            let value = values.get(at).and_then(Value::as_f64);
            number(
                label,
                Some(value.map_or("none".to_owned(), |value| format!("{value:.3}"))),
            )
        }));
    }
    let finish = sample.finish.get(at).map(|finish| match finish {
        Finish::Eos => "eos",
        Finish::Stop => "stop",
        Finish::Length => "length",
    });
    row.extend([
        number("Υ", sample.upsilon.get(at).map(|upsilon| format!("{upsilon:.2}"))),
        number(
            "advantage",
            optional(&sample.advantages).map(|advantage| format!("{advantage:+.2}")),
        ),
        number("tokens", sample.lengths.get(at).map(usize::to_string)),
        ("end".to_owned(), finish.unwrap_or_default().to_owned(), false),
    ]);
    let mut text: String = sample.completions[at].chars().take(MOST_CHARS).collect();
    let left = sample.completions[at].chars().count().saturating_sub(MOST_CHARS);
    if left > 0 {
        text += &format!("\n… {left} more characters");
    }
    row.push(("completion".to_owned(), text, false));
    row
}

/// A text that keeps its place in a table.
fn plain(text: &str) -> String {
    harmless(&text.replace('\t', "    ")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_take_turns_and_what_is_not_shown_is_said() {
        let sample = |problem: &str| Sample {
            step: 7,
            problem: problem.into(),
            completions: vec!["one\n\ttwo".into(), format!("\u{1b}[2J{}", "x".repeat(1_010))],
            rewards: vec![Some(1.0), None],
            upsilon: vec![1.5, 0.5],
            advantages: vec![Some(-0.5), None],
            lengths: vec![3, 99],
            finish: vec![Finish::Eos, Finish::Length],
            ..Sample::default()
        };
        let text = table(&[sample("a"), sample("b")], 3, 80);
        assert!(text.starts_with("step 7: 3 of 4 completions\n"), "{text}");
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        for line in [
            "problem reward Υ advantage tokens end completion",
            "a, 1 1.000 1.50 -0.50 3 eos one",
            "b, 1 1.000 1.50 -0.50 3 eos one",
            "two",
        ] {
            assert!(lines.iter().any(|found| found == line), "{line}: {text}");
        }
        let third = "a, 2 none 0.50 99 length \\u{1b}[2Jxxx";
        assert!(lines.iter().any(|found| found.starts_with(third)), "{text}");
        assert!(text.contains("… 14 more characters"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(completions(&[], 3), "");
    }

    #[test]
    fn rewards_that_are_summed_have_columns_and_what_is_unknown_has_none() {
        let sample = Sample {
            problem: "p".into(),
            completions: vec!["x".into()],
            rewards: vec![Some(1.5)],
            components: serde_json::from_str("{\"accuracy\": [1.0], \"format\": [null]}").unwrap(),
            ..Sample::default()
        };
        let text = table(&[sample], 4, 80);
        let head: Vec<&str> = text.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(
            head,
            ["problem", "reward", "accuracy", "format", "completion"],
            "{text}"
        );
    }
}
