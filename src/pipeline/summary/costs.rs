//! What a point costs: its parameters and the time of a step, from the files of its runs.

use std::path::Path;

use crate::error::Result;
use crate::metrics::rows::TimingRow;
use crate::metrics::statistics::quantile;
use crate::metrics::steps;
use crate::model::weights;
use crate::pipeline::artefacts::TIMINGS;
use crate::pipeline::directory::{self, RunDirectory};

/// Trained numbers of the model of a point; absent where no run with these seeds has weights.
pub(super) fn parameters(point: &Path, seeds: &[u64]) -> Option<usize> {
    runs(point, seeds).iter().find_map(parameters_of)
}

/// The stage whose steps are timed where both are.
pub(super) const TIMED: [&str; 2] = ["pretrain", "finetune"];

/// Median time of a training step over all these seeds: of pretraining, or else of finetuning; absent where
/// nothing was trained.
///
/// # Errors
/// Timings that cannot be read.
pub(super) fn median_step_ms(point: &Path, seeds: &[u64]) -> Result<Option<f64>> {
    let mut timings: Vec<TimingRow> = vec![];
    for run in runs(point, seeds) {
        let path = run.file(&TIMINGS);
        if path.is_file() {
            timings.extend(steps::read_timings(&path)?);
        }
    }
    let of = |stage: &str| {
        let rows = timings.iter().filter(|row| row.stage == stage);
        let times: Vec<f64> = rows.map(|row| row.step_ms).collect();
        (!times.is_empty()).then(|| quantile(&times, 0.5))
    };
    Ok(TIMED.into_iter().find_map(of))
}

/// The runs with these seeds below a point's folder.
fn runs(point: &Path, seeds: &[u64]) -> Vec<RunDirectory> {
    let folders = seeds.iter().map(|seed| point.join(format!("seed-{seed}")));
    folders
        .flat_map(|folder| directory::all_below(&folder))
        .collect()
}

/// Numbers in the run's weights.
fn parameters_of(run: &RunDirectory) -> Option<usize> {
    let (weights, _) = weights::read(&run.last_weights().ok()?).ok()?;
    Some(weights.iter().map(|weight| weight.values.len()).sum())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::metrics::table;
    use crate::model::weights::Weight;

    #[test]
    fn parameters_and_times_come_from_the_runs_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let weight = |name: &str, shape: &[usize]| Weight {
            name: name.to_owned(),
            shape: shape.to_vec(),
            values: vec![0.0; shape.iter().product()],
        };
        let both = [weight("w", &[3, 4]), weight("b", &[5])];
        for (seed, times) in [(1, [9.0, 1.0]), (2, [3.0, 5.0])] {
            let run = folder.path().join(format!("seed-{seed}"));
            std::fs::create_dir_all(run.join("checkpoints")).expect("made");
            for file in ["resolved.toml", "status.json"] {
                std::fs::write(run.join(file), "").expect("written");
            }
            let file = run.join("checkpoints/finetune.safetensors");
            weights::write(&file, &both, &BTreeMap::new()).expect("written");
            let row = |stage: &str, step, step_ms| TimingRow {
                stage: stage.to_owned(),
                step,
                step_ms,
                tokens_per_second: 1.0,
            };
            let mut rows = vec![row("finetune", 1, 100.0)];
            rows.extend((1..).zip(times).map(|(step, ms)| row("pretrain", step, ms)));
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
}
