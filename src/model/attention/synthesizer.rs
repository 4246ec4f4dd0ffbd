//! The dense synthesizer: a token says of itself what it wants of each place, and asks no key (Tay et al.
//! 2021, Synthesizer, §3.1; as in CS224N's assignment 5).

use dfdx::shapes::Dtype;
use dfdx::tensor::Tape;

use super::Attention;
use crate::data::ragged::Ragged;
use crate::ops::attention::AttentionDropout;
use crate::ops::maps::HeadMap;
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::BoxedReader;
use crate::ops::synthesizer::{self, Synthesis};
use crate::ops::{LabDevice, Stream};

/// HEADS heads of width HEAD_DIM; HEADS × HEAD_DIM = EMBED. A document has at most PLACES tokens: one less than
/// the context, as in the reference, where a document's last token is only ever a target.
pub(in crate::model) type Synthesizer<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const PLACES: usize,
    N,
    D,
> = Synthesis<EMBED, HEADS, HEAD_DIM, PLACES, N, D>;

impl<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const PLACES: usize,
    N: Dtype,
    D: LabDevice<N>,
> Attention<EMBED, N, D> for Synthesizer<EMBED, HEADS, HEAD_DIM, PLACES, N, D>
{
    const KIND: &'static str = "synthesizer";
    const LONGEST: usize = PLACES;

    fn try_sublayer<T: Tape<N, D>>(
        &self,
        x: Stream<EMBED, N, D, T>,
        norm: &LayerNorm<EMBED, N, D>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, N, D, T>, D::Err> {
        D::try_synthesize::<EMBED, HEADS, HEAD_DIM, PLACES, T>(x, norm, self, batch, dropout)
    }

    fn reader<'a>(
        &'a self,
        norm: &'a LayerNorm<EMBED, N, D>,
        rows: usize,
        _context: usize,
    ) -> BoxedReader<'a, EMBED, N, D> {
        D::synthesizer_reader::<EMBED, HEADS, HEAD_DIM, PLACES>(norm, self, rows)
    }

    fn maps(&self, x: &Stream<EMBED, N, D>, norm: &LayerNorm<EMBED, N, D>) -> Vec<HeadMap> {
        synthesizer::maps(x, norm, self)
    }
}
