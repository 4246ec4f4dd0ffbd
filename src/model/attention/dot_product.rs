//! Scaled dot-product attention: what the kinds that compare queries with keys have in common. Such a kind
//! is a [`ScoringRule`].

use std::marker::PhantomData;

use dfdx::nn::tensor_collection::{ModuleVisitor, TensorCollection};
use dfdx::shapes::Dtype;
use dfdx::tensor::{Storage, Tape};
use dfdx::tensor_ops::Device;

use super::Attention;
use crate::data::ragged::Ragged;
use crate::ops::attention::{self, AttentionDropout, Projections, Scoring};
use crate::ops::decoding::BoxedIncremental;
use crate::ops::maps::HeadMap;
use crate::ops::parameters::{LayerNorm, named_weights};
use crate::ops::{LabDevice, Stream};

/// How a kind turns queries and keys into attention weights.
pub trait ScoringRule: Clone + std::fmt::Debug + 'static {
    /// The kind's name in a TOML.
    const KIND: &'static str;
    /// How scores are computed and normalised.
    const SCORING: Scoring;
}

/// HEADS heads of width HEAD_DIM, EMBED wide in total; their keys and values are KV wide in total.
#[derive(Clone, Debug)]
pub struct DotProduct<
    const EMBED: usize,
    const KV: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    R,
    N: Dtype,
    D: Storage<N>,
> {
    pub projections: Projections<EMBED, KV, N, D>,
    rule: PhantomData<R>,
}

impl<
    const EMBED: usize,
    const KV: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    R: ScoringRule,
    N: Dtype,
    D: LabDevice<N>,
> Attention<EMBED, N, D> for DotProduct<EMBED, KV, HEADS, HEAD_DIM, R, N, D>
{
    const KIND: &'static str = R::KIND;

    fn try_sublayer<T: Tape<N, D>>(
        &self,
        x: Stream<EMBED, N, D, T>,
        norm: &LayerNorm<EMBED, N, D>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, N, D, T>, D::Err> {
        let weights = &self.projections;
        D::try_attention::<EMBED, KV, HEADS, HEAD_DIM, T>(
            x,
            norm,
            weights,
            R::SCORING,
            batch,
            dropout,
        )
    }

    fn incremental<'a>(
        &'a self,
        norm: &'a LayerNorm<EMBED, N, D>,
        rows: usize,
        context: usize,
    ) -> BoxedIncremental<'a, EMBED, N, D> {
        let weights = &self.projections;
        D::incremental_attention::<EMBED, KV, HEADS, HEAD_DIM>(
            norm,
            weights,
            R::SCORING,
            (rows, context),
        )
    }

    fn maps(&self, x: &Stream<EMBED, N, D>, norm: &LayerNorm<EMBED, N, D>) -> Vec<HeadMap> {
        attention::maps::<EMBED, KV, HEADS, HEAD_DIM, N, D>(x, norm, &self.projections, R::SCORING)
    }
}

// Flattened: the reference says `attn.key`, not `attn.projections.key`.
named_weights! {
    impl [
        const EMBED: usize,
        const KV: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        R: ScoringRule,
    ] DotProduct<EMBED, KV, HEADS, HEAD_DIM, R> {
        key: module("key", projections.key),
        query: module("query", projections.query),
        value: module("value", projections.value),
        proj: module("proj", projections.proj),
    } => DotProduct {
        projections: Projections { key, query, value, proj },
        rule: PhantomData,
    }
}
