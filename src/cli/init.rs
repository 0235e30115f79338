//! `gcpo init`: a commented config for a checkpoint and problems that were looked at.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use bytesize::ByteSize;
use gcpo_data::Problem;
use gcpo_model::config::ModelConfig;
use gcpo_model::device::{Opened, is_processor};
use indicatif::HumanCount;
use toml::Value as Toml;

use super::args::InitArgs;
use super::plan::{On, of_run};
use super::run::{open_device, print_line};
use crate::config::{Config, Draft};
use crate::plan::Plan;
use crate::policy::{Policy, PromptStyle, open};
use crate::section::Value as _;

/// Problems whose lengths are measured.
const MEASURED: usize = 200;
/// Tokens of a completion where no worked solution says how long one is.
const COMPLETION: usize = 512;
/// Candidates of a problem.
const CANDIDATES: usize = 4;
/// Problems beside them, the longest in bytes, that completions must have room for, too.
const LONGEST: usize = 20;

/// What was found.
struct Found {
    problems: Vec<Problem>,
    /// Architecture and parameters, in words.
    model: String,
    style: PromptStyle,
    /// By what one sees the style.
    why: &'static str,
    /// Median and largest number of tokens of a prompt.
    prompt: [usize; 2],
    /// Tokens that all but a twentieth of the worked solutions stay below; nothing where there is none.
    solution: Option<usize>,
    /// Tokens that a completion may have.
    completion: usize,
    /// Whether it would have more, if the model had room for them.
    is_cut: bool,
    on_processor: bool,
    /// Whether the objective has answers integrated.
    integrates: bool,
    /// The config's rewards.
    reward: String,
}

/// How a run is made to fit: whether adapters are trained in the model's place, layers are computed again, and rows of a pass.
#[derive(Clone, Copy)]
struct Fit(bool, bool, usize);

/// Each takes less memory than the one before.
const FITS: [Fit; 6] = [
    Fit(false, false, 8),
    Fit(false, true, 8),
    Fit(false, true, 1),
    Fit(true, false, 8),
    Fit(true, true, 8),
    Fit(true, true, 1),
];

/// Writes the config, and prints the command that runs it.
///
/// # Errors
/// The checkpoint or the problems cannot be read, no reward would know what is right, or the file is there already.
pub fn run(args: &InitArgs) -> Result<()> {
    let out = &args.out;
    if out.exists() {
        bail!("{} is there already: give another file with --out", out.display());
    }
    let dtype = open::own_dtype(&args.model)?;
    let opened = open_device(&args.device.device, dtype)?;
    let (found, policy, network) = look(args, &opened)?;
    check_golds(args, &found.problems)?;
    let mut chosen = None;
    for fit in FITS {
        let text = write(args, &found, fit);
        let config = read(&text, out)?;
        let plan = of_run(
            &config,
            &network,
            &policy,
            &found.problems,
            None,
            &On {
                device_bytes: opened.memory,
                loaded: 0,
                ranks: 1,
            },
        )?;
        let fits = plan.check(&config).is_ok();
        chosen = Some((text, plan, fits));
        if fits {
            break;
        }
    }
    let (text, plan, fits) = chosen.context("there is a way to fit")?;
    let file = OpenOptions::new().write(true).create_new(true).open(out);
    let mut file = file.with_context(|| out.display().to_string())?;
    if let Err(error) = file.write_all(text.as_bytes()) {
        let _ = fs::remove_file(out);
        return Err(error).context(out.display().to_string());
    }
    print_line(report(args, &found, &plan, fits))
}

/// Sees whether the answer check, where it is the reward, has something to compare with.
fn check_golds(args: &InitArgs, problems: &[Problem]) -> Result<()> {
    let without = problems.iter().filter(|problem| problem.answer.is_none());
    let count = without.clone().count();
    let (Some(first), None) = (without.clone().next(), &args.reward) else {
        return Ok(());
    };
    bail!(
        "{count} of {} problems have no gold answer, the first of them {}: the answer check cannot reward them; name the column that \
         holds it, `data.preset = {{ answer = \"…\" }}` (docs/data.md), or a reward of your own, --reward FILE.py:NAME",
        problems.len(),
        first.named()
    );
}

