//! The fast path: projections over a few documents at a time, every head of every document by itself,
//! without padding.
//!
//! The hidden layer of the scores and the values lie side by side in one `[tokens, 2 * EMBED]` matrix.

use std::ops::Range;

use dfdx::tensor::{Cpu, CpuError, Tape};

use super::memory::Values as KeptValues;
use super::{Synthesis, SynthesizerOp};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::attention::heads::{Values, WeightMap, step};
use crate::ops::attention::{AttentionDropout, Scoring, TILE_TOKENS};
use crate::ops::bridge::host;
use crate::ops::kernels::matmul::{
    Left, Packed, Part, Pass, Target, View, linear, multiply, weight_gradient,
};
use crate::ops::kernels::rows::{sum_rows, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, cut, take};
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::{BoxedReader, Remembering};
use crate::ops::residual::{Around, Branch, Layer, Parameter, apply, back, layer, try_residual};

impl SynthesizerOp<f32> for Cpu {
    fn try_synthesize<
        const EMBED: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        const PLACES: usize,
        T: Tape<f32, Cpu>,
    >(
        x: Stream<EMBED, f32, Cpu, T>,
        norm: &LayerNorm<EMBED, f32, Cpu>,
        weights: &Synthesis<EMBED, HEADS, HEAD_DIM, PLACES, f32, Cpu>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
        const { assert!(EMBED == HEADS * HEAD_DIM, "heads lie side by side") };
        assert!(batch.longest() <= PLACES, "a document has too many tokens");
        let branch = Synthesizer::new(weights, dropout);
        try_residual(x, norm, branch, &batch.starts, dropout.output)
    }

    fn synthesizer_reader<
        'a,
        const EMBED: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        const PLACES: usize,
    >(
        norm: &'a LayerNorm<EMBED, f32, Cpu>,
        weights: &'a Synthesis<EMBED, HEADS, HEAD_DIM, PLACES, f32, Cpu>,
        rows: usize,
    ) -> BoxedReader<'a, EMBED, f32, Cpu> {
        const { assert!(EMBED == HEADS * HEAD_DIM, "heads lie side by side") };
        Box::new(Remembering::new(norm, KeptValues::new(weights), rows))
    }
}

/// The sublayer's function of the normed stream.
struct Synthesizer<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const PLACES: usize,
> {
    weights: Synthesis<EMBED, HEADS, HEAD_DIM, PLACES, f32, Cpu>,
    /// Hidden layer and values as one linear layer: `[2 * EMBED, EMBED]` and `[2 * EMBED]`.
    joined: [Vec<f32>; 2],
    dropout: AttentionDropout,
}

