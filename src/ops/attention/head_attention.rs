//! What heads compute from their queries, keys and values over one document, on slices.

use super::heads::DocumentHead;
use crate::ops::residual::Parameter;

/// The computation of all heads over a document, forward and backward.
pub trait DocumentAttention: Send + Sync + 'static {
    /// Learned parameters besides the projections, in the order in which backward writes their gradients.
    fn parameters(&self) -> Vec<&dyn Parameter>;

    /// Number of elements that are saved for backward.
    fn saved_len(&self, heads: &[DocumentHead]) -> usize;

    /// Writes what backward needs, and the heads' outputs side by side: `[queries, width]` with a row stride.
    fn attend(
        &self,
        heads: &[DocumentHead],
        qkv: &[f32],
        kept: &mut [f32],
        out: (&mut [f32], usize),
    );

    /// Backward of [`Self::attend`], given the gradient of its output: writes the gradients of queries, keys and values,
    /// and accumulates those of [`Self::parameters`]; see [`Self::finish`].
    fn attend_backward(
        &self,
        heads: &[DocumentHead],
        saved: (&[f32], &[f32]),
        dout: (&[f32], usize),
        dqkv: &mut [f32],
        of_parameters: &mut [f32],
    );

    /// Turns what backward has accumulated over a shard into the gradients of [`Self::parameters`].
    fn finish(&self, of_parameters: &mut [f32]);
}
