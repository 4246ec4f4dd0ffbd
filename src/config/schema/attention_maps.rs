//! Questions whose attention maps are recorded.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Questions that the model is asked to see where its heads look; no accuracy counts them. First those of
/// `questions`, then those of `numbers`; at least one, and at most 12.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct AttentionMapsSpec {
    /// Questions in words. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<String>,
    /// Questions of the split, counted from 1. Default: none.
    #[schemars(inner(range(min = 1)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<usize>,
}

impl AttentionMapsSpec {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.questions.len() + self.numbers.len()
    }
}