/// What backward needs of a shard.
struct Saved {
    /// Hidden layer and values: `[tokens, 2 * EMBED]`.
    hv: Scratch,
    /// The weights of every head, before dropout: see [`WeightMap::elements`].
    weights: Scratch,
    /// `[tokens, EMBED]`: the heads' outputs, side by side.
    heads: Scratch,
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize, const PLACES: usize>
    Synthesizer<EMBED, HEADS, HEAD_DIM, PLACES>
{
    /// Width of hidden layer and values together.
    const WIDTH: usize = 2 * EMBED;

    fn new(
        weights: &Synthesis<EMBED, HEADS, HEAD_DIM, PLACES, f32, Cpu>,
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

    /// The documents of a tile, and each of its heads.
    fn documents(tile: &Shard) -> impl Iterator<Item = Range<usize>> {
        tile.documents().filter(|tokens| !tokens.is_empty())
    }

    /// Every head over a document that begins at a token of the batch.
    fn heads(&self, first: usize, tokens: usize) -> impl Iterator<Item = WeightMap> {
        (0..HEADS).map(move |head| WeightMap {
            queries: tokens,
            keys: tokens,
            first,
            head,
            heads: HEADS,
            scoring: Scoring::SOFTMAX,
            dropout: self.dropout,
        })
    }

    /// What a document of so many tokens multiplies its hidden layer by, `[HEAD_DIM, tokens]`, or on the way
    /// back, `[tokens, HEAD_DIM]`.
    fn places(&self, tokens: usize, pass: Pass) -> Packed<'_> {
        let w2 = View::rows(host(&self.weights.w2), PLACES);
        match pass {
            Pass::Forward => Packed::new(w2, HEAD_DIM, tokens),
            Pass::Backward => Packed::new(w2.t(), tokens, HEAD_DIM),
        }
    }

    /// The values of a head whose document begins at a row, and where its hidden layer begins.
    fn place(hv: &[f32], row: usize, head: usize) -> (usize, Values<'_>) {
        let hidden = row * Self::WIDTH + head * HEAD_DIM;
        let rows = View::rows(&hv[hidden + EMBED..], Self::WIDTH);
        let width = HEAD_DIM;
        (hidden, Values { rows, width })
    }

    /// Backward of one head over one document: writes its columns of `dhv`, adds to the gradients of the
    /// places.
    fn head_backward(
        map: WeightMap,
        row: usize,
        places: &Packed<'_>,
        (hv, kept): (&[f32], &[f32]),
        dheads: &[f32],
        dhv: &mut [f32],
        of_places: &mut OfPlaces,
    ) {
        let (n, width) = (map.keys, Self::WIDTH);
        let (hidden, values) = Self::place(hv, row, map.head);
        let dout = View::rows(&dheads[row * EMBED + map.head * HEAD_DIM..], EMBED);
        let target = Target::set(&mut dhv[hidden + EMBED..], width);
        let mut dscores = map.blend_backward(kept, values, dout, target);
        map.weigh_backward(kept, &mut dscores);
        let (left, target) = (
            Left::Rows(&dscores, step(n)),
            Target::set(&mut dhv[hidden..], width),
        );
        multiply(n, left, places, 1.0, Part::LowerLeft, target);
        let hidden = Packed::new(View::rows(&hv[hidden..], width), n, HEAD_DIM);
        let left = Left::Columns(&dscores, step(n));
        let target = Target {
            add: true,
            ..Target::set(&mut of_places.dw2, HEAD_DIM)
        };
        multiply(n, left, &hidden, 1.0, Part::UpperLeft, target);
        wide(
            #[inline(always)]
            || {
                for row in dscores.chunks_exact(step(n)) {
                    let sums = of_places.db2.iter_mut().zip(&row[..n]);
                    sums.for_each(|(sum, d)| *sum += d);
                }
            },
        );
    }
}

/// A shard's gradients of what a place is scored by.
struct OfPlaces {
    /// The transpose: `[PLACES, HEAD_DIM]`.
    dw2: Vec<f32>,
    /// `[PLACES]`.
    db2: Vec<f32>,
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize, const PLACES: usize> Branch
    for Synthesizer<EMBED, HEADS, HEAD_DIM, PLACES>
{
    type Saved = Saved;
    type Weights<'a> = [Layer<'a>; 2];

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
            layer(&self.weights.proj, pass),
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
        let elements = |tokens: Range<usize>| {
            let maps = self.heads(0, tokens.len());
            maps.map(|map| map.elements()).sum::<usize>()
        };
        let mut saved = Saved {
            hv: Scratch::new(shard.len() * width),
            weights: Scratch::new(Self::documents(shard).map(elements).sum()),
            heads: Scratch::new(shard.len() * EMBED),
        };
        let mut weights = &mut saved.weights[..];
        for tile in shard.tiles(TILE_TOKENS) {
            let at = tile.place_in(shard);
            let hv = &mut saved.hv[at.start * width..at.end * width];
            let at = at.start * EMBED..at.end * EMBED;
            apply(hidden_and_value, &normed[at.clone()], hv, width);
            hv.chunks_exact_mut(width)
                .for_each(|row| relu(&mut row[..EMBED]));
            let heads = &mut saved.heads[at.clone()];
            for tokens in Self::documents(&tile) {
                let (n, row) = (tokens.len(), tokens.start);
                let places = self.places(n, Pass::Forward);
                for map in self.heads(tile.starts[0] + row, n) {
                    let kept = take(&mut weights, map.elements());
                    let (hidden, values) = Self::place(hv, row, map.head);
                    let left = Left::Rows(&hv[hidden..], width);
                    let target = Target::biased(kept, step(n), &host(&self.weights.b2)[..n]);
                    multiply(n, left, &places, 1.0, Part::LowerResult, target);
                    map.weigh(kept);
                    let out = &mut heads[row * EMBED + map.head * HEAD_DIM..];
                    map.blend(kept, values, Target::set(out, EMBED));
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
        Around {
            normed,
            dout,
            dnormed,
        }: Around<'_>,
        share: &mut [f32],
    ) {
        let width = Self::WIDTH;
        let mut dhv = Scratch::new(shard.len() * width);
        let mut of_places = OfPlaces {
            dw2: vec![0.0; PLACES * HEAD_DIM],
            db2: vec![0.0; PLACES],
        };
        let mut weights = &mut saved.weights[..];
        for tile in shard.tiles(TILE_TOKENS) {
            let at = tile.place_in(shard);
            let [hv, dhv] = {
                let at = at.start * width..at.end * width;
                [&mut saved.hv[at.clone()], &mut dhv[at]]
            };
            let at = at.start * EMBED..at.end * EMBED;
            let mut dheads = Scratch::new(tile.len() * EMBED);
            back(proj, &dout[at.clone()], &mut dheads, EMBED);
            for tokens in Self::documents(&tile) {
                let (n, row) = (tokens.len(), tokens.start);
                let places = self.places(n, Pass::Backward);
                for map in self.heads(tile.starts[0] + row, n) {
                    let kept = (&*hv, &*take(&mut weights, map.elements()));
                    Self::head_backward(map, row, &places, kept, &dheads, dhv, &mut of_places);
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
            HEAD_DIM * PLACES,
            PLACES,
            EMBED * EMBED,
            EMBED,
        ];
        let [hv, hv_bias, dw2, db2, proj, proj_bias] = cut(lengths, share);
        let heads = Packed::new(View::rows(&saved.heads, EMBED), shard.len(), EMBED);
        weight_gradient(&heads, (dout, EMBED), proj);
        sum_rows(dout, EMBED, proj_bias);
        weight_gradient(normed, (&dhv, width), hv);
        sum_rows(&dhv, width, hv_bias);
        for (channel, row) in dw2.chunks_exact_mut(PLACES).enumerate() {
            let column = of_places.dw2[channel..].iter().step_by(HEAD_DIM);
            row.iter_mut()
                .zip(column)
                .for_each(|(to, from)| *to = *from);
        }
        db2.copy_from_slice(&of_places.db2);
    }
}

/// `max(x, 0)`, in place.
pub(super) fn relu(row: &mut [f32]) {
    wide(
        #[inline(always)]
        || row.iter_mut().for_each(|x| *x = x.max(0.0)),
    );
}

/// Its backward, in place; `y` is what came out.
fn relu_backward(dy: &mut [f32], y: &[f32]) {
    wide(
        #[inline(always)]
        || (dy.iter_mut().zip(y)).for_each(|(d, &y)| *d = if y > 0.0 { *d } else { 0.0 }),
    );
}
