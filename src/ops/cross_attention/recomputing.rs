//! The reference for incremental decoding: the inputs of the keys are stored, and all of them are attended to
//! again.

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor_ops::{Device, GatherTo, ReshapeTo};

use super::{IncrementalCrossAttention, NewPairs};
use crate::ops::Stream;

/// `attend` computes whole sequences from queries, keys and their starts.
pub(super) struct RecomputingCrossAttention<N, F> {
    attend: F,
    /// The stream of the keys of each sequence.
    streams: Vec<Vec<N>>,
}

impl<N: Clone, F> RecomputingCrossAttention<N, F> {
    /// With `sequences` that are empty yet.
    pub(super) fn new(sequences: usize, attend: F) -> Self {
        Self {
            attend,
            streams: vec![vec![]; sequences],
        }
    }
}

impl<const EMBED: usize, N, D, F> IncrementalCrossAttention<EMBED, N, D>
    for RecomputingCrossAttention<N, F>
where
    N: Dtype,
    D: Device<N>,
    F: Fn([&Stream<EMBED, N, D>; 2], [&[usize]; 2]) -> Result<Stream<EMBED, N, D>, D::Err>,
{
    fn try_decode(
        &mut self,
        queries: &Stream<EMBED, N, D>,
        keys: Option<&Stream<EMBED, N, D>>,
        new: &NewPairs<'_>,
    ) -> Result<Stream<EMBED, N, D>, D::Err> {
        let device = queries.device().clone();
        let keys = keys.map_or(vec![], |keys| keys.as_vec());
        let queries = queries.as_vec();
        let (mut all_queries, mut all_keys, mut starts, mut outputs) =
            (vec![], vec![], vec![0], vec![]);
        let pairs = new.queries.windows(2).zip(new.keys.windows(2));
        for (&sequence, (q, k)) in new.sequences.iter().zip(pairs) {
            let stream = &mut self.streams[sequence];
            stream.extend_from_slice(&keys[k[0] * EMBED..k[1] * EMBED]);
            all_keys.extend_from_slice(stream);
            let end = all_keys.len() / EMBED;
            // Queries are aligned with the last keys; the output of the padding before them is dropped.
            all_queries.resize((end - (q[1] - q[0])) * EMBED, N::default());
            all_queries.extend_from_slice(&queries[q[0] * EMBED..q[1] * EMBED]);
            outputs.extend(end - (q[1] - q[0])..end);
            starts.push(end);
        }
        let shape = (starts[starts.len() - 1], Const::<EMBED>);
        let queries = device.try_tensor_from_vec(all_queries, shape)?;
        let keys = device.try_tensor_from_vec(all_keys, shape)?;
        let y = (self.attend)([&queries, &keys], [&starts, &starts])?;
        let count = outputs.len();
        let outputs = device.try_tensor_from_vec(outputs, (count,))?;
        y.try_gather(outputs)?
            .try_reshape_like(&(count, Const::<EMBED>))
    }
}
