//! The shapes that a file needs compiled in. For the build script; the program only tests that it agrees.

use std::path::Path;

use figment::value::Value;

use super::layers::{self, Fault};
use super::shape::ModelShape;
use super::sweep::{self, PointValues};
use super::tree;

/// The shapes that a file's points need, in order, then those that other draws of its random search may need. A point
/// whose `[model]` is incomplete has none: base files need no shape. Returns the first of several faults.
pub(crate) fn shapes(path: &Path) -> Result<Vec<ModelShape>, Fault> {
    let root = layers::read(path)?.figment.find_value("");
    let root = root.map_err(|cause| Fault::not_toml(path, &cause.to_string()))?;
    let sweep = sweep::lay_out(&root);
    if let Some(fault) = sweep.faults.into_iter().next() {
        return Err(fault);
    }
    let of = |point: &PointValues| shape(&point.apply(&root));
    let mut shapes: Vec<ModelShape> = sweep.points.iter().filter_map(of).collect();
    // Shapes that another seed or more draws may choose.
    for point in sweep.extremes.iter().flat_map(|(_, points)| points) {
        shapes.extend(of(point).filter(|shape| !shapes.contains(shape)));
    }
    Ok(shapes)
}

fn shape(root: &Value) -> Option<ModelShape> {
    let count = |key| {
        let value = tree::get(root, &["model", key])?;
        usize::try_from(value.to_i128()?).ok()
    };
    Some(ModelShape {
        embed: count("embed")?,
        hidden: count("hidden")?,
        vocabulary: count("vocabulary")?,
        context: count("context")?,
    })
}
