//! One head with a single attention map, forward and backward: what most kinds are.

use dfdx::shapes::Const;
use dfdx::tensor::{Cpu, Tensor};

use super::delta::{self, Correction};
use super::head_attention::{HeadAttention, HeadColumns};
use super::head_scores::{Addend, HeadScores};
use super::heads::{HeadTile, Values};
use super::qk_norm::{Gain, QkNorm, normalise, normalise_backward};
use super::relative::{self, BUCKETS};
use super::{AttentionWeights, Layout};
use crate::ops::bridge::host;
use crate::ops::kernels::matmul::{Packed, Target, View};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::cut;
use crate::ops::residual::Parameter;

/// The weighted sum of values by a single attention map.
pub struct StandardHead {
    layout: Layout,
    sinks: Option<Tensor<(usize,), f32, Cpu>>,
    relative: Option<Tensor<(Const<BUCKETS>, usize), f32, Cpu>>,
    /// For each head what relative positions add, by distance.
    by_distance: Vec<Vec<f32>>,
}

impl StandardHead {
    /// For documents of at most `context` tokens.
    pub fn new<const EMBED: usize>(
        weights: &AttentionWeights<EMBED, f32, Cpu>,
        context: usize,
    ) -> Self {
        let (layout, table) = (weights.layout, &weights.relative);
        let of_head = |head| {
            let table = table.iter();
            table.flat_map(move |table| {
                relative::by_distance(host(table), (head, layout.heads), context)
            })
        };
        Self {
            layout,
            sinks: weights.sinks.clone(),
            relative: table.clone(),
            by_distance: (0..layout.heads)
                .map(|head| of_head(head).collect())
                .collect(),
        }
    }

    /// How a head makes weights of scores, given the running sums of its forget gates and their stride.
    pub fn scores(&self, head: usize, sums: (&[f32], usize)) -> HeadScores<'_> {
        let mut scores = HeadScores::with_sums(&self.layout, head, sums);
        if self.relative.is_some() {
            scores.addend = Addend::ByDistance(&self.by_distance[head]);
        }
        if let Some(sinks) = &self.sinks {
            scores.sink = Some(host(sinks)[head]);
        }
        scores
    }

    /// The same, where the sums are among the columns of a document.
    pub fn scores_of(&self, tile: &HeadTile, columns: HeadColumns, qkv: &[f32]) -> HeadScores<'_> {
        let sums = columns.of_head[0]..columns.of_head[0] + (tile.keys - 1) * columns.step + 1;
        let sums = qkv.get(sums).unwrap_or_default();
        self.scores(tile.head, (sums, columns.step))
    }

    /// Lengths of what is kept: the map, what the delta rule keeps, and the output before its norm.
    fn lengths(tile: &HeadTile) -> [usize; 3] {
        let (layout, head_dim) = (&tile.layout, tile.layout.head_dim);
        let of_delta = match layout.delta {
            true => delta::kept_len(tile.keys, head_dim),
            false => 0,
        };
        let of_norm = usize::from(layout.head_norm) * tile.queries * head_dim;
        [tile.saved_len(), of_delta, of_norm]
    }

    /// From the gradient of a head's weights to that of its scores, in place; accumulates those of what is added to
    /// them.
    pub fn map_backward(
        &self,
        (tile, columns): (&HeadTile, HeadColumns),
        (qkv, map): (&[f32], &[f32]),
        dmap: &mut [f32],
        dqkv: &mut [f32],
        of_parameters: &mut [f32],
    ) {
        let scores = self.scores_of(tile, columns, qkv);
        let mut added = vec![];
        let mut of_addend = scores.addend.gradient(&mut added, tile.keys);
        let of_sink = tile.scores_to_weights_backward(&scores, map, dmap, &mut of_addend);
        let (of_sinks, of_relative) =
            of_parameters.split_at_mut(self.sinks.iter().count() * self.layout.heads);
        if let Some(to) = of_sinks.get_mut(tile.head) {
            *to += of_sink;
        }
        match scores.addend {
            Addend::Growth(_) => columns.add_to_sums(&added, dqkv),
            _ => {
                for (distance, d) in added.into_iter().enumerate() {
                    of_relative[relative::bucket(distance) * self.layout.heads + tile.head] += d;
                }
            }
        }
    }

    /// The delta rule for a head.
    fn correction<'a>(
        scores: &'a HeadScores<'a>,
        tile: &HeadTile,
        columns: HeadColumns,
        qkv: &'a [f32],
    ) -> Correction<'a> {
        let [_, keys, _] = columns.views(qkv, 0);
        Correction {
            tokens: tile.keys,
            head_dim: tile.layout.head_dim,
            scores,
            keys,
            values: (&qkv[columns.starts[2]..], columns.step),
            beta: (&qkv[columns.of_head[1]..], columns.step),
        }
    }

    /// The values that are weighted.
    fn values<'a>(
        tile: &HeadTile,
        columns: HeadColumns,
        qkv: &'a [f32],
        of_delta: &'a [f32],
    ) -> Values<'a> {
        let width = tile.layout.head_dim;
        if !tile.layout.delta {
            return columns.values(qkv, width);
        }
        let corrected = delta::corrected(of_delta, tile.keys, width);
        let rows = View::rows(corrected, width);
        Values { rows, width }
    }
}

