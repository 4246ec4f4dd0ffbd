//! Models' answers with their probabilities, from the finished runs in which a model was asked.

use super::artefacts::{PREDICTIONS, TRAINING_ANSWERS, predictions_of};
use super::measured::{Measured, MeasuredRun, PointRows};
use super::rows::{PredictionRow, TrainingAnswerRow};
use super::statistics::ScoredAnswer;
use crate::error::Result;

/// What one run answered.
#[derive(Clone, Debug)]
pub struct RunAnswers {
    pub seed: u64,
    pub split: &'static str,
    /// Answers to the questions of the split.
    pub asked: Vec<PredictionRow>,
    /// Answers about invented people, for whom there is no reference answer.
    pub invented: Vec<PredictionRow>,
    /// How often each place is the answer to a training question.
    pub training: Vec<TrainingAnswerRow>,
}

/// The points at which a model was asked, in their order, with the runs in which it was.
pub fn of_points(measured: &Measured) -> Result<Vec<PointRows<RunAnswers>>> {
    measured.gather(|point, run| match point.split {
        Some(split) => RunAnswers::read(run, split),
        None => Ok(None),
    })
}

impl PointRows<RunAnswers> {
    /// The seeds of the runs.
    pub fn seeds(&self) -> Vec<u64> {
        self.rows.iter().map(|run| run.seed).collect()
    }
}

impl RunAnswers {
    fn read(run: &MeasuredRun, split: &'static str) -> Result<Option<Self>> {
        let Some(asked) = run.read(&PREDICTIONS, &predictions_of(split, "model"))? else {
            return Ok(None);
        };
        Ok(Some(Self {
            seed: run.seed,
            split,
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
