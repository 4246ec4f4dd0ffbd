//! The reference for incremental decoding: the cache holds inputs, and every sequence is recomputed from
//! its beginning.

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor_ops::{Device, GatherTo, ReshapeTo};

use super::BoxedIncremental;
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
