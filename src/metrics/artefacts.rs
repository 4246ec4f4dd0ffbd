//! The files that stages produce, in one table, from which the folder of a stage, the folder of a run and the
//! README's table of files are derived.

use super::rows::{StepRow, TimingRow, ValidationRow};
use super::table;
use crate::error::Result;

/// A file, or a family of files, that a stage produces.
#[derive(Debug)]
pub struct Artefact {
    /// Its path in the stage's folder; `*` stands for the part that distinguishes files of one family.
    in_stage: &'static str,
    /// Its path in the run's folder, where `{stage}` stands for the stage's name.
    pub in_run: &'static str,
    /// Whether it is one of the results that `done.json` lists with their checksums. Files that differ between
    /// repetitions are not, nor are those that a failure leaves.
    pub is_result: bool,
    /// The header of a table that holds the rows of all stages in the run's folder; other files are shared as
    /// they are.
    pub header: Option<fn() -> Result<Vec<u8>>>,
    /// Whether the run's folder has this table even if no stage made it.
    pub is_always_there: bool,
}

/// One row per training step.
pub static METRICS: Artefact = Artefact {
    header: Some(|| table::to_bytes::<StepRow>(&[], b',')),
    is_always_there: true,
    ..Artefact::result("metrics.csv", "metrics.csv")
};

/// How long each training step took.
pub static TIMINGS: Artefact = Artefact {
    header: Some(|| table::to_bytes::<TimingRow>(&[], b',')),
    is_always_there: true,
    is_result: false,
    ..Artefact::result("timings.csv", "timings.csv")
};

/// One row per validation during training.
pub static VALIDATION: Artefact = Artefact {
    header: Some(|| table::to_bytes::<ValidationRow>(&[], b',')),
    ..Artefact::same("validation.csv")
};

/// Weights at the end of a stage.
pub static WEIGHTS: Artefact =
    Artefact::result("weights.safetensors", "checkpoints/{stage}.safetensors");

/// Weights after the best epoch, if that was not the last.
pub static BEST_WEIGHTS: Artefact =
    Artefact::result("best.safetensors", "checkpoints/{stage}-best.safetensors");

/// Weights before the step at which training diverged.
pub static WEIGHTS_BEFORE_STEP: Artefact = Artefact {
    is_result: false,
    ..Artefact::result(
        "before-step-*.safetensors",
        "checkpoints/{stage}-before-step-*.safetensors",
    )
};

/// Provenance of the stage.
pub static PROVENANCE: Artefact = Artefact {
    is_result: false,
    ..Artefact::result("provenance.json", "provenance/{stage}.json")
};

/// Documents before and after span corruption.
pub static CORRUPTION_EXAMPLES: Artefact = Artefact::same("corruption_examples.csv");

/// Answers to the questions of a split, by the model or by a constant; and to those about invented people,
/// which have no right answer.
pub static PREDICTIONS: Artefact = Artefact::same("predictions/*.tsv");

/// The `*` of the predictions of the `model` or of a `constant` on a split.
pub fn predictions_of(split: &str, subject: &str) -> String {
    format!("{split}-{subject}")
}

/// How well each held-out item of a split is predicted.
pub static HELD_OUT: Artefact = Artefact::same("held_out/*.csv");

/// How often each place is the answer to a training question.
pub static TRAINING_ANSWERS: Artefact = Artefact::same("training_answers.csv");

/// The attention weights of every head while some questions are read and answered.
pub static ATTENTION_MAPS: Artefact = Artefact::same("attention_maps.csv");

/// Curves that an exploration measured.
pub static CURVES: Artefact = Artefact::same("curves.csv");

/// Samples that an exploration drew.
pub static SAMPLES: Artefact = Artefact::same("samples.csv");

/// All of them.
pub static ALL: [&Artefact; 14] = [
    &METRICS,
    &TIMINGS,
    &VALIDATION,
    &WEIGHTS,
    &BEST_WEIGHTS,
    &WEIGHTS_BEFORE_STEP,
    &PROVENANCE,
    &CORRUPTION_EXAMPLES,
    &PREDICTIONS,
    &HELD_OUT,
    &TRAINING_ANSWERS,
    &ATTENTION_MAPS,
    &CURVES,
    &SAMPLES,
];

impl Artefact {
    const fn result(in_stage: &'static str, in_run: &'static str) -> Self {
        Self {
            in_stage,
            in_run,
            is_result: true,
            header: None,
            is_always_there: false,
        }
    }

    const fn same(path: &'static str) -> Self {
        Self::result(path, path)
    }

    /// The artefact that has this path in a stage's folder, and the text that its `*` matches.
    pub fn of(path: &str) -> Option<(&'static Self, &str)> {
        ALL.into_iter()
            .find_map(|one| match one.in_stage.split_once('*') {
                None => (one.in_stage == path).then_some((one, "")),
                Some((start, end)) => {
                    let part = path.strip_prefix(start)?.strip_suffix(end)?;
                    // `._name` is what macOS puts beside a file on foreign disks.
                    (!part.starts_with('.')).then_some((one, part))
                }
            })
    }

    /// Its path in a stage's folder; `part` replaces the `*`.
    pub fn in_stage(&self, part: &str) -> String {
        self.in_stage.replace('*', part)
    }

    /// Its path in a run's folder.
    pub fn in_run(&self, stage: &str, part: &str) -> String {
        self.in_run.replace("{stage}", stage).replace('*', part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_their_parts_round_trip() {
        for one in ALL {
            let part = if one.in_stage.contains('*') { "7" } else { "" };
            let path = one.in_stage(part);
            let (found, of) = Artefact::of(&path).expect("an artefact");
            assert!(std::ptr::eq(found, one) && of == part, "{path}");
        }
        let best = Artefact::of("best.safetensors").expect("an artefact").0;
        assert_eq!(
            best.in_run("pretrain", ""),
            "checkpoints/pretrain-best.safetensors"
        );
        assert!(Artefact::of("stage.json").is_none());
        assert!(Artefact::of("predictions/._dev-model.tsv").is_none());
    }
}
