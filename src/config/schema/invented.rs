//! Asking about people who are in no data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// People that the model has never read of: whatever it answers about them is a guess.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct InventedSpec {
    /// How many names that no document and no question has, 1 to 5000.
    pub names: usize,
    /// Seed of the names, apart from the seed of training. Default 0.
    #[serde(default)]
    pub seed: u64,
}
