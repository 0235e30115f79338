//! `gcpo grade --suite NAME=FILE --completions FILE`: what becomes of given programs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use gcpo_data::CodeProblem;
use gcpo_data::dataset::{Answers, Suite, load_code};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::args::GradeArgs;
use crate::cli::run::{print_line, read_input};
use crate::code::{CodeConfig, Job, Judge, Outcome};
use crate::config::Draft;
use crate::console::say;

/// Failures that are shown to people; JSON has all.
const SHOWN: usize = 20;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Output<'a> {
    suite: &'a str,
    programs: usize,
    passed: usize,
    /// The mean over problems of the share of their programs that passed.
    pass_at_1: f64,
    problems: usize,
    secs: f64,
    programs_per_sec: f64,
    verdicts: Vec<Judged<'a>>,
}

#[derive(Debug, Serialize)]
struct Judged<'a> {
    id: &'a str,
    #[serde(flatten)]
    outcome: Outcome,
}

/// Runs completions by the tests of a suite.
///
/// # Errors
/// A file cannot be read, a completion is of no problem, or there is no sandbox.
pub fn run(suite: &str, completions: &Path, args: &GradeArgs) -> Result<()> {
    let (name, file) = suite
        .split_once('=')
        .with_context(|| format!("--suite {suite}: name its file, --suite {suite}=FILE"))?;
    if Suite::named(name)?.answers != Answers::Programs {
        bail!("--suite {name}: its answers are no programs; `gcpo eval --regrade FILE` grades them");
    }
    let how = how(args)?;
    let problems = load_code(Path::new(file))?;
    let by_id: HashMap<&str, &CodeProblem> = problems.iter().map(|of| (of.id.as_str(), of)).collect();
    let jobs = jobs(completions, &by_id)?;
    let answered: BTreeSet<&str> = jobs.iter().map(|job| job.problem.id.as_str()).collect();
    if answered.len() < problems.len() {
        say!(
            "{}: {} of the {} problems of {name} have no completion, and do not count",
            completions.display(),
            problems.len() - answered.len(),
            problems.len()
        );
    }
    let judge = Judge::start(&how)?;
    judge.expect(&problems)?;
    let begun = Instant::now();
    let outcomes = judge.judge_all(&jobs)?;
    let secs = begun.elapsed().as_secs_f64();
    let judged = jobs.iter().zip(outcomes);
    let verdicts = judged.map(|(job, outcome)| Judged {
        id: &job.problem.id,
        outcome,
    });
    let output = summary(name, verdicts.collect(), secs);
    print_line(if args.json {
        serde_json::to_string(&output)?
    } else {
        in_words(&output)
    })
}

/// What the options mean for `[code]`.
fn how(args: &GradeArgs) -> Result<CodeConfig> {
    let mut draft = Draft::new("gcpo grade");
    draft.code.python = args.python.clone();
    draft.code.timeout = args.timeout;
    draft.code.memory = args.memory;
    let isolation = args.isolation.iter().map(|how| format!("code.isolation={how}"));
    draft.set_all(&isolation.chain(args.sets.clone()).collect::<Vec<_>>())?;
    Ok(draft.finish()?.code)
}

/// The completions of a file, each with its problem.
fn jobs<'a>(path: &Path, problems: &HashMap<&str, &'a CodeProblem>) -> Result<Vec<Job<'a>>> {
    let text = read_input(path)?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let jobs = lines.map(|(at, line)| {
        let place = format!("{}:{}", path.display(), at + 1);
        let row: Map<String, Value> = serde_json::from_str(line)
            .with_context(|| format!("{place}: not a JSON object {{\"id\": …, \"completion\": …}}"))?;
        let id = match row.get("id").or_else(|| row.get("task_id")) {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => bail!("{place}: `id` is missing: name the problem"),
        };
        let completion = row.get("completion").and_then(Value::as_str);
        let completion =
            completion.with_context(|| format!("{place}: `completion` is missing, or no text"))?;
        let problem = *problems
            .get(id.as_str())
            .with_context(|| format!("{place}: there is no problem {id:?} in the suite's file"))?;
        Ok(Job {
            problem,
            program: problem.program(completion),
        })
    });
    let jobs: Vec<Job> = jobs.collect::<Result<_>>()?;
    ensure!(!jobs.is_empty(), "{}: no completion in it", path.display());
    Ok(jobs)
}

fn summary<'a>(suite: &'a str, verdicts: Vec<Judged<'a>>, secs: f64) -> Output<'a> {
    let mut by_problem: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for verdict in &verdicts {
        let of = by_problem.entry(verdict.id).or_default();
        of.0 += usize::from(verdict.outcome.passed);
        of.1 += 1;
    }
    let shares = by_problem
        .values()
        .map(|(passed, all)| *passed as f64 / *all as f64);
    Output {
        suite,
        programs: verdicts.len(),
        passed: verdicts.iter().filter(|verdict| verdict.outcome.passed).count(),
        pass_at_1: shares.sum::<f64>() / by_problem.len() as f64,
        problems: by_problem.len(),
        secs,
        programs_per_sec: verdicts.len() as f64 / secs,
        verdicts,
    }
}

fn in_words(output: &Output) -> String {
    let mut lines = vec![format!(
        "{}: {} of {} programs pass their tests; pass@1 {:.4} of {} problems; {:.0} programs/s",
        output.suite,
        output.passed,
        output.programs,
        output.pass_at_1,
        output.problems,
        output.programs_per_sec
    )];
    let failed: Vec<_> = output
        .verdicts
        .iter()
        .filter(|verdict| !verdict.outcome.passed)
        .collect();
    for verdict in failed.iter().take(SHOWN) {
        let outcome = &verdict.outcome;
        lines.push(format!(
            "{}: {} of {} tests: {}",
            verdict.id,
            outcome.tests_passed,
            outcome.tests,
            outcome.why.replace('\n', " ")
        ));
    }
    if failed.len() > SHOWN {
        lines.push(format!("… and {} more; --json has all", failed.len() - SHOWN));
    }
    lines.join("\n")
}
