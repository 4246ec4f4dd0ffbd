//! Weights on disk: safetensors under the names and shapes of the reference's PyTorch model.

mod foreign;
mod names;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::error::{Error, Kind, Result};
use crate::files;
use crate::progress::thousands;

pub use names::unwrap;

/// One named tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Such as `blocks.0.attn.key.weight`.
    pub name: String,
    /// PyTorch's: a linear is `[out, in]`.
    pub shape: Vec<usize>,
    /// As many as the shape says.
    pub values: Vec<f32>,
}

/// Writes weights as one safetensors file, with `notes` in its header.
pub fn write(path: &Path, weights: &[Weight], notes: &BTreeMap<String, String>) -> Result<()> {
    let bytes = to_bytes(weights, notes).map_err(|e| e.in_file(path))?;
    files::write(path, &bytes)
}

/// The bytes of such a file. With more than one note their order is not the same every time:
/// safetensors keeps them in a hash map.
///
/// # Errors
/// A weight whose shape does not match its number of values, or two of the same name.
pub fn to_bytes(weights: &[Weight], notes: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let fail = |cause| Error::run(format!("cannot write weights: {cause}"));
    let views: Result<Vec<_>, _> = weights
        .iter()
        .map(|w| {
            let bytes = bytemuck::cast_slice(&w.values);
            let view = TensorView::new(Dtype::F32, w.shape.clone(), bytes)?;
            Ok((&w.name, view))
        })
        .collect();
    let notes: HashMap<String, String> = notes.clone().into_iter().collect();
    // With neither notes nor weights, safetensors would write an empty metadata table that cannot be read back.
    let notes = (!notes.is_empty()).then_some(notes);
    safetensors::serialize(views.map_err(fail)?, notes).map_err(fail)
}

/// Reads a safetensors file of finite 32-bit floats, and the notes in its header.
///
/// Names are those within PyTorch's wrappers; see [`unwrap`]. The causal masks that the reference keeps
/// as buffers (`blocks.N.attn.mask`) are left out: they are not weights.
///
/// # Errors
/// Missing, not safetensors, truncated, a tensor of another type or with a value that is not finite:
/// one line that names the file.
pub fn read(path: &Path) -> Result<(Vec<Weight>, BTreeMap<String, String>)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(Kind::Data, "read", path, e))?;
    let (mut weights, notes) = from_bytes(&bytes).map_err(|e| e.reading(path))?;
    unwrap(&mut weights).map_err(|e| e.in_file(path))?;
    Ok((weights, notes))
}

/// As [`read`], from the bytes of a file.
pub fn from_bytes(bytes: &[u8]) -> Result<(Vec<Weight>, BTreeMap<String, String>)> {
    let (weights, notes) = decode(bytes)?;
    check_finite(&weights)?;
    Ok((weights, notes))
}

/// Refuses weights with values that are not finite.
///
/// # Errors
/// The first weight with a value that is not finite, and how many of its values are not.
pub fn check_finite(weights: &[Weight]) -> Result<()> {
    // Counting has no early exit and so runs over whole vectors.
    let count = |weight: &Weight| weight.values.iter().filter(|v| !v.is_finite()).count();
    let mut counts = weights.iter().map(|weight| (weight, count(weight)));
    let Some((Weight { name, values, .. }, count)) = counts.find(|&(_, count)| count > 0) else {
        return Ok(());
    };
    let others = match counts.filter(|&(_, count)| count > 0).count() {
        0 => String::new(),
        1 => ", and another weight has some too".to_owned(),
        more => format!(", and {more} other weights have some too"),
    };
    let (count, values) = (thousands(count), thousands(values.len()));
    Err(Error::data(format!(
        "`{name}` has non-finite values ({count} of {values}){others}"
    ))
    .help("the training that produced them diverged; use weights from before it did"))
}

