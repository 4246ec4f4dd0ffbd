//! One head of a synthesizer, forward and backward.

use dfdx::tensor::{Cpu, Tensor};

use super::PositionWeights;
use crate::ops::attention::head_attention::{HeadAttention, HeadColumns};
use crate::ops::attention::head_scores::AddendGradient;
use crate::ops::attention::heads::{HeadTile, step};
use crate::ops::bridge::host;
use crate::ops::kernels::matmul::{Left, Packed, Part, Pass, Target, View, multiply};
use crate::ops::kernels::rows::wide;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::residual::Parameter;

/// Values weighted by scores of positions, which are a linear layer of the head's hidden layer.
pub struct SynthesizerHead {
    w2: Tensor<(usize, usize), f32, Cpu>,
    b2: Tensor<(usize,), f32, Cpu>,
}

impl SynthesizerHead {
    pub fn new<const EMBED: usize>(weights: &PositionWeights<EMBED, f32, Cpu>) -> Self {
        Self {
            w2: weights.w2.clone(),
            b2: weights.b2.clone(),
        }
    }

    /// The longest document, in tokens.
    fn positions(&self) -> usize {
        host(&self.b2).len()
    }
}

impl HeadAttention for SynthesizerHead {
    /// `w2` for the document's positions, packed as a right factor: `[head_dim, tokens]`, or for backward
    /// `[tokens, head_dim]`.
    fn document(&self, tokens: usize, pass: Pass) -> Option<Packed<'_>> {
        let (w2, positions) = (host(&self.w2), self.positions());
        let (rows, head_dim) = (View::rows(w2, positions), w2.len() / positions);
        Some(match pass {
            Pass::Forward => Packed::new(rows, head_dim, tokens),
            Pass::Backward => Packed::new(rows.t(), tokens, head_dim),
        })
    }

    fn parameters(&self) -> Vec<&dyn Parameter> {
        vec![&self.w2, &self.b2]
    }

    fn attend(
        &self,
        tile: &HeadTile,
        columns: HeadColumns,
        (w2, hv): (Option<&Packed<'_>>, &[f32]),
        kept: &mut [f32],
        (out, out_step): (&mut [f32], usize),
    ) {
        let (n, w2) = (tile.keys, w2.expect("packed for the document"));
        let left = Left::Rows(&hv[columns.starts[0]..], columns.step);
        let target = Target::biased(kept, step(n), &host(&self.b2)[..n]);
        multiply(n, left, w2, 1.0, Part::LowerResult, target);
        tile.scores_to_weights(&tile.plain_scores(), kept);
        let values = columns.values(hv, tile.layout.head_dim);
        tile.apply_weights(kept, values, Target::set(out, out_step));
    }

    /// The gradient of `w2` is accumulated transposed: `[positions, head_dim]`.
    fn attend_backward(
        &self,
        tile: &HeadTile,
        columns: HeadColumns,
        (w2, hv, kept): (Option<&Packed<'_>>, &[f32], &[f32]),
        (dout, out_step): (&[f32], usize),
        dhv: &mut [f32],
        of_parameters: &mut [f32],
    ) {
        let (n, start, head_dim) = (tile.keys, columns.starts[0], tile.layout.head_dim);
        let w2 = w2.expect("packed for the document");
        let (dw2, db2) = of_parameters.split_at_mut(self.positions() * head_dim);
        let (values, dout) = (columns.values(hv, head_dim), View::rows(dout, out_step));
        let mut dscores = tile.apply_weights_backward(kept, values, dout, columns.dvalues(dhv));
        let (scores, of_addend) = (tile.plain_scores(), &mut AddendGradient::None);
        tile.scores_to_weights_backward(&scores, kept, &mut dscores, of_addend);
        let target = Target::set(&mut dhv[start..], columns.step);
        let left = Left::Rows(&dscores, step(n));
        multiply(n, left, w2, 1.0, Part::LowerLeft, target);
        let hidden = Packed::new(View::rows(&hv[start..], columns.step), n, head_dim);
        let target = Target {
            add: true,
            ..Target::set(dw2, head_dim)
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
        let positions = self.positions();
        let dw2 = &mut of_parameters[..host(&self.w2).len()];
        let head_dim = dw2.len() / positions;
        let mut transposed = Scratch::new(dw2.len());
        transposed.copy_from_slice(dw2);
        for (channel, row) in dw2.chunks_exact_mut(positions).enumerate() {
            let column = transposed[channel..].iter().step_by(head_dim);
            row.iter_mut()
                .zip(column)
                .for_each(|(to, from)| *to = *from);
        }
    }
}
