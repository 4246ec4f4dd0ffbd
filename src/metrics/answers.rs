//! Models' answers with their probabilities, from the finished runs in which a model was asked.

use super::artefacts::{PREDICTIONS, TRAINING_ANSWERS, predictions_of};
use super::measured::{Measured, MeasuredPoint, MeasuredRun};
use super::rows::{PredictionRow, TrainingAnswerRow};
use super::statistics::ScoredAnswer;
use crate::error::Result;

/// The runs of a point in which a model was asked; at least one.
#[derive(Clone, Debug)]
pub struct PointAnswers {
    /// The name of the point's folder.
    pub folder: String,
    /// Label of the point.
    pub label: String,
    /// Which questions were asked.
    pub split: &'static str,
    /// One per seed.
    pub runs: Vec<RunAnswers>,
}

/// What one run answered.
#[derive(Clone, Debug)]
pub struct RunAnswers {
    /// The seed of the run.
    pub seed: u64,
    /// Answers to the questions of the split.
    pub asked: Vec<PredictionRow>,
    /// Answers about invented people, for whom there is no reference answer.
    pub invented: Vec<PredictionRow>,
    /// How often each place is the answer to a training question.
    pub training: Vec<TrainingAnswerRow>,
}

/// The points at which a model was asked, in their order.
///
/// # Errors
/// Predictions cannot be read.
pub fn of_points(measured: &Measured) -> Result<Vec<PointAnswers>> {
    let read = |point| PointAnswers::read(point).transpose();
    measured.points.iter().filter_map(read).collect()
}

impl PointAnswers {
    fn read(point: &MeasuredPoint) -> Result<Option<Self>> {
        let Some(split) = point.split else {
            return Ok(None);
        };
        let mut runs = vec![];
        for run in &point.runs {
            runs.extend(RunAnswers::read(run, split)?);
        }
        Ok((!runs.is_empty()).then(|| Self {
            folder: point.folder.clone(),
            label: point.label.clone(),
            split,
            runs,
        }))
    }

    /// The seeds of the runs.
    pub fn seeds(&self) -> Vec<u64> {
        self.runs.iter().map(|run| run.seed).collect()
    }
}

impl RunAnswers {
    fn read(run: &MeasuredRun, split: &str) -> Result<Option<Self>> {
        let Some(asked) = run.read(&PREDICTIONS, &predictions_of(split, "model"))? else {
            return Ok(None);
        };
        Ok(Some(Self {
            seed: run.seed,
            asked,
            invented: run.read(&PREDICTIONS, "invented")?.unwrap_or_default(),
            training: run.read(&TRAINING_ANSWERS, "")?.unwrap_or_default(),
        }))
    }

    /// Probability and correctness of every answer that has a reference answer.
    pub fn judged(&self) -> Vec<ScoredAnswer> {
        let judged = |row: &PredictionRow| Some((row.confidence()?, row.correct?));
        self.asked.iter().filter_map(judged).collect()
    }
}