/// As [`from_bytes`], whatever the values are: a checkpoint's moments may overflow where no weight does.
pub fn decode(bytes: &[u8]) -> Result<(Vec<Weight>, BTreeMap<String, String>)> {
    let damaged = |e| {
        let unknown = || Error::data(format!("not a safetensors file ({e})"));
        foreign::diagnose(bytes).unwrap_or_else(unknown)
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let notes = header.metadata().clone().unwrap_or_default();
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let mut weights = vec![];
    for (name, view) in file.iter() {
        if name.ends_with(".attn.mask") {
            continue;
        }
        if view.dtype() != Dtype::F32 {
            let cause = format!("`{name}` is {:?}, not F32", view.dtype());
            return Err(Error::data(cause)
                .help("save the weights as 32-bit floats (in PyTorch: `tensor.float()`)"));
        }
        weights.push(Weight {
            name: name.to_owned(),
            shape: view.shape().to_vec(),
            // The bytes of a file need not be aligned.
            values: bytemuck::pod_collect_to_vec(view.data()),
        });
    }
    weights.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((weights, notes.into_iter().collect()))
}

/// The values of `weights` in the order of a model's layout.
///
/// # Errors
/// A weight of the model is missing or has another shape, or one is not of this model.
pub(super) fn match_layout(
    layout: &[(String, Vec<usize>)],
    weights: &[Weight],
) -> Result<Vec<Vec<f32>>> {
    let mut by_name: BTreeMap<&str, &Weight> =
        weights.iter().map(|w| (w.name.as_str(), w)).collect();
    let mut values = vec![];
    for (name, shape) in layout {
        let weight = by_name.remove(name.as_str()).ok_or_else(|| {
            Error::data(format!("the weights lack `{name}` of shape {shape:?}"))
                .help("is it a file of a model with the same layers and attention kind?")
        })?;
        if &weight.shape != shape {
            return Err(Error::data(format!(
                "the weights hold `{name}` of shape {:?}, the model needs {shape:?}",
                weight.shape
            ))
            .help("give `[model]` the shape that the weights were trained with"));
        }
        values.push(weight.values.clone());
    }
    match by_name.keys().next() {
        None => Ok(values),
        Some(name) => Err(Error::data(format!(
            "the weights hold `{name}`, which this model lacks"
        ))
        .help("is it a file of a model with the same layers and attention kind?")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn file() -> Vec<u8> {
        let weight = |name: &str, shape: &[usize]| Weight {
            name: name.to_owned(),
            shape: shape.to_vec(),
            values: vec![0.5; shape.iter().product()],
        };
        let weights = [
            weight("a.bias", &[3]),
            weight("b.weight", &[2, 3]),
            weight("none", &[0]),
        ];
        let notes = BTreeMap::from([("vocabulary".to_owned(), "\nab\u{e9}".to_owned())]);
        to_bytes(&weights, &notes).expect("bytes")
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = from_bytes(&bytes);
        }

        /// A header of JSON, whatever it says.
        #[test]
        fn any_header_is_read_or_refused(header in "\\{(\"[a-z_]{0,12}\":[^\u{0}]{0,60},?){0,3}\\}", tail in 0usize..64) {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend_from_slice(header.as_bytes());
            bytes.resize(bytes.len() + tail, 0);
            let _ = from_bytes(&bytes);
        }

        #[test]
        fn a_damaged_file_is_read_or_refused(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>()) {
            let mut bytes = file();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = from_bytes(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            let _ = from_bytes(&bytes);
        }
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let (weights, notes) = from_bytes(&file()).expect("a file of weights");
        let names: Vec<&str> = weights.iter().map(|weight| weight.name.as_str()).collect();
        assert_eq!(names, ["a.bias", "b.weight", "none"]);
        assert_eq!(weights[1].shape, [2, 3]);
        assert_eq!(weights[1].values, [0.5; 6]);
        assert_eq!(notes["vocabulary"], "\nab\u{e9}");
    }

    #[test]
    fn values_that_are_not_finite_are_refused_by_name_and_number() {
        let (mut weights, notes) = from_bytes(&file()).expect("a file of weights");
        let message = |weights: &[Weight]| {
            let bytes = to_bytes(weights, &notes).expect("bytes");
            assert!(decode(&bytes).is_ok());
            from_bytes(&bytes).expect_err("refused").message()
        };
        weights[1].values[4] = f32::NAN;
        weights[1].values[0] = f32::NEG_INFINITY;
        let says = "`b.weight` has non-finite values (2 of 6)";
        assert_eq!(message(&weights), says);
        weights[0].values[2] = f32::INFINITY;
        let says = "`a.bias` has non-finite values (1 of 3), and another weight has some too";
        assert_eq!(message(&weights), says);
    }

    #[test]
    fn a_file_without_weights_and_notes_can_be_read() {
        let bytes = to_bytes(&[], &BTreeMap::new()).expect("bytes");
        assert_eq!(
            from_bytes(&bytes).expect("a file"),
            (vec![], BTreeMap::new())
        );
    }
}
