//! The reference for incremental decoding: the inputs of the keys are stored, and all of them are attended to
//! again.

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor_ops::{Device, GatherTo, ReshapeTo};

use super::BoxedIncrementalCrossAttention;
use crate::ops::Stream;

/// `attend` computes whole sequences from queries, keys and their starts.
pub(super) fn recomputing<'a, const EMBED: usize, N, D>(
    sequences: usize,
    attend: impl Fn([&Stream<EMBED, N, D>; 2], [&[usize]; 2]) -> Result<Stream<EMBED, N, D>, D::Err>
    + 'a,
) -> BoxedIncrementalCrossAttention<'a, EMBED, N, D>
where
    N: Dtype,
    D: Device<N>,
{
    // The stream of the keys of each sequence.
    let mut streams: Vec<Vec<N>> = vec![vec![]; sequences];
    Box::new(move |queries, keys, new| {
        let device = queries.device().clone();
        let keys = keys.map_or(vec![], |keys| keys.as_vec());
        let queries = queries.as_vec();
        let (mut all_queries, mut all_keys, mut starts, mut outputs) =
            (vec![], vec![], vec![0], vec![]);
        let pairs = new.queries.windows(2).zip(new.keys.windows(2));
        for (&sequence, (q, k)) in new.sequences.iter().zip(pairs) {
            let stream = &mut streams[sequence];
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
        let y = attend([&queries, &keys], [&starts, &starts])?;
        let count = outputs.len();
        let outputs = device.try_tensor_from_vec(outputs, (count,))?;
        y.try_gather(outputs)?
            .try_reshape_like(&(count, Const::<EMBED>))
    })
}
