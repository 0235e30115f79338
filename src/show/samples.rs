//! What a run sampled, from its `samples.jsonl`: how Υ was distributed in each step, what candidates of each length earned, and the
//! texts of some steps. The file may be large: it is read line by line, and only what is shown is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use gcpo_data::files;
use serde::Deserialize;
use serde_json::Value;

use super::seen::MOST_NAMED;
use crate::curve::Point;
use crate::run::LOGS;

/// Problems of a step whose texts are kept.
pub const MOST_PROBLEMS: usize = 16;
/// Characters of a text that are kept.
const MOST_CHARS: usize = 4_000;
/// Groups of lengths.
const LENGTHS: usize = 12;

/// What a line is read for.
#[derive(Deserialize)]
struct Light {
    step: usize,
    #[serde(default)]
    completions: Vec<String>,
    #[serde(default)]
    lengths: Vec<usize>,
    #[serde(default)]
    rewards: Vec<Option<f64>>,
    #[serde(default)]
    upsilon: Vec<f64>,
}

/// Where a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its step.
    pub step: usize,
    at: u64,
    /// Its bytes.
    pub bytes: usize,
}

/// What a run sampled.
#[derive(Debug, Default)]
pub struct Sampled {
    path: PathBuf,
    /// Every line.
    pub entries: Vec<Entry>,
    /// Υ of each step's candidates: its 5, 25, 50, 75 and 95 percentiles.
    pub upsilon: Vec<(usize, [f64; 5])>,
    /// Number, sum and sum of squares of the rewards of candidates of each length.
    rewards: BTreeMap<usize, [f64; 3]>,
    /// Whether lengths are in tokens: up to 0.1.0 a run did not write them, and they are in characters.
    pub in_tokens: bool,
    /// What could not be read, in words.
    pub notes: Vec<String>,
}

impl Sampled {
    /// Of the run in a directory; nothing where it sampled nothing.
    pub fn read(dir: &Path) -> Self {
        let path = dir.join(LOGS[1]);
        let mut found = Self {
            in_tokens: true,
            path,
            ..Self::default()
        };
        if found.path.exists()
            && let Err(error) = found.read_lines()
        {
            found.notes.push(format!("{} cannot be read: {error}", LOGS[1]));
        }
        found
    }

    fn read_lines(&mut self) -> io::Result<()> {
        let mut file = BufReader::new(files::open(&self.path)?);
        let (mut line, mut at, mut number, mut damaged) = (Vec::new(), 0, 0, 0);
        let mut of_step: (usize, Vec<f64>) = (0, Vec::new());
        loop {
            line.clear();
            let bytes = file.read_until(b'\n', &mut line)?;
            // A last line without its end is being written.
            if !line.ends_with(b"\n") {
                break;
            }
            number += 1;
            match serde_json::from_slice::<Light>(&line) {
                Ok(light) => {
                    let step = light.step;
                    if step != of_step.0 {
                        self.end_step(&mut of_step);
                        of_step.0 = step;
                    }
                    of_step.1.extend(&light.upsilon);
                    self.add(&light);
                    self.entries.push(Entry { step, at, bytes });
                }
                Err(error) => {
                    damaged += 1;
                    if damaged <= MOST_NAMED {
                        self.notes.push(format!(
                            "{}, line {number} is damaged and left out: {error}",
                            LOGS[1]
                        ));
                    }
                }
            }
            at += bytes as u64;
        }
        self.end_step(&mut of_step);
        if damaged > MOST_NAMED {
            self.notes
                .push(format!("{}: {damaged} damaged lines in all", LOGS[1]));
        }
        Ok(())
    }

    fn end_step(&mut self, (step, values): &mut (usize, Vec<f64>)) {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        if !values.is_empty() {
            self.upsilon.push((
                *step,
                [0.05, 0.25, 0.5, 0.75, 0.95].map(|share| quantile(values, share)),
            ));
        }
        values.clear();
    }

    fn add(&mut self, light: &Light) {
        let has_lengths = light.lengths.len() == light.completions.len();
        if !has_lengths && self.in_tokens {
            // One measure for all of them.
            self.in_tokens = false;
            self.rewards.clear();
        }
        for (at, reward) in light.rewards.iter().enumerate() {
            let length = match self.in_tokens {
                true => light.lengths.get(at).copied(),
                false => light.completions.get(at).map(|text| text.chars().count()),
            };
            let (Some(reward), Some(length)) = (reward, length) else {
                continue;
            };
            let sums = self.rewards.entry(length).or_default();
            for (sum, value) in sums.iter_mut().zip([1.0, *reward, reward * reward]) {
                *sum += value;
            }
        }
    }

