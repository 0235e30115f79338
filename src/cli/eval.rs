//! `gcpo eval`: how often a model is right on sets of problems; the same from a file of completions; and two such files
//! beside each other.

mod config;
mod tables;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use burn::tensor::Device;
use gcpo_model::inference::Inference;
use indicatif::HumanCount;
use jiff::Timestamp;
use serde::Serialize;

use super::args::EvalArgs;
use super::run::{open_device, print_line};
use super::train::say_instruction;
use crate::code::Judge;
use crate::config::{Config, Draft};
use crate::console::say;
use crate::eval::record::{self, Header, Log, Record, RecordKind, SuiteHeader, by_problem, write_whole};
use crate::eval::report::{self, Mean, SuiteReport};
use crate::eval::{EvalPlan, Judges, Set, evaluate, has_gold, has_programs, programs};
use crate::policy::{ModelPath, Policy, open};
use crate::recipe::eval_plan;
use crate::report::{Progress, duration};
use crate::reward::{Reward, RewardConfig};
use crate::rollout::Finish;
use crate::run::digest::Digests;
use crate::run::{EVALUATION, RunDir};
use crate::source::fingerprint;
use config::{config, differing};
use tables::{differences, tables};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Output<'a> {
    model: &'a str,
    /// The completions.
    file: String,
    suites: &'a [SuiteReport],
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
    let reward = Reward::accuracy(&config.grader);
    check_golds(&config, &sets, &reward)?;
    let adapter = args.adapter.adapter.as_deref();
    let (name, files) = named(model, adapter)?;
    let suites = sets.iter().map(suite_header).collect();
    let header = Header::new(&name, files, config.to_toml(), suites);
    let free = || free_file(Path::new("runs"), Timestamp::now());
    let file = args.out.clone().unwrap_or_else(free);
    ensure!(
        args.resume || !file.exists(),
        record::RecordError::Exists(file.clone())
    );

    let programs = judge(&config, &sets)?;
    let dtype = config.train.dtype;
    let opened = open_device(&args.device.device, dtype)?;
    let mut rewards = rewards(&config, &sets, &opened.device)?;
    let mut policy = open::load_to_generate(model, adapter, &config.prompts(), dtype, &opened.device)?;
    // Nothing is written before a model is there to be measured.
    let (mut log, kept) = if args.resume && file.exists() {
        Log::resume(&file, &header, |saved| differing(&config, saved))?
    } else {
        (Log::create(&file, &header)?, Vec::new())
    };
    let model = Inference::of(policy.model.take());
    let mut asking = Asking {
        who: format!("{name} on {}", opened.name),
        policy: &policy,
        model: &model,
        reward: &reward,
        programs: programs.as_ref(),
        rewards: rewards.as_mut(),
        plan: eval_plan(&config),
        file: &file,
    };
    let mut work = Work::default();
    let reports = sets.iter().map(|set| {
        let of_set = kept.iter().filter(|record| record.suite == set.name);
        asking.ask(set, of_set.cloned().collect(), &mut log, &mut work)
    });
    let reports = reports.collect::<Result<Vec<SuiteReport>>>()?;
    work.tok_per_sec = work.tokens as f64 / work.secs;
    show(&name, &file, &reports, Some(work), None, args.json)
}

/// What a model is called, and the digests of its files.
fn named(model: &ModelPath, adapter: Option<&Path>) -> Result<(String, Digests)> {
    let mut name = model.to_string();
    let mut files = open::checkpoint_digests(model)?;
    if let Some(adapter) = adapter {
        name = format!("{name} with {}", adapter.display());
        files.extend(open::adapter_digests(adapter)?);
    }
    Ok((name, files))
}

/// Who runs the answers that are programs, if any are.
fn judge(config: &Config, sets: &[Set]) -> Result<Option<Judge>> {
    let some = sets.iter().any(|set| has_programs(&set.loaded.problems));
    let judge = some.then(|| Judge::start(&config.code)).transpose()?;
    for problem in sets.iter().flat_map(|set| &set.loaded.problems) {
        judge
            .iter()
            .try_for_each(|judge| judge.expect(problem.code.as_deref()))?;
    }
    Ok(judge)
}

