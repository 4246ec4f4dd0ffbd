//! The fast path: projections for a few documents at a time, then every head of every document separately,
//! without padding.
//!
//! The hidden layer of the scores and the values lie side by side in one `[tokens, 2 * EMBED]` matrix.

use std::ops::Range;

use dfdx::tensor::{Cpu, CpuError, Tape};

use super::cached::CachedSynthesizer;
use super::{SynthesizerOp, SynthesizerWeights};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::attention::heads::{HeadTile, Values, step};
use crate::ops::attention::{AttentionDropout, Scoring, TILE_TOKENS};
use crate::ops::bridge::host;
use crate::ops::decoding::{BoxedIncremental, CachedSublayer};
use crate::ops::kernels::matmul::{
    Left, Packed, Part, Pass, Target, View, linear, multiply, weight_gradient,
};
use crate::ops::kernels::rows::{relu, relu_backward, sum_rows, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, cut, take};
use crate::ops::parameters::LayerNorm;
use crate::ops::residual::{
    Branch, BranchBackward, PackedLinear, Parameter, apply, back, pack_linear, try_residual,
};

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
        let branch = Synthesizer::new(weights, dropout);
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
        Box::new(CachedSublayer::new(
            norm,
            CachedSynthesizer::new(weights),
            rows,
        ))
    }
}

/// The sublayer's branch, a function of the normalised stream.
struct Synthesizer<const EMBED: usize, const HEAD_DIM: usize, const POSITIONS: usize> {
    weights: SynthesizerWeights<EMBED, HEAD_DIM, POSITIONS, f32, Cpu>,
    /// Hidden layer and values as one linear layer: `[2 * EMBED, EMBED]` and `[2 * EMBED]`.
    joined: [Vec<f32>; 2],
    dropout: AttentionDropout,
}

/// What backward needs of a shard.
struct Saved {
    /// Hidden layer and values: `[tokens, 2 * EMBED]`.
    hv: Scratch,
    /// The attention weights of every head, before dropout: see [`HeadTile::saved_len`].
    weights: Scratch,
    /// The heads' outputs, side by side: `[tokens, EMBED]`.
    heads: Scratch,
}

