//! A gate on the heads' outputs: each is multiplied by the sigmoid of a projection of the token, one number per head
//! or per channel (Qiu et al. 2025, Gated Attention for Large Language Models, §2.2; position G1).

use super::Layout;
use crate::ops::kernels::rows::{sigmoid, sum_of, wide};

/// Granularity of the output gates.
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
pub(super) fn apply(heads: &mut [f32], width: usize, (gates, count, step): (&[f32], usize, usize)) {
    let rows = heads.chunks_exact_mut(width).zip(gates.chunks(step));
    let mut open = vec![0.0; count];
    wide!({
        for (heads, gates) in rows {
            opened(&gates[..count], &mut open);
            multiply(heads, &open);
        }
    });
}

/// Backward of [`apply`], given the `gated` heads: turns `dheads`, their gradient, into that of the heads as they were,
/// and writes that of the gates before the sigmoid.
pub(super) fn backward(
    (gated, dheads, width): (&[f32], &mut [f32], usize),
    (gates, count, step): (&[f32], usize, usize),
    dgates: &mut [f32],
) {
    let mut open = vec![0.0; count];
    let rows = gated
        .chunks_exact(width)
        .zip(dheads.chunks_exact_mut(width));
    let gates = gates.chunks(step).zip(dgates.chunks_mut(step));
    wide!({
        for ((gated, dheads), (gates, dgates)) in rows.zip(gates) {
            opened(&gates[..count], &mut open);
            let dgates = &mut dgates[..count];
            along(gated, dheads, dgates);
            // σ' = σ (1 - σ), and the gated heads have one of the factors.
            let cells = dgates.iter_mut().zip(&open);
            cells.for_each(|(d, open)| *d *= 1.0 - open);
            multiply(dheads, &open);
        }
    });
}

/// The sigmoids of gates.
#[inline(always)]
fn opened(gates: &[f32], open: &mut [f32]) {
    (open.iter_mut().zip(gates)).for_each(|(open, gate)| *open = sigmoid(*gate));
}

/// Multiplies the channels of each gate by it.
#[inline(always)]
fn multiply(x: &mut [f32], open: &[f32]) {
    if x.len() == open.len() {
        return x.iter_mut().zip(open).for_each(|(x, open)| *x *= open);
    }
    for (part, open) in x.chunks_exact_mut(x.len() / open.len()).zip(open) {
        part.iter_mut().for_each(|x| *x *= open);
    }
}

/// The sum of products over the channels of each gate.
#[inline(always)]
fn along(x: &[f32], d: &[f32], sums: &mut [f32]) {
    if x.len() == sums.len() {
        let cells = sums.iter_mut().zip(x.iter().zip(d));
        return cells.for_each(|(sum, (x, d))| *sum = x * d);
    }
    let channels = x.len() / sums.len();
    let parts = x.chunks_exact(channels).zip(d.chunks_exact(channels));
    for (sum, (x, d)) in sums.iter_mut().zip(parts) {
        *sum = sum_of(x, d, |x, d| x * d);
    }
}
