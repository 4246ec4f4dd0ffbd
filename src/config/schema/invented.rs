//! Asking about people who are in no data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::sweep::SEED_LIMIT;

/// People that the model has never read of: whatever it answers about them is a guess.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct InventedSpec {
    /// How many names that no document and no question has.
    #[schemars(range(min = 1, max = 5000))]
    pub names: usize,
    /// Seed of the names, apart from the seed of training; every seed of an experiment is asked the same.
    #[schemars(extend("exclusiveMaximum" = SEED_LIMIT))]
    #[serde(default)]
    pub seed: u64,
}
