//! Scaled dot-product attention: the kinds that compare queries with keys, and what they have in common.

use std::marker::PhantomData;

use dfdx::nn::tensor_collection::{ModuleVisitor, TensorCollection};
use dfdx::shapes::Dtype;
use dfdx::tensor::{Storage, Tape};
use dfdx::tensor_ops::Device;

use super::Attention;
use crate::data::ragged::Ragged;
use crate::ops::attention::{self, AttentionDropout, Positional, Projections, Scoring, Similarity};
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

/// Heads of width HEAD_DIM, EMBED wide in total; their keys and values are KV wide in total.
#[derive(Clone, Debug)]
pub struct DotProduct<
    const EMBED: usize,
    const KV: usize,
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
    const HEAD_DIM: usize,
    R: ScoringRule,
    N: Dtype,
    D: LabDevice<N>,
> Attention<EMBED, N, D> for DotProduct<EMBED, KV, HEAD_DIM, R, N, D>
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
        D::try_attention::<EMBED, KV, HEAD_DIM, T>(x, norm, weights, R::SCORING, batch, dropout)
    }

    fn incremental<'a>(
        &'a self,
        norm: &'a LayerNorm<EMBED, N, D>,
        rows: usize,
        context: usize,
    ) -> BoxedIncremental<'a, EMBED, N, D> {
        let weights = &self.projections;
        D::incremental_attention::<EMBED, KV, HEAD_DIM>(norm, weights, R::SCORING, (rows, context))
    }

    fn maps(&self, x: &Stream<EMBED, N, D>, norm: &LayerNorm<EMBED, N, D>) -> Vec<HeadMap> {
        attention::maps::<EMBED, KV, HEAD_DIM, N, D>(x, norm, &self.projections, R::SCORING)
    }
}

// Flattened: the reference says `attn.key`, not `attn.projections.key`.
named_weights! {
    impl [
        const EMBED: usize,
        const KV: usize,
        const HEAD_DIM: usize,
        R: ScoringRule,
    ] DotProduct<EMBED, KV, HEAD_DIM, R> {
        key: module("key", projections.key),
        query: module("query", projections.query),
        value: module("value", projections.value),
        proj: module("proj", projections.proj),
    } => DotProduct {
        projections: Projections { key, query, value, proj },
        rule: PhantomData,
    }
}

/// The kinds: what a TOML calls each, its type with its own constant, how wide its keys and values are, and
/// its scoring.
macro_rules! kinds {
    ($(
        $(#[$about:meta])+
        $kind:literal: $name:ident$(<$constant:ident>)?, keys $width:ident, $scoring:expr;
    )+) => {
        mod rules {
            use super::*;

            $(
                #[derive(Clone, Debug)]
                pub struct $name$(<const $constant: usize>)?;

                impl$(<const $constant: usize>)? ScoringRule for $name$(<$constant>)? {
                    const KIND: &'static str = $kind;
                    const SCORING: Scoring = $scoring;
                }
            )+
        }

        $(
            $(#[$about])+
            pub type $name<const EMBED: usize, const HEAD_DIM: usize, $(const $constant: usize,)? N, D> =
                DotProduct<EMBED, $width, HEAD_DIM, rules::$name$(<$constant>)?, N, D>;
        )+
    };
}

kinds! {
    /// Linear biases: the farther away a key, the lower its score, each head by a slope of its own (Press et
    /// al. 2022, ALiBi, §3). The position embedding stays: this is the only difference from vanilla.
    "alibi": Alibi, keys EMBED, Scoring { positional: Positional::Alibi, ..Scoring::SOFTMAX };

    /// Groups of consecutive heads share keys and values (Ainslie et al. 2023, GQA, §2.2): KV / HEAD_DIM heads
    /// of them, each shared by EMBED / KV query heads.
    "grouped-query": GroupedQuery<KV>, keys KV, Scoring::SOFTMAX;

    /// The similarity of query and key is a dot product of feature maps, elu(x) + 1, so that a running sum
    /// could replace all keys (Katharopoulos et al. 2020, Transformers are RNNs, §3.2). Documents are short
    /// here: the attention weights are computed explicitly, and dropout applies to them as usual.
    "linear": Linear, keys EMBED, Scoring { similarity: Similarity::FeatureMap, ..Scoring::SOFTMAX };

    /// All heads share one head of keys and values (Shazeer 2019, Fast Transformer Decoding, §3).
    "multi-query": MultiQuery, keys HEAD_DIM, Scoring::SOFTMAX;

    /// Queries and keys are rotated by their position, so that scores depend on relative positions (Su et al.
    /// 2021, RoFormer, §3.2.2). HEAD_DIM is even. The position embedding stays: this is the only difference
    /// from vanilla.
    "rope": Rope, keys EMBED, Scoring { positional: Positional::Rope, ..Scoring::SOFTMAX };

    /// A token attends to the last WINDOW tokens, itself included (Beltagy et al. 2020, Longformer, §3.1; causal
    /// as in Jiang et al. 2023, Mistral 7B, §2); after L layers its output depends on the L (WINDOW - 1) tokens
    /// before it.
    "sliding-window": SlidingWindow<WINDOW>, keys EMBED, Scoring { window: Some(WINDOW), ..Scoring::SOFTMAX };

    /// Causal multi-head softmax attention (Vaswani et al. 2017, §3.2): positions enter through the embedding
    /// alone.
    "vanilla": Vanilla, keys EMBED, Scoring::SOFTMAX;
}
