//! The dense synthesizer: attention weights are predicted from the query token alone, without keys (Tay et
//! al. 2021, Synthesizer, §3.1; as in CS224N's assignment 5).

use dfdx::shapes::Dtype;
use dfdx::tensor::Tape;

use super::Attention;
use crate::data::ragged::Ragged;
use crate::ops::attention::AttentionDropout;
use crate::ops::decoding::BoxedIncremental;
use crate::ops::maps::HeadMap;
use crate::ops::parameters::LayerNorm;
use crate::ops::synthesizer::{self, SynthesizerWeights};
use crate::ops::{LabDevice, Stream};

/// Heads of width HEAD_DIM, which divides EMBED. A document has at most POSITIONS tokens: one
/// less than the context, as in the reference, where the last token of a document is only ever a target.
pub type Synthesizer<const EMBED: usize, const HEAD_DIM: usize, const POSITIONS: usize, N, D> =
    SynthesizerWeights<EMBED, HEAD_DIM, POSITIONS, N, D>;

impl<const EMBED: usize, const HEAD_DIM: usize, const POSITIONS: usize, N: Dtype, D: LabDevice<N>>
    Attention<EMBED, N, D> for Synthesizer<EMBED, HEAD_DIM, POSITIONS, N, D>
{
    const KIND: &'static str = "synthesizer";
    const LONGEST: usize = POSITIONS;

    fn try_sublayer<T: Tape<N, D>>(
        &self,
        x: Stream<EMBED, N, D, T>,
        norm: &LayerNorm<EMBED, N, D>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, N, D, T>, D::Err> {
        D::try_synthesize::<EMBED, HEAD_DIM, POSITIONS, T>(x, norm, self, batch, dropout)
    }

    fn incremental<'a>(
        &'a self,
        norm: &'a LayerNorm<EMBED, N, D>,
        rows: usize,
        _context: usize,
    ) -> BoxedIncremental<'a, EMBED, N, D> {
        D::incremental_synthesizer::<EMBED, HEAD_DIM, POSITIONS>(norm, self, rows)
    }

    fn maps(&self, x: &Stream<EMBED, N, D>, norm: &LayerNorm<EMBED, N, D>) -> Vec<HeadMap> {
        synthesizer::maps(x, norm, self)
    }
}