impl<const EMBED: usize, const HEAD_DIM: usize, const POSITIONS: usize>
    Synthesizer<EMBED, HEAD_DIM, POSITIONS>
{
    /// Total width of hidden layer and values.
    const WIDTH: usize = 2 * EMBED;

    fn new(
        weights: &SynthesizerWeights<EMBED, HEAD_DIM, POSITIONS, f32, Cpu>,
        dropout: AttentionDropout,
    ) -> Self {
        let w = weights;
        Self {
            weights: weights.clone(),
            joined: [
                [host(&w.w1.weight), host(&w.value.weight)].concat(),
                [host(&w.w1.bias), host(&w.value.bias)].concat(),
            ],
            dropout,
        }
    }

    /// The documents of a tile.
    fn documents(tile: &Shard) -> impl Iterator<Item = Range<usize>> {
        tile.documents().filter(|tokens| !tokens.is_empty())
    }

    /// Every head over a document whose first token has the given index in the batch.
    fn heads(&self, first_query: usize, tokens: usize) -> impl Iterator<Item = HeadTile> {
        (0..EMBED / HEAD_DIM).map(move |head| HeadTile {
            queries: tokens,
            keys: tokens,
            first_query,
            head,
            heads: EMBED / HEAD_DIM,
            scoring: Scoring::SOFTMAX,
            dropout: self.dropout,
        })
    }

    /// `w2` for the first `tokens` positions, packed as a right factor: `[HEAD_DIM, tokens]`, or for
    /// backward `[tokens, HEAD_DIM]`.
    fn packed_w2(&self, tokens: usize, pass: Pass) -> Packed<'_> {
        let w2 = View::rows(host(&self.weights.w2), POSITIONS);
        match pass {
            Pass::Forward => Packed::new(w2, HEAD_DIM, tokens),
            Pass::Backward => Packed::new(w2.t(), tokens, HEAD_DIM),
        }
    }

    /// Where the hidden layer of a head starts, for a document that starts at `row`, and the head's values.
    fn columns(hv: &[f32], row: usize, head: usize) -> (usize, Values<'_>) {
        let hidden = row * Self::WIDTH + head * HEAD_DIM;
        let rows = View::rows(&hv[hidden + EMBED..], Self::WIDTH);
        let width = HEAD_DIM;
        (hidden, Values { rows, width })
    }

    /// Backward of one head over one document: writes its columns of `dhv`, accumulates the gradients of
    /// `w2` and `b2`.
    fn head_backward(
        head: HeadTile,
        row: usize,
        w2: &Packed<'_>,
        (hv, kept): (&[f32], &[f32]),
        dheads: &[f32],
        dhv: &mut [f32],
        position_gradients: &mut PositionGradients,
    ) {
        let (n, width) = (head.keys, Self::WIDTH);
        let (hidden, values) = Self::columns(hv, row, head.head);
        let dout = View::rows(&dheads[row * EMBED + head.head * HEAD_DIM..], EMBED);
        let target = Target::set(&mut dhv[hidden + EMBED..], width);
        let mut dscores = head.apply_weights_backward(kept, values, dout, target);
        head.scores_to_weights_backward(kept, &mut dscores);
        let (left, target) = (
            Left::Rows(&dscores, step(n)),
            Target::set(&mut dhv[hidden..], width),
        );
        multiply(n, left, w2, 1.0, Part::LowerLeft, target);
        let hidden = Packed::new(View::rows(&hv[hidden..], width), n, HEAD_DIM);
        let left = Left::Columns(&dscores, step(n));
        let target = Target {
            add: true,
            ..Target::set(&mut position_gradients.dw2, HEAD_DIM)
        };
        multiply(n, left, &hidden, 1.0, Part::UpperLeft, target);
        wide!({
            for row in dscores.chunks_exact(step(n)) {
                let sums = position_gradients.db2.iter_mut().zip(&row[..n]);
                sums.for_each(|(sum, d)| *sum += d);
            }
        });
    }
}

/// A shard's gradients of `w2` and `b2`.
struct PositionGradients {
    /// Transposed: `[POSITIONS, HEAD_DIM]`.
    dw2: Vec<f32>,
    /// `[POSITIONS]`.
    db2: Vec<f32>,
}

