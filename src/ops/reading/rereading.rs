//! The plain truth: inputs are what is remembered, and every row is read again from its beginning.

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor_ops::{Device, GatherTo, ReshapeTo};

use super::{NewTokens, Reader, Wanted};
use crate::data::ragged::Ragged;
use crate::ops::Stream;

/// `sublayer` gives the whole output for whole rows, `[tokens, EMBED]` → the same.
pub(in crate::ops) struct Rereading<N, F> {
    sublayer: F,
    /// The inputs of each row.
    rows: Vec<Vec<N>>,
}

impl<N: Clone, F> Rereading<N, F> {
    /// So many rows that have read nothing.
    pub(in crate::ops) fn new(rows: usize, sublayer: F) -> Self {
        Self {
            sublayer,
            rows: vec![vec![]; rows],
        }
    }
}

impl<const EMBED: usize, N, D, F> Reader<EMBED, N, D> for Rereading<N, F>
where
    N: Dtype,
    D: Device<N>,
    F: Fn(Stream<EMBED, N, D>, &Ragged) -> Result<Stream<EMBED, N, D>, D::Err>,
{
    fn try_read(
        &mut self,
        x: Stream<EMBED, N, D>,
        new: &NewTokens<'_>,
        wanted: Wanted,
    ) -> Result<Stream<EMBED, N, D>, D::Err> {
        new.check();
        let device = x.device().clone();
        let inputs = x.as_vec();
        let (mut whole, mut starts, mut kept) = (vec![], vec![0], vec![]);
        for ((&row, own), before) in new.rows.iter().zip(new.own()).zip(new.before) {
            let row = &mut self.rows[row];
            for tokens in before.iter().chain([&own]) {
                row.extend_from_slice(&inputs[tokens.start * EMBED..tokens.end * EMBED]);
            }
            whole.extend_from_slice(row);
            let end = whole.len() / EMBED;
            starts.push(end);
            kept.extend(end - wanted.of(&own).len()..end);
        }
        let batch = Ragged {
            tokens: vec![0; whole.len() / EMBED],
            targets: vec![0; whole.len() / EMBED],
            starts,
        };
        let whole = device.try_tensor_from_vec(whole, (batch.len(), Const::<EMBED>))?;
        let y = (self.sublayer)(whole, &batch)?;
        let count = kept.len();
        let kept = device.try_tensor_from_vec(kept, (count,))?;
        y.try_gather(kept)?
            .try_reshape_like(&(count, Const::<EMBED>))
    }
}
