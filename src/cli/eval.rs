//! `gcpo eval`: how often a model is right on sets of problems; the same from a file of completions; and two such files
//! beside each other.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use gcpo_data::Preset;
use indicatif::HumanCount;
use jiff::Timestamp;
use serde::Serialize;

use super::args::EvalArgs;
use super::run::{open_device, print_line};
use crate::config::{Config, ConfigError, Draft};
use crate::eval::record::{self, Header, Kind, Log, Record, SuiteHeader, by_problem, fingerprint};
use crate::eval::report::{self, Difference, Group, Mean, Report};
use crate::eval::stats::Estimate;
use crate::eval::{EvalSuiteDraft, Set, evaluate};
use crate::policy::{ModelPath, PromptDraft};
use crate::recipe::eval_plan;
use crate::report::{Progress, duration, grid};
use crate::reward::Reward;
use crate::run::RunDir;
use crate::{open, source};

/// Rows left out of a file that are named one by one; the rest is counted.
const SKIPPED_NAMED: usize = 5;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Output<'a> {
    model: &'a str,
    /// The completions.
    file: String,
    suites: &'a [Report],
    #[serde(skip_serializing_if = "Option::is_none")]
    mean: Option<Mean>,
    /// Of an evaluation: what was sampled now, and how fast.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    work: Option<Work>,
    /// Of a file that was graded again: verdicts that are other than they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Work {
    tokens: usize,
    secs: f64,
    tok_per_sec: f64,
}

/// Evaluates a model, grades a file again or compares two, and prints what was found.
///
/// # Errors
/// A mistake in the config or an option; the model, the problems or a file cannot be read, or do not fit each other.
pub fn run(args: &EvalArgs) -> Result<()> {
    match (&args.regrade, args.compare.as_slice()) {
        (Some(file), _) => regrade(file, args),
        (None, [first, second]) => compare(first, second, args.json),
        _ => measure(args),
    }
}

fn measure(args: &EvalArgs) -> Result<()> {
    // The command line sees to it that there is one.
    let model = args.model.as_ref().context("give --model DIR")?;
    let config = config(args, model)?;
    let sets = config.eval.sets()?;
    ensure!(
        !sets.is_empty(),
        "{} names no problems to evaluate on: set eval.path and eval.preset or [[eval.suite]], or give --suite, or --data and --preset",
        args.config
            .as_deref()
            .unwrap_or(Path::new("the command"))
            .display()
    );
    for set in &sets {
        let (data, skipped) = (&set.data, &set.loaded.skipped);
        for row in skipped.iter().take(SKIPPED_NAMED) {
            eprintln!("{data}:{}: left out: {}", row.line, row.reason);
        }
        if skipped.len() > SKIPPED_NAMED {
            eprintln!("{data}: {} rows left out in all", skipped.len());
        }
    }
    let reward = Reward::accuracy(&config.grader);
    for set in &sets {
        // Said before a model is loaded.
        for problem in &set.loaded.problems {
            let gold = reward.verdict("", &problem.id, &problem.answer);
            gold.with_context(|| format!("{} ({})", set.name, set.data))?;
        }
    }
    let name = name(model);
    let header = Header::new(&name, config.to_toml(), sets.iter().map(suite_header).collect());
    let file = match &args.out {
        Some(file) => file.clone(),
        None => free_file(Path::new("runs"), Timestamp::now()),
    };
    ensure!(
        args.resume || !file.exists(),
        record::RecordError::Exists(file.clone())
    );

    let dtype = config.train.dtype;
    let opened = open_device(&args.device.device, dtype)?;
    let policy = open::load(model, &config.prompts(), dtype, &opened.device)?;
    // Nothing is written before a model is there to be measured.
    let (mut log, kept) = if args.resume && file.exists() {
        Log::resume(&file, &header, |saved| differing(&config, saved))?
    } else {
        (Log::create(&file, &header)?, Vec::new())
    };
    let mut reports = Vec::with_capacity(sets.len());
    let mut work = Work::default();
    for set in &sets {
        let problems = &set.loaded.problems;
        eprintln!(
            "{name} on {}: {} problems of {} ({}), {} each; completions go to {}",
            opened.name,
            problems.len(),
            set.name,
            set.data,
            answers(set.samples),
            file.display()
        );
        let kept: Vec<Record> = kept.iter().filter(|r| r.suite == set.name).cloned().collect();
        let done = by_problem(&kept).len();
        if done > 0 {
            eprintln!("{done} of them were answered before");
        }
        let progress = Progress::new(problems.len(), done);
        let mut seen = Counted::default();
        seen.add(&kept);
        let mut plan = eval_plan(&config);
        plan.rollout.num_generations = set.samples;
        let found = evaluate(
            &policy,
            &policy.model,
            &set.name,
            problems,
            &reward,
            &plan,
            kept,
            |done, records| {
                log.write(records)?;
                seen.add(records);
                progress.count(done, "problems", &seen.note());
                Ok(())
            },
        )?;
        progress.finish();
        work.tokens += found.tokens;
        work.secs += found.secs;
        reports.push(found.report);
    }
    work.tok_per_sec = work.tokens as f64 / work.secs;
    show(&name, &file, &reports, Some(work), None, args.json)
}

