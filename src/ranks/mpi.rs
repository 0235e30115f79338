//! Ranks by MPI (crate `mpi`, whose library is the system's).
//!
//! One thread of a rank talks to MPI; the rest of the program hands it calls. Before each call all ranks meet at the first
//! one's thread, which listens while its program computes. So who is missing is known by name, whether it hangs, was stopped or cannot
//! be reached; and the library's own calls, which wait without sleeping, begin when everybody is there. Where one of these does not
//! end, a second thread asks round who is still there.

use std::env;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Destination, Source};

use super::launch::Launch;
use super::moves::{all_gather, broadcast, gather};
use super::watch::{
    ANSWER, GOES_ON, GRACE, LAST_WORDS, Named, WHATS, Watch, What, abort, ask_round, end_all,
};
use super::{RanksError, Wire};
use crate::console;

/// "I am here", to the first rank, and its answer when everybody is.
const HERE: i32 = 1;
const GO: i32 = 2;
type Work = Box<dyn FnOnce(&SimpleCommunicator) + Send>;

/// A call, handed to the thread that talks to MPI.
enum Call {
    /// What all ranks do together.
    Together(What, Work),
    /// The end of everything.
    Abort,
}

/// The wire of a rank.
pub struct Mpi {
    rank: usize,
    local_rank: usize,
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
        let watch = Arc::new(Watch::new(limit));
        let (calls, asked) = mpsc::channel();
        let (begun, ready) = mpsc::channel();
        let (of_thread, launched) = (watch.clone(), launch.clone());
        let talk = move || match open(&launched) {
            Err(error) => {
                let _ = begun.send(Err(error));
            }
            Ok(universe) => {
                let mut talk = Talk::new(&universe, of_thread.clone());
                let _ = begun.send(Ok(talk.named.local_rank()));
                // Where the library lets one thread in alone, nobody can ask round.
                let can_ask = mpi::environment::threading_support() == Threading::Multiple;
                let asking = can_ask.then(|| {
                    let (named, watch) = (talk.named.clone(), of_thread.clone());
                    thread::spawn(move || ask_round(&named, &watch))
                });
                talk.serve(&asked);
                of_thread.over.store(true, Ordering::Relaxed);
                if let Some(asking) = asking {
                    let _ = asking.join();
                }
            }
        };
        let thread = thread::Builder::new()
            .name("ranks".to_owned())
            .spawn(talk)
            .map_err(|error| RanksError::Library(error.to_string()))?;
        let broke = |_| RanksError::Library("its thread ended".to_owned());
        let local_rank = ready.recv().map_err(broke)??;
        Ok(Self {
            rank: launch.rank,
            local_rank,
            size: launch.size,
            calls: Mutex::new(calls),
            thread: Mutex::new(Some(thread)),
            watch,
        })
    }

    /// This rank's number among those on its machine.
    pub fn local_rank(&self) -> usize {
        self.local_rank
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
                    // After whoever can tell more has had its time.
                    if let Some(what) = self.watch.stuck(2 * GRACE + ANSWER) {
                        console::error(&format!(
                            "error: {what} has begun and does not end, for longer than train.ddp_timeout = {} s: the network, or another \
                             rank, hangs. {GOES_ON}",
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
    say_what_is_missing(launch);
    let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Multiple) else {
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

/// Says, before OpenMPI itself ends a program that cannot find the others, what to do: it knows Slurm's ranks by PMIx, unless it was built
/// for something else.
fn say_what_is_missing(launch: &Launch) {
    let is_open_mpi = mpi::environment::library_version().is_ok_and(|name| name.starts_with("Open MPI"));
    if launch.rank == 0 && launch.by == "srun" && is_open_mpi && env::var_os("PMIX_RANK").is_none() {
        console::note(
            "warning: srun has no PMIx for these processes, which OpenMPI finds the others by: if it does not begin, start it with \
             `srun --mpi=pmix` (`srun --mpi=list` says what there is)",
        );
    }
}

/// The thread that talks.
struct Talk {
    world: SimpleCommunicator,
    rank: usize,
    named: Named,
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
        let rank = world.rank() as usize;
        let hosts = hosts
            .iter()
            .map(|host| String::from_utf8_lossy(host).into_owned());
        Self {
            rank,
            here: vec![None; world.size() as usize],
            named: Named {
                rank,
                hosts: hosts.collect(),
            },
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
                Ok(Call::Abort) => abort(),
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
                    end_all(&format!(
                        "{} does not answer, for longer than train.ddp_timeout = {} s: it hangs, or the network does",
                        self.named.of(0),
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
            end_all(&format!(
                "{} is at {}, and {} at {}: a mistake in this program, please report it",
                self.named.of(0),
                WHATS[what as usize],
                self.named.of(other),
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
        let missing: Vec<usize> = (0..self.here.len())
            .filter(|&rank| self.here[rank].is_none())
            .collect();
        if missing.is_empty() {
            return;
        }
        end_all(&format!(
            "{} did not come to {} within train.ddp_timeout = {} s, {:.0} s after the first that did: it hangs, or cannot be reached",
            self.named.all(missing.into_iter()),
            WHATS.get(at).unwrap_or(&"a call"),
            limit.as_secs_f64(),
            came.elapsed().as_secs_f64()
        ));
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
