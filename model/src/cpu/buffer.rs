//! Buffers of training passes, which outlive them: a pass asks for the same buffers as the one before. What is given back to the system comes
//! again page by page and filled with zeros, which is a sixth of the time of a small model's pass. They are maps of their own, so that nothing
//! of them stays with the process once they are given back. Gradients, which outlive a pass too, are maps of that kind without being kept.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{AllocationProperty, Bytes, DType, Shape, TensorData};
use memmap2::MmapMut;

use super::Primitive;

/// Buffers of fewer numbers are the allocator's affair, which keeps them itself.
const SHORT: usize = 1 << 14;
/// Idle and used buffers are together more than were in use at once by one in so many at most: with nothing to spare, short buffers would be given
/// back whenever most is in use.
pub const SPARE: usize = 16;
/// Bytes that are kept at most while a model samples.
pub const KEPT_WHILE_SAMPLING: usize = 64 << 20;

/// f32 numbers that are wanted for a while.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    numbers: Numbers,
    len: usize,
}

#[derive(Debug)]
enum Numbers {
    Short(Vec<f32>),
    Long(MmapMut),
    /// Goes back to the system, not to the next pass.
    Apart(MmapMut),
}

impl Default for Numbers {
    fn default() -> Self {
        Self::Short(Vec::new())
    }
}

impl Numbers {
    fn short(len: usize) -> Self {
        Self::Short(vec![0.0; len])
    }
}

impl Buffer {
    /// Numbers that mean nothing, to be written before they are read; in this crate's tests they are NaN.
    pub fn unset(len: usize) -> Self {
        let (mut buffer, _) = Self::found(len);
        if cfg!(test) {
            buffer.fill(f32::NAN);
        }
        buffer
    }

    pub fn zeros(len: usize) -> Self {
        let (mut buffer, is_used) = Self::found(len);
        if is_used {
            buffer.fill(0.0);
        }
        buffer
    }

    /// Zeros that outlive the pass, as gradients do. They are no buffers of the next one: whoever had them gives them back to the system.
    pub fn apart(len: usize) -> Self {
        let numbers = mapped(len).map_or_else(|| Numbers::short(len), Numbers::Apart);
        Self { numbers, len }
    }

    /// The first `len` numbers.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// A tensor of a shape of as many numbers, without a copy.
    pub fn into_primitive(self, shape: impl Into<Shape>) -> Primitive {
        Primitive::from_data(TensorData::from_bytes(
            self.into_bytes(),
            shape.into(),
            DType::F32,
        ))
    }

    fn into_bytes(self) -> Bytes {
        Bytes::from_shared(bytes::Bytes::from_owner(self), AllocationProperty::Other)
    }

    /// The same numbers once more.
    pub fn copy(values: &[f32]) -> Self {
        let mut copy = Self::unset(values.len());
        copy.copy_from_slice(values);
        copy
    }

    /// The first numbers, of another buffer if this has too few.
    pub fn sized(&mut self, count: usize) -> &mut [f32] {
        if self.len < count {
            *self = Self::unset(count);
        }
        &mut self[..count]
    }

    /// A buffer, and whether it holds what someone left in it; else it holds zeros.
    fn found(len: usize) -> (Self, bool) {
        if len < SHORT {
            let numbers = Numbers::short(len);
            return (Self { numbers, len }, false);
        }
        let idle = shelf().take(len);
        let is_used = idle.is_some();
        let numbers = match idle.or_else(|| mapped(len)) {
            Some(map) => Numbers::Long(map),
            None => {
                shelf().in_use -= len;
                Numbers::short(len)
            }
        };
        (Self { numbers, len }, is_used)
    }
}

