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
    /// The kind's parameter, such as a window; 0 for a kind without one.
    pub kind_parameter: usize,
}

/// What the configuration and the build script know of a kind of attention.
#[derive(Clone, Copy, Debug)]
pub struct KindOfAttention {
    /// As the TOML spells it: `sliding-window` is the type `SlidingWindow`.
    pub name: &'static str,
    /// Other words by which people know it.
    pub other_names: &'static [&'static str],
    /// Whether that type is a network of its own, in `src/model/`, and not the attention of a GPT's blocks,
    /// in `src/model/attention/`.
    pub is_network: bool,
    /// What it is, in a line, with its source.
    pub about: &'static str,
    /// The key of its parameter in `[model.attention]`, if it has one.
    pub parameter_key: Option<&'static str>,
    /// The const generics of its type after width and head width; those of a network also come after
    /// MLP width, vocabulary and context.
    pub constants: fn(&ModelShape) -> Vec<usize>,
    /// The longest document, in tokens, for a given context length.
    pub longest: fn(usize) -> usize,
    /// Why a shape is invalid, as a sentence about `model.attention`; `None` if it is valid.
    pub refuses: fn(&ModelShape) -> Option<String>,
}

/// The kinds of attention, in alphabetical order. How to add one is in `src/model/attention/README.md`.
pub const ATTENTION_KINDS: [KindOfAttention; 10] = [
    kind(
        "alibi",
        "scores fall with distance, each head by a slope of its own (Press et al. 2022)",
    ),
    KindOfAttention {
        refuses: |shape| odd_heads(shape, "splits each head in half"),
        ..kind(
            "differential",
            "a second attention map is subtracted from the first (Ye et al. 2025)",
        )
    },
    KindOfAttention {
        other_names: &["gqa"],
        parameter_key: Some("kv_heads"),
        constants: |shape| vec![shape.kind_parameter * shape.head_dim],
        refuses: uneven_groups,
        ..kind(
            "grouped-query",
            "groups of heads share keys and values (Ainslie et al. 2023)",
        )
    },
    kind(
        "linear",
        "dot products of feature maps instead of a softmax (Katharopoulos et al. 2020)",
    ),
    KindOfAttention {
        other_names: &["mqa"],
        ..kind(
            "multi-query",
            "all heads share keys and values (Shazeer 2019)",
        )
    },
    KindOfAttention {
        is_network: true,
        parameter_key: Some(BOTTLENECK),
        constants: |shape| vec![shape.layers.saturating_sub(2), shape.kind_parameter],
        refuses: no_bottleneck,
        ..kind(
            "perceiver",
            "a network of a few latents between the tokens (Jaegle et al. 2021)",
        )
    },
    KindOfAttention {
        other_names: &["rotary"],
        refuses: |shape| odd_heads(shape, "rotates pairs of channels"),
        ..kind(
            "rope",
            "queries and keys rotated by their position (Su et al. 2021)",
        )
    },
    KindOfAttention {
        parameter_key: Some(WINDOW),
        constants: |shape| vec![shape.kind_parameter],
        ..kind(
            "sliding-window",
            "each token attends only to the last few tokens (Beltagy et al. 2020)",
        )
    },
    KindOfAttention {
        // As in the assignment: the last token of a document is only ever a target.
        longest: |context| context - 1,
        constants: |shape| vec![shape.longest_document()],
        ..kind(
            "synthesizer",
            "each token predicts its attention scores, without keys (Tay et al. 2021)",
        )
    },
    KindOfAttention {
        other_names: &["softmax"],
        ..kind(
            "vanilla",
            "causal multi-head softmax attention (Vaswani et al. 2017)",
        )
    },
];

/// A kind without a parameter.
const fn kind(name: &'static str, about: &'static str) -> KindOfAttention {
    KindOfAttention {
        name,
        other_names: &[],
        is_network: false,
        about,
        parameter_key: None,
        constants: |_| vec![],
        longest: |context| context,
        refuses: |_| None,
    }
}

impl KindOfAttention {
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
    let (layers, own, context) = (shape.layers, shape.kind_parameter, shape.context);
    if layers < 2 {
        let says = "has a block down and a block up:";
        return Some(format!(
            "{says} `model.layers` = {layers} must be at least 2"
        ));
    }
    let says = "has at most one latent per token: `bottleneck`";
    (own > context).then(|| format!("{says} = {own} must be at most `model.context` = {context}"))
}

fn uneven_groups(shape: &ModelShape) -> Option<String> {
    let (own, heads) = (shape.kind_parameter, shape.heads);
    let uneven = own == 0 || !heads.is_multiple_of(own);
    let says = "needs groups of equal size: `kv_heads`";
    uneven.then(|| format!("{says} = {own} must divide `model.heads` = {heads}"))
}

/// The parameter key of kinds with an attention window, in tokens.
const WINDOW: &str = "window";

/// The parameter key of kinds with a bottleneck of latents.
const BOTTLENECK: &str = "bottleneck";

impl ModelShape {
    fn kind(&self) -> Option<&'static KindOfAttention> {
        KindOfAttention::named(&self.attention)
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
    pub fn named_parameter(&self) -> Option<(&'static str, usize)> {
        Some((self.kind()?.parameter_key?, self.kind_parameter))
    }

    /// The longest document, in tokens: the context length, or less if the kind of attention needs it.
    pub fn longest_document(&self) -> usize {
        let kind = self.kind();
        kind.map_or(self.context, |kind| (kind.longest)(self.context))
    }

    /// How many tokens a token sees at most, itself the last.
    pub fn window(&self) -> usize {
        self.parameter(WINDOW).unwrap_or(self.context)
    }

    /// Number of latents of a Perceiver; `None` for other kinds.
    pub fn bottleneck(&self) -> Option<usize> {
        self.parameter(BOTTLENECK)
    }

    fn parameter(&self, key: &str) -> Option<usize> {
        let (name, number) = self.named_parameter()?;
        (name == key).then_some(number)
    }

    /// Whether such a model can be built: every count at least 1, `heads * head_dim = embed`, and what the
    /// kind of attention asks for.
    pub fn is_consistent(&self) -> bool {
        self.counts().iter().all(|(_, count)| *count > 0)
            && self.heads.checked_mul(self.head_dim) == Some(self.embed)
            && self.kind().is_none_or(|kind| {
                kind.parameter_key.is_some() == (self.kind_parameter > 0)
                    && (kind.refuses)(self).is_none()
            })
    }

    /// How far two shapes are apart: the sum of `|ln ratio|` over the counts and the kinds' own numbers,
    /// and a further 10 if the attention differs, which is more than any likely difference in size.
    fn distance(&self, other: &Self) -> f64 {
        let sizes = |shape: &Self| {
            let counts = shape.counts().map(|(_, count)| count);
            counts.into_iter().chain([shape.kind_parameter])
        };
        let sizes: f64 = (sizes(self).zip(sizes(other)))
            .map(|(a, b)| (a.max(1) as f64 / b.max(1) as f64).ln().abs())
            .sum();
        let is_same_kind = self.attention == other.attention;
        sizes + if is_same_kind { 0.0 } else { 10.0 }
    }
}

impl fmt::Display for ModelShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in self.counts() {
            write!(f, "{name}={count} ")?;
        }
        write!(f, "attention={}", self.attention)?;
        match self.named_parameter() {
            Some((key, value)) => write!(f, " {key}={value}"),
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
