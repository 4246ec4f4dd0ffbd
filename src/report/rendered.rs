//! Templates that are filled in.

use askama::Template;

use crate::error::{Error, Result};

/// The text of a template.
///
/// # Errors
/// It cannot be filled in.
pub(super) fn rendered(template: &impl Template) -> Result<String> {
    let text = template.render();
    text.map_err(|cause| Error::run(format!("cannot write a report: {cause}")))
}