    /// Mean reward of candidates by their length, with its 95 % interval: groups of lengths with about equally many candidates.
    pub fn reward_by_length(&self) -> Vec<Point> {
        let total: f64 = self.rewards.values().map(|[count, ..]| count).sum();
        let (mut points, mut group) = (Vec::new(), [0.0; 4]);
        for (length, [count, sum, squares]) in &self.rewards {
            for (all, value) in group
                .iter_mut()
                .zip([*count, *sum, *squares, *count * *length as f64])
            {
                *all += value;
            }
            if group[0] >= total / LENGTHS as f64 {
                points.push(point(group));
                group = [0.0; 4];
            }
        }
        if group[0] > 0.0 {
            points.push(point(group));
        }
        points
    }

    /// The lines of some steps, the first few of each, with their texts cut where they are long.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn lines(&self, steps: &BTreeSet<usize>) -> io::Result<Vec<Value>> {
        let mut kept = Vec::new();
        if self.entries.is_empty() {
            return Ok(kept);
        }
        let mut file = File::open(&self.path)?;
        let of_step = self.entries.chunk_by(|a, b| a.step == b.step);
        for entries in of_step.filter(|entries| steps.contains(&entries[0].step)) {
            for entry in entries.iter().take(MOST_PROBLEMS) {
                let mut bytes = vec![0; entry.bytes];
                file.seek(SeekFrom::Start(entry.at))?;
                file.read_exact(&mut bytes)?;
                let mut value = serde_json::from_slice(&bytes).unwrap_or_default();
                cut(&mut value);
                kept.push(value);
            }
        }
        Ok(kept)
    }
}

/// The point of a group of lengths: number, sum and squares of rewards, and sum of lengths.
fn point([count, sum, squares, lengths]: [f64; 4]) -> Point {
    let mean = sum / count;
    let variance = ((squares - sum * mean) / (count - 1.0).max(1.0)).max(0.0);
    let half = 1.96 * (variance / count).sqrt();
    Point {
        x: lengths / count,
        y: mean,
        band: [mean - half, mean + half],
    }
}

/// Of sorted values, at least one: between neighbours in proportion.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

/// Cuts long texts, and says so in them.
fn cut(value: &mut Value) {
    match value {
        Value::String(text) => {
            let count = text.chars().count();
            if count > MOST_CHARS {
                let kept: String = text.chars().take(MOST_CHARS).collect();
                *text = format!(
                    "{kept}… ({} more characters are in samples.jsonl)",
                    count - MOST_CHARS
                );
            }
        }
        Value::Array(list) => list.iter_mut().for_each(cut),
        Value::Object(map) => map.values_mut().for_each(cut),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(lines: &[String]) -> (tempfile::TempDir, Sampled) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("samples.jsonl"),
            lines.join("\n") + "\n{\"step\":9",
        )
        .unwrap();
        let sampled = Sampled::read(dir.path());
        (dir, sampled)
    }

    fn sample(step: usize, lengths: &[usize], rewards: &[Option<f64>], upsilon: &[f64]) -> String {
        let completions: Vec<String> = lengths.iter().map(|length| "é".repeat(2 * length)).collect();
        json!({"step": step, "problem": "p", "completions": completions, "lengths": lengths, "rewards": rewards, "upsilon": upsilon})
            .to_string()
    }

    #[test]
    fn a_file_is_what_its_lines_say() {
        let lines = [
            sample(1, &[2, 4], &[Some(1.0), None], &[1.0, 2.0]),
            "{\"step\":".to_owned(),
            sample(1, &[2, 9], &[Some(0.0), Some(1.0)], &[1.5]),
            sample(2, &[5000], &[Some(1.0)], &[]),
        ];
        let (_dir, found) = written(&lines);
        assert_eq!(found.entries.len(), 3);
        assert!(found.notes[0].contains("line 2 is damaged"), "{:?}", found.notes);
        assert_eq!(found.upsilon.len(), 1);
        assert_eq!((found.upsilon[0].0, found.upsilon[0].1[2]), (1, 1.5));
        let points = found.reward_by_length();
        let short: Vec<(f64, f64)> = points.iter().map(|point| (point.x, point.y)).collect();
        assert_eq!(short, [(2.0, 0.5), (9.0, 1.0), (5000.0, 1.0)]);
        let kept = found.lines(&BTreeSet::from([2])).unwrap();
        assert_eq!(kept.len(), 1);
        let text = kept[0]["completions"][0].as_str().unwrap();
        assert!(
            text.chars().count() < 4_100 && text.contains("6000 more characters"),
            "{}",
            text.len()
        );
    }

    #[test]
    fn lengths_that_an_older_run_did_not_write_are_in_characters() {
        let line = json!({"step": 1, "completions": ["abc"], "rewards": [1.0]}).to_string();
        let (_dir, found) = written(&[sample(1, &[7], &[Some(1.0)], &[]), line]);
        assert!(!found.in_tokens);
        assert_eq!(found.reward_by_length()[0].x, 3.0);
    }
}
