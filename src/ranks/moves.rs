//! Bytes of any number between ranks: MPI counts in 31 bits, so that they move in several calls.

use mpi::datatype::PartitionMut;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Root};

/// Most bytes that all ranks together move in one call of the library.
const AT_ONCE: usize = 1 << 28;

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

/// What each rank has, in their order.
pub(super) fn all_gather(world: &SimpleCommunicator, own: &[u8]) -> Vec<Vec<u8>> {
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

/// What each rank has, for the first; nothing for the others.
pub(super) fn gather(world: &SimpleCommunicator, own: &[u8]) -> Vec<Vec<u8>> {
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

/// What the first rank has.
pub(super) fn broadcast(world: &SimpleCommunicator, own: Vec<u8>) -> Vec<u8> {
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
