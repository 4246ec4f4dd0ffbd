//! What heads compute from their queries, keys and values over one document, on slices.

use super::heads::{HeadTile, Values};
use crate::ops::kernels::matmul::{Target, View};
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

/// A head over a document, and where its queries, keys and values are.
pub type DocumentHead = (HeadTile, HeadColumns);

/// Where the queries, keys and values of one head over one document start in matrices with those of all
/// tokens, which lie in one slice; in self-attention they are one matrix.
#[derive(Clone, Copy)]
pub struct HeadColumns {
    pub starts: [usize; 3],
    /// Where the running sums of the head's forget gates start, and β of the delta rule, if there are any.
    pub of_head: [usize; 2],
    /// Row stride of queries.
    pub query_step: usize,
    /// Row stride of keys, values and what goes with them.
    pub step: usize,
    /// Whether another head of the group has already written the gradients of these keys and values.
    pub accumulate_kv: bool,
}

impl HeadColumns {
    /// Queries, keys and values, from channel `channel` of the head on.
    pub fn views(self, qkv: &[f32], channel: usize) -> [View<'_>; 3] {
        let [q, k, v] = self.starts.map(|start| &qkv[start + channel..]);
        [(q, self.query_step), (k, self.step), (v, self.step)]
            .map(|(rows, step)| View::rows(rows, step))
    }

    /// The head's values.
    pub fn values(self, qkv: &[f32], width: usize) -> Values<'_> {
        let [_, _, rows] = self.views(qkv, 0);
        Values { rows, width }
    }

    /// Destination of the gradient of the head's values.
    pub fn dvalues(self, dqkv: &mut [f32]) -> Target<'_> {
        self.kv_gradient(2, dqkv, 0)
    }

    /// Adds to the gradients of the running sums of the head's forget gates, if there are any.
    pub fn add_to_sums(self, gradients: &[f32], dqkv: &mut [f32]) {
        let column = dqkv.iter_mut().skip(self.of_head[0]).step_by(self.step);
        column.zip(gradients).for_each(|(to, d)| *to += d);
    }

    /// Destination of the gradient of keys (1) or values (2), from a channel on.
    fn kv_gradient(self, which: usize, dqkv: &mut [f32], channel: usize) -> Target<'_> {
        Target {
            add: self.accumulate_kv,
            ..Target::set(&mut dqkv[self.starts[which] + channel..], self.step)
        }
    }

    /// The gradients of `width` channels of queries and keys, from `channel` on, given that of their scores.
    pub fn scores_backward(
        self,
        tile: &HeadTile,
        (channel, width): (usize, usize),
        (qkv, dscores): (&[f32], &[f32]),
        dqkv: &mut [f32],
    ) {
        let [q, k, _] = self.views(qkv, channel);
        let target = Target::set(&mut dqkv[self.starts[0] + channel..], self.query_step);
        tile.queries_gradient(dscores, k, width, target);
        tile.keys_gradient(dscores, q, width, self.kv_gradient(1, dqkv, channel));
    }
}
