//! Keys of `[model]` about what is around attention.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The position embedding.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum PositionsSpec {
    /// A vector for each position is learned and added to the token embedding.
    #[schemars(extend("other_names" = ["absolute", "embedding"]))]
    #[default]
    Learned,
    /// No position embedding (Haviv et al. 2022).
    #[schemars(extend("other_names" = ["nope", "off"]))]
    None,
}

/// Every norm of a model.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum NormSpec {
    /// Layer norm.
    #[schemars(extend("other_names" = ["layernorm", "ln"]))]
    #[default]
    Layer,
    /// RMS norm.
    #[schemars(extend("other_names" = ["rmsnorm", "root-mean-square"]))]
    Rms,
}

/// The MLP of a block.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum MlpSpec {
    /// Two layers around a GELU.
    #[default]
    Gelu,
    /// Two layers around a squared ReLU.
    #[schemars(extend("other_names" = ["squared-relu", "relu-squared", "primer"]))]
    Relu2,
    /// Three layers, one of them a gate.
    #[schemars(extend("other_names" = ["glu", "llama", "silu"]))]
    Swiglu,
    /// Blocks of attention alone.
    #[schemars(extend("other_names" = ["off", "attention-only"]))]
    None,
}

impl MlpSpec {
    /// Total output width of the layers before the activation, given that of the hidden layer: twice if one is a gate.
    pub fn hidden_width(self, hidden: usize) -> usize {
        match self {
            Self::Gelu | Self::Relu2 => hidden,
            Self::Swiglu => 2 * hidden,
            Self::None => 0,
        }
    }
}
