//! The same work on each of several devices, one thread a device.

use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;

/// Does `work` with every item, side by side where there are several; what comes of them, in their order.
///
/// # Errors
/// The error of the first item that has one, when all have ended.
pub fn on_each<I: Send, T: Send, E: Send>(
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
        let double = |x: i32| if x < 0 { Err(x) } else { Ok(2 * x) };
        assert_eq!(on_each(vec![3, 1, 2], double), Ok(vec![6, 2, 4]));
        assert_eq!(on_each(vec![3, -1, -2], double), Err(-1));
        assert_eq!(on_each(vec![5], double), Ok(vec![10]));
        assert_eq!(on_each(Vec::new(), double), Ok(vec![]));
    }

    #[test]
    fn everything_is_in_one_part() {
        assert_eq!(split(7, 3), [0..2, 2..4, 4..7]);
        assert_eq!(split(1, 3), [0..1; 1]);
        assert!(split(0, 2).is_empty());
    }
}
