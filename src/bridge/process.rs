//! A program that is started once and talked to by lines, and all that it starts.
//!
//! Lines go to it and come from it on threads of their own, so neither side waits for the other to have read. On Unix it has
//! a group of processes of its own: a Ctrl-C in the terminal does not reach it, and the whole group ends with it, at an error,
//! and where this program is killed.

use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::said::Said;
use crate::console::note;

/// Longest line that is read.
const LINE_BYTES: usize = 1 << 20;

/// Lines that wait here for their turn; a program that writes more has to wait as well.
const LINES_WAITING: usize = 64;

/// How long a program that has been told to end may take, before it is killed.
const GRACE: Duration = Duration::from_millis(500);

/// How often it is looked at while it says nothing.
const LOOK: Duration = Duration::from_millis(50);

/// A running program.
#[derive(Debug)]
pub struct Process {
    child: Child,
    #[cfg(unix)]
    watch: Watch,
    /// What is to be written to it; dropped, its input ends.
    requests: Option<Sender<Vec<u8>>>,
    writer: JoinHandle<()>,
    replies: Receiver<io::Result<Vec<u8>>>,
    said: Arc<Mutex<Said>>,
    /// Shows its standard error.
    echo: JoinHandle<()>,
}

/// What comes of waiting for a line.
pub enum Reply {
    /// A line, without its end.
    Line(Vec<u8>),
    /// Something that is none.
    Unreadable(io::Error),
    /// Nothing in time.
    Late,
    /// The program ended, or closed its output.
    Ended,
}

impl Process {
    /// Starts what `start` says; what it says on its standard error is shown under `name`.
    ///
    /// # Errors
    /// The system cannot start it, or not what ends its group.
    pub fn start(mut start: Command, name: &str) -> io::Result<Self> {
        start
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut start, 0);
        let mut child = start.spawn()?;
        #[cfg(unix)]
        let watch = Watch::start(&child).inspect_err(|_| {
            let _ = child.kill();
            let _ = child.wait();
        })?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (requests, writer) = write_from_here(stdin.expect("it is piped"));
        let said = Arc::new(Mutex::new(Said::default()));
        Ok(Self {
            replies: lines_of(stdout.expect("it is piped")),
            echo: show(name.to_owned(), stderr.expect("it is piped"), said.clone()),
            child,
            #[cfg(unix)]
            watch,
            requests: Some(requests),
            writer,
            said,
        })
    }

    /// Has it written lines, whenever it reads.
    pub fn send(&self, lines: Vec<u8>) {
        if let Some(requests) = &self.requests {
            // Its thread may have ended with the program, which shows in what comes back.
            let _ = requests.send(lines);
        }
    }

    /// A line that has come already.
    pub fn waiting(&self) -> Option<Vec<u8>> {
        self.replies.try_recv().ok()?.ok()
    }

    /// The next line, if it comes before `deadline`.
    pub fn reply(&mut self, mut deadline: Instant) -> Reply {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.replies.recv_timeout(left.min(LOOK)) {
                Ok(Ok(line)) => return Reply::Line(line),
                Ok(Err(error)) => return Reply::Unreadable(error),
                Err(RecvTimeoutError::Disconnected) => return Reply::Ended,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let over = deadline <= Instant::now();
            match (self.has_ended(), over) {
                (true, true) => return Reply::Ended,
                (false, true) => return Reply::Late,
                // What it started may hold its output open; what it wrote itself is still read.
                (true, false) => {
                    self.end_group();
                    deadline = deadline.min(Instant::now() + GRACE);
                }
                (false, false) => {}
            }
        }
    }

    /// Whether the program itself is no more.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Whether it reads no more.
    pub fn is_deaf(&self) -> bool {
        self.requests.is_some() && self.writer.is_finished()
    }

    /// Ends it at once, with all that it started.
    pub fn kill(&mut self) {
        self.requests = None;
        self.end_group();
    }

    /// How a program ended whose output did, in words.
    pub fn ending(&mut self) -> String {
        match wait(&mut self.child, GRACE) {
            Some(status) => format!("ended ({status})"),
            None => "closed its output".into(),
        }
    }

    /// What it said last on its standard error. It has been killed.
    pub fn last_words(&self) -> String {
        let asked = Instant::now();
        while !self.echo.is_finished() && asked.elapsed() < GRACE {
            thread::sleep(Duration::from_millis(5));
        }
        self.said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .last_words()
    }

    fn end_group(&mut self) {
        #[cfg(unix)]
        self.watch.kill();
        // Elsewhere what it started may go on; here the group is gone, unless its watch was.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The end of its input is how it learns that there is no more to do.
        self.requests = None;
        wait(&mut self.child, GRACE);
        self.end_group();
    }
}

