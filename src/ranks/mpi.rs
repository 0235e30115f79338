//! Ranks by MPI (crate `mpi`, whose library is the system's).
//!
//! One thread of a rank, and no other, talks to MPI; the rest of the program hands it calls. Before each call all ranks meet at the first
//! one's thread, which listens while its program computes. So who is missing is known by name, whether it hangs, was stopped or cannot
//! be reached; and the library's own calls, which wait without sleeping, begin when everybody is there.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Destination, Root, Source};

use super::launch::Launch;
use super::{RanksError, Wire};
use crate::console;

/// "I am here", to the first rank, and its answer when everybody is.
const HERE: i32 = 1;
const GO: i32 = 2;

/// Most bytes that all ranks together move in one call of the library, which counts in 31 bits.
const AT_ONCE: usize = 1 << 28;

/// How much longer others wait for the first rank, which tells who is missing, than it waits for them.
const GRACE: Duration = Duration::from_secs(15);

/// How long a rank that ends all of them waits for that before it ends at least itself.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// What ranks do together, in words.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
enum What {
    Results,
    Files,
    Settings,
    Gradients,
    Weights,
    End,
}

const WHATS: [&str; 6] = [
    "an exchange of results",
    "the gathering of a checkpoint",
    "the settings of the run",
    "a sum of gradients",
    "an exchange of new weights",
    "the end of the run",
];

type Work = Box<dyn FnOnce(&SimpleCommunicator) + Send>;

/// A call, handed to the thread that talks to MPI.
enum Call {
    /// What all ranks do together.
    Together(What, Work),
    /// The end of everything.
    Abort,
}

/// What the rest of the program may know of the thread's doings.
struct Watch {
    began: Instant,
    limit_ms: AtomicU64,
    /// Milliseconds after the beginning at which the library was called; 0 while it is not in a call.
    called_ms: AtomicU64,
    what: AtomicUsize,
}

impl Watch {
    fn limit(&self) -> Duration {
        Duration::from_millis(self.limit_ms.load(Ordering::Relaxed))
    }

    fn enter(&self, what: What) {
        self.what.store(what as usize, Ordering::Relaxed);
        let now = self.began.elapsed().as_millis() as u64;
        self.called_ms.store(now.max(1), Ordering::Relaxed);
    }

    fn leave(&self) {
        self.called_ms.store(0, Ordering::Relaxed);
    }

    /// What the library has been at for longer than the limit.
    fn stuck(&self) -> Option<&'static str> {
        let called = self.called_ms.load(Ordering::Relaxed);
        let since = Duration::from_millis((self.began.elapsed().as_millis() as u64).saturating_sub(called));
        (called > 0 && since > self.limit()).then(|| WHATS[self.what.load(Ordering::Relaxed)])
    }
}

/// The wire of a rank.
pub struct Mpi {
    rank: usize,
    size: usize,
    calls: Mutex<Sender<Call>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    watch: Arc<Watch>,
}

impl Mpi {
    /// Begins to talk, with all that were started together.
    ///
    /// # Errors
    /// [`RanksError`].
    pub fn start(launch: &Launch, limit: Duration) -> Result<Self, RanksError> {
        let watch = Arc::new(Watch {
            began: Instant::now(),
            limit_ms: AtomicU64::new(limit.as_millis() as u64),
            called_ms: AtomicU64::new(0),
            what: AtomicUsize::new(0),
        });
        let (calls, asked) = mpsc::channel();
        let (begun, ready) = mpsc::channel();
        let (of_thread, launched) = (watch.clone(), launch.clone());
        let talk = move || match open(&launched) {
            Err(error) => {
                let _ = begun.send(Err(error));
            }
            Ok(universe) => {
                let mut talk = Talk::new(&universe, of_thread);
                let _ = begun.send(Ok(()));
                talk.serve(&asked);
            }
        };
        let thread = thread::Builder::new()
            .name("ranks".to_owned())
            .spawn(talk)
            .map_err(|error| RanksError::Library(error.to_string()))?;
        let broke = |_| RanksError::Library("its thread ended".to_owned());
        ready.recv().map_err(broke)??;
        Ok(Self {
            rank: launch.rank,
            size: launch.size,
            calls: Mutex::new(calls),
            thread: Mutex::new(Some(thread)),
            watch,
        })
    }

