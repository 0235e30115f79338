//! Ranks that are threads of one process, for tests.

use std::sync::{Arc, Barrier, Mutex};

use super::launch::Launch;
use super::{Ranks, Wire};

struct Shared {
    barrier: Barrier,
    slots: Mutex<Vec<Vec<u8>>>,
}

struct Local {
    rank: usize,
    size: usize,
    shared: Arc<Shared>,
}

impl Local {
    fn exchange(&self, own: Vec<u8>) -> Vec<Vec<u8>> {
        self.shared.slots.lock().unwrap()[self.rank] = own;
        self.shared.barrier.wait();
        let all = self.shared.slots.lock().unwrap().clone();
        self.shared.barrier.wait();
        all
    }
}

impl Wire for Local {
    fn wait_at_most(&self, _: std::time::Duration) {}

    fn all_gather(&self, own: Vec<u8>) -> Vec<Vec<u8>> {
        self.exchange(own)
    }

    fn gather(&self, own: Vec<u8>) -> Vec<Vec<u8>> {
        let all = self.exchange(own);
        if self.rank == 0 { all } else { Vec::new() }
    }

    fn broadcast(&self, own: Vec<u8>) -> Vec<u8> {
        self.exchange(own).swap_remove(0)
    }

    fn reduce_scatter(&self, blocks: Vec<f32>) -> Vec<f32> {
        let bytes = blocks.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut sums = vec![0.0; blocks.len()];
        for all in self.exchange(bytes) {
            let values = all
                .chunks(4)
                .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        let block = blocks.len() / self.size;
        sums[self.rank * block..][..block].to_vec()
    }

    fn all_gather_blocks(&self, own: Vec<u8>) -> Vec<u8> {
        self.exchange(own).concat()
    }

    fn end(&self) {}

    fn abort(&self) -> ! {
        panic!("rank {} aborts", self.rank)
    }
}

/// What each of `size` ranks makes, in their order.
pub fn run<T: Send>(size: usize, work: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
    let shared = Arc::new(Shared {
        barrier: Barrier::new(size),
        slots: Mutex::new(vec![Vec::new(); size]),
    });
    let ranks = |rank| Ranks {
        launch: Launch {
            by: "a test",
            rank,
            size,
            local_rank: None,
        },
        wire: Some(Arc::new(Local {
            rank,
            size,
            shared: shared.clone(),
        })),
        traffic: Arc::default(),
    };
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..size)
            .map(|rank| {
                let ranks = ranks(rank);
                scope.spawn(move || work(ranks))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
