//! A program in a container of `docker` or `podman`, on any system that has one: started anew for each, without a network, read-only, and
//! removed at the end.

use std::io::{self, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::files::Dir;
use super::spec::{Ended, SandboxError, Spec};

/// Where the files are that a program is given.
const PLACE: &str = "/gcpo";

/// The user that a program is.
const NOBODY: &str = "65534:65534";

/// Between two looks at whether it has ended.
const TURN: Duration = Duration::from_millis(5);

/// How much of what the engine says is kept, in bytes.
const SAID: usize = 4096;

/// The exit code by which an engine says that it did not start the program.
const NOT_STARTED: i32 = 125;

/// SIGXCPU, as a shell writes it.
const OUT_OF_CPU: i32 = 128 + 24;

/// A program in a container. Dropped, it is removed.
#[derive(Debug)]
pub struct Running {
    engine: &'static str,
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: Option<Receiver<Vec<u8>>>,
    errors: Option<JoinHandle<String>>,
    deadline: Option<Instant>,
    ended: bool,
    _dir: Option<Dir>,
}

/// Starts a program.
///
/// # Errors
/// There is no such engine, or a file cannot be written.
pub fn start(engine: &'static str, spec: &Spec, files: &[&str]) -> Result<Running, SandboxError> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("gcpo-{}-{number}", std::process::id());
    let dir = match spec.files.is_empty() {
        true => None,
        false => Some(Dir::with(&spec.files, files).map_err(SandboxError::Start)?),
    };
    let mut command = Command::new(engine);
    command.args(arguments(&name, spec, dir.as_ref()));
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = pipes
        .spawn()
        .map_err(|error| SandboxError::Refused(format!("`{engine}` cannot be run: {error}")))?;
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut output), Some(errors)) = (output, errors) else {
        return Err(SandboxError::Start(io::ErrorKind::BrokenPipe.into()));
    };
    let (send, receive) = sync_channel(4);
    std::thread::spawn(move || {
        let mut chunk = vec![0; 1 << 16];
        loop {
            let read = output.read(&mut chunk).unwrap_or_default();
            // Nobody listens any more, or this was the end.
            if send.send(chunk[..read].to_vec()).is_err() || read == 0 {
                return;
            }
        }
    });
    Ok(Running {
        engine,
        name,
        child,
        input,
        output: Some(receive),
        errors: Some(std::thread::spawn(move || first_of(errors))),
        deadline: spec
            .limits
            .wall_secs
            .map(|secs| Instant::now() + Duration::from_secs_f64(secs)),
        ended: false,
        _dir: dir,
    })
}

/// What the engine is told.
fn arguments(name: &str, spec: &Spec, dir: Option<&Dir>) -> Vec<String> {
    let limits = &spec.limits;
    let memory = limits.memory.to_string();
    let processes = (limits.threads + limits.processes).to_string();
    let tmp = format!("/tmp:rw,nosuid,nodev,size={},mode=1777", limits.disk);
    #[rustfmt::skip]
    let fixed = [
        "run", "--rm", "--interactive", "--name", name, "--pull", "never",
        "--network", "none", "--read-only", "--tmpfs", &tmp, "--workdir", "/tmp", "--user", NOBODY,
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--memory", &memory, "--memory-swap", &memory, "--pids-limit", &processes, "--cpus", "1",
        "--ulimit", "core=0:0", "--ulimit", "nofile=128:128",
    ];
    let mut all: Vec<String> = fixed.map(str::to_owned).to_vec();
    if let Some(secs) = limits.cpu_secs {
        // A second later it is killed, whatever it does about the first signal.
        all.extend(["--ulimit".to_owned(), format!("cpu={secs}:{}", secs + 1)]);
    }
    for (variable, value) in &spec.env {
        all.extend(["--env".to_owned(), format!("{variable}={value}")]);
    }
    if let Some(dir) = dir {
        all.extend([
            "--volume".to_owned(),
            format!("{}:{PLACE}:ro", dir.path().display()),
        ]);
    }
    all.extend(spec.container_args.iter().cloned());
    all.push(spec.image.clone());
    all.extend(spec.command_in(PLACE));
    all
}

/// The first of what the engine and the program say to standard error; the rest is read and let go.
fn first_of(mut errors: impl io::Read) -> String {
    let (mut said, mut chunk) = (Vec::new(), [0; SAID]);
    while let Ok(read @ 1..) = errors.read(&mut chunk) {
        let room = SAID - said.len();
        said.extend_from_slice(&chunk[..read.min(room)]);
    }
    String::from_utf8_lossy(&said).trim().to_owned()
}

impl Running {
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
        // Its own time ends it, as if it had closed what it writes to; waiting for it says so.
        let now = Instant::now();
        let left = self
            .deadline
            .map(|deadline| deadline.saturating_duration_since(now));
        let is_last = left.is_some_and(|left| left <= within);
        let received = self
            .output
            .as_ref()?
            .recv_timeout(left.unwrap_or(within).min(within));
        match received {
            Ok(chunk) => Some(chunk),
            Err(RecvTimeoutError::Timeout) => is_last.then(Vec::new),
            Err(RecvTimeoutError::Disconnected) => Some(Vec::new()),
        }
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        self.input = None;
        self.output = None;
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Err(error) => return Ended::Failed(error.to_string()),
                Ok(None) if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    return Ended::Wall;
                }
                Ok(None) => std::thread::sleep(TURN),
            }
        };
        self.ended = true;
        let errors = self.errors.take().and_then(|errors| errors.join().ok());
        let errors = errors.unwrap_or_default();
        match status.code() {
            Some(NOT_STARTED) => Ended::Failed(format!("{} says: {errors}", self.engine)),
            Some(OUT_OF_CPU) => Ended::Cpu,
            Some(code) if code > 128 => Ended::Signal(code - 128),
            Some(code) => Ended::Exit(code),
            None => Ended::Failed(format!("{} was killed", self.engine)),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // Killed first, for podman's `rm` gives it ten seconds. It may not be there yet, or be gone.
        for arguments in [&["kill", &self.name][..], &["rm", "--force", &self.name]] {
            let mut tell = Command::new(self.engine);
            tell.args(arguments).stdin(Stdio::null());
            let _ = tell.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
