//! The weights of an attention sublayer, and its layout: what is known of it apart from them.

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor::{Storage, Tensor};
use dfdx::tensor_ops::Device;

use super::differential::DifferenceWeights;
use super::gate::Gate;
use super::qk_norm::{QkNorm, QkNormWeights};
use super::relative::BUCKETS;
use super::scoring::{Bias, Rotary, Scoring, Similarity, Sink};
use super::synthesizer::PositionWeights;
use super::talking_heads::TalkingWeights;
use crate::data::ragged::Ragged;
use crate::ops::parameters::{Linear, Projection, named_weights};

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
    /// How queries and keys are normalised before they are compared.
    pub qk_norm: Option<QkNorm>,
    /// How scores depend on positions, and become weights.
    pub scoring: Scoring,
    /// Whether heads mix their scores and weights: see [`super::TalkingWeights`].
    pub talking: bool,
    /// What a head computes.
    pub head: HeadKind,
    /// Whether the delta rule corrects values: what its key already retrieves is subtracted from each before it is
    /// remembered (Yang et al. 2024, DeltaNet, §3.1).
    pub delta: bool,
    /// Whether each head's output is divided by its root mean square (Sun et al. 2023, Retentive Network, equation 8).
    pub head_norm: bool,
    /// What the heads' outputs are multiplied by.
    pub gate: Option<Gate>,
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
            qk_norm: None,
            scoring: Scoring::SOFTMAX,
            talking: false,
            head: HeadKind::Standard,
            delta: false,
            head_norm: false,
            gate: None,
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

    /// Number of attention maps of a head.
    pub fn maps(&self) -> usize {
        match self.head {
            HeadKind::Differential => 2,
            HeadKind::Standard | HeadKind::Synthesizer { .. } => 1,
        }
    }

    /// Number of attention maps of all heads.
    pub fn all_maps(&self) -> usize {
        self.heads * self.maps()
    }

    /// Channels of a head that one of its maps compares. Rotations and norms of queries and keys, and sinks, treat
    /// those of each map as a head of its own.
    pub fn compared(&self) -> usize {
        self.head_dim / self.maps()
    }

    /// Whether queries are compared with keys.
    pub fn has_keys(&self) -> bool {
        !matches!(self.head, HeadKind::Synthesizer { .. })
    }

    /// Whether the heads' outputs are normalised.
    pub fn has_norm(&self) -> bool {
        self.head_norm || self.head == HeadKind::Differential
    }

    /// The factor of the dot product of query and key.
    pub fn scale(&self) -> f64 {
        match self.qk_norm {
            _ if !self.has_keys() => 1.0,
            Some(QkNorm::L2) => 1.0,
            _ => self.scoring.scale(self.compared()),
        }
    }

    /// Number of gates of a token's heads.
    pub fn gates(&self) -> usize {
        self.gate.map_or(0, |gate| gate.width(self))
    }

    /// Whether the forget gates of tokens add to scores.
    pub fn forgets(&self) -> bool {
        matches!(self.scoring.bias, Some(Bias::Forget { .. }))
    }

    /// Panics if a document of the batch is too long.
    pub(super) fn check_longest(&self, batch: &Ragged) {
        if let HeadKind::Synthesizer { positions } = self.head {
            let fits = batch.longest() <= positions;
            assert!(fits, "a document has too many tokens");
        }
    }

    /// Panics if there is no such sublayer.
    fn check(&self) {
        let groups = self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads);
        assert!(groups, "groups of heads share keys and values");
        let halves = self.head_dim.is_multiple_of(self.maps());
        assert!(halves, "differential heads are split into halves");
        let Scoring {
            rotary,
            bias,
            window,
            similarity,
            softcap,
            sink,
        } = self.scoring;
        let is_softmax = similarity == Similarity::Softmax;
        assert!(
            is_softmax || sink.is_none(),
            "a sink takes part in a softmax"
        );
        assert!(
            self.head == HeadKind::Standard || (is_softmax && !self.head_norm),
            "heads with two maps or without keys have the weights of a softmax"
        );
        assert!(
            self.head != HeadKind::Differential || !self.talking,
            "a head's maps are subtracted, not mixed with those of others"
        );
        assert!(
            self.has_keys() || (self.qk_norm, rotary) == (None, None),
            "a synthesizer has no keys to normalise or rotate"
        );
        let sums = matches!(similarity, Similarity::FeatureMap | Similarity::Taylor);
        assert!(
            !sums || (bias, softcap) == (None, None),
            "weights divided by their sum take neither a bias nor a softcap"
        );
        assert!(
            similarity != Similarity::FeatureMap || rotary.is_none(),
            "feature maps take no rotation"
        );
        let is_product = similarity == Similarity::Product;
        assert!(
            !is_product || softcap.is_none(),
            "unnormalised products take no softcap"
        );
        assert!(
            !(self.talking && (sums || is_product)),
            "mixed scores may be negative"
        );
        let is_learned = bias == Some(Bias::Relative);
        assert!(
            !self.delta
                || (is_product && window.is_none() && self.kv_heads == self.heads && !is_learned),
            "the delta rule needs products and a key/value head per head, without a window or a T5 bias"
        );
        let fits = |rotary: Rotary| {
            self.compared().is_multiple_of(2)
                && rotary.channels.is_multiple_of(2)
                && rotary.channels <= self.compared()
        };
        assert!(
            rotary.is_none_or(fits),
            "pairs of channels of a map are rotated"
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
    /// To keys, if there are any.
    pub key: Option<ToHeads<EMBED, N, D>>,
    /// To queries, if there are keys.
    pub query: Option<ToHeads<EMBED, N, D>>,
    /// What scores are computed from in place of queries and keys.
    pub positions: Option<PositionWeights<EMBED, N, D>>,
    /// To values.
    pub value: ToHeads<EMBED, N, D>,
    /// From the heads' outputs back to the stream.
    pub proj: FromHeads<EMBED, N, D>,
    /// Of differential heads.
    pub difference: Option<DifferenceWeights<N, D>>,
    /// Of normalised queries and keys.
    pub qk_norm: Option<QkNormWeights<N, D>>,
    /// `[heads * maps]`: the score of the sink of each map of each head.
    pub sinks: Option<Tensor<(usize,), N, D>>,
    /// `[32, heads]`: what each bucket of distances adds to scores.
    pub relative: Option<Tensor<(Const<BUCKETS>, usize), N, D>>,
    /// The matrices that mix scores and weights across heads.
    pub talking: Option<TalkingWeights<N, D>>,
    /// To the forget gate of each head.
    pub forget: Option<ToHeads<EMBED, N, D>>,
    /// To β of the delta rule, one per head.
    pub beta: Option<Projection<EMBED, N, D>>,
    /// To the gates of the heads' outputs.
    pub gate: Option<Projection<EMBED, N, D>>,
}