/// A map of zeros; none where they are few, or the system gives none: the allocator has the last word on memory that there is not.
fn mapped(len: usize) -> Option<MmapMut> {
    match len {
        SHORT.. => MmapMut::map_anon(len * size_of::<f32>()).ok(),
        _ => None,
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.numbers {
            Numbers::Short(values) => &values[..self.len],
            Numbers::Long(map) | Numbers::Apart(map) => &bytemuck::cast_slice(map)[..self.len],
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        match &mut self.numbers {
            Numbers::Short(values) => &mut values[..self.len],
            Numbers::Long(map) | Numbers::Apart(map) => &mut bytemuck::cast_slice_mut(map)[..self.len],
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }
}

impl From<Vec<f32>> for Buffer {
    fn from(values: Vec<f32>) -> Self {
        let len = values.len();
        let numbers = Numbers::Short(values);
        Self { numbers, len }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Numbers::Long(map) = std::mem::take(&mut self.numbers) {
            shelf().put(map);
        }
    }
}

/// Gives back to the system what is kept, but for so many bytes: passes of training are over for now, and others need memory.
pub fn give_back_but(bytes: usize) {
    let mut shelf = shelf();
    shelf.most = shelf.in_use;
    shelf.shrink(bytes / size_of::<f32>());
}

/// Buffers that nobody uses.
#[derive(Debug)]
struct Shelf {
    /// By their numbers.
    idle: BTreeMap<usize, Vec<MmapMut>>,
    /// Numbers of all that are idle, of all that are in use, and the most that were.
    shelved: usize,
    in_use: usize,
    most: usize,
}

static SHELF: Mutex<Shelf> = Mutex::new(Shelf::EMPTY);

fn shelf() -> MutexGuard<'static, Shelf> {
    SHELF.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shelf {
    const EMPTY: Self = Self {
        idle: BTreeMap::new(),
        shelved: 0,
        in_use: 0,
        most: 0,
    };

    /// A buffer of hardly more numbers. If there is none, `len` numbers count as in use, and what is idle makes room for them.
    fn take(&mut self, len: usize) -> Option<MmapMut> {
        let fits = self.idle.range(len..=len + len / 8).next();
        let found = fits.map(|(&found, _)| found);
        self.in_use += found.unwrap_or(len);
        self.most = self.most.max(self.in_use);
        if found.is_none() {
            self.shrink(self.most + self.most / SPARE - self.in_use);
        }
        self.take_out(found?)
    }

    fn put(&mut self, map: MmapMut) {
        let len = map.len() / size_of::<f32>();
        self.in_use -= len;
        self.shelved += len;
        self.idle.entry(len).or_default().push(map);
    }

    /// Keeps so many idle numbers at most. What is given back is the shortest buffer that is enough, or the longest and so on: as little as can be.
    fn shrink(&mut self, most: usize) {
        while self.shelved > most {
            let enough = self.idle.range(self.shelved - most..).next();
            let Some((&len, _)) = enough.or_else(|| self.idle.last_key_value()) else {
                return;
            };
            self.take_out(len);
        }
    }

    /// One of the idle buffers of so many numbers.
    fn take_out(&mut self, len: usize) -> Option<MmapMut> {
        let buffers = self.idle.get_mut(&len)?;
        let map = buffers.pop();
        if buffers.is_empty() {
            self.idle.remove(&len);
        }
        self.shelved -= len;
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_idle_is_taken_again_and_never_adds_to_the_most() {
        let mut shelf = Shelf::EMPTY;
        let of = |shelf: &mut Shelf, len: usize| {
            let idle = shelf.take(len);
            idle.unwrap_or_else(|| MmapMut::map_anon(4 * len).expect("memory"))
        };
        let (a, b) = (of(&mut shelf, SHORT), of(&mut shelf, 3 * SHORT));
        assert_eq!((shelf.in_use, shelf.most), (4 * SHORT, 4 * SHORT));
        shelf.put(a);
        shelf.put(b);
        assert_eq!((shelf.in_use, shelf.shelved), (0, 4 * SHORT));
        // Hardly longer than wanted: the same again. Much longer: another, for which something is given back.
        let again = shelf.take(3 * SHORT - 100).expect("it is idle");
        assert_eq!((again.len(), shelf.shelved), (4 * 3 * SHORT, SHORT));
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
    fn a_tensor_is_made_of_numbers_apart_without_a_copy() {
        for len in [5, SHORT + 7] {
            let mut numbers = Buffer::apart(len + 3);
            assert!(numbers.iter().all(|&x| x == 0.0));
            numbers.fill(2.0);
            numbers.truncate(len);
            let from = numbers.as_ptr();
            let bytes = numbers.into_bytes();
            assert_eq!(bytes.as_ptr(), from.cast());
            assert_eq!(bytemuck::cast_slice::<u8, f32>(&bytes), vec![2.0; len]);
        }
    }

    #[test]
    fn as_little_is_given_back_as_can_be() {
        let mut shelf = Shelf::EMPTY;
        for len in [1, 3, 8] {
            assert!(shelf.take(len * SHORT).is_none());
        }
        for len in [1, 3, 8] {
            shelf.put(MmapMut::map_anon(4 * len * SHORT).expect("memory"));
        }
        let idle = |shelf: &Shelf| shelf.idle.keys().map(|len| len / SHORT).collect::<Vec<_>>();
        shelf.shrink(10 * SHORT);
        assert_eq!(idle(&shelf), [1, 8]);
        shelf.shrink(0);
        assert_eq!((idle(&shelf), shelf.shelved), (vec![], 0));
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
            assert_eq!(zeros.len(), len);
            assert!(zeros.iter().all(|&x| x == 0.0));
        }
    }
}
