//! The shape of a model: the numbers that are compiled in, as one value.
//!
//! This file uses the standard library alone, because the build script includes it too.

use std::borrow::Cow;
use std::fmt;

/// The constants of one compiled model type. Ordered by layers, then width, and so on in field order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelShape {
    /// Number of blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub embed: usize,
    /// Attention heads per block.
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
    /// The kind's own number, such as a window; 0 for a kind without one.
    pub own: usize,
}

/// What the configuration and the build script know of a kind of attention.
#[derive(Clone, Copy, Debug)]
pub struct KindOfAttention {
    /// As the TOML spells it: `sliding-window` is the type `SlidingWindow`.
    pub name: &'static str,
    /// Whether that type is a network of its own, in `src/model/`, and not the attention of a GPT's blocks,
    /// in `src/model/attention/`.
    pub is_network: bool,
    /// What it is, in a line, with its source.
    pub about: &'static str,
    /// The key in `[model.attention]` of its own number, if it has one.
    pub own_key: Option<&'static str>,
    /// The const generics of its type after width and head width; those of a network also come after
    /// MLP width, vocabulary and context.
    pub constants: fn(&ModelShape) -> Vec<usize>,
    /// The longest document, in tokens, for a given context length.
    pub longest: fn(usize) -> usize,
    /// Why a shape is invalid, as a sentence about `model.attention`; `None` if it is valid.
    pub refuses: fn(&ModelShape) -> Option<String>,
}

/// The kinds of attention, in alphabetical order, a line each. How to add one is in
/// `src/model/attention/README.md`.
pub const ATTENTION_KINDS: [KindOfAttention; 10] = [
    kind(
        "alibi",
        "scores fall with distance, each head by a slope of its own (Press et al. 2022)",
    ),
    kind(
        "differential",
        "a second attention map is subtracted from the first (Ye et al. 2025)",
    )
    .refusing(|shape| odd_heads(shape, "splits each head in half")),
    kind(
        "grouped-query",
        "groups of heads share keys and values (Ainslie et al. 2023)",
    )
    .with("kv_heads", |shape| vec![shape.own * shape.head_dim])
    .refusing(uneven_groups),
    kind(
        "linear",
        "dot products of feature maps instead of a softmax (Katharopoulos et al. 2020)",
    ),
    kind(
        "multi-query",
        "all heads share keys and values (Shazeer 2019)",
    ),
    kind(
        "perceiver",
        "a network of a few latents between the tokens (Jaegle et al. 2021)",
    )
    .with(BOTTLENECK, |shape| {
        vec![shape.layers.saturating_sub(2), shape.own]
    })
    .refusing(no_bottleneck)
    .network(),
    kind(
        "rope",
        "queries and keys rotated by their position (Su et al. 2021)",
    )
    .refusing(|shape| odd_heads(shape, "rotates pairs of channels")),
    kind(
        "sliding-window",
        "each token attends only to the last few tokens (Beltagy et al. 2020)",
    )
    .with(WINDOW, |shape| vec![shape.own]),
    // As in the assignment: the last token of a document is only ever a target.
    kind(
        "synthesizer",
        "each token predicts its attention scores, without keys (Tay et al. 2021)",
    )
    .at_most(|context| context - 1),
    kind(
        "vanilla",
        "causal multi-head softmax attention (Vaswani et al. 2017)",
    ),
];

/// The names of the kinds.
pub const fn attention_names() -> [&'static str; ATTENTION_KINDS.len()] {
    let mut names = [""; ATTENTION_KINDS.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = ATTENTION_KINDS[i].name;
        i += 1;
    }
    names
}

/// A kind without a number of its own.
const fn kind(name: &'static str, about: &'static str) -> KindOfAttention {
    KindOfAttention {
        name,
        is_network: false,
        about,
        own_key: None,
        constants: |_| vec![],
        longest: |context| context,
        refuses: |_| None,
    }
}

impl KindOfAttention {
    /// The same with a number of its own.
    const fn with(self, own_key: &'static str, constants: fn(&ModelShape) -> Vec<usize>) -> Self {
        Self {
            own_key: Some(own_key),
            constants,
            ..self
        }
    }

    /// The same for documents of at most so many tokens, which is a constant of its type.
    const fn at_most(self, longest: fn(usize) -> usize) -> Self {
        Self {
            longest,
            constants: |shape| vec![shape.longest_document()],
            ..self
        }
    }

    /// The same with a rule about the shape.
    const fn refusing(self, refuses: fn(&ModelShape) -> Option<String>) -> Self {
        Self { refuses, ..self }
    }