/// Right answers so far.
#[derive(Default)]
struct Counted {
    right: usize,
    answers: usize,
}

impl Counted {
    fn add(&mut self, records: &[Record]) {
        let answers = records.iter().filter(|r| r.kind == Kind::Answer);
        for record in answers {
            self.answers += 1;
            self.right += usize::from(record.right);
        }
    }

    fn note(&self) -> String {
        if self.answers == 0 {
            return String::new();
        }
        format!("pass@1 {:.3}", self.right as f64 / self.answers as f64)
    }
}

fn suite_header(set: &Set) -> SuiteHeader {
    SuiteHeader {
        name: set.name.clone(),
        data: set.data.clone(),
        problems: set.loaded.problems.len(),
        samples: set.samples,
        fingerprint: fingerprint(&set.loaded.problems),
    }
}

fn answers(count: usize) -> String {
    format!("{count} answer{}", if count == 1 { "" } else { "s" })
}

/// A file in `runs` that is not there yet.
fn free_file(runs: &Path, now: Timestamp) -> PathBuf {
    let name = RunDir::default_name("eval", now);
    let names = std::iter::once(name.clone()).chain((2..).map(|more| format!("{name}-{more}")));
    let mut files = names.map(|name| runs.join(format!("{name}.jsonl")));
    files
        .find(|file| !file.exists())
        .expect("there is no end of them")
}

/// Grades a file's completions again, by its `[grader]` with the sets applied.
fn regrade(file: &Path, args: &EvalArgs) -> Result<()> {
    let (header, mut records) = record::read(file)?;
    ensure!(
        args.out.as_deref() != Some(file),
        "--out and --regrade name the same file; write the new verdicts beside the old ones"
    );
    let mut draft = Draft::read_written(&header.config, &file.display().to_string())?;
    draft.set_all(&args.sets)?;
    let config = draft.finish()?;
    let reward = Reward::accuracy(&config.grader);
    let mut changed = 0;
    for record in &mut records {
        let before = record.right;
        record.grade(&reward)?;
        changed += usize::from(record.right != before);
    }
    if let Some(out) = &args.out {
        let header = Header {
            config: config.to_toml(),
            ..header.clone()
        };
        Log::create(out, &header)?.write(&records)?;
    }
    let mut reports = Vec::new();
    for (suite, records) in report::by_suite(&records) {
        let report = Report::of(suite, records, |a, b| reward.same(a, b));
        let asked = header.suites.iter().find(|of| of.name == suite);
        if let Some(asked) = asked.filter(|of| of.problems != report.problems) {
            eprintln!(
                "{suite}: only {} of its {} problems are in the file: the evaluation was stopped",
                report.problems, asked.problems
            );
        }
        reports.push(report);
    }
    ensure!(!reports.is_empty(), "{}: no completion in it", file.display());
    eprintln!("{changed} of {} verdicts are other than they were", records.len());
    let file = args.out.as_deref().unwrap_or(file);
    show(&header.model, file, &reports, None, Some(changed), args.json)
}

