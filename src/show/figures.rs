//! The figures of a page: what is drawn of the runs, in which section.

use std::collections::BTreeSet;

use super::samples::Sampled;
use super::seen::Seen;
use crate::curve::{Line, Panel, Point, windowed};

/// Points of a line at most.
const MOST_POINTS: usize = 300;

/// A section of figures.
pub struct Section {
    /// What it is about.
    pub title: &'static str,
    /// Its figures; at least one.
    pub panels: Vec<Panel>,
}

/// A number of `metrics.jsonl`: in which section it is shown, its key, its title, its unit.
type Shown = (&'static str, &'static str, &'static str, &'static str);

const LEARNING: &str = "Learning";
const COMPLETIONS: &str = "Completions";
const REWARDS: &str = "Rewards";
const UPSILON: &str = "Υ and the projection";
const POLICY: &str = "Divergence and clipping";
const SEARCH: &str = "Tree search";
const TIME: &str = "Time";
const OTHERS: &str = "Other numbers";
const SECTIONS: [&str; 8] = [
    LEARNING,
    COMPLETIONS,
    REWARDS,
    UPSILON,
    POLICY,
    SEARCH,
    TIME,
    OTHERS,
];

const SHOWN: [Shown; 29] = [
    (LEARNING, "reward/mean", "Reward", "mean reward"),
    (
        LEARNING,
        "eval/pass@1",
        "pass@1, held out, with 95 % intervals",
        "share",
    ),
    (LEARNING, "objective/loss", "Loss", "loss"),
    (LEARNING, "sft/loss", "Loss of a target token", "nats"),
    (
        LEARNING,
        "policy/entropy",
        "Entropy of the policy",
        "nats a token",
    ),
    (
        LEARNING,
        "grad/norm",
        "Norm of the gradient, before it is clipped",
        "norm",
    ),
    (LEARNING, "train/learning_rate", "Learning rate", "rate"),
    (
        COMPLETIONS,
        "completion/length_mean",
        "Length of completions",
        "tokens",
    ),
    (
        COMPLETIONS,
        "completion/truncated_frac",
        "Completions cut at the longest length",
        "share",
    ),
    (
        COMPLETIONS,
        "eval/length_mean",
        "Length of held-out answers",
        "tokens",
    ),
    (
        COMPLETIONS,
        "eval/truncated_frac",
        "Held-out answers cut at the longest length",
        "share",
    ),
    (REWARDS, "reward/std", "Spread of rewards", "standard deviation"),
    (
        REWARDS,
        "reward/flat_frac",
        "Groups whose rewards are all equal",
        "share",
    ),
    (
        REWARDS,
        "reward/none_frac",
        "Candidates that no reward applies to",
        "share",
    ),
    (
        UPSILON,
        "projection/clamped_frac",
        "Tokens where a clamp of the κ term was active",
        "share",
    ),
    (
        UPSILON,
        "eval/candidates_pass@1",
        "pass@1 of candidates, held out",
        "share",
    ),
    (
        UPSILON,
        "eval/integrated_pass@1",
        "pass@1 of integrations, held out",
        "share",
    ),
    (
        POLICY,
        "objective/kl_ref",
        "KL to the reference model",
        "nats a token",
    ),
    (
        POLICY,
        "objective/kl_projected",
        "KL to the projected reference",
        "nats a token",
    ),
    (
        POLICY,
        "objective/clip_frac",
        "Tokens whose ratio was clipped",
        "share",
    ),
    (
        POLICY,
        "objective/ratio_mean",
        "Ratio of new to old policy",
        "mean ratio",
    ),
    (
        POLICY,
        "rollout/trainer_gap",
        "Ratio of the trainer's to the sampler's probabilities",
        "mean ratio",
    ),
    (
        SEARCH,
        "search/solved_frac",
        "Problems solved by the search",
        "share",
    ),
    (SEARCH, "search/expansions", "Expansions", "number"),
    (SEARCH, "search/nodes", "Nodes", "number"),
    (SEARCH, "search/depth_mean", "Depth", "steps of reasoning"),
    (SEARCH, "search/solutions", "Solutions that are learnt", "number"),
    (
        SEARCH,
        "search/first_expansion_mean",
        "Expansions to the first solution",
        "number",
    ),
    (
        TIME,
        "time/step_secs",
        "Seconds of a step, its evaluation apart",
        "seconds",
    ),
];