    /// Has something done together, and waits for it.
    fn together<T: Send + 'static>(
        &self,
        what: What,
        work: impl FnOnce(&SimpleCommunicator) -> T + Send + 'static,
    ) -> T {
        let (done, answer) = mpsc::channel();
        let work: Work = Box::new(move |world| {
            // Whoever asked waits for it.
            let _ = done.send(work(world));
        });
        self.hand_over(Call::Together(what, work));
        loop {
            match answer.recv_timeout(Duration::from_secs(1)) {
                Ok(found) => return found,
                Err(RecvTimeoutError::Disconnected) => std::process::abort(),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(what) = self.watch.stuck() {
                        console::error(&format!(
                            "error: {what} has begun and does not end, for longer than train.ddp_timeout = {} s: the network, or another \
                             rank, hangs; the same command with `--resume` goes on",
                            self.watch.limit().as_secs_f64()
                        ));
                        // The thread that could end the others is the one that is stuck.
                        std::process::abort();
                    }
                }
            }
        }
    }

    fn hand_over(&self, call: Call) {
        let calls = self.calls.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if calls.send(call).is_err() {
            // The thread broke, and has said why.
            std::process::abort();
        }
    }
}

impl Wire for Mpi {
    fn wait_at_most(&self, limit: Duration) {
        self.watch
            .limit_ms
            .store(limit.as_millis() as u64, Ordering::Relaxed);
    }

    fn all_gather(&self, own: Vec<u8>) -> Vec<Vec<u8>> {
        self.together(What::Results, move |world| all_gather(world, &own))
    }

    fn gather(&self, own: Vec<u8>) -> Vec<Vec<u8>> {
        self.together(What::Files, move |world| gather(world, &own))
    }

    fn broadcast(&self, own: Vec<u8>) -> Vec<u8> {
        self.together(What::Settings, move |world| broadcast(world, own))
    }

    fn reduce_scatter(&self, blocks: Vec<f32>) -> Vec<f32> {
        let size = self.size;
        self.together(What::Gradients, move |world| {
            let mut own = vec![0f32; blocks.len() / size];
            world.reduce_scatter_block_into(&blocks[..], &mut own[..], SystemOperation::sum());
            own
        })
    }

    fn all_gather_blocks(&self, own: Vec<u8>) -> Vec<u8> {
        let size = self.size;
        self.together(What::Weights, move |world| {
            let mut all = vec![0u8; own.len() * size];
            world.all_gather_into(&own[..], &mut all[..]);
            all
        })
    }

    fn end(&self) {
        self.together(What::End, |world| world.barrier());
        // The thread of whom nobody can ask any more ends MPI, and then itself.
        let (closed, _) = mpsc::channel();
        if let Ok(mut calls) = self.calls.lock() {
            *calls = closed;
        }
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    fn abort(&self) -> ! {
        self.hand_over(Call::Abort);
        thread::sleep(LAST_WORDS);
        std::process::abort();
    }
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.size)
    }
}

/// Begins MPI, and sees whether it knows of the same processes as whoever started this one.
fn open(launch: &Launch) -> Result<Universe, RanksError> {
    let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Funneled) else {
        return Err(RanksError::Library("it was begun before".to_owned()));
    };
    if threading < Threading::Funneled {
        let what = "the library does not work in a program with threads".to_owned();
        return Err(RanksError::Library(what));
    }
    let world = universe.world();
    let (rank, seen) = (world.rank() as usize, world.size() as usize);
    if seen != launch.size || rank != launch.rank {
        return Err(RanksError::Apart {
            by: launch.by,
            size: launch.size,
            seen,
        });
    }
    Ok(universe)
}

/// The thread that talks.
struct Talk {
    world: SimpleCommunicator,
    rank: usize,
    /// The machine of each rank, for people.
    hosts: Vec<String>,
    watch: Arc<Watch>,
    /// How many calls were made together.
    count: u64,
    /// On the first rank: who has come to the next call, and to which; and when the first of them did.
    here: Vec<Option<[u64; 2]>>,
    first_came: Option<Instant>,
}

impl Talk {
    fn new(universe: &Universe, watch: Arc<Watch>) -> Self {
        let world = universe.world();
        let host = mpi::environment::processor_name().unwrap_or_default();
        let hosts = all_gather(&world, host.as_bytes());
        Self {
            rank: world.rank() as usize,
            here: vec![None; world.size() as usize],
            hosts: hosts
                .iter()
                .map(|host| String::from_utf8_lossy(host).into_owned())
                .collect(),
            world,
            watch,
            count: 0,
            first_came: None,
        }
    }

