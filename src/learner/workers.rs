//! Who computes: the same work on each of several devices, one thread a device. Nothing else knows how many there are.

use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;

/// One `M` on each device: a model with gradients, or one that generates.
#[derive(Debug, Clone)]
pub struct Workers<M>(Vec<M>);

impl<M: Sync> Workers<M> {
    /// One worker for each of `models`.
    pub fn new(models: Vec<M>) -> Self {
        Self(models)
    }

    /// Whether there is nobody to work.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each worker's own `make`.
    pub fn make<N: Send>(&self, make: impl Fn(&M) -> N + Sync) -> Workers<N> {
        let made = on_each(self.0.iter().collect(), |model| {
            Ok::<_, std::convert::Infallible>(make(model))
        });
        Workers(made.unwrap_or_else(|never| match never {}))
    }

    /// What each worker makes with the one of `others` on its device.
    pub fn make_with<O, N>(&self, others: &Workers<O>, make: impl Fn(&M, &O) -> N) -> Workers<N> {
        let pairs = self.0.iter().zip(&others.0);
        Workers(pairs.map(|(own, other)| make(own, other)).collect())
    }

    /// The first worker, if there is any.
    pub fn first(&self) -> Option<&M> {
        self.0.first()
    }

    /// Gives each worker its share of the items: neighbours stay together, sizes are as equal as can be, and the shares of
    /// equally many items are always the same. What comes of the shares, in their order; none of a worker without items.
    ///
    /// # Errors
    /// The error of the first share that has one, when all have ended.
    pub fn map<I: Send, T: Send, E: Send>(
        &self,
        items: &mut [I],
        work: impl Fn(&M, &mut [I]) -> Result<T, E> + Sync,
    ) -> Result<Vec<T>, E> {
        let mut shares = Vec::with_capacity(self.0.len());
        let ranges = split(items.len(), self.0.len());
        let mut rest = items;
        for (model, range) in self.0.iter().zip(ranges) {
            let (share, after) = rest.split_at_mut(range.len());
            shares.push((model, share));
            rest = after;
        }
        on_each(shares, |(model, share)| work(model, share))
    }

    /// As [`Workers::map`], of items that stay as they are.
    ///
    /// # Errors
    /// The error of the first share that has one, when all have ended.
    pub fn share<I: Sync, T: Send, E: Send>(
        &self,
        items: &[I],
        work: impl Fn(&M, &[I]) -> Result<T, E> + Sync,
    ) -> Result<Vec<T>, E> {
        let ranges = split(items.len(), self.0.len());
        let shares = self
            .0
            .iter()
            .zip(ranges)
            .map(|(model, range)| (model, &items[range]));
        on_each(shares.collect(), |(model, share)| work(model, share))
    }

    /// Deals the items out like cards, the first to the first worker: similar neighbours, as those of sorted lengths, go to
    /// different workers. What each worker makes of its items, which come with their places.
    ///
    /// # Errors
    /// The error of the first worker that has one, when all have ended.
    pub fn deal<'a, I: Sync, T: Send, E: Send>(
        &self,
        items: &'a [I],
        work: impl Fn(&M, &mut dyn Iterator<Item = (usize, &'a I)>) -> Result<T, E> + Sync,
    ) -> Result<Vec<T>, E> {
        let count = self.0.len();
        on_each(self.0.iter().enumerate().collect(), |(first, model)| {
            work(model, &mut items.iter().enumerate().skip(first).step_by(count))
        })
    }
}

/// Does `work` with every item, in parallel where there are several; what comes of them, in their order.
fn on_each<I: Send, T: Send, E: Send>(
    items: Vec<I>,
    work: impl Fn(I) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    if items.len() < 2 {
        return items.into_iter().map(work).collect();
    }
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = items
            .into_iter()
            .map(|item| scope.spawn(move || work(item)))
            .collect();
        // All are waited for before the first error is looked at.
        let done: Vec<Result<T, E>> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect();
        done.into_iter().collect()
    })
}

/// `count` things in `parts` ranges, sizes as equal as can be; ranges that would be empty are left out.
pub fn split(count: usize, parts: usize) -> Vec<Range<usize>> {
    (0..parts)
        .map(|part| part * count / parts..(part + 1) * count / parts)
        .filter(|range| !range.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_the_first_error_wins() {
        let workers = Workers::new(vec![10, 20, 30]);
        let work = |factor: &i32, share: &mut [i32]| match share.iter().find(|x| **x < 0) {
            Some(&bad) => Err(bad),
            None => Ok(factor * share.iter().sum::<i32>()),
        };
        assert_eq!(workers.map(&mut [1, 2, 3, 4, 5, 6], work), Ok(vec![30, 140, 330]));
        assert_eq!(workers.map(&mut [1, 2, -3, 4, -5, 6], work), Err(-3));
        assert_eq!(workers.map(&mut [1], work), Ok(vec![10]));
        assert_eq!(workers.map(&mut [], work), Ok(vec![]));
    }

    #[test]
    fn items_are_dealt_in_turn() {
        let workers = Workers::new(vec![(), ()]);
        let dealt = workers.deal(&["a", "b", "c"], |(), items| {
            Ok::<_, ()>(
                items
                    .map(|(place, item)| format!("{place}{item}"))
                    .collect::<Vec<_>>(),
            )
        });
        assert_eq!(dealt.unwrap(), [vec!["0a", "2c"], vec!["1b"]]);
    }

    #[test]
    fn everything_is_in_one_part() {
        assert_eq!(split(7, 3), [0..2, 2..4, 4..7]);
        assert_eq!(split(1, 3), [0..1; 1]);
        assert!(split(0, 2).is_empty());
    }
}
