//! What a head makes of its queries, keys and values over one document, on slices.

use super::heads::{Values, WeightMap, step};
use crate::ops::kernels::matmul::{Left, Packed, Part, Target, View, multiply};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::residual::Parameter;

/// How a head compares queries with keys, and what it gives back.
pub(in crate::ops) trait Comparison<const HEAD_DIM: usize>:
    Send + Sync + 'static
{
    /// What it learns beside the projections, in the order in which backward writes the gradients.
    fn parameters(&self) -> Vec<&dyn Parameter>;

    /// Number of elements that a head keeps for backward.
    fn elements(&self, map: &WeightMap) -> usize;

    /// Writes what backward needs, and the head's output: `[queries, HEAD_DIM]`, rows `step` apart.
    fn attend(
        &self,
        map: &WeightMap,
        columns: Columns,
        qkv: &[f32],
        kept: &mut [f32],
        out: (&mut [f32], usize),
    );

    /// Backward of [`Self::attend`], given the gradient of its output: writes the gradients of queries, keys
    /// and values (adds to the latter two where another head of the group has written them), and adds to
    /// those of [`Self::parameters`].
    fn attend_backward(
        &self,
        map: &WeightMap,
        columns: Columns,
        saved: (&[f32], &[f32]),
        dout: (&[f32], usize),
        dqkv: &mut [f32],
        of_parameters: &mut [f32],
    );
}

/// Where the queries, keys and values of one head over one document begin in a matrix that has those of all
/// tokens.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Columns {
    pub(in crate::ops) starts: [usize; 3],
    /// How far apart the rows of two tokens are.
    pub(in crate::ops) step: usize,
    /// Whether another head has had these keys and values before.
    pub(in crate::ops) shared_again: bool,
}

impl Columns {
    /// Queries, keys and values of the channels from `channel` of the head.
    fn views(self, qkv: &[f32], channel: usize) -> [View<'_>; 3] {
        let from = |start: usize| View::rows(&qkv[start + channel..], self.step);
        self.starts.map(from)
    }

    /// The values of the head.
    pub(in crate::ops) fn values(self, qkv: &[f32], width: usize) -> Values<'_> {
        let [_, _, rows] = self.views(qkv, 0);
        Values { rows, width }
    }

    /// Where the gradient of the head's values goes.
    pub(in crate::ops) fn dvalues(self, dqkv: &mut [f32]) -> Target<'_> {
        self.shared(2, dqkv, 0)
    }

    /// Where a gradient of keys (1) or values (2) goes, from a channel on.
    fn shared(self, which: usize, dqkv: &mut [f32], channel: usize) -> Target<'_> {
        Target {
            add: self.shared_again,
            ..Target::set(&mut dqkv[self.starts[which] + channel..], self.step)
        }
    }

    /// Writes the weights that come of `width` channels of queries and keys, from `channel` on.
    pub(in crate::ops) fn compare(
        self,
        map: &WeightMap,
        (channel, width): (usize, usize),
        qkv: &[f32],
        weights: &mut [f32],
    ) {
        let (n, scale) = (map.keys, map.scoring.scale(width) as f32);
        let [q, k, _] = self.views(qkv, channel);
        let keys = Packed::new(k.t(), width, n);
        let target = Target::set(weights, step(n));
        multiply(n, q.left(), &keys, scale, Part::LowerResult, target);
        map.weigh(weights);
    }

    /// Backward of [`Self::compare`], given the gradient of the weights, which becomes that of the scores.
    pub(in crate::ops) fn compare_backward(
        self,
        map: &WeightMap,
        (channel, width): (usize, usize),
        (qkv, weights): (&[f32], &[f32]),
        mut dweights: Scratch,
        dqkv: &mut [f32],
    ) {
        let (n, scale) = (map.keys, map.scoring.scale(width) as f32);
        map.weigh_backward(weights, &mut dweights);
        let dscores = dweights;
        let [q, k, _] = self.views(qkv, channel);
        let keys = Packed::new(k, n, width);
        let (left, target) = (
            Left::Rows(&dscores, step(n)),
            Target::set(&mut dqkv[self.starts[0] + channel..], self.step),
        );
        multiply(n, left, &keys, scale, Part::LowerLeft, target);
        let queries = Packed::new(q, n, width);
        let (left, target) = (
            Left::Columns(&dscores, step(n)),
            self.shared(1, dqkv, channel),
        );
        multiply(n, left, &queries, scale, Part::UpperLeft, target);
    }
}

/// Values blended by the weights of one map: what most kinds do.
pub(super) struct OneMap;

impl<const HEAD_DIM: usize> Comparison<HEAD_DIM> for OneMap {
    fn parameters(&self) -> Vec<&dyn Parameter> {
        vec![]
    }

    fn elements(&self, map: &WeightMap) -> usize {
        map.elements()
    }

    fn attend(
        &self,
        map: &WeightMap,
        columns: Columns,
        qkv: &[f32],
        kept: &mut [f32],
        (out, step): (&mut [f32], usize),
    ) {
        columns.compare(map, (0, HEAD_DIM), qkv, kept);
        map.blend(kept, columns.values(qkv, HEAD_DIM), Target::set(out, step));
    }

    fn attend_backward(
        &self,
        map: &WeightMap,
        columns: Columns,
        (qkv, kept): (&[f32], &[f32]),
        (dout, step): (&[f32], usize),
        dqkv: &mut [f32],
        _: &mut [f32],
    ) {
        let values = columns.values(qkv, HEAD_DIM);
        let dout = View::rows(dout, step);
        let dweights = map.blend_backward(kept, values, dout, columns.dvalues(dqkv));
        columns.compare_backward(map, (0, HEAD_DIM), (qkv, kept), dweights, dqkv);
    }
}