/// Looks at the checkpoint and the problems; gives the policy but for its network, and what that is, too.
fn look(args: &InitArgs, opened: &Opened) -> Result<(Found, Policy, ModelConfig)> {
    let described = open::describe(&args.model)?;
    let (style, why) = open::prompt_style(&open::tokenizer(&args.model)?);
    let config = &described.config;
    let mut found = Found {
        problems: Vec::new(),
        model: format!(
            "{}, {} parameters, up to {} tokens",
            config.model_type.architecture(),
            HumanCount(config.parameters() as u64),
            HumanCount(config.positions() as u64)
        ),
        style,
        why,
        prompt: [0, 0],
        solution: None,
        completion: COMPLETION,
        is_cut: false,
        on_processor: is_processor(&opened.device),
        integrates: false,
        // Asks for no gold answers, so that rows without are counted and named.
        reward: "\n[[reward]]\nname = \"repetition\"\n".to_owned(),
    };
    let config = read(&write(args, &found, FITS[0]), &args.out)?;
    found.integrates = config.objective_row().needs_integration();
    let device = opened.device.clone().autodiff();
    let (policy, network) = open::outline(&config.model, &config.prompts(), &device)?;
    found.problems = config.problems()?;
    found.reward = reward(args);
    let every = found.problems.len().div_ceil(MEASURED).max(1);
    let some: Vec<&Problem> = found.problems.iter().step_by(every).collect();
    let prompts = some
        .iter()
        .map(|problem| Ok(policy.answer_contexts(problem)?.answer().len()));
    let prompts = prompts.collect::<Result<Vec<usize>>>()?;
    found.prompt = [at(&prompts, 0.5), at(&prompts, 1.0)];
    let solutions = some.iter().filter_map(|problem| problem.solution.as_ref());
    let solutions = solutions.map(|text| policy.tokenizer.encode(text, false).map(|tokens| tokens.len()));
    let solutions = solutions.collect::<Result<Vec<usize>, _>>()?;
    found.solution = (!solutions.is_empty()).then(|| at(&solutions, 0.95));
    let asked = found
        .solution
        .map_or(COMPLETION, |tokens| (2 * tokens).max(32).next_multiple_of(32));
    let some = some.into_iter().chain(longest(&found.problems));
    let quoted = (CANDIDATES, config.projection.candidate_tokens);
    found.completion = room(some, &policy, &network, found.integrates.then_some(quoted), asked)?;
    found.is_cut = found.completion < asked;
    Ok((found, policy, network))
}

/// The problems with the most text.
fn longest(problems: &[Problem]) -> impl Iterator<Item = &Problem> {
    let bytes = |problem: &Problem| {
        let before: usize = problem.turns.before.iter().map(|turn| turn.content.len()).sum();
        before + problem.question.len()
    };
    let mut sorted: Vec<&Problem> = problems.iter().collect();
    sorted.sort_by_key(|problem| std::cmp::Reverse(bytes(problem)));
    sorted.into_iter().take(LONGEST)
}

/// Tokens of a completion, as many as are asked for at most, with which every context of these problems fits the network. `quoted` as in
/// [`Policy::contexts`], where answers are integrated.
fn room<'a>(
    problems: impl Iterator<Item = &'a Problem>,
    policy: &Policy,
    network: &ModelConfig,
    quoted: Option<(usize, usize)>,
    asked: usize,
) -> Result<usize> {
    let mut room = asked;
    for problem in problems {
        let contexts = match quoted {
            Some((n, tokens)) => policy.contexts(problem, n, tokens)?,
            None => policy.answer_contexts(problem)?,
        };
        room = contexts.longest_completion(room, network.positions());
        if room == 0 {
            let help = match quoted {
                Some(_) => {
                    "take a model of more, leave such problems out, or take `--objective grpo`, whose prompts hold no candidates"
                }
                None => "take a model of more, or leave such problems out",
            };
            bail!(
                "the prompts of {} leave no room for a completion in the model's {} positions: {help}",
                problem.named(),
                network.positions()
            );
        }
    }
    Ok(room)
}

/// The number that so large a share of numbers is not above.
fn at(numbers: &[usize], share: f64) -> usize {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((share * last as f64).round() as usize)
        .copied()
        .unwrap_or(0)
}

