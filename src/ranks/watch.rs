//! Who is still there: what a rank's talk is at, and what is said of those that do not come or do not answer.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, Source};

use crate::console;

/// "Are you there?", and the answer.
pub(super) const PING: i32 = 3;
pub(super) const PONG: i32 = 4;

/// How long those that are there take to say so.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// How much longer others wait for the first rank, which tells who is missing, than it waits for them.
pub(super) const GRACE: Duration = Duration::from_secs(15);

/// How long a rank that ends all of them waits for that before it ends at least itself.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(15);

/// What ranks do together, in words.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum What {
    Results,
    Files,
    Settings,
    Gradients,
    Weights,
    End,
}

pub(super) const WHATS: [&str; 6] = [
    "an exchange of results",
    "the gathering of a checkpoint",
    "the settings of the run",
    "a sum of gradients",
    "an exchange of new weights",
    "the end of the run",
];

/// What the rest of the program may know of the thread's doings.
pub(super) struct Watch {
    pub began: Instant,
    pub limit_ms: AtomicU64,
    /// Milliseconds after the beginning at which the library was called; 0 while it is not in a call.
    called_ms: AtomicU64,
    what: AtomicUsize,
    /// Whether MPI is about to be ended.
    pub over: AtomicBool,
}

impl Watch {
    /// Nothing has been done yet.
    pub fn new(limit: Duration) -> Self {
        Self {
            began: Instant::now(),
            limit_ms: AtomicU64::new(limit.as_millis() as u64),
            called_ms: AtomicU64::new(0),
            what: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        }
    }

    /// How long the first that comes waits for the last.
    pub fn limit(&self) -> Duration {
        Duration::from_millis(self.limit_ms.load(Ordering::Relaxed))
    }

    /// The library is called.
    pub fn enter(&self, what: What) {
        self.what.store(what as usize, Ordering::Relaxed);
        let now = self.began.elapsed().as_millis() as u64;
        self.called_ms.store(now.max(1), Ordering::Relaxed);
    }

    /// The call has ended.
    pub fn leave(&self) {
        self.called_ms.store(0, Ordering::Relaxed);
    }

    /// What the library has been at for longer than the limit and `more`.
    pub fn stuck(&self, more: Duration) -> Option<&'static str> {
        let called = self.called_ms.load(Ordering::Relaxed);
        let since = Duration::from_millis((self.began.elapsed().as_millis() as u64).saturating_sub(called));
        (called > 0 && since > self.limit() + more).then(|| WHATS[self.what.load(Ordering::Relaxed)])
    }
}

/// What goes on after everything has ended.
pub(super) const GOES_ON: &str =
    "All ranks end; the same command with `--resume` goes on from the last checkpoint";

/// Ranks by name.
#[derive(Clone)]
pub(super) struct Named {
    /// This one.
    pub rank: usize,
    /// The machine of each, for people.
    pub hosts: Vec<String>,
}

impl Named {
    /// This rank's number among those on its machine.
    pub fn local_rank(&self) -> usize {
        let before = &self.hosts[..self.rank];
        before
            .iter()
            .filter(|&host| *host == self.hosts[self.rank])
            .count()
    }

    pub fn of(&self, rank: usize) -> String {
        format!("rank {rank} (on {})", self.hosts[rank])
    }

    pub fn all(&self, ranks: impl Iterator<Item = usize>) -> String {
        ranks.map(|rank| self.of(rank)).collect::<Vec<_>>().join(", ")
    }
}

/// Says why, and ends all ranks.
pub(super) fn end_all(why: &str) -> ! {
    console::error(&format!("error: {why}. {GOES_ON}"));
    abort()
}

/// Ends all ranks.
pub(super) fn abort() -> ! {
    // Where the way to the others is cut, MPI may never come back from this.
    thread::spawn(|| {
        thread::sleep(LAST_WORDS);
        std::process::abort();
    });
    SimpleCommunicator::world().abort(1)
}

/// Answers whoever asks whether this rank is there, and asks the others itself where a call of the library does not end: the first rank
/// at once, the others when it had the time to. Ends all, with the names of those that do not answer.
pub(super) fn ask_round(named: &Named, watch: &Watch) {
    let world = SimpleCommunicator::world();
    let more = if named.rank == 0 { Duration::ZERO } else { GRACE };
    let mut asked: Option<(Instant, &'static str, Vec<bool>)> = None;
    while !watch.over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(100));
        let any = world.any_process();
        while let Some(status) = any.immediate_probe_with_tag(PING) {
            let other = world.process_at_rank(status.source_rank());
            let _ = other.receive_vec_with_tag::<u8>(PING);
            other.send_with_tag(&[0u8][..], PONG);
        }
        while let Some(status) = any.immediate_probe_with_tag(PONG) {
            let other = status.source_rank();
            let _ = world.process_at_rank(other).receive_vec_with_tag::<u8>(PONG);
            if let Some((_, _, there)) = &mut asked {
                there[other as usize] = true;
            }
        }
        match (&asked, watch.stuck(more)) {
            (_, None) => asked = None,
            (None, Some(what)) => {
                let others = (0..named.hosts.len()).filter(|&rank| rank != named.rank);
                others.for_each(|rank| world.process_at_rank(rank as i32).send_with_tag(&[0u8][..], PING));
                let there = (0..named.hosts.len()).map(|rank| rank == named.rank);
                asked = Some((Instant::now(), what, there.collect()));
            }
            (Some((since, what, there)), Some(_)) if since.elapsed() > ANSWER => {
                let silent: Vec<usize> = (0..there.len()).filter(|&rank| !there[rank]).collect();
                let limit = format!("train.ddp_timeout = {} s", watch.limit().as_secs_f64());
                end_all(&match silent.is_empty() {
                    true => format!(
                        "{what} does not end within {limit}, though all ranks answer: the network is that slow, or hangs"
                    ),
                    false => format!(
                        "{} does not answer, and {what} does not end within {limit}: it hangs, or cannot be reached",
                        named.all(silent.into_iter())
                    ),
                });
            }
            _ => {}
        }
    }
}
