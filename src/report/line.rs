//! One line of progress.

use super::StepReport;

/// `step 12/100  reward 0.62  Υ 1.84±0.21  …  1.8 s/step  ETA 2m38s`, of the numbers that are there, and of those what `width` columns
/// hold: the step and the time left always.
///
/// `timed` steps took `secs` seconds; the time left is theirs carried on.
pub fn progress_line(
    done: usize,
    steps: usize,
    timed: usize,
    secs: f64,
    report: &StepReport,
    width: Option<usize>,
) -> String {
    // What goes first where there is no room has the highest number.
    let mut parts = vec![(0, format!("step {done}/{steps}"))];
    let mut part = |goes: usize, text: String| parts.push((goes, text));
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    let rollout = report.rollout();
    if let Some(pass_at_1) = report.eval.as_ref().and_then(|eval| eval.report.pass_at_1) {
        part(2, format!("pass@1 {:.3}", pass_at_1.mean));
    }
    if let Some(reward) = rollout.and_then(|rollout| rollout.reward) {
        part(1, format!("reward {:.3}", reward.mean));
    }
    if let Some(upsilon) = rollout.and_then(|rollout| rollout.upsilon) {
        let spread = finite(Some(upsilon.std)).map_or(String::new(), |std| format!("±{std:.2}"));
        part(4, format!("Υ {:.2}{spread}", upsilon.mean));
    }
    if let Some(loss) = finite(report.loss()) {
        part(3, format!("loss {loss:.4}"));
    }
    if let Some(update) = report.update() {
        part(7, format!("grad {:.3}", update.grad_norm));
    }
    if let Some(rollout) = rollout {
        part(6, format!("length {:.0}", rollout.length_mean));
    }
    if timed > 0 {
        let each = secs / timed as f64;
        part(5, format!("{each:.2} s/step"));
        let left = match steps.saturating_sub(done) {
            0 => format!("took {}", duration(secs)),
            left => format!("ETA {}", duration(each * left as f64)),
        };
        part(0, left);
    }
    let columns = |parts: &[(usize, String)]| -> usize {
        parts
            .iter()
            .map(|(_, text)| text.chars().count() + 2)
            .sum::<usize>()
            - 2
    };
    while width.is_some_and(|width| columns(&parts) > width) {
        let last = parts.iter().map(|(goes, _)| *goes).max().unwrap_or(0);
        if last == 0 {
            break;
        }
        parts.retain(|(goes, _)| *goes != last);
    }
    let texts: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
    texts.join("  ")
}

/// `512/1319 problems  pass@1 0.521  31s  ETA 49s`: how far a job is that counts `what`, with a `note` on it.
pub fn count_line(done: usize, total: usize, what: &str, note: &str, secs: f64) -> String {
    let mut line = format!("{done}/{total} {what}");
    if !note.is_empty() {
        line += &format!("  {note}");
    }
    line += &format!("  {}", duration(secs));
    if done > 0 && done < total {
        line += &format!("  ETA {}", duration(secs / done as f64 * (total - done) as f64));
    }
    line
}

/// Seconds for people: `0.4s`, `12s`, `2m38s`, `1h02m`.
pub fn duration(secs: f64) -> String {
    if !secs.is_finite() || secs < 0.0 {
        return "?".into();
    }
    let whole = secs.round() as u64;
    match whole {
        _ if secs < 9.95 => format!("{secs:.1}s"),
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Done, RlReport, RolloutReport};
    use super::*;
    use crate::learner::Learnt;
    use crate::projection::Summary;

    #[test]
    fn a_line_shows_what_is_there_and_the_time_left() {
        let nothing = StepReport::default();
        assert_eq!(progress_line(5, 25, 0, 0.0, &nothing, None), "step 5/25");
        let rollout = RolloutReport {
            reward: Summary::of(&[0.625]),
            upsilon: Summary::of(&[1.631, 2.051]),
            length_mean: 7.6,
            ..RolloutReport::default()
        };
        let learnt = Learnt {
            loss: f64::NAN,
            ..Learnt::default()
        };
        let report = RlReport {
            rollout,
            learnt,
            ..RlReport::default()
        };
        let report = StepReport::of(10, Done::Rl(Box::new(report)));
        // Five steps were done before this run was resumed: they do not count for its speed.
        assert_eq!(
            progress_line(10, 25, 5, 40.0, &report, None),
            "step 10/25  reward 0.625  Υ 1.84±0.30  grad 0.000  length 8  8.00 s/step  ETA 2m00s"
        );
        assert!(progress_line(25, 25, 20, 160.0, &report, None).ends_with("8.00 s/step  took 2m40s"));
        for (width, line) in [
            (
                80,
                "step 10/25  reward 0.625  Υ 1.84±0.30  length 8  8.00 s/step  ETA 2m00s",
            ),
            (60, "step 10/25  reward 0.625  Υ 1.84±0.30  ETA 2m00s"),
            (40, "step 10/25  reward 0.625  ETA 2m00s"),
            (5, "step 10/25  ETA 2m00s"),
        ] {
            assert_eq!(progress_line(10, 25, 5, 40.0, &report, Some(width)), line);
        }
    }

    #[test]
    fn a_count_shows_the_time_left() {
        assert_eq!(
            count_line(50, 200, "prompts", "x", 10.0),
            "50/200 prompts  x  10s  ETA 30s"
        );
        assert_eq!(count_line(200, 200, "prompts", "", 40.0), "200/200 prompts  40s");
        assert_eq!(count_line(0, 200, "prompts", "", 0.0), "0/200 prompts  0.0s");
    }

    #[test]
    fn durations_have_no_needless_digits() {
        for (secs, text) in [
            (0.0, "0.0s"),
            (9.94, "9.9s"),
            (9.96, "10s"),
            (59.6, "1m00s"),
            (158.0, "2m38s"),
            (3599.7, "1h00m"),
            (3725.0, "1h02m"),
            (f64::NAN, "?"),
        ] {
            assert_eq!(duration(secs), text);
        }
    }
}
