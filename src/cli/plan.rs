//! `gcpo plan`: what a run will take.

use anyhow::Result;
use bytesize::ByteSize;
use gcpo_model::device;
use indicatif::HumanCount;

use super::args::PlanArgs;
use super::run::{open_device, print_line};
use crate::config::{Config, Draft};
use crate::console::note;
use crate::plan::{Part, Plan, Rates, Run};
use crate::policy::{Policy, open};
use crate::report::columns;
use crate::reward::RewardKind;
use gcpo_data::Problem;
use gcpo_model::config::ModelConfig;
use gcpo_model::device::DeviceSpec;

/// What a process holds where the system does not say, in bytes.
const PROCESS: u64 = 64 << 20;
/// What it comes to hold beside its network once it computes: code that is read in, threads, tables.
const AT_WORK: u64 = 16 << 20;

/// Prints the plan of a run.
///
/// # Errors
/// A mistake in the config, or the model's or the problems' files are not there.
pub fn run(args: &PlanArgs) -> Result<()> {
    let mut draft = Draft::load(&args.config)?;
    draft.set_all(&args.sets)?;
    draft.style_of_rows();
    let config = draft.finish()?;
    let spec = match config.train.devices.first() {
        Some(first) if args.device.device == DeviceSpec::Auto => first,
        _ => &args.device.device,
    };
    let opened = open_device(spec, config.train.dtype)?;
    let problems = config.problems()?;
    let device = opened.device.clone().autodiff();
    let (policy, network) = open::outline(&config.model, &config.prompts(), &device)?;
    let mut plan = of_run(
        &config,
        &network,
        &policy,
        &problems,
        args.completion_length,
        &On {
            device_bytes: opened.memory,
            loaded: 0,
            ranks: args.ranks,
        },
    )?;
    if args.calibrate {
        let policy = config.policy(Vec::new, &device)?;
        let rates = Rates::measure(&config, &policy, plan.longest_row_tokens)?;
        plan = plan.with_rates(&rates);
    }
    if let Err(error) = plan.check(&config) {
        note(&format!("warning: `gcpo train` would refuse it: {error}"));
    }
    for reward in &config.reward {
        if let RewardKind::ModelReward(model) = &reward.kind {
            note(&format!(
                "warning: the reward model {} lies on the device, too, and its memory is not counted",
                model.path.display()
            ));
        }
    }
    print_line(if args.json {
        serde_json::to_string(&plan)?
    } else {
        describe(&plan, &opened.name).trim_end().to_owned()
    })
}

/// Where a plan is made, and of what.
pub struct On {
    /// All memory of the device in bytes, where that is known.
    pub device_bytes: Option<u64>,
    /// Bytes of the network that this process holds already.
    pub loaded: u64,
    /// Ranks that train together; the plan is of one.
    pub ranks: usize,
}

/// The plan of a run.
///
/// # Errors
/// A prompt cannot be made of a problem.
pub fn of_run(
    config: &Config,
    network: &ModelConfig,
    policy: &Policy,
    problems: &[Problem],
    completion_length: Option<usize>,
    on: &On,
) -> Result<Plan> {
    let process = device::held_by_this_process().map_or(PROCESS, |held| held.saturating_sub(on.loaded));
    Plan::of(&Run {
        config,
        network,
        policy,
        problems,
        completion_length,
        device_bytes: on.device_bytes,
        process_bytes: process + AT_WORK,
        ranks: on.ranks,
    })
}

fn describe(plan: &Plan, device: &str) -> String {
    let memory = &plan.memory;
    let most = ByteSize(memory.peak_bytes);
    let room = match memory.device_bytes {
        Some(room) => format!("about {most} at most, of {}", ByteSize(room)),
        None => format!("about {most} at most; how much the device has is not known"),
    };
    let worked_out = format!(
        "completions of {} tokens, contexts of {} problems",
        plan.completion_length, plan.problems
    );
    let pass = format!("{} tokens", HumanCount(plan.micro_batch_tokens as u64));
    let facts = [
        ("device", device.to_owned()),
        ("worked out for", worked_out),
        ("largest pass", pass),
        ("memory", room),
    ];
    let mut rows: Vec<(String, String)> = facts
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text))
        .collect();
    rows.extend(phases(plan));
    let step = match plan.step_secs {
        Some(secs) => format!("about {secs:.1} s"),
        None => "seconds are not known; --calibrate measures for some".to_owned(),
    };
    rows.push(("a step".to_owned(), step));
    for stage in &plan.stages {
        let secs = stage.secs.map(|secs| format!(", {secs:.2} s"));
        let tokens = HumanCount(stage.tokens as u64);
        let text = format!("{tokens} tokens{}", secs.unwrap_or_default());
        rows.push((format!("  {}", stage.name), text));
    }
    columns(&rows)
}

/// What is held in each phase of a step.
fn phases(plan: &Plan) -> Vec<(String, String)> {
    let memory = &plan.memory;
    let mut rows = Vec::new();
    for phase in &memory.phases {
        let part = |part: &Part| format!("{} {}", part.name, ByteSize(part.bytes));
        let parts: Vec<String> = phase.parts.iter().map(part).collect();
        rows.push((format!("  {}", phase.name), ByteSize(phase.bytes).to_string()));
        rows.push((String::new(), parts.join(", ")));
    }
    if memory.kept_by_process > 0 {
        let kept = ByteSize(memory.kept_by_process);
        let text = format!("{kept} was freed and stays with the process");
        rows.push((format!("  at the peak, {}", memory.peak_phase), text));
    }
    rows
}