/// Numbers that stand in other figures.
const ELSEWHERE: [&str; 6] = [
    "step",
    "eval/pass@1_stderr",
    "projection/upsilon_mean",
    "projection/upsilon_std",
    "projection/upsilon_min",
    "projection/upsilon_max",
];

/// The sections in which there is anything, and the numbers that are 0 throughout and therefore left out.
pub fn sections(runs: &[Seen], sampled: &[Sampled]) -> (Vec<Section>, Vec<String>) {
    let (mut panels, mut zeros): (Vec<(&str, Panel)>, Vec<String>) = (Vec::new(), Vec::new());
    for (section, key, title, unit) in SHOWN {
        add_number(
            &mut panels,
            &mut zeros,
            runs,
            (section, key, title.to_owned(), unit),
        );
    }
    panels.extend(
        of_upsilon(runs, sampled)
            .into_iter()
            .map(|panel| (UPSILON, panel)),
    );
    panels.extend(reward_by_length(runs, sampled).map(|panel| (COMPLETIONS, panel)));
    panels.extend(by_seconds(runs).into_iter().map(|panel| (TIME, panel)));
    for key in other_keys(runs) {
        let label = key
            .strip_prefix("reward/")
            .and_then(|rest| rest.strip_suffix("_mean"));
        let (section, title) = match label {
            Some(label) => (REWARDS, format!("Reward “{label}”, before its weight")),
            None => (OTHERS, key.clone()),
        };
        add_number(&mut panels, &mut zeros, runs, (section, &key, title, ""));
    }
    let sections = SECTIONS.into_iter().map(|title| {
        let of = panels.iter().filter(|(section, _)| *section == title);
        Section {
            title,
            panels: of.map(|(_, panel)| panel.clone()).collect(),
        }
    });
    (
        sections.filter(|section| !section.panels.is_empty()).collect(),
        zeros,
    )
}

