//! Causal multi-head softmax attention (Vaswani et al. 2017, §3.2).

use dfdx::nn::tensor_collection::{ModuleVisitor, TensorCollection};
use dfdx::shapes::Dtype;
use dfdx::tensor::{Storage, Tape};
use dfdx::tensor_ops::Device;

use super::Attention;
use crate::data::ragged::Ragged;
use crate::ops::attention::{AttentionDropout, Projections};
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::BoxedReader;
use crate::ops::{LabDevice, Stream};

/// HEADS heads of width HEAD_DIM; HEADS × HEAD_DIM = EMBED.
#[derive(Clone, Debug)]
pub(in crate::model) struct Vanilla<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    N: Dtype,
    D: Storage<N>,
> {
    pub(in crate::model) projections: Projections<EMBED, N, D>,
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize, N: Dtype, D: LabDevice<N>>
    Attention<EMBED, N, D> for Vanilla<EMBED, HEADS, HEAD_DIM, N, D>
{
    const KIND: &'static str = "vanilla";

    fn try_sublayer<T: Tape<N, D>>(
        &self,
        x: Stream<EMBED, N, D, T>,
        norm: &LayerNorm<EMBED, N, D>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, N, D, T>, D::Err> {
        const {
            assert!(
                EMBED == HEADS * HEAD_DIM,
                "heads * head_dim must equal embed"
            )
        };
        D::try_attention::<EMBED, HEADS, HEAD_DIM, T>(x, norm, &self.projections, batch, dropout)
    }

    fn reader<'a>(
        &'a self,
        norm: &'a LayerNorm<EMBED, N, D>,
        rows: usize,
    ) -> BoxedReader<'a, EMBED, N, D> {
        D::attention_reader::<EMBED, HEADS, HEAD_DIM>(norm, &self.projections, rows)
    }
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize, N: Dtype, D: Device<N>>
    TensorCollection<N, D> for Vanilla<EMBED, HEADS, HEAD_DIM, N, D>
{
    type To<N2: Dtype, D2: Device<N2>> = Vanilla<EMBED, HEADS, HEAD_DIM, N2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, N, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        // No level of names of its own: the reference says `attn.key`, not `attn.projections.key`.
        visitor.visit_fields(
            (
                Self::module("key", |s| &s.projections.key, |s| &mut s.projections.key),
                Self::module(
                    "query",
                    |s| &s.projections.query,
                    |s| &mut s.projections.query,
                ),
                Self::module(
                    "value",
                    |s| &s.projections.value,
                    |s| &mut s.projections.value,
                ),
                Self::module("proj", |s| &s.projections.proj, |s| &mut s.projections.proj),
            ),
            |(key, query, value, proj)| Vanilla {
                projections: Projections {
                    key,
                    query,
                    value,
                    proj,
                },
            },
        )
    }
}
