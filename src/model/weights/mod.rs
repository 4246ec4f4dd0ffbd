//! Weights on disk: safetensors under the names and shapes of the reference's PyTorch model.

mod foreign;
mod names;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, TensorView};

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

/// What a file of weights holds.
#[derive(Clone, Debug)]
pub struct WeightsFile {
    /// Under the names within PyTorch's wrappers; see [`unwrap`].
    pub weights: Vec<Weight>,
    /// The notes in its header.
    pub notes: BTreeMap<String, String>,
    /// A note for the user, if the names had prefixes of wrappers.
    pub unwrapped: Option<String>,
}

/// Reads a safetensors file of finite 32-bit floats. The causal masks that the reference keeps
/// as buffers (`blocks.N.attn.mask`) are left out: they are not weights.
///
/// # Errors
/// Missing, not safetensors, truncated, a tensor of another type or with a value that is not finite:
/// one line that names the file.
pub fn read(path: &Path) -> Result<WeightsFile> {
    parse(&files::read(Kind::Data, path)?, path)
}

/// As [`read`], from the bytes of the file at `path`.
pub fn parse(bytes: &[u8], path: &Path) -> Result<WeightsFile> {
    let (mut weights, notes) = from_bytes(bytes).map_err(|e| e.reading(path))?;
    let wrappers = unwrap(&mut weights).map_err(|e| e.in_file(path))?;
    let prefixes: Vec<String> = wrappers.iter().map(|one| format!("`{one}.`")).collect();
    let (file, removed) = (path.display(), prefixes.join(" and "));
    let note = format!(
        "{file}: removed {removed}, added by PyTorch wrappers, from the names of the weights"
    );
    Ok(WeightsFile {
        weights,
        notes,
        unwrapped: (!wrappers.is_empty()).then_some(note),
    })
}

/// The number of parameters in a file of weights, from its header alone; `None` if that cannot be read.
pub fn parameter_count(path: &Path) -> Option<usize> {
    let mut file = File::open(path).ok()?;
    let (mut length, mut header) = ([0; 8], vec![]);
    file.read_exact(&mut length).ok()?;
    let mut file = file.take(u64::from_le_bytes(length));
    file.read_to_end(&mut header).ok()?;
    let header: Metadata = serde_json::from_slice(&header).ok()?;
    let tensors = header.tensors().into_iter();
    let weights = tensors.filter(|(name, _)| !is_mask(name));
    let mut sizes = weights.map(|(_, one)| {
        let mut shape = one.shape.iter();
        shape.try_fold(1usize, |size, n| size.checked_mul(*n))
    });
    sizes.try_fold(0usize, |sum, size| sum.checked_add(size?))
}

/// Whether a tensor is a causal mask, which the reference keeps as a buffer.
fn is_mask(name: &str) -> bool {
    name.ends_with(".attn.mask")
}

/// Weights under the names in the bytes of a file, and the notes in its header.
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
        if is_mask(name) {
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
                .help("is it a file of a model with the same `[model]`, except for `dropout`?")
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
        .help("is it a file of a model with the same `[model]`, except for `dropout`?")),
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

    #[test]
    fn parameters_are_counted_without_their_values() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("weights.safetensors");
        let weight = |name: &str, shape: &[usize]| Weight {
            name: name.to_owned(),
            shape: shape.to_vec(),
            values: vec![0.5; shape.iter().product()],
        };
        let weights = [
            weight("w", &[3, 4]),
            weight("b", &[4]),
            weight("blocks.0.attn.mask", &[9]),
        ];
        let mut bytes = to_bytes(&weights, &BTreeMap::new()).expect("bytes");
        std::fs::write(&path, &bytes).expect("written");
        assert_eq!(parameter_count(&path), Some(16));
        bytes.truncate(bytes.len() - 4 * 25);
        std::fs::write(&path, &bytes).expect("written");
        assert_eq!(parameter_count(&path), Some(16), "the header alone is read");
        bytes.truncate(20);
        std::fs::write(&path, &bytes).expect("written");
        assert_eq!(parameter_count(&path), None);
        assert_eq!(parameter_count(&folder.path().join("gone")), None);
    }
}