    /// The same as a network of its own.
    const fn network(self) -> Self {
        Self {
            is_network: true,
            ..self
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ATTENTION_KINDS.iter().find(|kind| kind.name == name)
    }
}

fn odd_heads(shape: &ModelShape, does: &str) -> Option<String> {
    let odd = !shape.head_dim.is_multiple_of(2);
    odd.then(|| format!("{does}, and `model.head_dim` = {} is odd", shape.head_dim))
}

fn no_bottleneck(shape: &ModelShape) -> Option<String> {
    if shape.layers < 2 {
        let layers = shape.layers;
        return Some(format!(
            "has a block down and a block up: `model.layers` = {layers} must be at least 2"
        ));
    }
    (shape.own > shape.context).then(|| {
        format!(
            "has at most one latent per token: `bottleneck` = {} must be at most `model.context` = {}",
            shape.own, shape.context
        )
    })
}

fn uneven_groups(shape: &ModelShape) -> Option<String> {
    let uneven = shape.own == 0 || !shape.heads.is_multiple_of(shape.own);
    uneven.then(|| {
        format!(
            "needs groups of equal size: `kv_heads` = {} must divide `model.heads` = {}",
            shape.own, shape.heads
        )
    })
}

/// The keys that make a shape, in the order of the fields; the last one is a name, the others are counts.
/// The number of the kind's own comes after them.
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

/// The key of the kinds whose own number is how many tokens a token sees.
const WINDOW: &str = "window";

/// The key of the kinds whose own number is how many latents stand between the tokens.
const BOTTLENECK: &str = "bottleneck";

/// The table of the kind and its own number.
const ATTENTION: &str = "model.attention";

impl ModelShape {
    /// Reads a shape from wherever keys can be looked up; absent if any of [`SHAPE_KEYS`] is, or the
    /// kind's own number.
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
        let attention = name(attention)?;
        let own_key = KindOfAttention::named(&attention).and_then(|kind| kind.own_key);
        Some(Self {
            layers: count(layers)?,
            embed: count(embed)?,
            heads: count(heads)?,
            head_dim: count(head_dim)?,
            hidden: count(hidden)?,
            vocabulary: count(vocabulary)?,
            context: count(context)?,
            own: match own_key {
                Some(key) => count(&format!("{ATTENTION}.{key}"))?,
                None => 0,
            },
            attention: attention.into(),
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

    /// The kind's own parameter and its key, such as `window` and 32.
    pub fn own_number(&self) -> Option<(&'static str, usize)> {
        let kind = KindOfAttention::named(&self.attention)?;
        kind.own_key.map(|key| (key, self.own))
    }

    /// The longest document, in tokens: the context length, or less if the kind of attention needs it.
    pub fn longest_document(&self) -> usize {
        let kind = KindOfAttention::named(&self.attention);
        kind.map_or(self.context, |kind| (kind.longest)(self.context))
    }

    /// How many tokens a token sees at most, itself the last.
    pub fn window(&self) -> usize {
        match KindOfAttention::named(&self.attention).and_then(|kind| kind.own_key) {
            Some(WINDOW) => self.own,
            _ => self.context,
        }
    }

    /// Number of latents of a Perceiver; `None` for other kinds.
    pub fn bottleneck(&self) -> Option<usize> {
        let kind = KindOfAttention::named(&self.attention)?;
        (kind.own_key == Some(BOTTLENECK)).then_some(self.own)
    }

    /// Whether such a model can be built: every count at least 1, `heads * head_dim = embed`, and what the
    /// kind of attention asks for.
    pub fn is_consistent(&self) -> bool {
        let kind = KindOfAttention::named(&self.attention);
        self.counts().iter().all(|(_, count)| *count > 0)
            && self.heads.checked_mul(self.head_dim) == Some(self.embed)
            && kind.is_none_or(|kind| {
                kind.own_key.is_some() == (self.own > 0) && (kind.refuses)(self).is_none()
            })
    }

    /// How far two shapes are apart: the sum of `|ln ratio|` over the counts and the kinds' own numbers,
    /// and a further 10 if the attention differs, which is more than any likely difference in size.
    fn distance(&self, other: &Self) -> f64 {
        let sizes = |shape: &Self| {
            let counts = shape.counts().map(|(_, count)| count);
            counts.into_iter().chain([shape.own])
        };
        let sizes: f64 = (sizes(self).zip(sizes(other)))
            .map(|(a, b)| (a.max(1) as f64 / b.max(1) as f64).ln().abs())
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
        write!(f, "attention={}", self.attention)?;
        match self.own_number() {
            Some((key, own)) => write!(f, " {key}={own}"),
            None => Ok(()),
        }
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
