//! The weights of an attention sublayer, and its layout: what is known of it apart from them.

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor::Storage;
use dfdx::tensor_ops::Device;

use super::differential::DifferenceWeights;
use super::scoring::{Rotary, Scoring, Similarity};
use super::synthesizer::PositionWeights;
use crate::data::ragged::Ragged;
use crate::ops::parameters::{Linear, Visitor, VisitorMut, Weights, named_weights};

/// What an attention sublayer computes, apart from its weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    /// Number of heads.
    pub heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Number of heads of keys and values: as many as heads, or fewer, each shared by a group of consecutive
    /// heads (Shazeer 2019; Ainslie et al. 2023, GQA, §2.2).
    pub kv_heads: usize,
    /// How scores depend on positions, and become weights.
    pub scoring: Scoring,
    /// What a head computes.
    pub head: HeadKind,
}

/// What a head computes from its queries, keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// Values weighted by one attention map.
    Standard,
    /// Values weighted by the difference of two maps: see [`DifferenceWeights`].
    Differential,
    /// Values weighted by scores that the query predicts for each position, without keys: see
    /// [`PositionWeights`].
    Synthesizer {
        /// The longest document, in tokens.
        positions: usize,
    },
}

impl Layout {
    /// Softmax attention whose heads have keys and values of their own.
    pub const fn softmax(heads: usize, head_dim: usize) -> Self {
        Self {
            heads,
            head_dim,
            kv_heads: heads,
            scoring: Scoring::SOFTMAX,
            head: HeadKind::Standard,
        }
    }

    /// Total width of the heads.
    pub fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Total width of the keys, and of the values.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Number of heads that share keys and values.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The factor of the dot product of query and key.
    pub fn scale(&self) -> f64 {
        self.scoring.scale(self.head_dim)
    }

    /// Panics if a document of the batch is too long.
    pub(super) fn check_longest(&self, batch: &Ragged) {
        if let HeadKind::Synthesizer { positions } = self.head {
            let fits = batch.longest() <= positions;
            assert!(fits, "a document has too many tokens");
        }
    }

    /// Panics if heads do more than plain softmax attention with keys of their own.
    pub(crate) fn check_plain(&self) {
        let is_plain = *self == Self::softmax(self.heads, self.head_dim);
        assert!(is_plain, "cross-attention is plain softmax attention");
    }

    /// Panics if there is no such sublayer.
    fn check(&self) {
        let groups = self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads);
        assert!(groups, "groups of heads share keys and values");
        let shares = self.kv_heads < self.heads;
        let is_standard = self.head == HeadKind::Standard;
        assert!(
            is_standard || !shares,
            "only standard heads share keys and values"
        );
        let halves = self.head != HeadKind::Differential || self.head_dim.is_multiple_of(2);
        assert!(halves, "differential heads are split into halves");
        let Scoring {
            rotary,
            bias,
            similarity,
            ..
        } = self.scoring;
        assert!(
            similarity == Similarity::Softmax || (rotary, bias) == (None, None),
            "feature maps take neither a rotation nor a bias"
        );
        let fits =
            |rotary: Rotary| rotary.channels.is_multiple_of(2) && rotary.channels <= self.head_dim;
        assert!(
            rotary.is_none_or(fits),
            "pairs of a head's channels are rotated"
        );
    }
}

/// A linear layer from the stream to heads, which lie side by side.
pub type ToHeads<const EMBED: usize, N, D> = Linear<Const<EMBED>, usize, N, D>;

/// A linear layer from the heads' outputs back to the stream.
pub type FromHeads<const EMBED: usize, N, D> = Linear<usize, Const<EMBED>, N, D>;

/// The weights of an attention sublayer, in the order and with the names of the reference's modules.
#[derive(Clone, Debug)]
pub struct AttentionWeights<const EMBED: usize, N: Dtype, D: Storage<N>> {
    /// What they are the weights of.
    pub layout: Layout,
    /// What scores are computed from.
    pub scores: ScoreWeights<EMBED, N, D>,
    /// To values.
    pub value: ToHeads<EMBED, N, D>,
    /// From the heads' outputs back to the stream.
    pub proj: FromHeads<EMBED, N, D>,
    /// Of differential heads.
    pub difference: Option<DifferenceWeights<N, D>>,
}

/// What scores are computed from.
#[derive(Clone, Debug)]
pub enum ScoreWeights<const EMBED: usize, N: Dtype, D: Storage<N>> {
    /// Keys and queries.
    DotProduct(Comparison<EMBED, N, D>),
    /// A hidden layer, without keys.
    Positions(PositionWeights<EMBED, N, D>),
}

/// The projections to what is compared.
#[derive(Clone, Debug)]
pub struct Comparison<const EMBED: usize, N: Dtype, D: Storage<N>> {
    /// To keys.
    pub key: ToHeads<EMBED, N, D>,
    /// To queries.
    pub query: ToHeads<EMBED, N, D>,
}

impl<const EMBED: usize, N: Dtype, D: Device<N>> AttentionWeights<EMBED, N, D> {
    /// All zero.
    ///
    /// # Panics
    /// If no device can compute such a layout.
    pub fn zeros(device: &D, layout: Layout) -> Result<Self, D::Err> {
        layout.check();
        let to_heads = |width| Linear::zeros(device, (Const::<EMBED>, width));
        let scores = match layout.head {
            HeadKind::Standard | HeadKind::Differential => ScoreWeights::DotProduct(Comparison {
                key: to_heads(layout.kv_width())?,
                query: to_heads(layout.width())?,
            }),
            HeadKind::Synthesizer { positions } => {
                ScoreWeights::Positions(PositionWeights::zeros(device, &layout, positions)?)
            }
        };
        let difference = match layout.head {
            HeadKind::Differential => Some(DifferenceWeights::zeros(device, layout.head_dim)?),
            _ => None,
        };
        Ok(Self {
            layout,
            scores,
            value: to_heads(layout.kv_width())?,
            proj: Linear::zeros(device, (layout.width(), Const::<EMBED>))?,
            difference,
        })
    }
}

impl<const EMBED: usize, N: Dtype, D: Storage<N>> AttentionWeights<EMBED, N, D> {
    /// The projections to keys and queries.
    ///
    /// # Panics
    /// If the heads have no keys.
    pub fn comparison(&self) -> &Comparison<EMBED, N, D> {
        match &self.scores {
            ScoreWeights::DotProduct(comparison) => comparison,
            ScoreWeights::Positions(_) => panic!("heads without keys"),
        }
    }
}

named_weights! {
    impl [const EMBED: usize,] AttentionWeights<EMBED> {
        scores: "",
        value: "value",
        proj: "proj",
        difference: "",
    }
}

named_weights! {
    impl [const EMBED: usize,] Comparison<EMBED> {
        key: "key",
        query: "query",
    }
}

impl<const EMBED: usize, N: Dtype, D: Device<N>> Weights<N, D> for ScoreWeights<EMBED, N, D> {
    fn each(&self, group: &str, visitor: &mut impl Visitor<N, D>) -> Result<(), D::Err> {
        match self {
            Self::DotProduct(weights) => weights.each(group, visitor),
            Self::Positions(weights) => weights.each(group, visitor),
        }
    }

    fn each_mut(&mut self, group: &str, visitor: &mut impl VisitorMut<N, D>) -> Result<(), D::Err> {
        match self {
            Self::DotProduct(weights) => weights.each_mut(group, visitor),
            Self::Positions(weights) => weights.each_mut(group, visitor),
        }
    }
}
