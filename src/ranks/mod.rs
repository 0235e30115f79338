//! Several processes that train as one, started by `mpirun` or `srun`, one a device: who they are ([`launch`]), what they tell each other
//! ([`Ranks`]), and who gets which work ([`share`]). One process alone is one rank, which talks to nobody.
//!
//! Every rank does the same calls in the same order. A rank that fails, or does not come, ends all of them; so no call here has an error.

pub mod bytes;
pub mod launch;
#[cfg(test)]
pub mod local;
#[cfg(feature = "mpi")]
mod moves;
#[cfg(feature = "mpi")]
mod mpi;
pub mod share;
#[cfg(feature = "mpi")]
mod watch;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::console;
use launch::Launch;

/// Whether this binary can be several ranks.
pub const BUILT: bool = cfg!(feature = "mpi");

/// Why ranks cannot be one run.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RanksError {
    /// The binary has no MPI.
    #[error(
        "{by} started {size} of this program, and it was built without MPI: they would be {size} runs that write to one place; build it \
         with `--features mpi`, or start it once"
    )]
    NotBuilt {
        /// What started them.
        by: &'static str,
        /// How many there are.
        size: usize,
    },
    /// MPI sees other processes than whoever started them.
    #[error(
        "{by} started {size} of this program, and MPI knows of {seen}: {by} and the MPI library that this binary was linked with do not \
         know each other. Start it with the mpirun of that library, or, in Slurm, with `srun --mpi=pmix` (`srun --mpi=list` says what \
         there is)"
    )]
    Apart {
        /// What started them.
        by: &'static str,
        /// How many there are.
        size: usize,
        /// How many MPI knows of.
        seen: usize,
    },
    /// The library refuses.
    #[error("MPI cannot be used: {0}")]
    Library(String),
}

/// What carries bytes between ranks. Every rank makes the same calls in the same order.
pub trait Wire: Send + Sync {
    /// How long the first that comes to a call waits for the last.
    fn wait_at_most(&self, limit: Duration);

    /// What each rank has, in their order.
    fn all_gather(&self, own: Vec<u8>) -> Vec<Vec<u8>>;

    /// What each rank has, for the first; nothing for the others.
    fn gather(&self, own: Vec<u8>) -> Vec<Vec<u8>>;

    /// What the first rank has.
    fn broadcast(&self, own: Vec<u8>) -> Vec<u8>;

    /// Of as many blocks of one length as there are ranks, one's own, added up over the ranks.
    fn reduce_scatter(&self, blocks: Vec<f32>) -> Vec<f32>;

    /// All ranks' blocks, which are of one length, one behind the other.
    fn all_gather_blocks(&self, own: Vec<u8>) -> Vec<u8>;

    /// Ends the talk in good order. Nothing is called after it.
    fn end(&self);

    /// Ends all ranks at once.
    fn abort(&self) -> !;
}

/// This process among those that train as one. Clones are the same.
#[derive(Clone)]
pub struct Ranks {
    launch: Launch,
    wire: Option<Arc<dyn Wire>>,
    traffic: Arc<Mutex<Traffic>>,
}

/// What talk took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Traffic {
    /// Bytes that this rank sent, where each goes once around a ring.
    pub bytes: u64,
    /// Seconds in calls: until all had come, and until they were done.
    pub secs: f64,
}

impl fmt::Debug for Ranks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.size())
    }
}

/// An error of one rank that all ranks know of.
#[derive(Debug)]
pub enum Failed<E> {
    /// This rank's own.
    Here(E),
    /// Another rank's, and what it said.
    Elsewhere {
        /// The rank.
        rank: usize,
        /// Its error.
        said: String,
    },
}

impl Default for Ranks {
    fn default() -> Self {
        Self::alone()
    }
}

impl Ranks {
    /// A process that nothing else belongs to.
    pub fn alone() -> Self {
        Self {
            launch: Launch::alone(),
            wire: None,
            traffic: Arc::default(),
        }
    }

