//! How many parameters the model of a point has, from the weights of its runs.

use std::path::Path;

use crate::model::weights;
use crate::pipeline::directory::{self, RunDirectory};

/// The parameters of a point's model; absent where no run with these seeds has weights.
pub(super) fn of_point(point: &Path, seeds: &[u64]) -> Option<usize> {
    runs(point, seeds).iter().find_map(parameters_of)
}

/// The runs with these seeds below a point's folder.
fn runs(point: &Path, seeds: &[u64]) -> Vec<RunDirectory> {
    let folders = seeds.iter().map(|seed| point.join(format!("seed-{seed}")));
    folders
        .flat_map(|folder| directory::all_below(&folder))
        .collect()
}

/// Number of values in the run's weights.
fn parameters_of(run: &RunDirectory) -> Option<usize> {
    let (weights, _) = weights::read(&run.last_weights().ok()?).ok()?;
    Some(weights.iter().map(|weight| weight.values.len()).sum())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::weights::Weight;

    #[test]
    fn parameters_come_from_the_weights_of_a_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let weight = |name: &str, shape: &[usize]| Weight {
            name: name.to_owned(),
            shape: shape.to_vec(),
            values: vec![0.0; shape.iter().product()],
        };
        let both = [weight("w", &[3, 4]), weight("b", &[5])];
        let run = folder.path().join("seed-2");
        std::fs::create_dir_all(run.join("checkpoints")).expect("made");
        for file in ["resolved.toml", "status.json"] {
            std::fs::write(run.join(file), "").expect("written");
        }
        let file = run.join("checkpoints/finetune.safetensors");
        weights::write(&file, &both, &BTreeMap::new()).expect("written");
        assert_eq!(of_point(folder.path(), &[1, 2]), Some(17));
        assert_eq!(of_point(folder.path(), &[1]), None);
    }
}
