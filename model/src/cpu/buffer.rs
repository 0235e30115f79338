//! Buffers of training passes, which outlive them: a pass asks for the same buffers as the one before. What is given back to the system comes
//! again page by page and filled with zeros, which is a sixth of the time of a small model's pass.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Buffers of fewer numbers are the allocator's affair, which keeps them itself.
const SHORT: usize = 1 << 14;
/// Numbers that are kept beside what is no pass of training: 64 MiB of them.
const KEPT: usize = 16 << 20;

/// f32 numbers that are wanted for a while.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    values: Vec<f32>,
    len: usize,
}

impl Buffer {
    /// Numbers that mean nothing, to be written before they are read; in this crate's tests they are NaN.
    pub fn unset(len: usize) -> Self {
        let values = match shelf().take(len) {
            Some(values) => values,
            None => vec![0.0; len],
        };
        let mut buffer = Self { values, len };
        if cfg!(test) {
            buffer.fill(f32::NAN);
        }
        buffer
    }

    pub fn zeros(len: usize) -> Self {
        let found = shelf().take(len);
        let values = match found {
            Some(mut values) => {
                values[..len].fill(0.0);
                values
            }
            None => vec![0.0; len],
        };
        Self { values, len }
    }

    /// The same numbers once more.
    pub fn copy(values: &[f32]) -> Self {
        let mut copy = Self::unset(values.len());
        copy.copy_from_slice(values);
        copy
    }

    /// The numbers, for someone who keeps them.
    pub fn into_vec(mut self) -> Vec<f32> {
        let mut values = std::mem::take(&mut self.values);
        shelf().part_with(values.len());
        values.truncate(self.len);
        values
    }
}

/// Takes in what is not wanted any more.
impl From<Vec<f32>> for Buffer {
    fn from(values: Vec<f32>) -> Self {
        let len = values.len();
        shelf().count(len);
        Self { values, len }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        shelf().put(std::mem::take(&mut self.values));
    }
}

/// Gives back to the system what is kept beyond 64 MiB: passes of training are over for now, and others need memory.
pub(super) fn give_back() {
    let mut shelf = shelf();
    shelf.most = 0;
    shelf.shrink(KEPT);
}

/// Buffers that nobody uses.
#[derive(Debug)]
struct Shelf {
    idle: BTreeMap<usize, Vec<Vec<f32>>>,
    /// Numbers of all that are idle, of all that are in use, and the most that were.
    shelved: usize,
    in_use: usize,
    most: usize,
}

static SHELF: Mutex<Shelf> = Mutex::new(Shelf {
    idle: BTreeMap::new(),
    shelved: 0,
    in_use: 0,
    most: 0,
});

fn shelf() -> MutexGuard<'static, Shelf> {
    SHELF.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shelf {
    /// A buffer of hardly more numbers; none where there is none, or so few are the allocator's affair. It counts as in use.
    fn take(&mut self, len: usize) -> Option<Vec<f32>> {
        if len < SHORT {
            return None;
        }
        let fits = self.idle.range(len..=len + len / 8).next();
        let Some(found) = fits.map(|(&found, _)| found) else {
            // Together they are never more than were in use at once.
            self.count(len);
            let room = self.most - self.in_use;
            self.shrink(room);
            return None;
        };
        let buffers = self.idle.get_mut(&found)?;
        let values = buffers.pop();
        if buffers.is_empty() {
            self.idle.remove(&found);
        }
        self.shelved -= found;
        self.count(found);
        values
    }

    fn put(&mut self, values: Vec<f32>) {
        if values.len() < SHORT {
            return;
        }
        self.part_with(values.len());
        self.shelved += values.len();
        self.idle.entry(values.len()).or_default().push(values);
    }

    fn count(&mut self, len: usize) {
        if len >= SHORT {
            self.in_use += len;
            self.most = self.most.max(self.in_use);
        }
    }

    fn part_with(&mut self, len: usize) {
        if len >= SHORT {
            self.in_use -= len;
        }
    }

    /// Keeps so many idle numbers at most, the shortest buffers first.
    fn shrink(&mut self, most: usize) {
        while self.shelved > most {
            let Some(mut longest) = self.idle.last_entry() else {
                return;
            };
            let dropped = longest.get_mut().pop();
            if longest.get().is_empty() {
                longest.remove();
            }
            self.shelved -= dropped.map_or(0, |values| values.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Shelf {
        Shelf {
            idle: BTreeMap::new(),
            shelved: 0,
            in_use: 0,
            most: 0,
        }
    }

    #[test]
    fn what_is_idle_is_taken_again_and_never_adds_to_the_most() {
        let mut shelf = empty();
        let of = |shelf: &mut Shelf, len: usize| shelf.take(len).unwrap_or_else(|| vec![0.0; len]);
        let (a, b) = (of(&mut shelf, SHORT), of(&mut shelf, 3 * SHORT));
        assert_eq!((shelf.in_use, shelf.most), (4 * SHORT, 4 * SHORT));
        shelf.put(a);
        shelf.put(b);
        assert_eq!((shelf.in_use, shelf.shelved), (0, 4 * SHORT));
        // Hardly longer than wanted: the same again. Much longer: another, for which something is given back.
        let again = shelf.take(3 * SHORT - 100).expect("it is idle");
        assert_eq!((again.len(), shelf.shelved), (3 * SHORT, SHORT));
        assert!(shelf.take(SHORT / 2).is_none());
        assert!(shelf.take(2 * SHORT).is_none());
        assert_eq!(
            (shelf.in_use, shelf.shelved, shelf.most),
            (5 * SHORT, 0, 5 * SHORT)
        );
        shelf.put(again);
        shelf.shrink(SHORT);
        assert_eq!((shelf.shelved, shelf.idle.len()), (0, 0));
    }

    #[test]
    fn a_buffer_has_the_length_that_was_asked_for() {
        for len in [5, SHORT + 7] {
            let mut buffer = Buffer::unset(len);
            assert!(buffer.iter().all(|x| x.is_nan()));
            buffer.fill(1.0);
            assert_eq!(Buffer::copy(&buffer).len(), len);
            drop(buffer);
            let zeros = Buffer::zeros(len);
            assert!(zeros.iter().all(|&x| x == 0.0));
            assert_eq!(zeros.into_vec().len(), len);
        }
        drop(Buffer::from(vec![2.0; 2 * SHORT]));
    }
}