/// What two files' completions come to, problem by problem.
fn compare(first: &Path, second: &Path, json: bool) -> Result<()> {
    let ((_, a), (_, b)) = (record::read(first)?, record::read(second)?);
    if a.is_empty() || b.is_empty() {
        let empty = if a.is_empty() { first } else { second };
        bail!("{}: no completion in it", empty.display());
    }
    let found =
        report::compare(&a, &b).with_context(|| format!("{} and {}", first.display(), second.display()))?;
    if json {
        return print_line(serde_json::to_string(&found)?);
    }
    print_line(differences(&found).trim_end())
}

/// Keys that decide completions and are other than in the config of an evaluation that was stopped. The suites are compared by
/// themselves.
fn differing(config: &Config, saved: &str) -> Result<Vec<String>, ConfigError> {
    const SECTIONS: [&str; 7] = [
        "run.",
        "data.",
        "checkpoint.",
        "reward",
        "objective.",
        "sft.",
        "train.",
    ];
    const FREE: [&str; 4] = [
        "rollout.max_rows",
        "rollout.memory_budget",
        "eval.every",
        "eval.suite",
    ];
    let saved = Draft::read_written(saved, "eval.jsonl")?.finish()?;
    let mut keys = saved.differences(config);
    keys.retain(|key| {
        let matters = !SECTIONS.iter().any(|section| key.starts_with(section));
        key == "train.dtype" || (matters && !FREE.contains(&key.as_str()))
    });
    Ok(keys)
}

/// The run's config, or one of the suites or the data file with everything else as it is by default.
fn config(args: &EvalArgs, model: &ModelPath) -> Result<Config> {
    let mut draft = match &args.config {
        Some(path) => Draft::load(path)?,
        None => Draft::new("gcpo eval"),
    };
    let eval = &mut draft.eval;
    if let (Some(data), Some(preset)) = (&args.data, &args.preset) {
        Preset::named(preset)?;
        eval.path = Some(data.clone());
        eval.preset = Some(source::Preset::Named(preset.clone()));
        // Whoever names a file means all of it.
        eval.size = Some(0);
    }
    for suite in &args.suites {
        add_suite(&mut eval.suite, suite);
    }
    if let Some(samples) = args.samples {
        eval.samples = Some(samples);
        for suite in &mut eval.suite {
            suite.samples = Some(samples);
        }
    }
    draft.set_all(&args.sets)?;
    if args.config.is_none() && draft.prompt == PromptDraft::default() {
        let (style, why) = open::prompt_style(&open::tokenizer(model)?);
        eprintln!("prompts in the style \"{style}\": {why} (`--set prompt.style=…` takes another)");
        draft.prompt.style = Some(style);
    }
    Ok(draft.finish()?)
}

/// Takes `NAME` or `NAME=FILE` for one of the suites, a new one if there is none of this name.
fn add_suite(suites: &mut Vec<EvalSuiteDraft>, given: &str) {
    let (name, file) = match given.split_once('=') {
        Some((name, file)) => (name, Some(file.into())),
        None => (given, None),
    };
    let same = |suite: &EvalSuiteDraft| suite.name.as_deref() == Some(name);
    let at = suites.iter().position(same).unwrap_or_else(|| {
        suites.push(EvalSuiteDraft {
            name: Some(name.to_owned()),
            ..EvalSuiteDraft::default()
        });
        suites.len() - 1
    });
    suites[at].path = file.or(suites[at].path.take());
}

fn name(model: &ModelPath) -> String {
    match model {
        ModelPath::Quickstart => "quickstart".into(),
        ModelPath::Dir(dir) => dir.display().to_string(),
    }
}

fn show(
    model: &str,
    file: &Path,
    reports: &[Report],
    work: Option<Work>,
    changed: Option<usize>,
    json: bool,
) -> Result<()> {
    let mean = Mean::of(reports);
    if json {
        return print_line(serde_json::to_string(&Output {
            model,
            file: file.display().to_string(),
            suites: reports,
            mean,
            work,
            changed,
        })?);
    }
    let mut text = tables(reports, mean.as_ref());
    text += &format!("\nmodel        {model}\ncompletions  {}\n", file.display());
    if let Some(work) = work {
        text += &format!(
            "time         {}: {} tokens, {} tokens/s\n",
            duration(work.secs),
            HumanCount(work.tokens as u64),
            HumanCount(work.tok_per_sec.round() as u64)
        );
    }
    print_line(text.trim_end())
}