    /// Does what it is asked to, until nobody asks any more.
    fn serve(&mut self, asked: &Receiver<Call>) {
        loop {
            match asked.recv_timeout(Duration::from_millis(20)) {
                Ok(Call::Together(what, work)) => {
                    self.meet(what);
                    self.watch.enter(what);
                    work(&self.world);
                    self.watch.leave();
                }
                Ok(Call::Abort) => self.abort(),
                // Others may have come before this rank's own program has.
                Err(RecvTimeoutError::Timeout) if self.rank == 0 => self.look_who_came(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Returns when all ranks are at the same call.
    fn meet(&mut self, what: What) {
        let at = [self.count, what as u64];
        self.count += 1;
        let mut pause = Pause::default();
        if self.rank > 0 {
            let came = Instant::now();
            self.world.process_at_rank(0).send_with_tag(&at[..], HERE);
            while self
                .world
                .process_at_rank(0)
                .immediate_probe_with_tag(GO)
                .is_none()
            {
                if came.elapsed() > self.watch.limit() + GRACE {
                    self.end_all(&format!(
                        "{} does not answer, for longer than train.ddp_timeout = {} s: it hangs, or the network does",
                        self.named(0),
                        self.watch.limit().as_secs_f64()
                    ));
                }
                pause.take();
            }
            let _ = self.world.process_at_rank(0).receive_vec_with_tag::<u64>(GO);
            return;
        }
        self.note(0, at);
        while self.here.iter().any(Option::is_none) {
            self.look_who_came();
            pause.take();
        }
        if let Some(other) = (0..self.here.len()).find(|&rank| self.here[rank] != Some(at)) {
            let theirs = self.here[other].and_then(|[_, what]| WHATS.get(what as usize));
            self.end_all(&format!(
                "{} is at {}, and {} at {}: a mistake in this program, please report it",
                self.named(0),
                WHATS[what as usize],
                self.named(other),
                theirs.unwrap_or(&"another call")
            ));
        }
        self.here.fill(None);
        self.first_came = None;
        for rank in 1..self.here.len() {
            self.world.process_at_rank(rank as i32).send_with_tag(&at[..], GO);
        }
    }

    fn note(&mut self, rank: usize, at: [u64; 2]) {
        self.here[rank] = Some(at);
        self.first_came.get_or_insert_with(Instant::now);
    }

    /// On the first rank: notes who has come; ends all where somebody has been waited for too long.
    fn look_who_came(&mut self) {
        while let Some(status) = self.world.any_process().immediate_probe_with_tag(HERE) {
            let rank = status.source_rank();
            let (at, _) = self.world.process_at_rank(rank).receive_vec_with_tag::<u64>(HERE);
            self.note(rank as usize, [at[0], at[1]]);
        }
        let limit = self.watch.limit();
        let Some(came) = self.first_came.filter(|came| came.elapsed() > limit) else {
            return;
        };
        let at = self
            .here
            .iter()
            .flatten()
            .next()
            .map_or(0, |[_, what]| *what as usize);
        let missing: Vec<String> = (0..self.here.len())
            .filter(|&rank| self.here[rank].is_none())
            .map(|rank| self.named(rank))
            .collect();
        if missing.is_empty() {
            return;
        }
        self.end_all(&format!(
            "{} did not come to {} within train.ddp_timeout = {} s, {:.0} s after the first that did: it hangs, or cannot be reached",
            missing.join(", "),
            WHATS.get(at).unwrap_or(&"a call"),
            limit.as_secs_f64(),
            came.elapsed().as_secs_f64()
        ));
    }

    fn named(&self, rank: usize) -> String {
        format!("rank {rank} (on {})", self.hosts[rank])
    }

    /// Says why, and ends all ranks.
    fn end_all(&self, why: &str) -> ! {
        console::error(&format!(
            "error: {why}. All ranks end; the same command with `--resume` goes on from the last checkpoint"
        ));
        self.abort()
    }

    fn abort(&self) -> ! {
        // Where the way to the others is cut, MPI may never come back from this.
        thread::spawn(|| {
            thread::sleep(LAST_WORDS);
            std::process::abort();
        });
        self.world.abort(1)
    }
}

/// Waits a little, and the next time longer: a processor may be shared with who is waited for.
#[derive(Default)]
struct Pause(u32);

impl Pause {
    fn take(&mut self) {
        self.0 += 1;
        match self.0 {
            ..100 => thread::yield_now(),
            100..1000 => thread::sleep(Duration::from_micros(50)),
            _ => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// How many bytes each rank has.
fn lengths(world: &SimpleCommunicator, own: usize) -> Vec<usize> {
    let mut all = vec![0u64; world.size() as usize];
    world.all_gather_into(&(own as u64), &mut all[..]);
    all.into_iter().map(|length| length as usize).collect()
}

/// The parts of all ranks' bytes that move in one call, until all have moved: for each rank, how many.
fn rounds(lengths: &[usize]) -> Vec<Vec<i32>> {
    let most = AT_ONCE / lengths.len();
    let count = lengths
        .iter()
        .map(|length| length.div_ceil(most))
        .max()
        .unwrap_or(0);
    let of = |round: usize, length: usize| length.saturating_sub(round * most).min(most) as i32;
    (0..count)
        .map(|round| lengths.iter().map(|&length| of(round, length)).collect())
        .collect()
}

/// Where each rank's part begins.
fn starts(counts: &[i32]) -> Vec<i32> {
    let before = counts.iter().scan(0, |sum, count| {
        let start = *sum;
        *sum += count;
        Some(start)
    });
    before.collect()
}

fn all_gather(world: &SimpleCommunicator, own: &[u8]) -> Vec<Vec<u8>> {
    let lengths = lengths(world, own.len());
    let mut all: Vec<Vec<u8>> = lengths.iter().map(|length| Vec::with_capacity(*length)).collect();
    let (mut from, rank) = (0, world.rank() as usize);
    for counts in rounds(&lengths) {
        let starts = starts(&counts);
        let mut found = vec![0u8; counts.iter().map(|&count| count as usize).sum()];
        let to = from + counts[rank] as usize;
        let mut parts = PartitionMut::new(&mut found[..], &counts[..], &starts[..]);
        world.all_gather_varcount_into(&own[from..to], &mut parts);
        from = to;
        take_parts(&mut all, &found, &counts);
    }
    all
}

fn gather(world: &SimpleCommunicator, own: &[u8]) -> Vec<Vec<u8>> {
    let lengths = lengths(world, own.len());
    let (mut from, rank) = (0, world.rank() as usize);
    let first = world.process_at_rank(0);
    let mut all: Vec<Vec<u8>> = Vec::new();
    for counts in rounds(&lengths) {
        let to = from + counts[rank] as usize;
        if rank == 0 {
            let starts = starts(&counts);
            let mut found = vec![0u8; counts.iter().map(|&count| count as usize).sum()];
            let mut parts = PartitionMut::new(&mut found[..], &counts[..], &starts[..]);
            first.gather_varcount_into_root(&own[from..to], &mut parts);
            all.resize(lengths.len(), Vec::new());
            take_parts(&mut all, &found, &counts);
        } else {
            first.gather_varcount_into(&own[from..to]);
        }
        from = to;
    }
    if rank == 0 {
        all.resize(lengths.len(), Vec::new());
    }
    all
}

/// Puts what came in one call behind what came before.
fn take_parts(all: &mut [Vec<u8>], found: &[u8], counts: &[i32]) {
    let mut rest = found;
    for (of_rank, &count) in all.iter_mut().zip(counts) {
        let (part, after) = rest.split_at(count as usize);
        of_rank.extend_from_slice(part);
        rest = after;
    }
}

fn broadcast(world: &SimpleCommunicator, own: Vec<u8>) -> Vec<u8> {
    let first = world.process_at_rank(0);
    let mut length = own.len() as u64;
    first.broadcast_into(&mut length);
    let mut bytes = own;
    bytes.resize(length as usize, 0);
    for part in bytes.chunks_mut(AT_ONCE) {
        first.broadcast_into(part);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_for_one_call_moves_in_several() {
        let most = AT_ONCE / 2;
        assert_eq!(rounds(&[3, 0]), [[3, 0]]);
        assert_eq!(rounds(&[most + 1, 5]), [[most as i32, 5], [1, 0]]);
        assert!(rounds(&[0, 0]).is_empty());
        assert_eq!(starts(&[3, 0, 2]), [0, 3, 3]);
    }
}