/// Adds the figure of a number, where any run has it; one that is 0 throughout is named instead.
fn add_number(
    panels: &mut Vec<(&'static str, Panel)>,
    zeros: &mut Vec<String>,
    runs: &[Seen],
    (section, key, title, unit): (&'static str, &str, String, &str),
) {
    let all: Vec<Vec<(usize, f64)>> = runs.iter().map(|run| run.series(key)).collect();
    let mut values = all.iter().flatten().map(|(_, value)| *value);
    let Some(first) = values.next() else { return };
    if first == 0.0 && values.all(|value| value == 0.0) {
        zeros.push(title);
        return;
    }
    let steps = all.iter().map(Vec::len).max().unwrap_or(0);
    let window = if key.starts_with("eval/") {
        1
    } else {
        steps.div_ceil(20)
    };
    let lines = runs.iter().zip(&all).map(|(run, series)| Line {
        name: run.name.clone(),
        points: match key {
            "eval/pass@1" => evaluations(run),
            _ => windowed(series, window, MOST_POINTS),
        },
    });
    let panel = Panel {
        title: match window {
            1 => title,
            _ => format!("{title}, mean of {window} steps"),
        },
        x: "step".to_owned(),
        y: unit.to_owned(),
        lines: lines.filter(|line| !line.points.is_empty()).collect(),
    };
    panels.push((section, panel));
}

/// pass@1 of a run's evaluations, with 95 % intervals from their standard errors.
fn evaluations(run: &Seen) -> Vec<Point> {
    let errors = run.series("eval/pass@1_stderr");
    let point = |(step, mean): (usize, f64)| {
        let half = errors
            .iter()
            .find(|(of, _)| *of == step)
            .map_or(0.0, |(_, error)| 1.96 * error);
        Point {
            x: step as f64,
            y: mean,
            band: [(mean - half).max(0.0), (mean + half).min(1.0)],
        }
    };
    run.series("eval/pass@1").into_iter().map(point).collect()
}

/// Υ: its mean and spread, how it is distributed, and the similarity that it is α times of. Of runs in which it is not constant.
fn of_upsilon(runs: &[Seen], sampled: &[Sampled]) -> Vec<Panel> {
    let varies = |run: &Seen| {
        run.series("projection/upsilon_std")
            .iter()
            .any(|(_, std)| *std > 0.0)
    };
    let means = runs.iter().filter(|run| varies(run)).map(|run| Line {
        name: run.name.clone(),
        points: mean_and_spread(run),
    });
    let fans = |scale: &dyn Fn(&Seen) -> Option<f64>| -> Vec<Line> {
        let pairs = runs.iter().zip(sampled).filter(|(run, _)| varies(run));
        pairs
            .filter_map(|(run, sampled)| Some(fan(&run.name, sampled, scale(run)?)))
            .flatten()
            .collect()
    };
    let alpha = |run: &Seen| {
        Some(1.0 / run.config.as_ref()?.objective_row().alpha()).filter(|scale| scale.is_finite())
    };
    let panel = |title: &str, y: &str, lines: Vec<Line>| Panel {
        title: title.to_owned(),
        x: "step".to_owned(),
        y: y.to_owned(),
        lines,
    };
    let panels = [
        panel("Υ: mean ± standard deviation", "Υ", means.collect()),
        panel(
            "Υ of candidates: median, middle 50 % and 90 %",
            "Υ",
            fans(&|_| Some(1.0)),
        ),
        panel(
            "Similarity, Υ / α: median, middle 50 % and 90 %",
            "similarity",
            fans(&alpha),
        ),
    ];
    panels
        .into_iter()
        .filter(|panel| panel.lines.iter().any(|line| !line.points.is_empty()))
        .collect()
}

fn mean_and_spread(run: &Seen) -> Vec<Point> {
    let spreads = run.series("projection/upsilon_std");
    let means = run.series("projection/upsilon_mean");
    let every = means.len().div_ceil(MOST_POINTS).max(1);
    let pairs = means.iter().zip(&spreads).step_by(every);
    pairs
        .map(|((step, mean), (_, std))| Point {
            x: *step as f64,
            y: *mean,
            band: [mean - std, mean + std],
        })
        .collect()
}

/// Two bands around the median.
fn fan(name: &str, sampled: &Sampled, scale: f64) -> [Line; 2] {
    let every = sampled.upsilon.len().div_ceil(MOST_POINTS).max(1);
    [[0, 4], [1, 3]].map(|ends| {
        let point = |(step, shares): &(usize, [f64; 5])| Point {
            x: *step as f64,
            y: scale * shares[2],
            band: ends.map(|at| scale * shares[at]),
        };
        Line {
            name: name.to_owned(),
            points: sampled.upsilon.iter().step_by(every).map(point).collect(),
        }
    })
}

/// What candidates of each length earned.
fn reward_by_length(runs: &[Seen], sampled: &[Sampled]) -> Option<Panel> {
    let in_tokens = sampled.iter().all(|sampled| sampled.in_tokens);
    let lines = runs
        .iter()
        .zip(sampled)
        .filter(|(_, sampled)| sampled.in_tokens == in_tokens);
    let lines: Vec<Line> = lines
        .map(|(run, sampled)| Line {
            name: run.name.clone(),
            points: sampled.reward_by_length(),
        })
        .filter(|line| !line.points.is_empty())
        .collect();
    (!lines.is_empty()).then(|| Panel {
        title: "Reward against length, with 95 % intervals".to_owned(),
        x: if in_tokens { "tokens" } else { "characters" }.to_owned(),
        y: "mean reward".to_owned(),
        lines,
    })
}

/// Reward, loss and pass@1 by the seconds that the steps took.
fn by_seconds(runs: &[Seen]) -> Vec<Panel> {
    let mut panels = Vec::new();
    for (key, title, unit) in [
        ("reward/mean", "Reward by time", "mean reward"),
        ("sft/loss", "Loss by time", "nats a target token"),
        ("eval/pass@1", "pass@1 by time", "share"),
    ] {
        let steps = runs.iter().map(|run| run.series(key).len()).max().unwrap_or(0);
        if steps == 0 {
            continue;
        }
        let lines = runs.iter().map(|run| {
            let elapsed = run.elapsed();
            let points = match key {
                "eval/pass@1" => evaluations(run),
                _ => windowed(&run.series(key), steps.div_ceil(20), MOST_POINTS),
            };
            let timed = |point: Point| {
                let before = elapsed.range(..=point.x as usize).next_back();
                Point {
                    x: before.map_or(0.0, |(_, secs)| *secs),
                    ..point
                }
            };
            Line {
                name: run.name.clone(),
                points: points.into_iter().map(timed).collect(),
            }
        });
        panels.push(Panel {
            title: title.to_owned(),
            x: "seconds of the steps, evaluations apart".to_owned(),
            y: unit.to_owned(),
            lines: lines.filter(|line| !line.points.is_empty()).collect(),
        });
    }
    panels
}

/// Keys that no other figure shows, in their order.
fn other_keys(runs: &[Seen]) -> Vec<String> {
    let (mut keys, mut known): (Vec<String>, BTreeSet<&str>) = (Vec::new(), ELSEWHERE.into());
    known.extend(SHOWN.iter().map(|(_, key, _, _)| *key));
    let stages: Vec<&str> = super::tables::STAGES.iter().map(|(_, key)| *key).collect();
    known.extend(stages);
    for key in runs
        .iter()
        .flat_map(|run| &run.lines)
        .flat_map(|line| line.keys())
    {
        if known.insert(key) {
            keys.push(key.clone());
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::run::RunDir;

    fn run(dir: &std::path::Path, lines: &[serde_json::Value], samples: &str) -> (Vec<Seen>, Vec<Sampled>) {
        let path = dir.join("run");
        let config = crate::config::Config::default().to_toml();
        drop(RunDir::create(&path, &config).unwrap());
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(path.join("metrics.jsonl"), text).unwrap();
        std::fs::write(path.join("samples.jsonl"), samples).unwrap();
        let sampled = Sampled::read(&path);
        (Seen::all(&[path]).unwrap(), vec![sampled])
    }

    fn titles(sections: &[Section]) -> Vec<String> {
        sections
            .iter()
            .flat_map(|section| {
                section
                    .panels
                    .iter()
                    .map(|panel| format!("{}: {}", section.title, panel.title))
            })
            .collect()
    }

    #[test]
    fn what_does_not_apply_is_absent_and_what_is_not_known_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let line = |step: usize| json!({"step": step, "sft/loss": 1.0 / step as f64, "objective/clip_frac": 0.0, "mine/x": step, "time/step_secs": 0.5});
        let (runs, sampled) = run(dir.path(), &[line(1), line(2)], "");
        let (found, zeros) = sections(&runs, &sampled);
        assert_eq!(
            titles(&found),
            [
                "Learning: Loss of a target token",
                "Time: Seconds of a step, its evaluation apart",
                "Time: Loss by time",
                "Other numbers: mine/x"
            ]
        );
        assert_eq!(zeros, ["Tokens whose ratio was clipped"]);
        let by_time = &found[1].panels[1].lines[0].points;
        assert_eq!(
            by_time.iter().map(|point| point.x).collect::<Vec<_>>(),
            [0.5, 1.0]
        );
    }

    #[test]
    fn upsilon_is_shown_where_it_varies() {
        let dir = tempfile::tempdir().unwrap();
        let line = |std: f64| {
            json!({"step": 1, "projection/upsilon_mean": 1.5, "projection/upsilon_std": std, "projection/upsilon_min": 1.0,
                "projection/upsilon_max": 2.0})
        };
        let samples = "{\"step\":1,\"completions\":[\"a\",\"b\"],\"lengths\":[1,1],\"rewards\":[1,0],\"upsilon\":[1.0,2.0]}\n";
        let (runs, sampled) = run(dir.path(), &[line(0.5)], samples);
        let (found, _) = sections(&runs, &sampled);
        assert_eq!(titles(&found).len(), 4);
        let similarity = &found[1].panels[2].lines[0].points[0];
        // α is 2 by default.
        assert_eq!(similarity.y, 0.75);
        let dir = tempfile::tempdir().unwrap();
        let (runs, sampled) = run(dir.path(), &[line(0.0)], "");
        assert_eq!(titles(&sections(&runs, &sampled).0), Vec::<String>::new());
    }
}
