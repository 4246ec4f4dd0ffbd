//! The questions that an evaluation asks besides those of its split.

use crate::config::schema::{EvaluateSpec, Settings};
use crate::data::{Corpus, Question, invented, mapped};
use crate::error::Result;

/// The questions about invented people, who occur nowhere in the data.
///
/// # Errors
/// See [`invented::questions`].
pub fn invented(
    spec: &EvaluateSpec,
    settings: &Settings,
    corpus: &Corpus,
) -> Result<Vec<Question>> {
    let Some(spec) = &spec.invented else {
        return Ok(vec![]);
    };
    let parts = settings.data.kind.invented_name_parts;
    invented::questions(corpus, parts, spec.names, spec.seed)
}

/// The questions whose attention maps are recorded.
///
/// # Errors
/// See [`mapped::questions`].
pub fn mapped(spec: &EvaluateSpec, corpus: &Corpus) -> Result<Vec<Question>> {
    match &spec.attention_maps {
        Some(maps) => mapped::questions(corpus, spec.split, &maps.questions, &maps.numbers),
        None => Ok(vec![]),
    }
}
