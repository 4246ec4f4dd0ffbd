//! The fast path: one task a shard, from layer norm to residual.
//!
//! A row keeps key and value of a token side by side, `[tokens, 2 * EMBED]`: one stretch of memory
//! to read when a single query looks back.

use dfdx::shapes::Const;
use dfdx::tensor::{Cpu, CpuError, TensorFromVec};
use dfdx::tensor_ops::ReshapeTo;
use rayon::prelude::*;

use super::{Cache, CachedAttentionOp, NewTokens};
use crate::ops::Stream;
use crate::ops::attention::Projections;
use crate::ops::bridge::host;
use crate::ops::kernels::matmul::{Output, View, product};
use crate::ops::kernels::rows::{exp, normalise, sum_of, wide};
use crate::ops::kernels::shards::{Shard, plan};
use crate::ops::parameters::{LayerNorm, Linear};

/// Tokens that a row makes room for ahead, so that an answer seldom moves what is kept.
const ROOM: usize = 16;

impl CachedAttentionOp<f32> for Cpu {
    fn try_cached_attention<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>(
        x: Stream<EMBED, f32, Cpu>,
        norm: &LayerNorm<EMBED, f32, Cpu>,
        weights: &Projections<EMBED, f32, Cpu>,
        new: NewTokens<'_>,
        cache: &mut Cache<f32>,
    ) -> Result<Stream<EMBED, f32, Cpu>, CpuError> {
        let x = x.try_contiguous()?;
        let mut kept: Vec<Vec<f32>> = (new.rows.iter())
            .map(|&row| std::mem::take(&mut cache.rows[row]))
            .collect();
        let net = Net::<EMBED, HEADS, HEAD_DIM> {
            norm,
            weights,
            new,
            shared: &cache.shared,
        };
        let mut rest = &mut kept[..];
        let work: Vec<(Shard, &mut [Vec<f32>])> = plan(new.starts)
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

/// The sublayer at work.
struct Net<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize> {
    norm: &'a LayerNorm<EMBED, f32, Cpu>,
    weights: &'a Projections<EMBED, f32, Cpu>,
    new: NewTokens<'a>,
    shared: &'a [f32],
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>
    Net<'_, EMBED, HEADS, HEAD_DIM>
{
    /// What a kept token takes.
    const WIDTH: usize = 2 * EMBED;

    /// `x: [tokens of the shard, EMBED]` and what its rows keep → `[wanted tokens, EMBED]`.
    fn read(&self, shard: &Shard, x: &[f32], kept: &mut [Vec<f32>]) -> Vec<f32> {
        let mut normed = vec![0.0; x.len()];
        let norm = [host(&self.norm.weight), host(&self.norm.bias)];
        normalise(x, norm, &mut normed);
        let mut keys_values = vec![0.0; shard.len() * Self::WIDTH];
        apply(&self.weights.key, &normed, &mut keys_values, Self::WIDTH);
        let values = &mut keys_values[EMBED..];
        apply(&self.weights.value, &normed, values, Self::WIDTH);
        for (kept, tokens) in kept.iter_mut().zip(shard.documents()) {
            let news = &keys_values[tokens.start * Self::WIDTH..tokens.end * Self::WIDTH];
            if kept.capacity() - kept.len() < news.len() {
                kept.reserve_exact(news.len() + ROOM * Self::WIDTH);
            }
            kept.extend_from_slice(news);
        }
        let wanted = |rows: &[f32]| -> Vec<f32> {
            let tokens = shard.documents().map(|tokens| self.new.wanted_of(tokens));
            let rows = tokens.map(|t| &rows[t.start * EMBED..t.end * EMBED]);
            rows.collect::<Vec<_>>().concat()
        };
        let normed = wanted(&normed);
        let mut queries = vec![0.0; normed.len()];
        apply(&self.weights.query, &normed, &mut queries, EMBED);
        let mut heads = vec![0.0; queries.len()];
        let mut first = 0;
        for (kept, tokens) in kept.iter().zip(shard.documents()) {
            let end = first + self.new.wanted_of(tokens).len() * EMBED;
            let (queries, heads) = (&queries[first..end], &mut heads[first..end]);
            if queries.len() == EMBED {
                self.attend_one(queries, kept, heads);
            } else {
                self.attend(queries, kept, heads);
            }
            first = end;
        }
        let mut y = vec![0.0; heads.len()];
        apply(&self.weights.proj, &heads, &mut y, EMBED);
        y.iter_mut().zip(wanted(x)).for_each(|(y, x)| *y += x);
        y
    }

    /// The last tokens of a row look back: `queries: [n, EMBED]` → `heads`, written.
    fn attend(&self, queries: &[f32], own: &[f32], heads: &mut [f32]) {
        let n = queries.len() / EMBED;
        let parts = [self.shared, own].map(|part| (part, part.len() / Self::WIDTH));
        let seen = parts[0].1 + parts[1].1;
        let mut scores = vec![0.0; n * seen];
        let scale = 1.0 / (HEAD_DIM as f32).sqrt();
        for head in 0..HEADS {
            let column = head * HEAD_DIM;
            let q = View::rows(&queries[column..], EMBED);
            let mut first = 0;
            for (part, tokens) in parts.into_iter().filter(|(_, tokens)| *tokens > 0) {
                let k = View::rows(&part[column..], Self::WIDTH).t();
                let (size, scores) = ((n, HEAD_DIM, tokens), &mut scores[first..]);
                product(size, q, k, scale, Output::Set, scores, seen);
                first += tokens;
            }
            softmax_rows(&mut scores, seen);
            let (mut first, mut output) = (0, Output::Set);
            for (part, tokens) in parts.into_iter().filter(|(_, tokens)| *tokens > 0) {
                let v = View::rows(&part[EMBED + column..], Self::WIDTH);
                let a = View::rows(&scores[first..], seen);
                let size = (n, tokens, HEAD_DIM);
                product(size, a, v, 1.0, output, &mut heads[column..], EMBED);
                first += tokens;
                output = Output::Add;
            }
        }
    }

    /// The last token of a row looks back: `query: [EMBED]` → `heads`, written.
    ///
    /// Every key and every value is read once, in the order of memory, for all heads.
    fn attend_one(&self, query: &[f32], own: &[f32], heads: &mut [f32]) {
        let seen = (self.shared.len() + own.len()) / Self::WIDTH;
        let mut scores = vec![[0.0; HEADS]; seen];
        let scale = 1.0 / (HEAD_DIM as f32).sqrt();
        wide(
            #[inline(always)]
            || {
                let mut all = scores.iter_mut();
                for part in [self.shared, own] {
                    for (kept, scores) in part.chunks_exact(Self::WIDTH).zip(&mut all) {
                        let keys = kept[..EMBED].chunks_exact(HEAD_DIM);
                        let pairs = query.chunks_exact(HEAD_DIM).zip(keys);
                        for (score, (q, k)) in scores.iter_mut().zip(pairs) {
                            *score = scale * sum_of(q, k, |q, k| q * k);
                        }
                    }
                }
                softmax_columns(&mut scores);
                heads.fill(0.0);
                let mut all = scores.iter();
                for part in [self.shared, own] {
                    for (kept, scores) in part.chunks_exact(Self::WIDTH).zip(&mut all) {
                        let values = kept[EMBED..].chunks_exact(HEAD_DIM);
                        let pairs = heads.chunks_exact_mut(HEAD_DIM).zip(values);
                        for (&score, (sum, v)) in scores.iter().zip(pairs) {
                            sum.iter_mut().zip(v).for_each(|(sum, v)| *sum += score * v);
                        }
                    }
                }
            },
        );
    }
}

/// `y = x Wᵀ + b`, rows of `y` lying `step` apart.
fn apply<const IN: usize, const OUT: usize>(
    linear: &Linear<IN, OUT, f32, Cpu>,
    x: &[f32],
    y: &mut [f32],
    step: usize,
) {
    let rows = x.len() / IN;
    for y in y.chunks_mut(step) {
        y[..OUT].copy_from_slice(host(&linear.bias));
    }
    let (x, w) = (View::rows(x, IN), View::rows(host(&linear.weight), IN).t());
    product((rows, IN, OUT), x, w, 1.0, Output::Add, y, step);
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
                let most = row.iter().fold(f32::NEG_INFINITY, |most, &s| most.max(s));
                row.iter_mut().for_each(|s| *s = exp(*s - most));
                let scale = 1.0 / sum_of(row, row, |s, _| s);
                row.iter_mut().for_each(|s| *s *= scale);
                hidden.fill(0.0);
            }
        },
    );
}

/// Softmax of every head's scores, `[seen, HEADS]`.
#[inline(always)]
fn softmax_columns<const HEADS: usize>(scores: &mut [[f32; HEADS]]) {
    let mut most = [f32::NEG_INFINITY; HEADS];
    for scores in &*scores {
        (most.iter_mut().zip(scores)).for_each(|(most, &s)| *most = most.max(s));
    }
    let mut sums = [0.0; HEADS];
    for scores in &mut *scores {
        for head in 0..HEADS {
            scores[head] = exp(scores[head] - most[head]);
            sums[head] += scores[head];
        }
    }
    for scores in scores {
        (scores.iter_mut().zip(sums)).for_each(|(s, sum)| *s /= sum);
    }
}
