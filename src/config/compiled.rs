//! The shapes that a file needs compiled in. For the build script; the program only tests that it agrees.

use std::path::Path;

use figment::value::Value;

use super::layers::{self, Fault};
use super::shape::ModelShape;
use super::{sweep, tree};

/// The shapes that a file's points need, in the order of the points, and after them those that its random
/// search needs to choose something else for one key. A point whose `[model]` is not complete has none: files
/// for others to build on need no shape.
///
/// # Errors
/// See [`layers::read`] and [`sweep::lay_out`]; of several faults the first.
pub(crate) fn shapes(path: &Path) -> Result<Vec<ModelShape>, Fault> {
    let root = layers::read(path)?
        .figment
        .find_value("")
        .map_err(|cause| {
            let message = layers::one_line(&cause.to_string());
            Fault {
                file: Some(path.to_owned()),
                ..Fault::at_key(&[], message)
            }
        })?;
    let sweep = sweep::lay_out(&root);
    if let Some(fault) = sweep.faults.into_iter().next() {
        return Err(fault);
    }
    let points = sweep.points.iter();
    let mut shapes: Vec<ModelShape> = points
        .filter_map(|point| shape(&point.apply(&root)))
        .collect();
    // What another seed or one more draw may choose.
    for point in sweep.extremes.iter().flat_map(|(_, points)| points) {
        let new = shape(&point.apply(&root)).filter(|shape| !shapes.contains(shape));
        shapes.extend(new);
    }
    Ok(shapes)
}

fn shape(root: &Value) -> Option<ModelShape> {
    let at = |key: &str| tree::get(root, &tree::split(key));
    ModelShape::from_lookup(
        |key| count(at(key)?),
        |key| Some(at(key)?.as_str()?.to_owned()),
    )
}

/// A whole number of at least 0, if that is what the value is.
fn count(value: &Value) -> Option<usize> {
    let signed = value.to_i128().and_then(|n| usize::try_from(n).ok());
    signed.or_else(|| value.to_u128().and_then(|n| usize::try_from(n).ok()))
}
