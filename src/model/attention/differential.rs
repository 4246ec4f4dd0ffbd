//! Differential attention: each head subtracts a second attention map from a first, so that noise common to
//! both cancels (Ye et al. 2025, Differential Transformer, §2.1).

use dfdx::shapes::Dtype;
use dfdx::tensor::Tape;

use super::Attention;
use crate::data::ragged::Ragged;
use crate::ops::attention::AttentionDropout;
use crate::ops::decoding::BoxedIncremental;
use crate::ops::differential::{self, DifferentialWeights};
use crate::ops::maps::HeadMap;
use crate::ops::parameters::LayerNorm;
use crate::ops::{LabDevice, Stream};

/// Heads of width HEAD_DIM, an even number that divides EMBED.
pub type Differential<const EMBED: usize, const HEAD_DIM: usize, N, D> =
    DifferentialWeights<EMBED, HEAD_DIM, N, D>;

impl<const EMBED: usize, const HEAD_DIM: usize, N: Dtype, D: LabDevice<N>> Attention<EMBED, N, D>
    for Differential<EMBED, HEAD_DIM, N, D>
{
    const KIND: &'static str = "differential";

    fn try_sublayer<T: Tape<N, D>>(
        &self,
        x: Stream<EMBED, N, D, T>,
        norm: &LayerNorm<EMBED, N, D>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, N, D, T>, D::Err> {
        D::try_differential::<EMBED, HEAD_DIM, T>(x, norm, self, batch, dropout)
    }

    fn incremental<'a>(
        &'a self,
        norm: &'a LayerNorm<EMBED, N, D>,
        rows: usize,
        context: usize,
    ) -> BoxedIncremental<'a, EMBED, N, D> {
        D::incremental_differential::<EMBED, HEAD_DIM>(norm, self, (rows, context))
    }

    fn maps(&self, x: &Stream<EMBED, N, D>, norm: &LayerNorm<EMBED, N, D>) -> Vec<HeadMap> {
        differential::maps(x, norm, self)
    }
}
