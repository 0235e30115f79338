//! Starts a program in a sandbox, and talks with it.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{getegid, geteuid};

use super::files::Dir;
use super::spec::{Ended, Isolation, SandboxError, Spec};

/// What the process outside says when its namespaces are there.
pub const UNSHARED: &str = "unshared";

/// The user that a program is in its own namespace.
pub const INNER: u32 = 1000;

/// The user that a program is to the system where this one is run by root, who has no limits.
const NOBODY: u32 = 65534;

/// A program in a sandbox. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Its files, where it has no view of its own; removed with it.
    _dir: Option<Dir>,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    status: Option<BufReader<ChildStderr>>,
}

/// Starts a program.
///
/// # Errors
/// The system does not allow a sandbox. That the program itself cannot be run is seen at its end.
pub fn start(spec: &Spec, files: &[&str]) -> Result<Running, SandboxError> {
    let full = spec.isolation == Isolation::Full;
    let dir = match full {
        true => None,
        false => Some(Dir::with(&spec.files, files).map_err(SandboxError::Start)?),
    };
    let place = dir
        .as_ref()
        .map_or("/tmp".into(), |dir| dir.path().display().to_string());
    let spec = &Spec {
        command: spec.command_in(&place),
        place: place.into(),
        ..spec.clone()
    };
    let argument = serde_json::to_string(spec).expect("a spec is plain data");
    let mut outside = Command::new("/proc/self/exe");
    outside.args([super::OUTSIDE, &argument]).env_clear();
    let pipes = outside
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn().map_err(SandboxError::Start)?;
    let (input, output, status) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(output), Some(status)) = (output, status) else {
        return Err(SandboxError::Start(io::ErrorKind::BrokenPipe.into()));
    };
    let mut running = Running {
        child,
        _dir: dir,
        input,
        output: BufReader::new(output),
        status: Some(BufReader::new(status)),
    };
    if full {
        running.give_users()?;
        // Read by the process inside before it becomes the program; if it ended before, that is seen at its end.
        let _ = files.iter().try_for_each(|file| running.write(file.as_bytes()));
    }
    Ok(running)
}

impl Running {
    /// Waits for the namespaces, and says which users are in that of users.
    fn give_users(&mut self) -> Result<(), SandboxError> {
        let mut said = String::new();
        let status = self.status.as_mut().expect("it was just started");
        status.read_line(&mut said).map_err(SandboxError::Start)?;
        if said.trim() != UNSHARED {
            return Err(SandboxError::Refused(match serde_json::from_str(&said) {
                Ok(Ended::Failed(reason)) => reason,
                _ => format!("it said {said:?}"),
            }));
        }
        let of = format!("/proc/{}", self.child.id());
        let (user, group) = (geteuid().as_raw(), getegid().as_raw());
        let write = |file: &str, text: String| {
            let written = fs::write(format!("{of}/{file}"), text);
            written.map_err(|error| SandboxError::Refused(format!("{file} of its namespace: {error}")))
        };
        // Root has no limits, so its programs are nobody's; where there is no such user to be, they are its own, as of any other.
        let both = |user: u32| format!("0 {user} 1\n{INNER} {NOBODY} 1\n");
        if user == 0 && write("uid_map", both(user)).is_ok() {
            write("gid_map", both(group))?;
        } else {
            write("uid_map", format!("0 {user} 1\n"))?;
            write("setgroups", "deny".to_owned())?;
            write("gid_map", format!("0 {group} 1\n"))?;
        }
        self.write(b"g").map_err(SandboxError::Start)
    }

    /// Writes to the program's standard input.
    ///
    /// # Errors
    /// It has ended, or closed it.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(bytes)?;
        input.flush()
    }

    /// What it wrote, nothing at its end; none if that takes longer.
    pub fn chunk(&mut self, within: Duration) -> Option<Vec<u8>> {
        if self.output.buffer().is_empty() {
            let timeout = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
            let mut watched = [PollFd::new(self.output.get_ref().as_fd(), PollFlags::POLLIN)];
            if poll(&mut watched, timeout) == Ok(0) {
                return None;
            }
        }
        let found = self.output.fill_buf().ok()?.to_vec();
        self.output.consume(found.len());
        Some(found)
    }

    /// Waits for its end, which comes at its time limit at the latest, and says how that was. What it still writes is not read.
    pub fn wait(mut self) -> Ended {
        self.input = None;
        let mut said = String::new();
        let status = self.status.as_mut().expect("only dropping takes it");
        let read = status.read_to_string(&mut said);
        // Why it did not begin is said by the process inside, before the one outside says how that ended.
        let first = said.lines().next().unwrap_or_default();
        match (read, serde_json::from_str(first)) {
            (Ok(_), Ok(ended)) => ended,
            _ => Ended::Failed(said.trim().to_owned()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The process outside sees that nobody listens, and kills what is inside.
        self.status = None;
        self.input = None;
        let _ = self.child.wait();
    }
}
