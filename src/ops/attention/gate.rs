//! A gate on the heads' outputs: each is multiplied by the sigmoid of a projection of the token, one number per head
//! or per channel (Qiu et al. 2025, Gated Attention for Large Language Models, §2.2; position G1).

use super::Layout;
use crate::ops::kernels::rows::{sigmoid, sum_of, wide};

/// What a gate's numbers belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Each head has one.
    Head,
    /// Each channel of each head has one.
    Channel,
}

impl Gate {
    /// Number of gates of a token.
    pub fn width(self, layout: &Layout) -> usize {
        match self {
            Self::Head => layout.heads,
            Self::Channel => layout.width(),
        }
    }
}

/// Multiplies heads by their gates, in place: `heads: [tokens, width]`, and `count` gates of each token, before the
/// sigmoid, with row stride `step`.
pub(super) fn close(heads: &mut [f32], width: usize, (gates, count, step): (&[f32], usize, usize)) {
    let rows = heads.chunks_exact_mut(width).zip(gates.chunks(step));
    wide!({
        for (heads, gates) in rows {
            let parts = heads.chunks_exact_mut(width / count);
            for (part, gate) in parts.zip(&gates[..count]) {
                let open = sigmoid(*gate);
                part.iter_mut().for_each(|x| *x *= open);
            }
        }
    });
}

/// Backward of [`close`]: turns `dheads`, the gradient of the gated heads, into that of the heads, and writes that
/// of the gates before the sigmoid.
pub(super) fn backward(
    (heads, dheads, width): (&[f32], &mut [f32], usize),
    (gates, count, step): (&[f32], usize, usize),
    dgates: &mut [f32],
) {
    let channels = width / count;
    let rows = heads
        .chunks_exact(width)
        .zip(dheads.chunks_exact_mut(width));
    let gates = gates.chunks(step).zip(dgates.chunks_mut(step));
    wide!({
        for ((heads, dheads), (gates, dgates)) in rows.zip(gates) {
            let parts = heads.chunks_exact(channels);
            let parts = parts.zip(dheads.chunks_exact_mut(channels));
            let gates = gates[..count].iter().zip(&mut dgates[..count]);
            for ((x, d), (gate, dgate)) in parts.zip(gates) {
                let open = sigmoid(*gate);
                *dgate = open * (1.0 - open) * sum_of(x, d, |x, d| x * d);
                d.iter_mut().for_each(|d| *d *= open);
            }
        }
    });
}