impl<const EMBED: usize, const HEAD_DIM: usize, const POSITIONS: usize> Branch
    for Synthesizer<EMBED, HEAD_DIM, POSITIONS>
{
    type Saved = Saved;
    type Weights<'a> = [PackedLinear<'a>; 2];

    fn parameters(&self) -> Vec<&dyn Parameter> {
        let w = &self.weights;
        vec![
            &w.w1.weight,
            &w.value.weight,
            &w.w1.bias,
            &w.value.bias,
            &w.w2,
            &w.b2,
            &w.proj.weight,
            &w.proj.bias,
        ]
    }

    fn pack(&self, pass: Pass) -> Self::Weights<'_> {
        let [weight, bias] = &self.joined;
        [
            (linear(weight, (EMBED, Self::WIDTH), pass), bias),
            pack_linear(&self.weights.proj, pass),
        ]
    }

    fn forward(
        &self,
        [hidden_and_value, proj]: &Self::Weights<'_>,
        shard: &Shard,
        normed: &[f32],
        out: &mut [f32],
    ) -> Saved {
        let width = Self::WIDTH;
        let saved_len = |tokens: Range<usize>| {
            let heads = self.heads(0, tokens.len());
            heads.map(|head| head.saved_len()).sum::<usize>()
        };
        let mut saved = Saved {
            hv: Scratch::new(shard.len() * width),
            weights: Scratch::new(Self::documents(shard).map(saved_len).sum()),
            heads: Scratch::new(shard.len() * EMBED),
        };
        let mut weights = &mut saved.weights[..];
        for tile in shard.tiles(TILE_TOKENS) {
            let at = tile.range_in(shard);
            let hv = &mut saved.hv[at.start * width..at.end * width];
            let at = at.start * EMBED..at.end * EMBED;
            apply(hidden_and_value, &normed[at.clone()], hv, width);
            hv.chunks_exact_mut(width)
                .for_each(|row| relu(&mut row[..EMBED]));
            let heads = &mut saved.heads[at.clone()];
            for tokens in Self::documents(&tile) {
                let (n, row) = (tokens.len(), tokens.start);
                let w2 = self.packed_w2(n, Pass::Forward);
                for head in self.heads(tile.starts[0] + row, n) {
                    let kept = take(&mut weights, head.saved_len());
                    let (hidden, values) = Self::columns(hv, row, head.head);
                    let left = Left::Rows(&hv[hidden..], width);
                    let target = Target::biased(kept, step(n), &host(&self.weights.b2)[..n]);
                    multiply(n, left, &w2, 1.0, Part::LowerResult, target);
                    head.scores_to_weights(kept);
                    let out = &mut heads[row * EMBED + head.head * HEAD_DIM..];
                    head.apply_weights(kept, values, Target::set(out, EMBED));
                }
            }
            apply(proj, heads, &mut out[at], EMBED);
        }
        saved
    }

    fn backward(
        &self,
        [hidden_and_value, proj]: &Self::Weights<'_>,
        shard: &Shard,
        mut saved: Saved,
        BranchBackward {
            normed,
            dout,
            dnormed,
        }: BranchBackward<'_>,
        share: &mut [f32],
    ) {
        let width = Self::WIDTH;
        let mut dhv = Scratch::new(shard.len() * width);
        let mut position_gradients = PositionGradients {
            dw2: vec![0.0; POSITIONS * HEAD_DIM],
            db2: vec![0.0; POSITIONS],
        };
        let mut weights = &mut saved.weights[..];
        for tile in shard.tiles(TILE_TOKENS) {
            let at = tile.range_in(shard);
            let [hv, dhv] = {
                let at = at.start * width..at.end * width;
                [&mut saved.hv[at.clone()], &mut dhv[at]]
            };
            let at = at.start * EMBED..at.end * EMBED;
            let mut dheads = Scratch::new(tile.len() * EMBED);
            back(proj, &dout[at.clone()], &mut dheads, EMBED);
            for tokens in Self::documents(&tile) {
                let (n, row) = (tokens.len(), tokens.start);
                let w2 = self.packed_w2(n, Pass::Backward);
                for head in self.heads(tile.starts[0] + row, n) {
                    let kept = (&*hv, &*take(&mut weights, head.saved_len()));
                    Self::head_backward(
                        head,
                        row,
                        &w2,
                        kept,
                        &dheads,
                        dhv,
                        &mut position_gradients,
                    );
                }
            }
            for (dhv, hv) in dhv.chunks_exact_mut(width).zip(hv.chunks_exact(width)) {
                relu_backward(&mut dhv[..EMBED], &hv[..EMBED]);
            }
            back(hidden_and_value, dhv, &mut dnormed[at], EMBED);
        }
        let lengths = [
            width * EMBED,
            width,
            HEAD_DIM * POSITIONS,
            POSITIONS,
            EMBED * EMBED,
            EMBED,
        ];
        let [hv, hv_bias, dw2, db2, proj, proj_bias] = cut(lengths, share);
        let heads = Packed::new(View::rows(&saved.heads, EMBED), shard.len(), EMBED);
        weight_gradient(&heads, (dout, EMBED), proj);
        sum_rows(dout, EMBED, proj_bias);
        weight_gradient(normed, (&dhv, width), hv);
        sum_rows(&dhv, width, hv_bias);
        for (channel, row) in dw2.chunks_exact_mut(POSITIONS).enumerate() {
            let column = position_gradients.dw2[channel..].iter().step_by(HEAD_DIM);
            row.iter_mut()
                .zip(column)
                .for_each(|(to, from)| *to = *from);
        }
        db2.copy_from_slice(&position_gradients.db2);
    }
}
