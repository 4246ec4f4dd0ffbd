//! Checkpoints of a training stage, with checksums.
//!
//! A checkpoint is a safetensors file: tensors `weights.NAME`, `first_moment.NAME`, `second_moment.NAME` and,
//! where there is a moving average, `average.NAME`, and in the header one note with the training position and a BLAKE3 checksum; the
//! best weights so far are stored the same way. The checksum is that of the file with the checksum's own
//! digits set to zero, so a change of any byte is detected.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Position;
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::model::TrainingState;
use crate::model::weights::{self, Weight};

/// The key of the only note in the header: the order of several would not be deterministic.
const NOTE: &str = "attnlab-checkpoint";

/// The text that precedes the checksum's digits; its first occurrence marks them.
const SUM_MARK: &[u8] = b"blake3-";

/// Hexadecimal digits of a BLAKE3 checksum.
const SUM_DIGITS: usize = 64;

const PARTS: [&str; 4] = ["weights.", "first_moment.", "second_moment.", "average."];

/// All state that the rest of a training stage depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The training position and the tables up to it.
    pub metadata: CheckpointMetadata,
    pub state: TrainingState,
}

/// The part of a checkpoint other than the model's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointMetadata {
    /// Cache key of the stage; no other stage may resume from this checkpoint.
    pub stage_key: String,
    /// Position within the stage.
    pub position: Position,
    /// `metrics.csv` up to this step.
    pub metrics: Prefix,
    /// Length of `timings.csv` at this step, in bytes.
    pub timings_bytes: u64,
    /// Losses of the current epoch so far.
    pub losses: Losses,
    /// The epoch or validation that was best so far.
    pub best: Option<Best>,
    /// `validation.csv` up to this step; absent if the stage does not validate.
    #[serde(default)]
    pub validation: Option<Prefix>,
}

/// The beginning of a file that may since have grown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefix {
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 sum of these bytes, hexadecimal.
    pub blake3: String,
}

/// A running sum of training losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    pub steps: usize,
    /// Sum of their losses, in nats.
    pub sum_nats: f64,
}

impl Losses {
    /// Mean loss per step, in nats; infinite without steps, so that it is never the best.
    pub fn mean_nats(&self) -> f64 {
        match self.steps {
            0 => f64::INFINITY,
            steps => self.sum_nats / steps as f64,
        }
    }
}

/// The epoch with the lowest mean training loss, or the best validation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Steps of the stage up to then.
    #[serde(default)]
    pub step: usize,
    /// What is lowest: the mean training loss of the epoch's steps, in nats, or the measure of a validation, negated if higher
    /// is better.
    #[serde(rename = "mean_loss_nats")]
    pub cost: f64,
}

/// The weights after the best epoch so far.
#[derive(Clone, Debug, PartialEq)]
pub struct BestWeights {
    pub stage_key: String,
    pub best: Best,
    pub weights: Vec<Weight>,
}

#[derive(Serialize, Deserialize)]
struct Note<T> {
    // The first field, so that the mark's first occurrence is this one.
    sum: String,
    content: T,
}

impl Checkpoint {
    /// Writes the file atomically.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write(path, &self.to_bytes()?)
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let TrainingState {
            weights,
            moments: [first, second],
            averages,
            updates,
        } = &self.state;
        let mut tensors = vec![];
        for (part, weights) in PARTS.iter().zip([weights, first, second, averages]) {
            tensors.extend(weights.iter().map(|weight| Weight {
                name: format!("{part}{}", weight.name),
                ..weight.clone()
            }));
        }
        seal(&tensors, (&self.metadata, updates))
    }

    /// Reads the bytes of a file and verifies that none of them has changed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (tensors, (metadata, updates)) = unseal::<(CheckpointMetadata, u64)>(bytes)?;
        let mut parts = [const { vec![] }; PARTS.len()];
        for mut tensor in tensors {
            let part = PARTS.iter().position(|part| tensor.name.starts_with(part));
            let part = part.ok_or_else(|| damaged("a tensor with an unknown prefix"))?;
            tensor.name.drain(..PARTS[part].len());
            parts[part].push(tensor);
        }
        let [weights, first, second, averages] = parts;
        Ok(Self {
            metadata,
            state: TrainingState {
                weights,
                moments: [first, second],
                averages,
                updates,
            },
        })
    }
}

impl BestWeights {
    /// Writes the file atomically.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write(path, &seal(&self.weights, (&self.stage_key, &self.best))?)
    }

    /// Reads and verifies the file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = files::read(Kind::Data, path)?;
        let (weights, (stage_key, best)) = unseal(&bytes).map_err(|e| e.reading(path))?;
        Ok(Self {
            stage_key,
            best,
            weights,
        })
    }
}

