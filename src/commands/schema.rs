//! `attnlab schema`: the experiment file as JSON Schema.

use super::print_bytes;
use crate::config::json_schema;
use crate::error::Result;

/// `attnlab schema`.
pub fn schema() -> Result<()> {
    print_bytes(json_schema().as_bytes())
}
