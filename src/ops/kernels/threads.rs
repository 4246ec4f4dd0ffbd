//! Loops over the threads.
//!
//! The code that uses them is compiled for every shape of a model. Rayon, behind a function that is not generic, is compiled
//! once, with the library.

#![allow(unsafe_code)]

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::shards::take;
use crate::ops::precision::Precision;

/// What is left of an item, or made of it.
enum Slot<T, R> {
    Item(T),
    Taken,
    Result(R),
}

/// `work` of each item, by all threads; the results are in the order of the items.
pub(crate) fn map<T: Send, R: Send>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let slots = items.into_iter().map(|item| Mutex::new(Slot::Item(item)));
    let slots: Vec<Mutex<Slot<T, R>>> = slots.collect();
    for_each_index(slots.len(), &|index| {
        // No thread waits: each index is called once.
        let mut slot = slots[index].lock().unwrap_or_else(PoisonError::into_inner);
        if let Slot::Item(item) = std::mem::replace(&mut *slot, Slot::Taken) {
            *slot = Slot::Result(work(item));
        }
    });
    let results = slots.into_iter().map(|slot| match slot.into_inner() {
        Ok(Slot::Result(result)) => result,
        _ => unreachable!("a panic of `work` ends the loop"),
    });
    results.collect()
}

/// [`map`] where each item has a part of a new vector, of the given length, which is zeros at first; the parts are in
/// the order of the items. Threads zero the parts themselves, right before `work`: the parts are then in their caches.
pub(crate) fn map_parts<T: Send, R: Send>(
    items: impl IntoIterator<Item = (T, usize)>,
    work: impl Fn(T, &mut [f32]) -> R + Sync,
) -> (Vec<f32>, Vec<R>) {
    let items: Vec<(T, usize)> = items.into_iter().collect();
    let length = items.iter().map(|(_, length)| length).sum();
    let mut whole = Vec::with_capacity(length);
    let mut rest = &mut whole.spare_capacity_mut()[..length];
    let parts = items.into_iter();
    let parts = parts.map(|(item, length)| (item, take(&mut rest, length)));
    let results = map(parts, |(item, part)| {
        part.iter_mut().for_each(|element| {
            element.write(0.0);
        });
        // SAFETY: every element was written.
        work(item, unsafe { part.assume_init_mut() })
    });
    // SAFETY: the parts have this total length, and `map` returns only when all of them have been written.
    unsafe { whole.set_len(length) };
    (whole, results)
}

/// Calls `work` once for each index below `count`, in the calling thread's precision.
fn for_each_index(count: usize, work: &(dyn Fn(usize) + Sync)) {
    let (precision, indices) = (Precision::current(), (0..count).into_par_iter());
    let work = |index| precision.run(|| work(index));
    indices.with_max_len(1).for_each(work);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let mut rows = [[1, 2], [3, 4], [5, 6]];
        let sums = map(rows.iter_mut().enumerate(), |(index, row)| {
            row[0] += index;
            format!("{}", row[0] + row[1])
        });
        assert_eq!(sums, ["3", "8", "13"]);
        assert_eq!(rows[2], [7, 6]);
        assert!(map(Vec::<u8>::new(), |_| ()).is_empty());
    }

    #[test]
    fn parts_are_zeros_at_first_and_lie_in_the_order_of_the_items() {
        let items = [(1.0, 3), (2.0, 0), (3.0, 2)].into_iter();
        let (whole, sums) = map_parts(items, |value, part| {
            let before: f32 = part.iter().sum();
            part.fill(value);
            before + part.len() as f32
        });
        assert_eq!(whole, [1.0, 1.0, 1.0, 3.0, 3.0]);
        assert_eq!(sums, [3.0, 0.0, 2.0]);
    }
}