/// Which of the environment variables that a program needs are not set.
pub fn unset(names: &[String]) -> Vec<String> {
    let is_unset = |name: &&String| std::env::var_os(name).is_none_or(|value| value.is_empty());
    names.iter().filter(is_unset).cloned().collect()
}

/// Who ends a group of processes when this program does, however that comes about: a shell that waits for the end of its
/// input. It is in a group of its own, and deaf to what ends others.
#[cfg(unix)]
#[derive(Debug)]
struct Watch(Child);

/// Told to, it kills at once; where nobody is left to tell, the program has a second to notice the end of its own input.
#[cfg(unix)]
const WATCH: &str = "trap '' HUP INT QUIT TERM USR1; read -r now || sleep 1; kill -s KILL -- \"-$1\"";

#[cfg(unix)]
impl Watch {
    /// Over the group that `leader` leads.
    fn start(leader: &Child) -> io::Result<Self> {
        let mut start = Command::new("/bin/sh");
        start
            .args(["-c", WATCH, "gcpo-watch", &leader.id().to_string()])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut start, 0);
        let shell = start.spawn();
        shell.map(Self).map_err(|error| {
            let what = format!("/bin/sh, which is to end it with this program, cannot be started: {error}");
            io::Error::new(error.kind(), what)
        })
    }

    /// Kills the group, once.
    fn kill(&mut self) {
        if let Some(mut stdin) = self.0.stdin.take() {
            let _ = stdin.write_all(b"now\n");
            drop(stdin);
            wait(&mut self.0, GRACE);
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// A thread that writes what it is sent to the program.
fn write_from_here(mut stdin: ChildStdin) -> (Sender<Vec<u8>>, JoinHandle<()>) {
    let (requests, to_write) = mpsc::channel::<Vec<u8>>();
    let writer = thread::spawn(move || {
        for lines in to_write {
            // A program that reads no more is noticed by what it does not write.
            if stdin.write_all(&lines).and_then(|()| stdin.flush()).is_err() {
                break;
            }
        }
    });
    (requests, writer)
}

/// A thread that reads the program's lines.
fn lines_of(stdout: ChildStdout) -> Receiver<io::Result<Vec<u8>>> {
    let (read, replies) = mpsc::sync_channel(LINES_WAITING);
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        while let Some(line) = read_line(&mut stdout).transpose() {
            let last = line.is_err();
            if read.send(line).is_err() || last {
                break;
            }
        }
    });
    replies
}

/// A thread that shows the program's standard error under its name. It reads to the end, whatever comes.
fn show(name: String, mut stderr: ChildStderr, said: Arc<Mutex<Said>>) -> JoinHandle<()> {
    // Colours of its own would be spelled out.
    let show = move |line: String| note(&format!("[{name}] {}", ::console::strip_ansi_codes(&line)));
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        loop {
            let (lines, ended) = {
                let read = stderr.read(&mut buffer);
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                match read {
                    Ok(0) => (said.end().into_iter().collect(), true),
                    Ok(count) => (said.take(&buffer[..count], Instant::now()), false),
                    Err(error) => (Vec::new(), error.kind() != io::ErrorKind::Interrupted),
                }
            };
            lines.into_iter().for_each(&show);
            if ended {
                break;
            }
        }
    })
}

/// Waits for a process to end, for so long at most.
fn wait(child: &mut Child, longest: Duration) -> Option<ExitStatus> {
    let asked = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if asked.elapsed() < longest => thread::sleep(Duration::from_millis(5)),
            _ => return None,
        }
    }
}

/// The next line without its end; `None` at the end of the file.
fn read_line(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    from.take(LINE_BYTES as u64).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() == LINE_BYTES {
        let what = format!("a line is longer than {LINE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests;
