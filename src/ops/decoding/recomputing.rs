//! The reference for incremental decoding: the cache holds inputs, and every sequence is recomputed from
//! its beginning.

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor_ops::{Device, GatherTo, ReshapeTo};

use super::{IncrementalSublayer, NewTokens, OutputTokens};
use crate::data::ragged::Ragged;
use crate::ops::Stream;

/// `sublayer` computes whole sequences, `[tokens, EMBED]` → the same.
pub struct RecomputingSublayer<N, F> {
    sublayer: F,
    /// The inputs of each sequence so far.
    inputs: Vec<Vec<N>>,
}

impl<N: Clone, F> RecomputingSublayer<N, F> {
    /// With `sequences` empty sequences.
    pub fn new(sequences: usize, sublayer: F) -> Self {
        Self {
            sublayer,
            inputs: vec![vec![]; sequences],
        }
    }
}

impl<const EMBED: usize, N, D, F> IncrementalSublayer<EMBED, N, D> for RecomputingSublayer<N, F>
where
    N: Dtype,
    D: Device<N>,
    F: Fn(Stream<EMBED, N, D>, &Ragged) -> Result<Stream<EMBED, N, D>, D::Err>,
{
    fn try_decode(
        &mut self,
        x: Stream<EMBED, N, D>,
        new: &NewTokens<'_>,
        outputs: OutputTokens,
    ) -> Result<Stream<EMBED, N, D>, D::Err> {
        new.check();
        let device = x.device().clone();
        let x = x.as_vec();
        let (mut whole, mut starts, mut output_tokens) = (vec![], vec![0], vec![]);
        for ((&sequence, own), prefix) in new.sequences.iter().zip(new.own()).zip(new.prefixes) {
            let inputs = &mut self.inputs[sequence];
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
        let y = (self.sublayer)(whole, &batch)?;
        let count = output_tokens.len();
        let output_tokens = device.try_tensor_from_vec(output_tokens, (count,))?;
        y.try_gather(output_tokens)?
            .try_reshape_like(&(count, Const::<EMBED>))
    }
}
