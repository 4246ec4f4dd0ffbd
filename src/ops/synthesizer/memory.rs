//! The synthesizer remembers the values of the tokens that it has read: it asks no keys.

use dfdx::tensor::Cpu;

use super::Synthesis;
use super::cpu::relu;
use crate::ops::attention::Scoring;
use crate::ops::attention::heads::step;
use crate::ops::bridge::host;
use crate::ops::kernels::matmul::{Left, Packed, Part, Pass, Target, View, multiply};
use crate::ops::kernels::scratch::Scratch;
use crate::ops::reading::{Kept, Memory};
use crate::ops::residual::{Layer, apply, layer};

/// The weights, laid out. What is kept of a row is one block, its values: `[tokens, EMBED]`.
pub(super) struct Values<
    'a,
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const PLACES: usize,
> {
    w1: Layer<'a>,
    value: Layer<'a>,
    proj: Layer<'a>,
    /// Scores of all places.
    places: Layer<'a>,
}

impl<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize, const PLACES: usize>
    Values<'a, EMBED, HEADS, HEAD_DIM, PLACES>
{
    pub(super) fn new(weights: &'a Synthesis<EMBED, HEADS, HEAD_DIM, PLACES, f32, Cpu>) -> Self {
        let w2 = View::rows(host(&weights.w2), PLACES);
        Self {
            w1: layer(&weights.w1, Pass::Forward),
            value: layer(&weights.value, Pass::Forward),
            proj: layer(&weights.proj, Pass::Forward),
            places: (Packed::new(w2, HEAD_DIM, PLACES), host(&weights.b2)),
        }
    }
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize, const PLACES: usize> Memory
    for Values<'_, EMBED, HEADS, HEAD_DIM, PLACES>
{
    fn width(&self) -> usize {
        EMBED
    }

    fn remember(&self, normed: &[f32], _: &[usize], news: &mut [f32]) {
        apply(&self.value, normed, news, EMBED);
    }

    fn keep(&self, kept: &mut Kept, news: &[f32]) {
        if kept.blocks.is_empty() {
            kept.blocks.push(vec![]);
        }
        kept.blocks[0].extend_from_slice(news);
        kept.tokens += news.len() / EMBED;
    }

    fn ask(&self, normed: &[f32], _: &[usize], hidden: &mut [f32]) {
        apply(&self.w1, normed, hidden, EMBED);
        relu(hidden);
    }

    fn look_back(&self, kept: &Kept, hidden: &[f32], found: &mut [f32]) {
        let (n, step, values) = (hidden.len() / EMBED, step(PLACES), &kept.blocks[0]);
        let mut scores = Scratch::new(n * step);
        let (w2, b2) = &self.places;
        for head in 0..HEADS {
            let column = head * HEAD_DIM;
            let left = Left::Rows(&hidden[column..], EMBED);
            let target = Target::biased(&mut scores, step, b2);
            multiply(n, left, w2, 1.0, Part::Whole, target);
            Scoring::SOFTMAX.weigh_last(&mut scores, step, kept.tokens, 0.0);
            let values = View::rows(&values[column..], EMBED);
            let values = Packed::new(values, kept.tokens, HEAD_DIM);
            let target = Target::set(&mut found[column..], EMBED);
            multiply(
                n,
                Left::Rows(&scores, step),
                &values,
                1.0,
                Part::Whole,
                target,
            );
        }
    }

    fn project(&self, found: &[f32], out: &mut [f32]) {
        apply(&self.proj, found, out, EMBED);
    }
}
