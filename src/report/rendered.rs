//! Rendering templates.

use askama::Template;

use crate::error::{Error, Result};

/// Renders a template.
pub(super) fn rendered(template: &impl Template) -> Result<String> {
    let text = template.render();
    text.map_err(|cause| Error::run(format!("cannot write a report: {cause}")))
}
