//! How scores depend on positions, are masked, and become attention weights: what can be chosen.

/// Positional information, masking and normalisation of attention scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scoring {
    /// Rotation of queries and keys by their position, so that scores depend on relative positions.
    pub rotary: Option<Rotary>,
    /// What positions add to a score.
    pub bias: Option<Bias>,
    /// Sliding window: number of keys that a query attends to, the last of them its own; if `None`, all up to it.
    pub window: Option<usize>,
    /// How scores become weights.
    pub similarity: Similarity,
    /// The bound c of scores, which become `c · tanh(score / c)` before anything is added to them (Gemma
    /// Team 2024, Gemma 2, §2).
    pub softcap: Option<f64>,
    /// Attention sink: an extra score without a key in the softmax, so that a query can attend to nothing.
    pub sink: Option<Sink>,
}

/// Rotary embedding: pairs of channels (2i, 2i + 1) of queries and keys are rotated by position ×
/// base^(-2i / channels) (Su et al. 2021, RoFormer, §3.2.2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotary {
    /// 10000 in the paper.
    pub base: f64,
    /// The first channels of each head that are rotated, an even number: all of them in the paper, a quarter in
    /// GPT-NeoX (Black et al. 2022, §2.1.1).
    pub channels: usize,
}

/// What is added to a score because of the positions of query and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// Linear biases: slope × distance is subtracted from a score, where head h of 1..heads has slope 2^(-8
    /// h / heads) (Press et al. 2022, ALiBi, §3).
    Alibi,
    /// A learned number for each head and bucket of distances (Raffel et al. 2020, T5, §2.1).
    Relative,
    /// The logarithms of the forget gates of all tokens after the key, up to the query (Lin et al. 2025, Forgetting Transformer, §3).
    Forget {
        /// The logarithm of a gate is divided by it: 1 in the Forgetting Transformer, 16 in gated linear
        /// attention (Yang et al. 2024, GLA, §4.4).
        divisor: usize,
    },
    /// `distance × log γ`, where head h, counted from 0, has γ = 1 - 2^(-5 - h) (Sun et al. 2023, Retentive
    /// Network, §2.1 and appendix B).
    Decay,
}

/// How queries and keys are compared, and how their scores become weights; in the order of the numbers in
/// `ops/cuda/heads.cuh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Similarity {
    /// `softmax(q · k / √head_dim)` (Vaswani et al. 2017, §3.2.1).
    Softmax,
    /// `φ(q) · φ(k)`, divided by the sum over keys, with φ(x) = elu(x) + 1: what linear attention computes
    /// with a running state instead of keys (Katharopoulos et al. 2020, Transformers are RNNs, §3.2). It
    /// can be combined with neither a rotation nor a bias, which could make weights negative.
    FeatureMap,
    /// `1 + s + s² / 2` of a score s, the Taylor series of its exponential, divided by the sum over keys:
    /// what Based computes with a running state (Arora et al. 2024, Based, §4.1).
    Taylor,
    /// `σ(q · k / √head_dim - log n)` for a query that sees n keys: weights that do not compete
    /// (Ramapuram et al. 2024, Theory, Analysis, and Best Practices for Sigmoid Self-Attention, §2).
    Sigmoid,
    /// The score itself, times the exponential of the bias: what a recurrence with a matrix as its state
    /// computes (Yang et al. 2024, GLA, §2).
    Product,
    /// With β = σ(q · k / √head_dim), each key takes its part β of what the keys after it have left; a
    /// query does not attend to its own key (Tan et al. 2024, Stick-breaking Attention, equations 1 to 3).
    StickBreaking,
}

/// A score without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// 0: "softmax off by one" (Miller 2023).
    Zero,
    /// Learned, one per map (OpenAI 2025, gpt-oss, §2.1).
    Learned,
}

impl Scoring {
    /// Plain softmax attention.
    pub const SOFTMAX: Self = Self {
        rotary: None,
        bias: None,
        window: None,
        similarity: Similarity::Softmax,
        softcap: None,
        sink: None,
    };

    /// The factor of the dot product of query and key.
    pub fn scale(self, head_dim: usize) -> f64 {
        match self.similarity {
            Similarity::FeatureMap => 1.0,
            _ => 1.0 / (head_dim as f64).sqrt(),
        }
    }

    /// What a head, counted from 0, subtracts from a score per unit of distance.
    pub(super) fn slope(self, head: usize, heads: usize) -> f64 {
        match self.bias {
            Some(Bias::Alibi) => (-8.0 * (head + 1) as f64 / heads as f64).exp2(),
            Some(Bias::Decay) => -(-(-5.0 - head as f64).exp2()).ln_1p(),
            _ => 0.0,
        }
    }

    /// The first key that a query attends to.
    pub(super) fn first_key(self, query: usize) -> usize {
        self.window
            .map_or(0, |window| (query + 1).saturating_sub(window))
    }

    /// Number of keys, counted back from the query's own, that the query does not attend to.
    pub(in crate::ops) fn hidden_keys(self) -> usize {
        usize::from(self.similarity == Similarity::StickBreaking)
    }

    /// Whether backward needs the scores besides the weights.
    pub(super) fn keeps_scores(self) -> bool {
        let by_score = [
            Similarity::StickBreaking,
            Similarity::Taylor,
            Similarity::Product,
        ];
        self.softcap.is_some() || by_score.contains(&self.similarity)
    }

    /// Whether backward needs the factor that normalised the scores of a query.
    pub(super) fn keeps_factors(self) -> bool {
        matches!(self.similarity, Similarity::FeatureMap | Similarity::Taylor)
    }
}
