//! Reading rows bit by bit: whole prompts first, then the tokens of their answers.

use super::Trainable;
use crate::data::ragged::{PAD, Ragged, Sequence};
use crate::error::{Error, Result};

/// Tokens of a row that a [`Decoder`] has not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Which row it is, counted from 0.
    pub row: usize,
    /// What comes next in it.
    pub tokens: Vec<u32>,
}

/// Rows of tokens that a model is in the middle of reading.
pub trait Decoder {
    /// Reads on; log-probabilities (nats) of the token after the last of each `unread`, one row of
    /// vocabulary size each.
    ///
    /// Rows come in ascending order, each at most once; those that are left out stay as they are. The
    /// last bits of what is said of a row may depend on the others that are read with it, but not on the
    /// number of threads.
    ///
    /// # Errors
    /// A row without any new token, or that does not fit the model's context or vocabulary; then
    /// nothing is read. The device; then the decoder is of no more use.
    fn read(&mut self, unread: &[Unread]) -> Result<Vec<Vec<f32>>>;
}

/// The plain truth: keeps tokens alone, and reads every row again from its beginning.
pub(super) struct Rereading<'a, M: ?Sized> {
    model: &'a M,
    rows: Vec<Vec<u32>>,
}

impl<'a, M: Trainable + ?Sized> Rereading<'a, M> {
    pub(super) fn new(model: &'a M, rows: usize) -> Self {
        Self {
            model,
            rows: vec![vec![]; rows],
        }
    }
}

impl<M: Trainable + ?Sized> Decoder for Rereading<'_, M> {
    fn read(&mut self, unread: &[Unread]) -> Result<Vec<Vec<f32>>> {
        check_rows(unread)?;
        let whole = |u: &Unread| [&self.rows[u.row][..], &u.tokens].concat();
        let sequences: Vec<Sequence> = unread
            .iter()
            .map(whole)
            .map(|tokens| Sequence {
                targets: vec![PAD; tokens.len()],
                tokens,
            })
            .collect();
        let batch = Ragged::from_sequences(&sequences);
        let last: Vec<usize> = batch.starts[1..].iter().map(|&end| end - 1).collect();
        let distributions = self.model.next_token_log_probabilities(&batch, &last)?;
        for (unread, sequence) in unread.iter().zip(sequences) {
            self.rows[unread.row] = sequence.tokens;
        }
        Ok(distributions)
    }
}

/// Refuses what no decoder reads.
pub(super) fn check_rows(unread: &[Unread]) -> Result<()> {
    debug_assert!(
        unread.is_sorted_by(|a, b| a.row < b.row),
        "rows ascend, and none comes twice"
    );
    if unread.iter().any(|u| u.tokens.is_empty()) {
        return Err(Error::run("a row without any token to read"));
    }
    Ok(())
}
