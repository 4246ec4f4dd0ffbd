//! The fast path: one task a shard, from layer norm to residual.
//!
//! What a row keeps, and how it lies in memory, is in `kept.rs`.

use std::borrow::Cow;

use dfdx::shapes::Const;
use dfdx::tensor::{Cpu, CpuError, TensorFromVec};
use dfdx::tensor_ops::ReshapeTo;
use rayon::prelude::*;

use super::{Cache, CachedAttentionOp, Kept, NewTokens, Wanted};
use crate::ops::Stream;
use crate::ops::attention::Projections;
use crate::ops::bridge::host;
use crate::ops::kernels::matmul::{Left, Part, Pass, Target, multiply};
use crate::ops::kernels::rows::{normalise, softmax, wide};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::kernels::shards::{Shard, plan};
use crate::ops::parameters::LayerNorm;
use crate::ops::residual::{Layer, layer};

impl CachedAttentionOp<f32> for Cpu {
    fn try_cached_attention<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>(
        x: Stream<EMBED, f32, Cpu>,
        norm: &LayerNorm<EMBED, f32, Cpu>,
        weights: &Projections<EMBED, f32, Cpu>,
        new: NewTokens<'_>,
        cache: &mut Cache<f32>,
    ) -> Result<Stream<EMBED, f32, Cpu>, CpuError> {
        const { assert!(EMBED == HEADS * HEAD_DIM, "heads lie side by side") };
        let x = x.try_contiguous()?;
        let mut kept: Vec<Kept<f32>> = (new.rows.iter())
            .map(|&row| std::mem::take(&mut cache.rows[row]))
            .collect();
        let [key, value, query, proj] =
            [&weights.key, &weights.value, &weights.query, &weights.proj]
                .map(|linear| layer(linear, Pass::Forward));
        let net = Net::<EMBED, HEADS, HEAD_DIM> {
            norm: [host(&norm.weight), host(&norm.bias)],
            key,
            value,
            query,
            proj,
            new,
            shared: &cache.shared,
        };
        let mut rest = &mut kept[..];
        let work: Vec<(Shard, &mut [Kept<f32>])> = plan(new.starts)
            .into_iter()
            .map(|shard| {
                let (own, others) =
                    std::mem::take(&mut rest).split_at_mut(shard.documents().count());
                rest = others;
                (shard, own)
            })
            .collect();
        let y: Vec<Vec<f32>> = work
            .into_par_iter()
            .map(|(shard, kept)| net.read(&shard, shard.rows(host(&x), EMBED), kept))
            .collect();
        for (&row, kept) in new.rows.iter().zip(kept) {
            cache.rows[row] = kept;
        }
        let y = y.concat();
        let shape = (y.len() / EMBED, Const::<EMBED>);
        x.device().try_tensor_from_vec(y, shape)
    }
}

/// The sublayer's weights, laid out, and what is read.
struct Net<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize> {
    norm: [&'a [f32]; 2],
    key: Layer<'a>,
    value: Layer<'a>,
    query: Layer<'a>,
    proj: Layer<'a>,
    new: NewTokens<'a>,
    shared: &'a Kept<f32>,
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>
    Net<'_, EMBED, HEADS, HEAD_DIM>
{
    /// Key and value of a token.
    const WIDTH: usize = 2 * EMBED;

    /// `x: [tokens of the shard, EMBED]` and what its rows keep → `[wanted tokens, EMBED]`.
    fn read(&self, shard: &Shard, x: &[f32], kept: &mut [Kept<f32>]) -> Vec<f32> {
        let mut normed = Scratch::new(x.len());
        normalise(x, self.norm, &mut normed);
        let mut keys_values = Scratch::new(shard.len() * Self::WIDTH);
        apply(&self.key, &normed, &mut keys_values, Self::WIDTH);
        let values = &mut keys_values[EMBED..];
        apply(&self.value, &normed, values, Self::WIDTH);
        for (kept, tokens) in kept.iter_mut().zip(shard.documents()) {
            let news = &keys_values[tokens.start * Self::WIDTH..tokens.end * Self::WIDTH];
            kept.append::<HEADS, HEAD_DIM>(news);
        }
        let normed = self.wanted(shard, &normed);
        let mut queries = Scratch::new(normed.len());
        apply(&self.query, &normed, &mut queries, EMBED);
        let mut heads = Scratch::new(queries.len());
        let mut first = 0;
        for (kept, tokens) in kept.iter().zip(shard.documents()) {
            let end = first + self.new.wanted_of(tokens).len() * EMBED;
            self.attend(&queries[first..end], kept, &mut heads[first..end]);
            first = end;
        }
        let mut y = vec![0.0; heads.len()];
        apply(&self.proj, &heads, &mut y, EMBED);
        (y.iter_mut().zip(&*self.wanted(shard, x))).for_each(|(y, x)| *y += x);
        y
    }

    /// The rows of the tokens that are given back, of a shard's `[tokens, EMBED]`.
    fn wanted<'b>(&self, shard: &Shard, rows: &'b [f32]) -> Cow<'b, [f32]> {
        if self.new.wanted == Wanted::All {
            return Cow::Borrowed(rows);
        }
        let tokens = shard.documents().map(|tokens| self.new.wanted_of(tokens));
        let rows = tokens.flat_map(|t| &rows[t.start * EMBED..t.end * EMBED]);
        Cow::Owned(rows.copied().collect())
    }

    /// The last tokens of a row look back: `queries: [n, EMBED]` → `heads`, written.
    fn attend(&self, queries: &[f32], own: &Kept<f32>, heads: &mut [f32]) {
        let n = queries.len() / EMBED;
        let seen = self.shared.tokens + own.tokens;
        let mut scores = Scratch::new(n * seen);
        let scale = 1.0 / (HEAD_DIM as f32).sqrt();
        heads.fill(0.0);
        for head in 0..HEADS {
            // The tokens that all rows begin with, then the row's own.
            let both = [self.shared, own].map(|kept| kept.head::<HEADS, HEAD_DIM>(head));
            let parts = || {
                let firsts = [0, self.shared.tokens];
                both.iter().zip(firsts).filter(|(part, _)| part.tokens > 0)
            };
            let queries = (n, &queries[head * HEAD_DIM..], EMBED);
            for (part, first) in parts() {
                part.scores(queries, scale, &mut scores[first..], seen);
            }
            softmax_rows(&mut scores, seen);
            for (part, first) in parts() {
                let weights = (n, &scores[first..], seen);
                part.add_values(weights, &mut heads[head * HEAD_DIM..], EMBED);
            }
        }
    }
}

/// `y = x Wᵀ + b`, rows of `y` lying `step` apart; `x: [rows, EMBED]` and so is `b`.
fn apply((weight, bias): &Layer<'_>, x: &[f32], y: &mut [f32], step: usize) {
    let embed = bias.len();
    let (left, target) = (Left::Rows(x, embed), Target::biased(y, step, bias));
    multiply(x.len() / embed, left, weight, 1.0, Part::Whole, target);
}

/// Softmax of the scores of the last tokens of a row, `[n, seen]`: the last sees all, the one before
/// it all but the last, and so on; 0 after what a token sees.
fn softmax_rows(scores: &mut [f32], seen: usize) {
    let before = seen - scores.len() / seen;
    wide(
        #[inline(always)]
        || {
            for (query, row) in scores.chunks_exact_mut(seen).enumerate() {
                let (row, hidden) = row.split_at_mut(before + query + 1);
                softmax(row);
                hidden.fill(0.0);
            }
        },
    );
}