impl HeadAttention for StandardHead {
    fn parameters(&self) -> Vec<&dyn Parameter> {
        let sinks = self.sinks.iter().map(|one| one as &dyn Parameter);
        let relative = self.relative.iter().map(|one| one as &dyn Parameter);
        sinks.chain(relative).collect()
    }

    fn saved_len(&self, tile: &HeadTile) -> usize {
        Self::lengths(tile).iter().sum()
    }

    fn attend(
        &self,
        tile: &HeadTile,
        columns: HeadColumns,
        (_, qkv): (Option<&Packed<'_>>, &[f32]),
        kept: &mut [f32],
        (out, step): (&mut [f32], usize),
    ) {
        let width = tile.layout.head_dim;
        let [map, of_delta, weighted] = cut(Self::lengths(tile), kept);
        let scores = self.scores_of(tile, columns, qkv);
        columns.attention_weights(tile, &scores, (0, width), qkv, map);
        if tile.layout.delta {
            Self::correction(&scores, tile, columns, qkv).forward(of_delta);
        }
        let values = Self::values(tile, columns, qkv, of_delta);
        if !tile.layout.head_norm {
            return tile.apply_weights(map, values, Target::set(out, step));
        }
        tile.apply_weights(map, values, Target::set(weighted, width));
        for (row, out) in weighted.chunks_exact(width).zip(out.chunks_mut(step)) {
            out[..width].copy_from_slice(row);
            normalise(QkNorm::Rms, Gain::One, &mut out[..width], width);
        }
    }

    fn attend_backward(
        &self,
        tile: &HeadTile,
        columns: HeadColumns,
        (_, qkv, kept): (Option<&Packed<'_>>, &[f32], &[f32]),
        (dout, step): (&[f32], usize),
        dqkv: &mut [f32],
        of_parameters: &mut [f32],
    ) {
        let (width, [of_map, of_delta, _]) = (tile.layout.head_dim, Self::lengths(tile));
        let (map, rest) = kept.split_at(of_map);
        let (of_delta, weighted) = rest.split_at(of_delta);
        let scores = self.scores_of(tile, columns, qkv);
        let dweighted = tile
            .layout
            .head_norm
            .then(|| norm_backward(weighted, (dout, step), width));
        let dout = match &dweighted {
            Some(dweighted) => View::rows(dweighted, width),
            None => View::rows(dout, step),
        };
        let values = Self::values(tile, columns, qkv, of_delta);
        let mut dcorrected = Scratch::new(if tile.layout.delta {
            tile.keys * width
        } else {
            0
        });
        let target = match tile.layout.delta {
            true => Target::set(&mut dcorrected, width),
            false => columns.dvalues(dqkv),
        };
        let mut dscores = tile.apply_weights_backward(map, values, dout, target);
        let map = (qkv, map);
        self.map_backward((tile, columns), map, &mut dscores, dqkv, of_parameters);
        columns.scores_backward(tile, (0, width), (qkv, &dscores), dqkv);
        if tile.layout.delta {
            let correction = Self::correction(&scores, tile, columns, qkv);
            correct_backward(&correction, columns, of_delta, &mut dcorrected, dqkv);
        }
    }
}

/// The gradient of a head's output before its norm, given that of the output with row stride `step`.
fn norm_backward(weighted: &[f32], (dout, step): (&[f32], usize), width: usize) -> Scratch {
    let mut dweighted = Scratch::new(weighted.len());
    let rows = dweighted.chunks_exact_mut(width).zip(dout.chunks(step));
    for ((d, dout), row) in rows.zip(weighted.chunks_exact(width)) {
        d.copy_from_slice(&dout[..width]);
        normalise_backward(QkNorm::Rms, Gain::One, (d, row), width, &mut []);
    }
    dweighted
}

/// Backward of the delta rule, given the gradient of the corrected values: writes the gradients of values and β, adds
/// those of keys and of the forget gates' sums.
fn correct_backward(
    correction: &Correction<'_>,
    columns: HeadColumns,
    kept: &[f32],
    dcorrected: &mut [f32],
    dqkv: &mut [f32],
) {
    let (tokens, width) = (correction.tokens, correction.head_dim);
    let mut sums = vec![];
    let mut of_addend = correction.scores.addend.gradient(&mut sums, tokens);
    let (dkeys, dbeta) = correction.backward(kept, dcorrected, &mut of_addend);
    let [_, keys, values] = columns.starts;
    columns.add_to_sums(&sums, dqkv);
    for (token, (dkeys, dvalues)) in (dkeys
        .chunks_exact(width)
        .zip(dcorrected.chunks_exact(width)))
    .enumerate()
    {
        let row = token * columns.step;
        let to = dqkv[row + keys..][..width].iter_mut();
        to.zip(dkeys).for_each(|(to, d)| *to += d);
        dqkv[row + values..][..width].copy_from_slice(dvalues);
        dqkv[row + columns.of_head[1]] = dbeta[token];
    }
}