    /// This process among those that were started with it. `timeout`: how long the first that comes to a common point waits for the last,
    /// until [`Ranks::wait_at_most`] says something else.
    ///
    /// # Errors
    /// There are others, and this binary or the system has nothing to reach them by.
    pub fn start(launch: Launch, timeout: Duration) -> Result<Self, RanksError> {
        if launch.size == 1 {
            return Ok(Self::alone());
        }
        #[cfg(feature = "mpi")]
        {
            let mpi = mpi::Mpi::start(&launch, timeout)?;
            let local_rank = launch.local_rank.or(Some(mpi.local_rank()));
            Ok(Self {
                wire: Some(Arc::new(mpi)),
                launch: Launch { local_rank, ..launch },
                traffic: Arc::default(),
            })
        }
        #[cfg(not(feature = "mpi"))]
        {
            let _ = timeout;
            Err(RanksError::NotBuilt {
                by: launch.by,
                size: launch.size,
            })
        }
    }

    /// How long the first that comes to a common point waits for the last, before all end.
    pub fn wait_at_most(&self, limit: Duration) {
        if let Some(wire) = &self.wire {
            wire.wait_at_most(limit);
        }
    }

    /// This process's number, from 0.
    pub fn rank(&self) -> usize {
        self.launch.rank
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.launch.size
    }

    /// Its number among those on its machine, where there are several in all and that is known.
    pub fn local_rank(&self) -> Option<usize> {
        self.launch.local_rank.filter(|_| self.wire.is_some())
    }

    /// Whether this is the first, which writes and speaks.
    pub fn is_first(&self) -> bool {
        self.launch.rank == 0
    }

    /// Whether there are no others.
    pub fn is_alone(&self) -> bool {
        self.wire.is_none()
    }

    /// What each rank has, in their order.
    pub fn all_gather<T: Serialize + DeserializeOwned>(&self, own: T) -> Vec<T> {
        match &self.wire {
            None => vec![own],
            Some(wire) => {
                let own = pack(&own);
                let sent = own.len() * (self.size() - 1);
                let all = self.timed(sent, || wire.all_gather(own));
                all.iter().map(|bytes| unpack(bytes)).collect()
            }
        }
    }

    /// What each rank has, for the first; nothing for the others.
    pub fn gather<T: Serialize + DeserializeOwned>(&self, own: T) -> Vec<T> {
        match &self.wire {
            None => vec![own],
            Some(wire) => {
                let own = pack(&own);
                let sent = if self.is_first() { 0 } else { own.len() };
                let all = self.timed(sent, || wire.gather(own));
                all.iter().map(|bytes| unpack(bytes)).collect()
            }
        }
    }

    /// What the first rank has; the others have nothing.
    pub fn broadcast<T: Serialize + DeserializeOwned>(&self, own: Option<T>) -> T {
        let own_bytes = || own.as_ref().map(pack).unwrap_or_default();
        match &self.wire {
            None => own.expect("the first rank has it"),
            Some(wire) => {
                let own = own_bytes();
                unpack(&self.timed(own.len(), || wire.broadcast(own)))
            }
        }
    }

    /// Sums over the ranks, added up in their order: the same bits on all of them.
    pub fn sum<const N: usize>(&self, own: [f64; N]) -> [f64; N] {
        if self.is_alone() {
            return own;
        }
        let mut sums = [0.0; N];
        for of_rank in self.all_gather(own.to_vec()) {
            sums.iter_mut()
                .zip(of_rank)
                .for_each(|(sum, value)| *sum += value);
        }
        sums
    }

    /// Of as many blocks of one length as there are ranks, this rank's own, added up over the ranks.
    pub fn reduce_scatter(&self, blocks: Vec<f32>) -> Vec<f32> {
        match &self.wire {
            None => blocks,
            Some(wire) => {
                let sent = size_of_val(&blocks[..]) / self.size() * (self.size() - 1);
                self.timed(sent, || wire.reduce_scatter(blocks))
            }
        }
    }

    /// All ranks' blocks, which are of one length, one behind the other.
    pub fn all_gather_blocks(&self, own: Vec<u8>) -> Vec<u8> {
        match &self.wire {
            None => own,
            Some(wire) => {
                let sent = own.len() * (self.size() - 1);
                self.timed(sent, || wire.all_gather_blocks(own))
            }
        }
    }

    /// Counts a call that sends so many bytes.
    fn timed<T>(&self, sent: usize, call: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = call();
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        traffic.bytes += sent as u64;
        traffic.secs += began.elapsed().as_secs_f64();
        done
    }

