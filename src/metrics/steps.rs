//! Reading the tables of training steps, with exactly one row per step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rows::{StepRow, TimingRow};
use super::table;
use crate::error::{Error, Result};

/// The stages that train.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq, PartialOrd, Ord,
)]
#[serde(rename_all = "kebab-case")]
pub enum TrainingStage {
    /// On the corpus.
    #[default]
    Pretrain,
    /// On the questions.
    Finetune,
}

impl TrainingStage {
    /// In the order in which a run executes them.
    pub const ALL: [Self; 2] = [Self::Pretrain, Self::Finetune];

    /// The word in file names and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::Finetune => "finetune",
        }
    }
}

/// The rows of a `metrics.csv`. If two processes once trained in the same folder, each step has two rows:
/// of two equal rows, one is kept.
///
/// # Errors
/// The table cannot be read, or a step has two rows that differ.
pub fn read_steps(path: &Path) -> Result<Vec<StepRow>> {
    let mut seen: BTreeMap<(String, usize), StepRow> = BTreeMap::new();
    let mut rows = vec![];
    for row in table::read::<StepRow>(path)? {
        let name = (row.stage.clone(), row.step);
        match seen.get(&name) {
            Some(first) if *first == row => {}
            Some(_) => {
                let ((stage, step), path) = (name, path.display());
                let message = format!("{path}: step {step} of {stage} has two rows that differ");
                return Err(Error::data(message).help(
                    "two processes wrote to it: `attnlab run FILE --again` repeats the run",
                ));
            }
            None => {
                seen.insert(name, row.clone());
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

/// The rows of a `timings.csv`, without the stages that have a step twice: two processes that trained in
/// the same folder slowed each other down.
pub fn read_timings(path: &Path) -> Result<Vec<TimingRow>> {
    let mut rows: Vec<TimingRow> = table::read(path)?;
    let mut seen = BTreeSet::new();
    let again = |row: &&TimingRow| !seen.insert((row.stage.clone(), row.step));
    let again = rows.iter().filter(again);
    let shared: BTreeSet<String> = again.map(|row| row.stage.clone()).collect();
    rows.retain(|row| !shared.contains(&row.stage));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: usize, loss_nats: f64) -> StepRow {
        StepRow {
            stage: "pretrain".to_owned(),
            epoch: 1,
            step,
            documents: 1,
            tokens: 1,
            loss_nats,
            learning_rate: 1.0,
            gradient_norm: 1.0,
        }
    }

    #[test]
    fn a_step_that_comes_twice_counts_once_or_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.csv");
        let rows = [step(1, 3.0), step(1, 3.0), step(2, 2.0), step(2, 2.0)];
        table::write(&path, &rows).expect("written");
        let read = read_steps(&path).expect("read");
        assert_eq!(read, [step(1, 3.0), step(2, 2.0)]);

        table::write(&path, &[step(1, 3.0), step(2, 2.0), step(1, 2.5)]).expect("written");
        let error = read_steps(&path).expect_err("refused");
        let expected = format!(
            "error: {}: step 1 of pretrain has two rows that differ\n  help: two processes wrote to it: \
             `attnlab run FILE --again` repeats the run",
            path.display()
        );
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn times_of_a_stage_that_was_trained_twice_at_once_are_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("timings.csv");
        let row = |stage: &str, step| TimingRow {
            stage: stage.to_owned(),
            step,
            step_ms: 1.0,
            tokens_per_second: 1.0,
        };
        let rows = [row("pretrain", 1), row("finetune", 1), row("pretrain", 1)];
        table::write(&path, &rows).expect("written");
        assert_eq!(read_timings(&path).expect("read"), [row("finetune", 1)]);
    }
}
