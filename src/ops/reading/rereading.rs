//! The plain truth: inputs are what is remembered, and every row is read again from its beginning.

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor_ops::{Device, GatherTo, ReshapeTo};

use super::{NewTokens, Reader};
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
    ) -> Result<Stream<EMBED, N, D>, D::Err> {
        let device = x.device().clone();
        let inputs = x.as_vec();
        let (mut whole, mut starts, mut wanted) = (vec![], vec![0], vec![]);
        let own = new.starts.windows(2).map(|w| w[0]..w[1]);
        for ((&row, own), before) in new.rows.iter().zip(own).zip(new.before) {
            let row = &mut self.rows[row];
            for tokens in before.iter().chain([&own]) {
                row.extend_from_slice(&inputs[tokens.start * EMBED..tokens.end * EMBED]);
            }
            whole.extend_from_slice(row);
            let end = whole.len() / EMBED;
            starts.push(end);
            wanted.extend(end - new.wanted_of(&own).len()..end);
        }
        let batch = Ragged {
            tokens: vec![0; whole.len() / EMBED],
            targets: vec![0; whole.len() / EMBED],
            starts,
        };
        let whole = device.try_tensor_from_vec(whole, (batch.len(), Const::<EMBED>))?;
        let y = (self.sublayer)(whole, &batch)?;
        let count = wanted.len();
        let wanted = device.try_tensor_from_vec(wanted, (count,))?;
        y.try_gather(wanted)?
            .try_reshape_like(&(count, Const::<EMBED>))
    }
}

/// A sublayer in which every token stands alone: nothing is remembered.
#[cfg(feature = "cuda")]
pub(in crate::ops) struct EachAlone<F>(pub(in crate::ops) F);

#[cfg(feature = "cuda")]
impl<const EMBED: usize, N, D, F> Reader<EMBED, N, D> for EachAlone<F>
where
    N: Dtype,
    D: Device<N>,
    F: Fn(Stream<EMBED, N, D>) -> Result<Stream<EMBED, N, D>, D::Err>,
{
    fn try_read(
        &mut self,
        x: Stream<EMBED, N, D>,
        _: &NewTokens<'_>,
    ) -> Result<Stream<EMBED, N, D>, D::Err> {
        self.0(x)
    }
}
