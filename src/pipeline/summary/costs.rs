//! What a point costs: its parameters and the time of a step, from the files of its runs.

use std::io::Read;
use std::path::Path;

use crate::error::Result;
use crate::metrics::rows::TimingRow;
use crate::metrics::table;
use crate::pipeline::directory::{self, RunDirectory};

/// Trained numbers of the model of a point; absent where no run with these seeds has weights.
pub(super) fn parameters(point: &Path, seeds: &[u64]) -> Option<usize> {
    runs(point, seeds).iter().find_map(parameters_of)
}

/// Median time of a training step over all these seeds: of pretraining, or else of finetuning; absent where
/// nothing was trained.
///
/// # Errors
/// Timings that cannot be read.
pub(super) fn median_step_ms(point: &Path, seeds: &[u64]) -> Result<Option<f64>> {
    let mut timings: Vec<TimingRow> = vec![];
    for run in runs(point, seeds) {
        let path = run.timings_csv();
        if path.is_file() {
            timings.extend(table::read::<TimingRow>(&path)?);
        }
    }
    let of = |stage: &str| {
        let rows = timings.iter().filter(|row| row.stage == stage);
        median(rows.map(|row| row.step_ms).collect())
    };
    Ok(of("pretrain").or_else(|| of("finetune")))
}

/// The runs with these seeds below a point's folder.
fn runs(point: &Path, seeds: &[u64]) -> Vec<RunDirectory> {
    let folders = seeds.iter().map(|seed| point.join(format!("seed-{seed}")));
    folders
        .flat_map(|folder| directory::all_below(&folder))
        .collect()
}

/// Numbers in the run's weights, as their file's header lists them.
fn parameters_of(run: &RunDirectory) -> Option<usize> {
    let path = run.last_weights().ok()?;
    let mut file = std::fs::File::open(path).ok()?;
    let tensors = safetensors_header(&mut file)?;
    let shapes = tensors.iter().filter(|(name, _)| *name != "__metadata__");
    let sizes = shapes.map(|(_, tensor)| {
        let shape = tensor.get("shape")?.as_array()?;
        let sides = shape.iter().map(|side| side.as_u64().map(|n| n as usize));
        sides.product::<Option<usize>>()
    });
    sizes.sum()
}

/// A safetensors file begins with the length of its header, 8 bytes, and the header, JSON.
///
/// Source: <https://github.com/huggingface/safetensors#format>.
fn safetensors_header(file: &mut impl Read) -> Option<serde_json::Map<String, serde_json::Value>> {
    /// The format's own limit.
    const LONGEST: u64 = 100_000_000;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = Some(u64::from_le_bytes(length)).filter(|&length| length <= LONGEST)?;
    let mut header = vec![];
    file.take(length).read_to_end(&mut header).ok()?;
    serde_json::from_slice(&header).ok()
}

/// The middle value, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (below, above) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some((values[below] + values[above]) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_times_come_from_the_runs_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let header = br#"{"__metadata__":{"a":"b"},"w":{"dtype":"F32","shape":[3,4],"data_offsets":[0,48]},"b":{"dtype":"F32","shape":[5],"data_offsets":[48,68]}}"#;
        for (seed, times) in [(1, [9.0, 1.0]), (2, [3.0, 5.0])] {
            let run = folder.path().join(format!("seed-{seed}"));
            std::fs::create_dir_all(run.join("checkpoints")).expect("made");
            std::fs::write(run.join("resolved.toml"), "").expect("written");
            let bytes = [&(header.len() as u64).to_le_bytes(), &header[..]].concat();
            let weights = run.join("checkpoints/finetune.safetensors");
            std::fs::write(weights, bytes).expect("written");
            let row = |stage: &str, step_ms| TimingRow {
                stage: stage.to_owned(),
                step: 1,
                step_ms,
                tokens_per_second: 1.0,
            };
            let mut rows = vec![row("finetune", 100.0)];
            rows.extend(times.map(|ms| row("pretrain", ms)));
            table::write(&run.join("timings.csv"), &rows).expect("written");
        }
        let of = |seeds: &[u64]| {
            let times = median_step_ms(folder.path(), seeds).expect("read");
            (parameters(folder.path(), seeds), times)
        };
        assert_eq!(of(&[1, 2]), (Some(17), Some(4.0)));
        assert_eq!(of(&[2]), (Some(17), Some(4.0)));
        assert_eq!(of(&[1]), (Some(17), Some(5.0)));
        assert_eq!(of(&[3]), (None, None));
    }

    #[test]
    fn a_broken_header_is_no_number() {
        let long = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
        let broken: [&[u8]; 3] = [b"", b"\x02\0\0\0\0\0\0\0{", &long];
        for mut bytes in broken {
            assert_eq!(safetensors_header(&mut bytes), None);
        }
    }
}
