//! Differential attention remembers what attention does, and looks back twice.

use dfdx::tensor::Cpu;

use super::Differences;
use super::cpu::{Lambda, difference, norm};
use crate::ops::attention::memory::KeysAndValues as Attention;
use crate::ops::attention::{Scoring, kept};
use crate::ops::bridge::host;
use crate::ops::kernels::scratch::Scratch;
use crate::ops::reading::{Kept, Memory};

/// The projections, laid out, and the weights.
pub(super) struct KeysAndValues<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize> {
    attention: Attention<'a, EMBED, EMBED, HEADS, HEAD_DIM>,
    lambda: f32,
    gain: &'a [f32],
}

impl<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>
    KeysAndValues<'a, EMBED, HEADS, HEAD_DIM>
{
    pub(super) fn new(weights: &'a Differences<EMBED, HEADS, HEAD_DIM, f32, Cpu>) -> Self {
        Self {
            // No table of places: nothing is rotated.
            attention: Attention::new(&weights.projections, Scoring::SOFTMAX, 0),
            lambda: Lambda::of(host(&weights.lambda)).value,
            gain: host(&weights.head_norm),
        }
    }

    /// The weights of one map of a head, given all queries: `[rows, tokens]`.
    fn weights(&self, kept: &Kept, head: usize, half: usize, queries: &[f32]) -> Scratch {
        let (n, step) = (queries.len() / EMBED, kept::score_step(kept));
        // Zeros for the other half: keys lie in memory as whole heads.
        let mut padded = Scratch::zeros(n * HEAD_DIM);
        let channels = half * HEAD_DIM / 2..(half + 1) * HEAD_DIM / 2;
        for (to, from) in padded
            .chunks_exact_mut(HEAD_DIM)
            .zip(queries.chunks_exact(EMBED))
        {
            to[channels.clone()].copy_from_slice(&from[head * HEAD_DIM..][channels.clone()]);
        }
        let mut weights = Scratch::new(n * step);
        let scale = Scoring::SOFTMAX.scale(HEAD_DIM / 2) as f32;
        kept::scores::<HEAD_DIM>(kept, head, (n, &padded, HEAD_DIM), scale, &mut weights);
        Scoring::SOFTMAX.weigh_last(&mut weights, step, kept.tokens, 0.0);
        weights
    }
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize> Memory
    for KeysAndValues<'_, EMBED, HEADS, HEAD_DIM>
{
    fn width(&self) -> usize {
        self.attention.width()
    }

    fn remember(&self, normed: &[f32], places: &[usize], news: &mut [f32]) {
        self.attention.remember(normed, places, news);
    }

    fn keep(&self, kept: &mut Kept, news: &[f32]) {
        self.attention.keep(kept, news);
    }

    fn ask(&self, normed: &[f32], places: &[usize], queries: &mut [f32]) {
        self.attention.ask(normed, places, queries);
    }

    fn look_back(&self, kept: &Kept, queries: &[f32], found: &mut [f32]) {
        let mut blended = Scratch::new(queries.len() / EMBED * HEAD_DIM);
        for head in 0..HEADS {
            let [first, second] = [0, 1].map(|half| self.weights(kept, head, half, queries));
            let weights = difference(&first, &second, self.lambda);
            kept::blend::<HEAD_DIM>(kept, head, &weights, &mut blended, HEAD_DIM);
            norm(&blended, self.gain, &mut found[head * HEAD_DIM..], EMBED);
        }
    }

    fn project(&self, found: &[f32], out: &mut [f32]) {
        self.attention.project(found, out);
    }
}