/// Serialises tensors and note, with the checksum filled in.
fn seal<T: Serialize>(tensors: &[Weight], content: T) -> Result<Vec<u8>> {
    let sum = format!("blake3-{}", "0".repeat(SUM_DIGITS));
    let note = serde_json::to_string(&Note { sum, content });
    let note = note.expect("a checkpoint's note is plain JSON");
    let notes = BTreeMap::from([(NOTE.to_owned(), note)]);
    let mut bytes = weights::to_bytes(tensors, &notes)?;
    let digits = sum_place(&bytes).expect("the mark was just written");
    let sum = blake3::hash(&bytes).to_hex();
    bytes[digits].copy_from_slice(sum.as_bytes());
    Ok(bytes)
}

/// Verifies the checksum and returns note and tensors.
fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Result<(Vec<Weight>, T)> {
    if bytes.is_empty() {
        return Err(Error::data("the file is empty"));
    }
    if !sum_holds(bytes) {
        return Err(damaged("its BLAKE3 checksum does not match"));
    }
    let (tensors, notes) = weights::decode(bytes)?;
    let note = notes.get(NOTE).ok_or_else(|| damaged("it has no note"))?;
    let note: Note<T> =
        serde_json::from_str(note).map_err(|e| damaged(&format!("its note: {e}")))?;
    Ok((tensors, note.content))
}

fn damaged(what: &str) -> Error {
    Error::data(format!("the checkpoint is damaged ({what})"))
}

/// The range of the checksum's digits.
fn sum_place(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let mark = bytes
        .windows(SUM_MARK.len())
        .position(|at| at == SUM_MARK)?;
    let start = mark + SUM_MARK.len();
    (start + SUM_DIGITS <= bytes.len()).then_some(start..start + SUM_DIGITS)
}

fn sum_holds(bytes: &[u8]) -> bool {
    let Some(digits) = sum_place(bytes) else {
        return false;
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..digits.start]);
    hasher.update(&[b'0'; SUM_DIGITS]);
    hasher.update(&bytes[digits.end..]);
    hasher.finalize().to_hex().as_bytes() == &bytes[digits]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(step: usize) -> Checkpoint {
        let weight = |name: &str, value: f32| Weight {
            name: name.to_owned(),
            shape: vec![3, 5],
            values: (0..15).map(|i| value + i as f32).collect(),
        };
        let both = |value| vec![weight("a.bias", value), weight("b.weight", value + 0.5)];
        Checkpoint {
            metadata: CheckpointMetadata {
                stage_key: "1f2e".to_owned(),
                position: Position {
                    step,
                    epoch: 2,
                    batch: 3,
                    schedule_tokens: 1 << 40,
                },
                metrics: Prefix {
                    bytes: 77,
                    blake3: "ab".to_owned(),
                },
                timings_bytes: 9,
                losses: Losses {
                    steps: 3,
                    sum_nats: 0.1 + 0.2,
                },
                best: None,
                validation: None,
            },
            state: TrainingState {
                weights: both(1.0),
                moments: [both(f32::MIN_POSITIVE), both(-0.0)],
                averages: both(0.5),
                updates: 12,
            },
        }
    }

    #[test]
    fn a_checkpoint_survives_a_round_trip() {
        let bytes = checkpoint(12).to_bytes().expect("bytes");
        assert_eq!(
            Checkpoint::from_bytes(&bytes).expect("whole"),
            checkpoint(12)
        );
        assert_eq!(
            bytes,
            checkpoint(12).to_bytes().expect("bytes"),
            "the same bytes again"
        );
    }

    #[test]
    fn a_change_of_any_byte_is_noticed() {
        let good = checkpoint(12).to_bytes().expect("bytes");
        for at in 0..good.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= change;
                assert!(
                    Checkpoint::from_bytes(&bad).is_err(),
                    "byte {at} ^ {change:#x}"
                );
            }
        }
    }

    #[test]
    fn every_truncation_and_every_addition_is_noticed() {
        let good = checkpoint(12).to_bytes().expect("bytes");
        for length in 0..good.len() {
            assert!(
                Checkpoint::from_bytes(&good[..length]).is_err(),
                "{length} bytes"
            );
        }
        assert!(Checkpoint::from_bytes(&[&good[..], b"\0"].concat()).is_err());
        assert!(Checkpoint::from_bytes(&[b"\0", &good[..]].concat()).is_err());
    }

    #[test]
    fn a_checkpoint_spliced_from_two_is_rejected() {
        let (one, two) = (checkpoint(12), checkpoint(13));
        let (one, two) = (
            one.to_bytes().expect("bytes"),
            two.to_bytes().expect("bytes"),
        );
        assert_eq!(one.len(), two.len());
        for cut in [8, 100, one.len() / 2, one.len() - 4] {
            let mixed = [&one[..cut], &two[cut..]].concat();
            assert!(mixed == one || mixed == two || Checkpoint::from_bytes(&mixed).is_err());
        }
    }
}