fn read(text: &str, out: &Path) -> Result<Config> {
    Ok(Draft::read(text, &out.display().to_string())?.finish()?)
}

/// A path or a text as TOML has it.
fn quoted(text: impl ToString) -> Toml {
    Toml::String(text.to_string())
}

/// The reward of the run.
fn reward(args: &InitArgs) -> String {
    match &args.reward {
        Some(function) => format!(
            "\n[[reward]]\nname = \"python\"\nfunction = {}\n",
            quoted(function)
        ),
        None => {
            "\n# 1 for an answer that is the gold one (docs/rewards.md).\n[[reward]]\nname = \"accuracy\"\n"
                .to_owned()
        }
    }
}

/// The config.
fn write(args: &InitArgs, found: &Found, Fit(lora, checkpointing, rows): Fit) -> String {
    let [median, largest] = found.prompt;
    let (model, data) = (quoted(&args.model), quoted(args.data.display()));
    let mut text = format!("# {}.\n[model]\npath = {model}\n", found.model);
    if lora {
        text += "\n# Adapters in the model's place: training all weights does not fit.\n[model.lora]\nr = 16\nlora_alpha = 32\n\
                 target_modules = \"all-linear\"\n";
    }
    let count = found.problems.len();
    text += &format!("\n# {count} problems.\n[data]\npath = {data}\n");
    text += &format!("\n# {}.\n[prompt]\nstyle = {}\n", found.why, found.style.write());
    let why = match found.solution {
        Some(tokens) => format!("Worked solutions have up to {tokens} tokens, but for one in twenty"),
        None => "No solution says how long one is".to_owned(),
    };
    let cut = match (found.is_cut, found.integrates) {
        (false, _) => "",
        (true, false) => " Longer completions do not fit the model behind the prompts.",
        (true, true) => {
            " Longer completions do not fit the model beside\n# the candidates that the prompts of integration and projection hold."
        }
    };
    text += &format!(
        "\n# Prompts have {median} tokens, {largest} at most. {why}.{cut}\n[rollout]\nnum_generations = {CANDIDATES}\nmax_completion_length = {}\n",
        found.completion
    );
    text += &format!("\n[objective]\nname = {}\n", quoted(&args.objective));
    if found.integrates {
        text += "\n# Half of what the paper samples for its baseline; the default is num_generations.\n[projection]\nintegrations = 2\n\
                 samples = 2\n";
    }
    text += &found.reward;
    let (prompts, rate) = (
        if found.on_processor { 8 } else { 32 },
        if lora { "2e-5" } else { "1e-6" },
    );
    text += &format!(
        "\n[train]\nmax_steps = 200\nprompts_per_step = {prompts}\nper_device_train_batch_size = {rows}\nlearning_rate = {rate}\n"
    );
    if checkpointing {
        text += "# Without it the run does not fit.\ngradient_checkpointing = true\n";
    }
    text += &match &args.eval {
        Some(path) => format!(
            "\n[eval]\npath = {}\nevery = 50\nsize = 256\n",
            quoted(path.display())
        ),
        None => "\n# Problems that are not trained on: add `path`, and `every = 50`.\n[eval]\nevery = 0\n"
            .to_owned(),
    };
    text + "\n[checkpoint]\nevery = 50\nkeep_last = 2\n"
}

/// What was found and chosen, and what comes next.
fn report(args: &InitArgs, found: &Found, plan: &Plan, fits: bool) -> String {
    let [median, largest] = found.prompt;
    let peak = ByteSize(plan.memory.peak_bytes);
    let room = match (fits, plan.memory.device_bytes) {
        (true, Some(room)) => format!("about {peak} at most, of {}", ByteSize(room)),
        (true, None) => format!("about {peak} at most"),
        (false, _) => format!(
            "about {peak}, which is MORE THAN THE DEVICE HAS: take a smaller model, or shorter completions"
        ),
    };
    let out = args.out.display();
    format!(
        "model     {}\nprompts   {} ({}), {median} tokens, {largest} at most\nproblems  {}\nmemory    {room}\n\n{out} is written. \
         Read it, and then\n\n    gcpo plan {out} --calibrate\n    gcpo train {out}",
        found.model,
        found.style.write(),
        found.why,
        found.problems.len()
    )
}