    /// What talk took since this was last asked; none where there is nobody to talk to.
    pub fn take_traffic(&self) -> Option<Traffic> {
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut *traffic);
        (!self.is_alone()).then_some(taken)
    }

    /// What this rank did, unless one of them failed: then all of them know, and say the error of the lowest that did.
    ///
    /// # Errors
    /// This rank's, or another's.
    pub fn agree<T, E: fmt::Display>(&self, own: Result<T, E>) -> Result<T, Failed<E>> {
        if self.is_alone() {
            return own.map_err(Failed::Here);
        }
        let said = self.all_gather(own.as_ref().err().map(ToString::to_string));
        let first = said
            .into_iter()
            .enumerate()
            .find_map(|(rank, said)| Some((rank, said?)));
        match (first, own) {
            (None, own) => own.map_err(Failed::Here),
            (Some((rank, _)), Err(error)) if rank == self.rank() => Err(Failed::Here(error)),
            (Some((rank, said)), _) => Err(Failed::Elsewhere { rank, said }),
        }
    }

    /// Ends the talk in good order; nothing is said after it.
    pub fn end(&self) {
        if let Some(wire) = &self.wire {
            wire.end();
        }
    }

    /// Says what went wrong here in the midst of a call, and ends all ranks.
    pub fn fail(&self, what: &str) -> ! {
        console::error(&format!("error: {what}"));
        self.abort();
        std::process::exit(1)
    }

    /// Ends all ranks at once, where there are several.
    pub fn abort(&self) {
        if let Some(wire) = &self.wire {
            wire.abort();
        }
    }
}

/// CBOR: keeps every float to the bit.
fn pack<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("memory takes all that is written");
    bytes
}

/// What [`pack`] made, on a rank of the same program.
fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> T {
    ciborium::from_reader(bytes).expect("ranks are of one program, and do the same in the same order")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rank_talks_to_nobody() {
        let ranks = Ranks::alone();
        assert_eq!(ranks.all_gather(1.5f32), [1.5]);
        assert_eq!(ranks.broadcast(Some("a".to_owned())), "a");
        assert_eq!(ranks.sum([1.0, 2.0]), [1.0, 2.0]);
        assert_eq!(ranks.reduce_scatter(vec![1.0]), [1.0]);
        assert!(ranks.is_first() && ranks.is_alone());
        assert!(matches!(ranks.agree(Err::<(), _>("x")), Err(Failed::Here("x"))));
    }

    #[test]
    fn ranks_know_what_each_has_and_who_failed() {
        let found = local::run(3, |ranks| {
            let rank = ranks.rank();
            assert_eq!(ranks.all_gather(vec![rank; rank]), [vec![], vec![1], vec![2, 2]]);
            assert_eq!(ranks.broadcast((rank == 0).then(|| "first".to_owned())), "first");
            assert_eq!(ranks.gather(rank).len(), if rank == 0 { 3 } else { 0 });
            assert_eq!(ranks.sum([1.0, rank as f64]), [3.0, 3.0]);
            let own = ranks.reduce_scatter(vec![0.0, 1.0, 2.0]);
            assert_eq!(own, [3.0 * rank as f32]);
            assert_eq!(ranks.all_gather_blocks(vec![rank as u8; 2]), [0, 0, 1, 1, 2, 2]);
            let outcome = match rank {
                0 => Ok(()),
                rank => Err(format!("rank {rank} broke")),
            };
            match ranks.agree(outcome) {
                Err(Failed::Elsewhere { rank, said }) => format!("{rank}: {said}"),
                Err(Failed::Here(own)) => own,
                Ok(()) => "well".to_owned(),
            }
        });
        assert_eq!(found, ["1: rank 1 broke", "rank 1 broke", "1: rank 1 broke"]);
    }

    #[test]
    fn floats_keep_their_bits() {
        for value in [f32::MIN_POSITIVE, 0.1, -3.4e38, f32::NEG_INFINITY] {
            assert_eq!(unpack::<f32>(&pack(&value)).to_bits(), value.to_bits());
        }
        assert!(unpack::<f64>(&pack(&f64::NAN)).is_nan());
    }
}
