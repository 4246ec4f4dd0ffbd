//! The order of documents in an epoch, cut into batches.

use rand::seq::SliceRandom as _;

use super::Task;
use super::generator::generator;
use super::ragged::{Ragged, Sequence};
use crate::error::Result;

/// One epoch of a task, batch by batch. A short last batch is kept.
pub struct Batches<'a> {
    task: &'a dyn Task,
    epoch: u64,
    order: Vec<usize>,
    batch_documents: usize,
}

/// The batches of epoch `epoch` (from 1), `batch_documents` documents each (0 counts as 1).
///
/// Without `shuffle` documents keep their order. With it they are permuted, depending only on seed and epoch.
/// Five documents in batches of two: `[0, 1] [2, 3] [4]`.
pub fn batches(
    task: &dyn Task,
    epoch: u64,
    batch_documents: usize,
    shuffle: bool,
    seed: u64,
) -> Batches<'_> {
    let mut order: Vec<usize> = (0..task.len()).collect();
    if shuffle {
        order.shuffle(&mut generator(b"shuffle.", [seed, epoch, 0]));
    }
    Batches {
        task,
        epoch,
        order,
        batch_documents: batch_documents.max(1),
    }
}

impl Batches<'_> {
    /// The batches of the first so many documents of the order.
    pub fn first(mut self, documents: usize) -> Self {
        self.order.truncate(documents);
        self
    }

    pub fn len(&self) -> usize {
        self.order.len().div_ceil(self.batch_documents)
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The documents of batch `index`, in order; none past the last batch.
    pub fn documents(&self, index: usize) -> &[usize] {
        let mut batches = self.order.chunks(self.batch_documents);
        batches.nth(index).unwrap_or(&[])
    }

    /// Batch `index`; empty past the last batch.
    ///
    /// # Errors
    /// See [`Task::sequence`].
    pub fn batch(&self, index: usize) -> Result<Ragged> {
        self.of(self.documents(index))
    }

    /// Batch `index` as micro-batches of so many documents, of which the last may have fewer.
    ///
    /// # Errors
    /// See [`Task::sequence`].
    pub fn micro_batches(&self, index: usize, documents: usize) -> Result<Vec<Ragged>> {
        let chunks = self.documents(index).chunks(documents.max(1));
        chunks.map(|chunk| self.of(chunk)).collect()
    }

    fn of(&self, documents: &[usize]) -> Result<Ragged> {
        let sequence = |&document: &usize| self.task.sequence(self.epoch, document);
        let sequences: Vec<Sequence> = documents.iter().map(sequence).collect::<Result<_>>()?;
        Ok(Ragged::from_sequences(&sequences))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Document `i` is the sequence `[epoch, i]`.
    struct Counting(usize);

    impl Task for Counting {
        fn len(&self) -> usize {
            self.0
        }

        fn longest_sequence(&self) -> usize {
            2
        }

        fn sequence(&self, epoch: u64, index: usize) -> Result<Sequence> {
            let tokens = vec![epoch as u32, index as u32];
            let targets = tokens.clone();
            Ok(Sequence { tokens, targets })
        }
    }

    fn order(documents: usize, epoch: u64, shuffle: bool, seed: u64) -> Vec<usize> {
        let task = Counting(documents);
        let batches = batches(&task, epoch, 3, shuffle, seed);
        (0..batches.len())
            .flat_map(|i| batches.documents(i).to_vec())
            .collect()
    }

    #[test]
    fn the_last_batch_is_short() {
        let task = Counting(2938);
        let batches = batches(&task, 1, 128, false, 0);
        assert_eq!(batches.len(), 23);
        let sizes: Vec<usize> = (0..23)
            .map(|i| batches.batch(i).expect("made").documents())
            .collect();
        assert_eq!(sizes[..22], [128; 22]);
        assert_eq!(sizes[22], 122);
        assert_eq!(batches.documents(23), [0usize; 0]);
        assert!(batches.batch(23).expect("made").is_empty());
    }

    #[test]
    fn a_batch_has_its_documents_as_they_appear_in_the_epoch() {
        let task = Counting(5);
        let batch = batches(&task, 7, 2, false, 0).batch(1).expect("made");
        assert_eq!(batch.tokens, [7, 2, 7, 3]);
        assert_eq!(batch.starts, [0, 2, 4]);
    }

    #[test]
    fn no_documents_make_no_batches_and_batches_of_zero_count_as_one() {
        assert!(batches(&Counting(0), 1, 4, true, 0).is_empty());
        assert_eq!(batches(&Counting(0), 1, 4, true, 0).len(), 0);
        assert_eq!(batches(&Counting(3), 1, 0, false, 0).len(), 3);
    }

    #[test]
    fn an_epoch_may_take_the_first_documents_alone() {
        let task = Counting(5);
        let some = batches(&task, 1, 2, true, 1).first(3);
        let all = batches(&task, 1, 2, true, 1);
        assert_eq!(some.len(), 2);
        assert_eq!(some.documents(0), all.documents(0));
        assert_eq!(some.documents(1), &all.documents(1)[..1]);
    }

    #[test]
    fn a_shuffle_is_a_permutation_of_seed_and_epoch() {
        let here = order(100, 1, true, 5);
        assert_eq!(here, order(100, 1, true, 5));
        assert_ne!(here, order(100, 2, true, 5));
        assert_ne!(here, order(100, 1, true, 6));
        assert_ne!(here, order(100, 1, false, 5));
        let mut sorted = here;
        sorted.sort_unstable();
        assert_eq!(sorted, order(100, 9, false, 0));
    }
}