/// The run's own rewards, where they are to be measured; sees whether they can be asked about all sets.
fn rewards(config: &Config, sets: &[Set], device: &Device) -> Result<Option<Reward>> {
    if !config.eval.rewards {
        return Ok(None);
    }
    let mut rewards = config.rewards(device)?;
    for set in sets {
        let problems = &set.loaded.problems;
        rewards.expect(problems, config.ahead(problems.len()))?;
    }
    Ok(Some(rewards))
}

/// Whether all gold answers can be read, of a set that has some or is asked for some; asked before a model is loaded. Says what is put
/// behind its questions.
fn check_golds(config: &Config, sets: &[Set], reward: &Reward) -> Result<()> {
    let asks = !config.eval.rewards || config.reward.iter().any(RewardConfig::needs_verdict);
    for set in sets {
        say_instruction(config, &set.loaded.problems);
        if has_programs(&set.loaded.problems) {
            ensure!(
                !config.eval.rewards || !asks,
                "{}: its answers are programs, and a reward of the config asks for gold answers: give [[reward]] with name = \"code\" in \
                 its place, or leave eval.rewards out",
                set.name
            );
            continue;
        }
        if !asks && !has_gold(&set.loaded.problems) {
            continue;
        }
        for problem in &set.loaded.problems {
            let gold = problem.answer.as_deref().unwrap_or_default();
            let gold = reward.verdict("", Finish::Eos, &problem.id, gold);
            gold.with_context(|| format!("{} ({})", set.name, set.data))?;
        }
    }
    Ok(())
}

/// Who is asked, and how.
struct Asking<'a> {
    /// The model and its device, for people.
    who: String,
    policy: &'a Policy,
    model: &'a Inference,
    reward: &'a Reward,
    programs: Option<&'a Judge>,
    rewards: Option<&'a mut Reward>,
    plan: EvalPlan,
    /// Where the completions go.
    file: &'a Path,
}

impl Asking<'_> {
    /// Asks the problems of a set behind those that `kept` has the completions of.
    fn ask(&mut self, set: &Set, kept: Vec<Record>, log: &mut Log, work: &mut Work) -> Result<SuiteReport> {
        let problems = &set.loaded.problems;
        say!(
            "{}: {} problems of {} ({}), {} each; completions go to {}",
            self.who,
            problems.len(),
            set.name,
            set.data,
            answers(set.samples),
            self.file.display()
        );
        let done = by_problem(&kept).len();
        if done > 0 {
            say!("{done} of them were answered before");
        }
        let progress = Progress::new(problems.len(), done);
        let mut seen = Counted::default();
        seen.add(&kept);
        let mut plan = self.plan.clone();
        plan.rollout.num_generations = set.samples;
        let (policy, model) = (self.policy, self.model);
        let keep = |done: usize, records: &[Record]| {
            log.write(records)?;
            seen.add(records);
            progress.count(done, "problems", &seen.note());
            Ok(())
        };
        let judges = Judges {
            grader: self.reward,
            programs: self.programs,
            rewards: self.rewards.as_deref_mut().map(|rewards| (rewards, 0)),
        };
        let found = evaluate(policy, model, &set.name, problems, judges, &plan, kept, keep)?;
        progress.finish();
        for (name, mean) in &found.measured {
            say!("{}: {name} {mean:.4}", set.name);
        }
        work.tokens += found.tokens;
        work.secs += found.secs;
        Ok(found.report)
    }
}

/// Right answers so far.
#[derive(Default)]
struct Counted {
    right: usize,
    answers: usize,
}