fn estimate(of: Estimate) -> String {
    format!("{:.4} ± {:.4}", of.mean, of.stderr)
}

fn between([low, high]: [f64; 2]) -> String {
    format!("{low:.4} to {high:.4}")
}

/// What was found, for people: a row a suite and the mean, then what stands in no column.
fn tables(reports: &[Report], mean: Option<&Mean>) -> String {
    let heads = [
        "suite",
        "problems",
        "k",
        "avg@k = pass@1",
        "95 % interval",
        "pass@k",
        "maj@k",
        "tokens",
        "truncated",
        "no answer",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    let none = || "–".to_owned();
    for report in reports {
        let at_k = report
            .pass_at_k
            .get(&report.samples)
            .filter(|_| report.samples > 1);
        rows.push(vec![
            report.suite.clone(),
            report.problems.to_string(),
            report.samples.to_string(),
            estimate(report.pass_at_1),
            between(report.interval),
            at_k.map_or_else(none, |of| format!("{:.4}", of.mean)),
            report.majority.map_or_else(none, |of| format!("{:.4}", of.mean)),
            format!("{:.1}", report.length_mean),
            format!("{:.1} %", 100.0 * report.truncated_frac),
            format!("{:.1} %", 100.0 * report.no_answer_frac),
        ]);
    }
    if let Some(mean) = mean {
        let mut row = vec!["mean".to_owned(), String::new(), String::new()];
        row.extend([estimate(mean.pass_at_1), between(mean.interval)]);
        row.resize(heads.len(), String::new());
        rows.push(row);
    }
    let mut text = grid(&rows);
    for report in reports {
        text += &details(report);
    }
    text
}

/// What a suite's row has no column for.
fn details(report: &Report) -> String {
    let mut text = String::new();
    let suite = &report.suite;
    if let Some(sampling) = report.sampling_stderr {
        text += &format!("\n{suite}: of the standard error, {sampling:.4} is due to sampling\n");
    }
    let ks: Vec<String> = report
        .pass_at_k
        .iter()
        .filter(|_| report.pass_at_k.len() > 2)
        .map(|(k, of)| format!("pass@{k} {}", estimate(*of)))
        .collect();
    if !ks.is_empty() {
        text += &format!("{suite}: {}\n", ks.join(", "));
    }
    if let (Some(y), Some(y_n)) = (report.candidates, report.integrated) {
        text += &format!(
            "{suite}: pass@1 of integrated answers y_n {}, of their candidates y_i {}\n",
            estimate(y_n),
            estimate(y)
        );
    }
    if report.too_long > 0 {
        let plural = if report.too_long == 1 { "" } else { "s" };
        text += &format!(
            "{suite}: {} problem{plural} too long, counted as wrong\n",
            report.too_long
        );
    }
    for (what, groups) in [("subject", &report.subjects), ("level", &report.levels)] {
        if !groups.is_empty() {
            let row = |group: &Group| {
                vec![
                    group.name.clone(),
                    group.problems.to_string(),
                    estimate(group.pass_at_1),
                ]
            };
            let mut rows = vec![
                [&format!("{suite} by {what}"), "problems", "pass@1"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            rows.extend(groups.iter().map(row));
            text += &format!("\n{}", grid(&rows));
        }
    }
    text
}

fn differences(found: &[Difference]) -> String {
    let heads = [
        "suite",
        "problems",
        "first",
        "second",
        "second − first",
        "95 % interval",
        "better",
        "worse",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(found.iter().map(|of| {
        vec![
            of.suite.clone(),
            of.problems.to_string(),
            format!("{:.4}", of.first),
            format!("{:.4}", of.second),
            format!("{:+.4} ± {:.4}", of.difference.mean, of.difference.stderr),
            format!("{:+.4} to {:+.4}", of.interval[0], of.interval[1]),
            of.better.to_string(),
            of.worse.to_string(),
        ]
    }));
    grid(&rows)
}
