//! Asking about people who are in no data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::sweep::SEED_LIMIT;

/// People that the model has never read of: whatever it answers about them is a guess.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct InventedSpec {
    /// Number of invented names, none of which occurs in a document or question.
    #[schemars(range(min = 1, max = 5000))]
    pub names: usize,
    /// Seed of the names, independent of the seeds of training; all runs are asked about the same names.
    #[schemars(extend("exclusiveMaximum" = SEED_LIMIT))]
    #[serde(default)]
    pub seed: u64,
}
