//! The first process inside: it makes the view, takes the limits on, gives up its rights and becomes the program.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use nix::fcntl::{OFlag, open, openat};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, dup2_stderr, setgroups, setresgid, setresuid};

use super::spec::{Ended, Isolation, Spec};
use super::start::INNER;
use super::{filter, view};

/// Open files of a program.
const FILES: u64 = 128;

/// Becomes the program; comes back only where that cannot be.
pub fn main(spec: &Spec) -> ExitCode {
    // Closed when the program begins: it must not say how it ended.
    let report = std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned();
    let Err(reason) = become_program(spec);
    if let Ok(report) = report {
        let line = serde_json::to_string(&Ended::Failed(reason)).unwrap_or_default();
        let _ = writeln!(std::fs::File::from(report), "{line}");
    }
    ExitCode::FAILURE
}

fn become_program(spec: &Spec) -> Result<std::convert::Infallible, String> {
    let full = spec.isolation == Isolation::Full;
    SigSet::all()
        .thread_unblock()
        .map_err(|error| format!("signals: {error}"))?;
    if full {
        // Of the old view, for what is left to be said of users.
        let proc = open(
            "/proc",
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        );
        let proc = proc.map_err(|error| format!("/proc: {error}"))?;
        view::make(&spec.view, spec.limits.disk)?;
        take_files(spec)?;
        drop_user(&proc)?;
    }
    limit(spec)?;
    let nothing = std::fs::File::options().read(true).write(true).open("/dev/null");
    let nothing = nothing.map_err(|error| format!("/dev/null: {error}"))?;
    let said = match spec.errors {
        true => dup2_stderr(std::io::stdout()),
        false => dup2_stderr(&nothing),
    };
    said.map_err(|error| format!("dup2: {error}"))?;
    // After the change of the user, which forgets it.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| format!("pdeathsig: {error}"))?;
    prctl::set_no_new_privs().map_err(|error| format!("no_new_privs: {error}"))?;
    let (program, arguments) = spec.command.split_first().ok_or("there is no command")?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(spec.env.iter().cloned());
    command.current_dir(&spec.place);
    filter::apply(spec.limits.processes > 1)?;
    Err(format!("{program}: {}", command.exec()))
}

/// Writes the program's files into its `/tmp`; they are in front of what is its own on standard input.
fn take_files(spec: &Spec) -> Result<(), String> {
    // Not a byte more is read: no buffer.
    let stdin = std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned();
    let mut stdin = std::fs::File::from(stdin.map_err(|error| format!("standard input: {error}"))?);
    for (name, length) in &spec.files {
        let written = std::fs::File::create(spec.place.join(name))
            .and_then(|mut file| std::io::copy(&mut (&mut stdin).take(*length), &mut file));
        match written {
            Ok(copied) if copied == *length => {}
            Ok(_) => return Err(format!("{name}: it came short")),
            Err(error) => return Err(format!("{name}: {error}")),
        }
    }
    Ok(())
}

/// From root of the namespace to a user without rights: one that is nobody outside, or, where there is none, this one in a namespace of
/// users below, from which the mounts cannot be touched.
fn drop_user(proc: &OwnedFd) -> Result<(), String> {
    let (user, group) = (Uid::from_raw(INNER), Gid::from_raw(INNER));
    let nobody = setgroups(&[])
        .and_then(|()| setresgid(group, group, group))
        .and_then(|()| setresuid(user, user, user));
    if nobody.is_ok() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| format!("a second namespace of users: {error}"))?;
    let write = |file: &str, text: String| {
        let path = format!("self/{file}");
        let opened = openat(
            proc,
            path.as_str(),
            OFlag::O_WRONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        );
        let opened = opened.map_err(|error| format!("{file}: {error}"))?;
        let written = std::fs::File::from(opened).write_all(text.as_bytes());
        written.map_err(|error| format!("{file} of the second namespace: {error}"))
    };
    write("uid_map", format!("{INNER} 0 1\n"))?;
    write("setgroups", "deny".to_owned())?;
    write("gid_map", format!("{INNER} 0 1\n"))
}

fn limit(spec: &Spec) -> Result<(), String> {
    let limits = &spec.limits;
    let mut all = vec![
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, limits.disk),
        (Resource::RLIMIT_NOFILE, FILES),
        (Resource::RLIMIT_MEMLOCK, 0),
        (Resource::RLIMIT_MSGQUEUE, 0),
    ];
    if spec.isolation == Isolation::Full {
        // Counted in the namespace of users. The process outside is one, too.
        all.push((Resource::RLIMIT_NPROC, limits.threads + limits.processes + 1));
    }
    if !limits.resident {
        all.push((Resource::RLIMIT_AS, limits.memory));
    }
    all.extend(limits.cpu_secs.map(|secs| (Resource::RLIMIT_CPU, secs)));
    let mut all = all.into_iter();
    all.try_for_each(|(what, most)| {
        setrlimit(what, most, most).map_err(|error| format!("{what:?} of {most}: {error}"))
    })
}