impl Counted {
    fn add(&mut self, records: &[Record]) {
        let graded = |r: &&Record| r.kind == RecordKind::Answer && !r.gold.is_empty();
        for record in records.iter().filter(graded) {
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
    if let Some(out) = args.out.as_deref().filter(|out| out.exists()) {
        bail!("{} is there already; give another file with --out", out.display());
    }
    let mut draft = Draft::read_written(&header.config, &file.display().to_string())?;
    draft.set_all(&args.sets)?;
    let config = draft.finish()?;
    let reward = Reward::accuracy(&config.grader);
    let before: Vec<bool> = records.iter().map(|record| record.right).collect();
    for record in &mut records {
        record.grade(&reward)?;
    }
    run_again(file, &header, &config, &mut records, &reward)?;
    let pairs = records.iter().zip(before);
    let changed = pairs.filter(|(record, before)| record.right != *before).count();
    if let Some(out) = &args.out {
        let header = Header {
            config: config.to_toml(),
            ..header.clone()
        };
        write_whole(out, &header, &records)?;
    }
    let mut reports = Vec::new();
    for (suite, records) in report::by_suite(&records) {
        let report = SuiteReport::of(suite, records, |a, b| reward.same(a, b));
        let asked = header.suites.iter().find(|of| of.name == suite);
        if let Some(asked) = asked.filter(|of| of.problems != report.problems) {
            say!(
                "{suite}: only {} of its {} problems are in the file: the evaluation was stopped",
                report.problems,
                asked.problems
            );
        }
        reports.push(report);
    }
    ensure!(!reports.is_empty(), "{}: no completion in it", file.display());
    say!("{changed} of {} verdicts are other than they were", records.len());
    if records.iter().any(|record| !record.rewards.is_empty()) {
        say!("rewards stay as they were measured: only right or wrong is judged again");
    }
    let file = args.out.as_deref().unwrap_or(file);
    show(&header.model, file, &reports, None, Some(changed), args.json)
}

/// Runs the programs of a file again, by the tests of their problems, which must be where they were.
fn run_again(
    file: &Path,
    header: &Header,
    config: &Config,
    records: &mut [Record],
    reward: &Reward,
) -> Result<()> {
    if records.iter().all(|record| record.tests.is_none()) {
        return Ok(());
    }
    let sets = config.eval.sets().with_context(|| {
        format!(
            "{}: its programs are run again by the tests of their problems",
            file.display()
        )
    })?;
    let Some(judge) = judge(config, &sets)? else {
        return Ok(());
    };
    // A run's own evaluations have another name than the set that they are of.
    let of_suite = |name: &str| match sets.as_slice() {
        [set] if header.suites.len() == 1 => Some(set),
        sets => sets.iter().find(|set| set.name == name),
    };
    for records in records.chunk_by_mut(|a, b| a.suite == b.suite) {
        let name = records[0].suite.clone();
        if records.iter().all(|record| record.tests.is_none()) {
            continue;
        }
        let asked = header.suites.iter().find(|of| of.name == name);
        let set = of_suite(&name)
            .filter(|set| asked.is_some_and(|asked| asked.fingerprint == fingerprint(&set.loaded.problems)));
        let set = set.with_context(|| {
            format!(
                "{}: its programs cannot be run again: the problems of {name} are other ones now than they were",
                file.display()
            )
        })?;
        programs::run(Some(&judge), &set.loaded.problems, records, reward)?;
    }
    Ok(())
}

/// A file of completions: the file itself, or that of a run's last evaluation.
fn evaluation(given: &Path) -> Result<PathBuf> {
    if !given.is_dir() {
        return Ok(given.to_owned());
    }
    RunDir::check_run(given)?;
    let file = given.join(EVALUATION);
    ensure!(
        file.is_file(),
        "{} was not evaluated: there is no {EVALUATION} in it; train it with eval.every above 0, or evaluate its checkpoint with `gcpo eval`",
        given.display()
    );
    Ok(file)
}

/// What two files' completions come to, problem by problem.
fn compare(first: &Path, second: &Path, json: bool) -> Result<()> {
    let [first, second] = [evaluation(first)?, evaluation(second)?];
    let (first, second) = (first.as_path(), second.as_path());
    let ((_, a), (_, b)) = (record::read(first)?, record::read(second)?);
    if a.is_empty() || b.is_empty() {
        let empty = if a.is_empty() { first } else { second };
        bail!("{}: no completion in it", empty.display());
    }
    for (file, records) in [(first, &a), (second, &b)] {
        ensure!(
            report::is_graded(records),
            "{}: its problems have no gold answers: there is no pass@1 to compare",
            file.display()
        );
    }
    let found =
        report::compare(&a, &b).with_context(|| format!("{} and {}", first.display(), second.display()))?;
    if json {
        return print_line(serde_json::to_string(&found)?);
    }
    print_line(differences(&found).trim_end())
}

fn show(
    model: &str,
    file: &Path,
    reports: &[SuiteReport],
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