impl<const EMBED: usize, N: Dtype, D: Device<N>> AttentionWeights<EMBED, N, D> {
    /// All zero.
    ///
    /// # Panics
    /// If no device can compute such a layout.
    pub fn zeros(device: &D, layout: Layout) -> Result<Self, D::Err> {
        layout.check();
        let to_heads = |width| Linear::zeros(device, (Const::<EMBED>, width));
        Ok(Self {
            layout,
            key: some(layout.has_keys(), || to_heads(layout.kv_width()))?,
            query: some(layout.has_keys(), || to_heads(layout.width()))?,
            positions: match layout.head {
                HeadKind::Synthesizer { positions } => {
                    Some(PositionWeights::zeros(device, &layout, positions)?)
                }
                HeadKind::Standard | HeadKind::Differential => None,
            },
            value: to_heads(layout.kv_width())?,
            proj: Linear::zeros(device, (layout.width(), Const::<EMBED>))?,
            difference: some(layout.head == HeadKind::Differential, || {
                DifferenceWeights::zeros(device, layout.head_dim)
            })?,
            qk_norm: (layout.qk_norm)
                .map(|norm| norm.zeros(device, &layout))
                .transpose()?,
            sinks: some(layout.scoring.sink == Some(Sink::Learned), || {
                device.try_zeros_like(&(layout.all_maps(),))
            })?,
            relative: some(layout.scoring.bias == Some(Bias::Relative), || {
                device.try_zeros_like(&(Const::<BUCKETS>, layout.heads))
            })?,
            talking: some(layout.talking, || TalkingWeights::zeros(device, &layout))?,
            forget: some(layout.forgets(), || to_heads(layout.heads))?,
            beta: some(layout.delta, || Projection::zeros(device, layout.heads))?,
            gate: some(layout.gate.is_some(), || {
                Projection::zeros(device, layout.gates())
            })?,
        })
    }
}

/// What only some layouts have.
fn some<W, E>(is_there: bool, make: impl FnOnce() -> Result<W, E>) -> Result<Option<W>, E> {
    is_there.then(make).transpose()
}

impl<const EMBED: usize, N: Dtype, D: Storage<N>> AttentionWeights<EMBED, N, D> {
    /// To queries, or to the hidden layer that takes their place.
    pub fn to_queries(&self) -> &ToHeads<EMBED, N, D> {
        let hidden = self.positions.as_ref().map(|of| &of.hidden);
        let query = self.query.as_ref().or(hidden);
        query.expect("heads have queries or positions")
    }
}

named_weights! {
    impl [const EMBED: usize,] AttentionWeights<EMBED> {
        key: "key",
        query: "query",
        positions: "",
        value: "value",
        proj: "proj",
        difference: "",
        qk_norm: "",
        sinks: "sinks",
        relative: "relative_attention_bias.weight",
        talking: "",
        forget: "fgate_proj",
        beta: "b_proj",
        gate: "g_proj",
    }
}
