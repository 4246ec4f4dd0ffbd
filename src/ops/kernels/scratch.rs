//! Pooled working memory, so that a training step allocates nothing once the first few have passed.
//!
//! Batches are ragged: hardly any two steps ask for the same sizes. So buffers come in size classes at most
//! an eighth apart, and one that is too large by less than half is accepted. A buffer is allocated only
//! when all suitable ones are in use, and none is ever freed: the pool grows to what one step uses at once.

use std::collections::BTreeMap;
use std::ops::{Bound, Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Unused buffers, by their number of elements.
static UNUSED: Mutex<BTreeMap<usize, Vec<Vec<f32>>>> = Mutex::new(BTreeMap::new());

/// A borrowed slice. Its content is whatever the previous user left: write before you read.
pub struct Scratch {
    buffer: Vec<f32>,
    length: usize,
}

impl Scratch {
    /// A slice of `length` elements.
    pub fn new(length: usize) -> Self {
        let size = class(length);
        let found = take_between(size, size + size / 2);
        let mut buffer = found.unwrap_or_else(|| {
            // Frees a slightly smaller buffer, so that growing sizes do not leave a trail of unusable ones.
            drop(take_between(size - size / 4, size));
            vec![0.0; size]
        });
        if cfg!(debug_assertions) {
            buffer[..length].fill(f32::NAN);
        }
        Self { buffer, length }
    }

    /// A slice of zeros.
    pub fn zeros(length: usize) -> Self {
        let mut scratch = Self::new(length);
        scratch.fill(0.0);
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        unused().entry(buffer.len()).or_default().push(buffer);
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.buffer[..self.length]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.buffer[..self.length]
    }
}

/// The size class for a number of elements: at most an eighth larger.
fn class(length: usize) -> usize {
    let step = (length.next_power_of_two() / 16).max(64);
    length.next_multiple_of(step)
}

/// The smallest unused buffer of `least` to `most` elements.
fn take_between(least: usize, most: usize) -> Option<Vec<f32>> {
    let range = (Bound::Included(least), Bound::Included(most));
    let mut unused = unused();
    let mut fitting = unused.range_mut(range).map(|(_, buffers)| buffers);
    fitting.find_map(Vec::pop)
}

fn unused() -> MutexGuard<'static, BTreeMap<usize, Vec<Vec<f32>>>> {
    // The map is consistent even after a panic elsewhere: nothing in here panics half-way.
    UNUSED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_large_enough_and_an_eighth_too_large_at_most() {
        for length in [1, 64, 65, 1000, 4096, 4097, 1_000_000, 7_654_321] {
            let size = class(length);
            assert!(
                size >= length && size <= length + (length / 8).max(64),
                "{length}: {size}"
            );
        }
    }

    #[test]
    fn a_buffer_that_was_handed_back_is_used_again() {
        // A size that no other test uses.
        let length = 123_456_789 / 16;
        let first = Scratch::new(length);
        let place = first.as_ptr();
        drop(first);
        let again = Scratch::new(length - 1000);
        assert_eq!((again.as_ptr(), again.len()), (place, length - 1000));
        assert_ne!(
            Scratch::new(length).as_ptr(),
            place,
            "the first is still on loan"
        );
    }
}
