//! The reference for incremental decoding: the cache holds inputs, and every sequence is recomputed from
//! its beginning.

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor_ops::{Device, GatherTo, ReshapeTo};

use super::{BoxedIncremental, BoxedIncrementalPairs};
use crate::data::ragged::Ragged;
use crate::ops::Stream;

/// `sublayer` computes whole sequences, `[tokens, EMBED]` → the same.
pub fn recomputing<'a, const EMBED: usize, N: Dtype, D: Device<N>>(
    sequences: usize,
    sublayer: impl Fn(Stream<EMBED, N, D>, &Ragged) -> Result<Stream<EMBED, N, D>, D::Err> + 'a,
) -> BoxedIncremental<'a, EMBED, N, D> {
    // The inputs of each sequence so far.
    let mut inputs: Vec<Vec<N>> = vec![vec![]; sequences];
    Box::new(move |x, new, outputs| {
        new.check();
        let device = x.device().clone();
        let x = x.as_vec();
        let (mut whole, mut starts, mut output_tokens) = (vec![], vec![0], vec![]);
        for ((&sequence, own), prefix) in new.sequences.iter().zip(new.own()).zip(new.prefixes) {
            let inputs = &mut inputs[sequence];
            for tokens in prefix.iter().chain([&own]) {
                inputs.extend_from_slice(&x[tokens.start * EMBED..tokens.end * EMBED]);
            }
            whole.extend_from_slice(inputs);
            let end = whole.len() / EMBED;
            starts.push(end);
            output_tokens.extend(end - outputs.of(&own).len()..end);
        }
        let batch = Ragged {
            tokens: vec![0; whole.len() / EMBED],
            targets: vec![0; whole.len() / EMBED],
            starts,
        };
        let whole = device.try_tensor_from_vec(whole, (batch.len(), Const::<EMBED>))?;
        let y = sublayer(whole, &batch)?;
        let count = output_tokens.len();
        let output_tokens = device.try_tensor_from_vec(output_tokens, (count,))?;
        y.try_gather(output_tokens)?
            .try_reshape_like(&(count, Const::<EMBED>))
    })
}

/// The same for two streams: the inputs of the keys are stored, and all of them are attended to again. `attend` computes
/// whole sequences from queries, keys and their starts.
pub fn recomputing_pairs<'a, const EMBED: usize, N: Dtype, D: Device<N>>(
    sequences: usize,
    attend: impl Fn([&Stream<EMBED, N, D>; 2], [&[usize]; 2]) -> Result<Stream<EMBED, N, D>, D::Err>
    + 'a,
) -> BoxedIncrementalPairs<'a, EMBED, N, D> {
    // The stream of the keys of each sequence.
    let mut streams: Vec<Vec<N>> = vec![vec![]; sequences];
    Box::new(move |queries, keys, new| {
        new.check();
        let device = queries.device().clone();
        let keys = keys.map_or(vec![], |keys| keys.as_vec());
        let queries = queries.as_vec();
        let (mut all, mut starts) = ([vec![], vec![]], [vec![0], vec![0]]);
        let mut outputs = vec![];
        for (sequence, q, k) in new.pairs() {
            let stream = &mut streams[sequence];
            stream.extend_from_slice(&keys[k.start * EMBED..k.end * EMBED]);
            all[1].extend_from_slice(stream);
            // Queries are at their positions; the output of the padding before them is dropped.
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
        let y = attend(
            [&queries?, &keys?],
            starts.each_ref().map(|starts| &starts[..]),
        )?;
        let count = outputs.len();
        let outputs = device.try_tensor_from_vec(outputs, (count,))?;
        y.try_gather(outputs)?
            .try_reshape_like(&(count, Const::<EMBED>))
    })
}
