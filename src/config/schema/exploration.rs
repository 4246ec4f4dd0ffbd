//! `[explore]`: question 1 of the assignment, what a head of attention can do, as arithmetic.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a file says that explores, in place of data, model and stages.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ExplorationSettings {
    /// A question about attention itself, in place of `device` and all tables from `data` to `evaluate`.
    /// Default: the file trains.
    pub explore: Exploration,
}

/// One question about a head of attention, and how it is put.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Exploration {
    /// Which part of question 1: `"copying"` (a), `"extraction"` (b.i), `"averaging"` (b.ii),
    /// `"noisy-averaging"` (c.i), `"swing"` (c.ii) or `"two-heads"` (d).
    pub question: ExploredQuestion,
    /// Numbers in a key, a value and a query.
    #[schemars(range(min = 1, max = 4096))]
    pub dimension: usize,
    /// All but extraction: how many keys, and values; at most `dimension`, and at least 3 for noisy averaging.
    /// Default: required there.
    #[schemars(range(min = 2))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<usize>,
    /// Extraction only: vectors in the basis of each of the two subspaces, ascending; twice the largest fits
    /// into `dimension`. Default: required there.
    #[schemars(inner(range(min = 1)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bases: Option<Vec<usize>>,
    /// Copying only: by how much one score is above all others, ascending. Default: required there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margins: Option<Vec<f64>>,
    /// Averaging and noisy averaging only: factors of the query, ascending. Default: required there.
    #[schemars(inner(range(min = 0)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub betas: Option<Vec<f64>>,
    /// Swing and two heads only: the factor of the query. Default: required there.
    #[schemars(extend("exclusiveMinimum" = 0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta: Option<f64>,
    /// Noisy averaging, swing and two heads only: variance of the keys around their means. Default: required
    /// there.
    #[schemars(range(min = 0))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// All but copying and averaging: how many times keys or subspaces are drawn. Default: required there.
    #[schemars(range(min = 2, max = 1_000_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<usize>,
}

impl Exploration {
    /// The keys that belong to some questions alone, and whether each is given.
    pub fn own(&self) -> [(&'static str, bool); 7] {
        [
            ("keys", self.keys.is_some()),
            ("bases", self.bases.is_some()),
            ("margins", self.margins.is_some()),
            ("betas", self.betas.is_some()),
            ("beta", self.beta.is_some()),
            ("alpha", self.alpha.is_some()),
            ("samples", self.samples.is_some()),
        ]
    }
}

/// See [`Exploration::question`].
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ExploredQuestion {
    /// a: when is the output one of the values?
    Copying,
    /// b.i: which matrix takes one vector out of a sum of two?
    Extraction,
    /// b.ii: which query averages two values?
    Averaging,
    /// c.i: and if keys are near their means?
    NoisyAveraging,
    /// c.ii: and if one key is of uncertain length?
    Swing,
    /// d: and with two heads?
    TwoHeads,
}

impl ExploredQuestion {
    /// The word in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copying => "copying",
            Self::Extraction => "extraction",
            Self::Averaging => "averaging",
            Self::NoisyAveraging => "noisy-averaging",
            Self::Swing => "swing",
            Self::TwoHeads => "two-heads",
        }
    }

    /// The keys that it needs beside `dimension`; it takes no others.
    pub fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Copying => &["keys", "margins"],
            Self::Extraction => &["bases", "samples"],
            Self::Averaging => &["keys", "betas"],
            Self::NoisyAveraging => &["keys", "betas", "alpha", "samples"],
            Self::Swing | Self::TwoHeads => &["keys", "beta", "alpha", "samples"],
        }
    }

    /// Whether its answer is a distribution over samples; else it is curves.
    pub fn is_distribution(self) -> bool {
        matches!(self, Self::Swing | Self::TwoHeads)
    }
}
