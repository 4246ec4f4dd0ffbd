//! Loops over the threads.
//!
//! The code that uses them is compiled for every shape of a model. Rayon, behind a function that is not generic, is compiled
//! once, with the library.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

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
}
