//! The process outside of the namespaces: makes them, starts the first process inside, and ends it when its time is over or nobody
//! listens. What runs inside cannot name it.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{dup2_stdin, dup2_stdout};

use super::spec::{Ended, Isolation, Spec};
use super::tree::used;

/// Longest wait of one call; times are looked at again then.
const TURN: Duration = Duration::from_secs(10);

/// Between two looks at what all processes of a program hold: in this time a fast machine fills some 100 MB.
const LOOK: Duration = Duration::from_millis(20);

/// Runs the program and writes how it ended to standard error, which whoever started this reads. Standard input and output are the
/// program's.
pub fn main(spec: &Spec) -> ExitCode {
    let ended = run(spec).unwrap_or_else(Ended::Failed);
    let line = serde_json::to_string(&ended).unwrap_or_default();
    // Nobody is there to be told of an error.
    let _ = writeln!(std::io::stderr(), "{line}");
    ExitCode::SUCCESS
}

fn run(spec: &Spec) -> Result<Ended, String> {
    // So that a child's end can be waited for together with other things.
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGCHLD);
    let blocked = ends.thread_block();
    blocked.map_err(|error| format!("blocking SIGCHLD: {error}"))?;
    let ends = SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC);
    let ends = ends.map_err(|error| format!("signalfd: {error}"))?;
    if spec.isolation == Isolation::Full {
        own_namespaces()?;
    }
    let argument = serde_json::to_string(spec).map_err(|error| error.to_string())?;
    let nothing = std::fs::File::options().read(true).write(true).open("/dev/null");
    let nothing = nothing.map_err(|error| format!("/dev/null: {error}"))?;
    // The other processes are seen there also when the root is the program's.
    let seen = std::env::set_current_dir("/proc");
    seen.map_err(|error| format!("/proc: {error}"))?;
    let mut inside = Command::new("/proc/self/exe");
    inside
        .args([super::INSIDE, &argument])
        .stderr(Stdio::inherit())
        .current_dir("/");
    let mut child = inside
        .spawn()
        .map_err(|error| format!("the process inside: {error}"))?;
    let begun = Instant::now();
    // The program alone holds its ends of the pipes.
    let given = dup2_stdin(&nothing).and_then(|()| dup2_stdout(&nothing));
    given.map_err(|error| format!("dup2: {error}"))?;
    let deadline = spec
        .limits
        .wall_secs
        .map(|secs| begun + Duration::from_secs_f64(secs));
    watch(&mut child, &ends, deadline, spec)
}

/// Waits for the program's end, its time, or that nobody reads standard error any more.
fn watch(
    child: &mut Child,
    ends: &SignalFd,
    deadline: Option<Instant>,
    spec: &Spec,
) -> Result<Ended, String> {
    let stderr = std::io::stderr();
    loop {
        if let Some(status) = child.try_wait().map_err(|error| format!("wait: {error}"))? {
            return Ok(ended(status, spec));
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let mut why = match left {
            Some(Duration::ZERO) => Some(Ended::Wall),
            _ => too_much(child, spec)?,
        };
        if why.is_none() {
            let longest = if spec.limits.resident { LOOK } else { TURN };
            let turn = left.unwrap_or(longest).min(longest) + Duration::from_millis(1);
            let timeout = PollTimeout::try_from(turn).unwrap_or(PollTimeout::MAX);
            let mut watched = [
                PollFd::new(ends.as_fd(), PollFlags::POLLIN),
                PollFd::new(stderr.as_fd(), PollFlags::empty()),
            ];
            // A signal that interrupts is looked at in the next turn.
            let _ = poll(&mut watched, timeout);
            let gone = watched[1]
                .revents()
                .is_some_and(|events| events.contains(PollFlags::POLLERR));
            why = gone.then_some(Ended::Stopped);
        }
        if let Some(why) = why {
            // With the first process of a namespace of processes go all others.
            let killed = child.kill().and_then(|()| child.wait());
            killed.map_err(|error| format!("kill: {error}"))?;
            return Ok(why);
        }
    }
}

/// What a program has taken too much of, all its processes together, where these are looked at.
fn too_much(child: &Child, spec: &Spec) -> Result<Option<Ended>, String> {
    let limits = &spec.limits;
    if !limits.resident {
        return Ok(None);
    }
    let used = used(child.id())?;
    if used.bytes > limits.memory {
        return Ok(Some(Ended::Memory));
    }
    let over = limits.cpu_secs.is_some_and(|most| used.cpu_secs > most as f64);
    Ok(over.then_some(Ended::Cpu))
}

fn ended(status: ExitStatus, spec: &Spec) -> Ended {
    let Some(signal) = status.signal() else {
        return Ended::Exit(status.code().unwrap_or_default());
    };
    let used = getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0.0, |usage| {
        let secs = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 * 1e-6;
        secs(usage.user_time()) + secs(usage.system_time())
    });
    let over = spec.limits.cpu_secs.is_some_and(|most| used >= most as f64 * 0.8);
    let of_time = signal == Signal::SIGKILL as i32 || signal == Signal::SIGXCPU as i32;
    if of_time && over {
        Ended::Cpu
    } else {
        Ended::Signal(signal)
    }
}

/// What a refusal means most often.
fn why_not(error: nix::Error) -> &'static str {
    match error {
        nix::Error::ENOSPC => "; the sysctl user.max_user_namespaces is 0, or used up",
        nix::Error::EPERM | nix::Error::EACCES => {
            "; the sysctl kernel.unprivileged_userns_clone or kernel.apparmor_restrict_unprivileged_userns, or the filter of a container, forbids them"
        }
        _ => "",
    }
}

/// Namespaces of users, mounts, processes, network, IPC and names; waits until its parent has said which users are in it.
fn own_namespaces() -> Result<(), String> {
    let all = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(all).map_err(|error| {
        format!(
            "namespaces of users, mounts, processes and network cannot be made (unshare: {error}{})",
            why_not(error)
        )
    })?;
    let told = writeln!(std::io::stderr(), "{}", super::start::UNSHARED);
    told.map_err(|error| format!("nobody listens: {error}"))?;
    let mut word = [0];
    // One byte, and none behind it, which are the program's: no buffer.
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    let stdin = stdin.map_err(|error| format!("standard input: {error}"))?;
    let read = std::fs::File::from(stdin).read_exact(&mut word);
    read.map_err(|error| format!("no users: {error}"))
}
