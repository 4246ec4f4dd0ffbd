//! `[explore]`: question 1 of the assignment, what a head of attention can do, as arithmetic.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::explore::QuestionKind;
use crate::kinds::Kinded;

/// What a file says that explores, in place of data, model and stages.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ExplorationSettings {
    /// A question about attention itself, in place of `device` and all tables from `data` to `evaluate`.
    /// Default: the file trains.
    pub explore: Kinded<QuestionKind>,
}
