//! The plain truth: keys are what is remembered, and all of a row's are attended again.

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor_ops::{Device, GatherTo, ReshapeTo};

use super::{CrossReader, NewPairs};
use crate::ops::Stream;

/// `attend` gives the whole output for whole rows, from queries, keys and their starts.
pub(super) struct Rereading<N, F> {
    attend: F,
    /// The keys' stream of each row.
    rows: Vec<Vec<N>>,
}

impl<N: Clone, F> Rereading<N, F> {
    /// So many rows that have read nothing.
    pub(super) fn new(rows: usize, attend: F) -> Self {
        Self {
            attend,
            rows: vec![vec![]; rows],
        }
    }
}

impl<const EMBED: usize, N, D, F> CrossReader<EMBED, N, D> for Rereading<N, F>
where
    N: Dtype,
    D: Device<N>,
    F: Fn([&Stream<EMBED, N, D>; 2], [&[usize]; 2]) -> Result<Stream<EMBED, N, D>, D::Err>,
{
    fn try_read(
        &mut self,
        queries: &Stream<EMBED, N, D>,
        keys: Option<&Stream<EMBED, N, D>>,
        new: &NewPairs<'_>,
    ) -> Result<Stream<EMBED, N, D>, D::Err> {
        let device = queries.device().clone();
        let keys = keys.map_or(vec![], |keys| keys.as_vec());
        let queries = queries.as_vec();
        let (mut all_queries, mut all_keys, mut starts, mut wanted) =
            (vec![], vec![], vec![0], vec![]);
        let pairs = new.queries.windows(2).zip(new.keys.windows(2));
        for (&row, (q, k)) in new.rows.iter().zip(pairs) {
            let row = &mut self.rows[row];
            row.extend_from_slice(&keys[k[0] * EMBED..k[1] * EMBED]);
            all_keys.extend_from_slice(row);
            let end = all_keys.len() / EMBED;
            // The queries stand where the last keys stand; what stands before them is not wanted.
            all_queries.resize((end - (q[1] - q[0])) * EMBED, N::default());
            all_queries.extend_from_slice(&queries[q[0] * EMBED..q[1] * EMBED]);
            wanted.extend(end - (q[1] - q[0])..end);
            starts.push(end);
        }
        let shape = (starts[starts.len() - 1], Const::<EMBED>);
        let queries = device.try_tensor_from_vec(all_queries, shape)?;
        let keys = device.try_tensor_from_vec(all_keys, shape)?;
        let y = (self.attend)([&queries, &keys], [&starts, &starts])?;
        let count = wanted.len();
        let wanted = device.try_tensor_from_vec(wanted, (count,))?;
        y.try_gather(wanted)?
            .try_reshape_like(&(count, Const::<EMBED>))
    }
}
