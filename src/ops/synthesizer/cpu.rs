//! The fast path of attention, with weights that each head computes from a hidden layer.

use dfdx::shapes::{Rank1, Rank2};
use dfdx::tensor::{Cpu, CpuError, Tape, Tensor};

use super::cached::CachedSynthesizer;
use super::{SynthesizerOp, SynthesizerWeights};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::attention::AttentionDropout;
use crate::ops::attention::cpu::Attention;
use crate::ops::attention::head_attention::{HeadAttention, HeadColumns};
use crate::ops::attention::heads::{HeadTile, step};
use crate::ops::bridge::host;
use crate::ops::decoding::{BoxedIncremental, cached};
use crate::ops::kernels::matmul::{Left, Packed, Part, Pass, Target, View, multiply};
use crate::ops::kernels::rows::wide;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::parameters::LayerNorm;
use crate::ops::residual::{Parameter, try_residual};

impl SynthesizerOp<f32> for Cpu {
    fn try_synthesize<
        const EMBED: usize,
        const HEAD_DIM: usize,
        const POSITIONS: usize,
        T: Tape<f32, Cpu>,
    >(
        x: Stream<EMBED, f32, Cpu, T>,
        norm: &LayerNorm<EMBED, f32, Cpu>,
        weights: &SynthesizerWeights<EMBED, HEAD_DIM, POSITIONS, f32, Cpu>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        const { assert!(EMBED.is_multiple_of(HEAD_DIM), "heads lie side by side") };
        assert!(
            batch.longest() <= POSITIONS,
            "a document has too many tokens"
        );
        let layers = [&weights.w1, &weights.value, &weights.proj];
        let head = SynthesizerHead {
            w2: weights.w2.clone(),
            b2: weights.b2.clone(),
        };
        let branch = Attention::<EMBED, HEAD_DIM, _>::without_keys(layers, head, dropout);
        try_residual(x, norm, branch, &batch.starts, dropout.output)
    }

    fn incremental_synthesizer<
        'a,
        const EMBED: usize,
        const HEAD_DIM: usize,
        const POSITIONS: usize,
    >(
        norm: &'a LayerNorm<EMBED, f32, Cpu>,
        weights: &'a SynthesizerWeights<EMBED, HEAD_DIM, POSITIONS, f32, Cpu>,
        rows: usize,
    ) -> BoxedIncremental<'a, EMBED, f32, Cpu> {
        const { assert!(EMBED.is_multiple_of(HEAD_DIM), "heads lie side by side") };
        cached(norm, CachedSynthesizer::new(weights), rows)
    }
}

/// Values weighted by scores of positions, which are a linear layer of the head's hidden layer.
struct SynthesizerHead<const HEAD_DIM: usize, const POSITIONS: usize> {
    w2: Tensor<Rank2<HEAD_DIM, POSITIONS>, f32, Cpu>,
    b2: Tensor<Rank1<POSITIONS>, f32, Cpu>,
}

impl<const HEAD_DIM: usize, const POSITIONS: usize> HeadAttention<HEAD_DIM>
    for SynthesizerHead<HEAD_DIM, POSITIONS>
{
    /// `w2` for the document's positions, packed as a right factor: `[HEAD_DIM, tokens]`, or for backward
    /// `[tokens, HEAD_DIM]`.
    type Document<'a> = Packed<'a>;

    fn document(&self, tokens: usize, pass: Pass) -> Packed<'_> {
        let w2 = View::rows(host(&self.w2), POSITIONS);
        match pass {
            Pass::Forward => Packed::new(w2, HEAD_DIM, tokens),
            Pass::Backward => Packed::new(w2.t(), tokens, HEAD_DIM),
        }
    }

    fn parameters(&self) -> Vec<&dyn Parameter> {
        vec![&self.w2, &self.b2]
    }

    fn saved_len(&self, tile: &HeadTile) -> usize {
        tile.saved_len()
    }

    fn attend(
        &self,
        tile: &HeadTile,
        columns: HeadColumns,
        (w2, hv): (&Packed<'_>, &[f32]),
        kept: &mut [f32],
        (out, out_step): (&mut [f32], usize),
    ) {
        let n = tile.keys;
        let left = Left::Rows(&hv[columns.starts[0]..], columns.step);
        let target = Target::biased(kept, step(n), &host(&self.b2)[..n]);
        multiply(n, left, w2, 1.0, Part::LowerResult, target);
        tile.scores_to_weights(kept);
        tile.apply_weights(
            kept,
            columns.values(hv, HEAD_DIM),
            Target::set(out, out_step),
        );
    }

    /// The gradient of `w2` is accumulated transposed: `[POSITIONS, HEAD_DIM]`.
    fn attend_backward(
        &self,
        tile: &HeadTile,
        columns: HeadColumns,
        (w2, hv, kept): (&Packed<'_>, &[f32], &[f32]),
        (dout, out_step): (&[f32], usize),
        dhv: &mut [f32],
        of_parameters: &mut [f32],
    ) {
        let (n, start) = (tile.keys, columns.starts[0]);
        let (dw2, db2) = of_parameters.split_at_mut(POSITIONS * HEAD_DIM);
        let (values, dout) = (columns.values(hv, HEAD_DIM), View::rows(dout, out_step));
        let mut dscores = tile.apply_weights_backward(kept, values, dout, columns.dvalues(dhv));
        tile.scores_to_weights_backward(kept, &mut dscores);
        let target = Target::set(&mut dhv[start..], columns.step);
        let left = Left::Rows(&dscores, step(n));
        multiply(n, left, w2, 1.0, Part::LowerLeft, target);
        let hidden = Packed::new(View::rows(&hv[start..], columns.step), n, HEAD_DIM);
        let target = Target {
            add: true,
            ..Target::set(dw2, HEAD_DIM)
        };
        let left = Left::Columns(&dscores, step(n));
        multiply(n, left, &hidden, 1.0, Part::UpperLeft, target);
        wide!({
            for row in dscores.chunks_exact(step(n)) {
                let sums = db2.iter_mut().zip(&row[..n]);
                sums.for_each(|(sum, d)| *sum += d);
            }
        });
    }

    fn finish(&self, of_parameters: &mut [f32]) {
        let dw2 = &mut of_parameters[..POSITIONS * HEAD_DIM];
        let mut transposed = Scratch::new(dw2.len());
        transposed.copy_from_slice(dw2);
        for (channel, row) in dw2.chunks_exact_mut(POSITIONS).enumerate() {
            let column = transposed[channel..].iter().step_by(HEAD_DIM);
            row.iter_mut()
                .zip(column)
                .for_each(|(to, from)| *to = *from);
        }
    }
}
