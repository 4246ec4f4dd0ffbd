//! The reference for incremental decoding: the cache holds the stream of the keys, and every sequence is recomputed from
//! its beginning.

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor_ops::{Device, GatherTo, ReshapeTo};

use super::BoxedIncremental;
use crate::ops::Stream;

/// `sublayer` computes whole sequences from queries, keys and their starts. In self-attention both have the same starts;
/// then queries are missing where their output is not needed, and the sublayer reads the keys alone.
pub fn recomputing<'a, const EMBED: usize, N: Dtype, D: Device<N>>(
    sequences: usize,
    sublayer: impl Fn([&Stream<EMBED, N, D>; 2], [&[usize]; 2]) -> Result<Stream<EMBED, N, D>, D::Err>
    + 'a,
) -> BoxedIncremental<'a, EMBED, N, D> {
    // The stream of the keys of each sequence.
    let mut streams: Vec<Vec<N>> = vec![vec![]; sequences];
    Box::new(move |queries, keys, new| {
        new.check();
        let device = queries.device().clone();
        let keys = keys.map_or(vec![], |keys| keys.as_vec());
        let queries = queries.as_vec();
        let (mut all, mut starts) = ([vec![], vec![]], [vec![0], vec![0]]);
        let mut outputs = vec![];
        for new_of in new.of_sequences() {
            let stream = &mut streams[new_of.sequence];
            for tokens in new_of.keys() {
                stream.extend_from_slice(&keys[tokens.start * EMBED..tokens.end * EMBED]);
            }
            all[1].extend_from_slice(stream);
            // Queries are at their positions; the output of the padding before them is dropped.
            let q = new_of.queries;
            let first = all[0].len() / EMBED + new.positions[q.start];
            all[0].resize(first * EMBED, N::default());
            all[0].extend_from_slice(&queries[q.start * EMBED..q.end * EMBED]);
            outputs.extend(first..first + q.len());
            for (starts, all) in starts.iter_mut().zip(&all) {
                starts.push(all.len() / EMBED);
            }
        }
        let [queries, keys] = all.map(|rows| {
            let shape = (rows.len() / EMBED, Const::<EMBED>);
            device.try_tensor_from_vec(rows, shape)
        });
        let starts = starts.each_ref().map(|starts| &starts[..]);
        let y = sublayer([&queries?, &keys?], starts)?;
        let count = outputs.len();
        let outputs = device.try_tensor_from_vec(outputs, (count,))?;
        y.try_gather(outputs)?
            .try_reshape_like(&(count, Const::<EMBED>))
    })
}
