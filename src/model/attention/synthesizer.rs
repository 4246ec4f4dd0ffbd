//! The dense synthesizer: a token says of itself what it wants of each place, and asks no key (Tay et al.
//! 2021, Synthesizer, §3.1; as in CS224N's assignment 5).

use dfdx::nn::tensor_collection::{ModuleVisitor, TensorCollection, TensorOptions};
use dfdx::shapes::Dtype;
use dfdx::tensor::{Storage, Tape};
use dfdx::tensor_ops::Device;

use super::Attention;
use crate::data::ragged::Ragged;
use crate::ops::attention::AttentionDropout;
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::BoxedReader;
use crate::ops::synthesizer::Synthesis;
use crate::ops::{LabDevice, Stream};

/// HEADS heads of width HEAD_DIM; HEADS × HEAD_DIM = EMBED. A document has at most PLACES tokens: one less than
/// the context, as in the reference, where a document's last token is only ever a target.
#[derive(Clone, Debug)]
pub(in crate::model) struct Synthesizer<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const PLACES: usize,
    N: Dtype,
    D: Storage<N>,
> {
    weights: Synthesis<EMBED, HEAD_DIM, PLACES, N, D>,
}

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
        let weights = &self.weights;
        D::try_synthesize::<EMBED, HEADS, HEAD_DIM, PLACES, T>(x, norm, weights, batch, dropout)
    }

    fn reader<'a>(
        &'a self,
        norm: &'a LayerNorm<EMBED, N, D>,
        rows: usize,
        _context: usize,
    ) -> BoxedReader<'a, EMBED, N, D> {
        D::synthesizer_reader::<EMBED, HEADS, HEAD_DIM, PLACES>(norm, &self.weights, rows)
    }
}

impl<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const PLACES: usize,
    N: Dtype,
    D: Device<N>,
> TensorCollection<N, D> for Synthesizer<EMBED, HEADS, HEAD_DIM, PLACES, N, D>
{
    type To<N2: Dtype, D2: Device<N2>> = Synthesizer<EMBED, HEADS, HEAD_DIM, PLACES, N2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, N, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        // No level of names of its own: the reference says `attn.w1`, not `attn.weights.w1`.
        visitor.visit_fields(
            (
                Self::module("w1", |s| &s.weights.w1, |s| &mut s.weights.w1),
                Self::tensor(
                    "w2",
                    |s| &s.weights.w2,
                    |s| &mut s.weights.w2,
                    TensorOptions::reset_to_zeros(),
                ),
                Self::tensor(
                    "b2",
                    |s| &s.weights.b2,
                    |s| &mut s.weights.b2,
                    TensorOptions::reset_to_zeros(),
                ),
                Self::module("value", |s| &s.weights.value, |s| &mut s.weights.value),
                Self::module("proj", |s| &s.weights.proj, |s| &mut s.weights.proj),
            ),
            |(w1, w2, b2, value, proj)| Synthesizer {
                weights: Synthesis {
                    w1,
                    w2,
                    b2,
                    value,
                    proj,
                },
            },
        )
    }
}
