//! The shape of a model: the numbers that are compiled in, as one value.
//!
//! This file uses the standard library alone, because the build script includes it too.

use std::borrow::Cow;
use std::fmt;

/// What one compiled model type fixes. Ordered by layers, then width, and so on down the fields.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelShape {
    /// Number of blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub embed: usize,
    /// Attention heads a block.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the hidden layer of a block's MLP.
    pub hidden: usize,
    /// Number of token ids.
    pub vocabulary: usize,
    /// Longest document, in tokens.
    pub context: usize,
    /// The attention kind as the TOML spells it, such as `vanilla`.
    pub attention: Cow<'static, str>,
}

/// The keys that make a shape, in the order of the fields; the last one is a name, the others are counts.
pub const SHAPE_KEYS: [&str; 8] = [
    "model.layers",
    "model.embed",
    "model.heads",
    "model.head_dim",
    "model.hidden",
    "model.vocabulary",
    "model.context",
    "model.attention.kind",
];

/// The attention kinds that there are, as the TOML spells them: `schema::AttentionKind` for the
/// build script, which must not name a type that does not exist. A test compares the two.
pub const ATTENTION_KINDS: [&str; 1] = ["vanilla"];

impl ModelShape {
    /// Reads a shape from wherever keys can be looked up; absent if any of [`SHAPE_KEYS`] is.
    pub fn from_lookup(
        count: impl Fn(&str) -> Option<usize>,
        name: impl Fn(&str) -> Option<String>,
    ) -> Option<Self> {
        let [
            layers,
            embed,
            heads,
            head_dim,
            hidden,
            vocabulary,
            context,
            attention,
        ] = SHAPE_KEYS;
        Some(Self {
            layers: count(layers)?,
            embed: count(embed)?,
            heads: count(heads)?,
            head_dim: count(head_dim)?,
            hidden: count(hidden)?,
            vocabulary: count(vocabulary)?,
            context: count(context)?,
            attention: name(attention)?.into(),
        })
    }

    /// The counts with their names, in the order of the fields.
    pub fn counts(&self) -> [(&'static str, usize); 7] {
        [
            ("layers", self.layers),
            ("embed", self.embed),
            ("heads", self.heads),
            ("head_dim", self.head_dim),
            ("hidden", self.hidden),
            ("vocabulary", self.vocabulary),
            ("context", self.context),
        ]
    }

    /// Whether such a model can be built: every count at least 1, and `heads * head_dim = embed`.
    pub fn is_consistent(&self) -> bool {
        self.counts().iter().all(|(_, count)| *count > 0)
            && self.heads.checked_mul(self.head_dim) == Some(self.embed)
    }

    /// How far two shapes are apart: the sum of `|ln ratio|` over the counts, and a further
    /// 10 if the attention differs, which is more than any likely difference in size.
    fn distance(&self, other: &Self) -> f64 {
        let sizes: f64 = (self.counts().iter().zip(other.counts()))
            .map(|((_, a), (_, b))| ((*a).max(1) as f64 / b.max(1) as f64).ln().abs())
            .sum();
        sizes
            + if self.attention == other.attention {
                0.0
            } else {
                10.0
            }
    }
}

impl fmt::Display for ModelShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in self.counts() {
            write!(f, "{name}={count} ")?;
        }
        write!(f, "attention={}", self.attention)
    }
}

/// The `n` compiled shapes most like `shape`, nearest first; ties keep the order of `compiled`.
pub fn nearest<'a>(
    shape: &ModelShape,
    compiled: &'a [ModelShape],
    n: usize,
) -> Vec<&'a ModelShape> {
    let mut all: Vec<&ModelShape> = compiled.iter().collect();
    all.sort_by(|a, b| shape.distance(a).total_cmp(&shape.distance(b)));
    all.truncate(n);
    all
}
