//! Calibration of the predicted probabilities: `calibration.csv`.

use crate::error::Result;
use crate::eval::measures::BRIER_SCORE;
use crate::files;
use crate::metrics::answers::{self, RunAnswers};
use crate::metrics::measured::{Measured, PointRows};
use crate::metrics::rows::{CalibrationRow, PredictionRow};
use crate::metrics::statistics::{
    DEFAULT_BINS, Estimate, Interval, ScoredAnswer, auroc, ece_under_calibration, equal_width_bins,
    expected_calibration_error, mean,
};
use crate::metrics::table;

/// Writes `calibration.csv`, a row for each measure of each finished run; if no run has
/// asked a model, the file is removed.
pub fn write(measured: &Measured) -> Result<()> {
    let points = answers::of_points(measured)?;
    let mut rows = vec![];
    for point in &points {
        rows.extend(point.rows.iter().flat_map(|run| measures(point, run)));
    }
    let path = measured.folder.join("calibration.csv");
    match rows.is_empty() {
        true => files::remove(&path),
        false => table::write(&path, &rows),
    }
}

/// Every measure that a run's answers allow.
fn measures(point: &PointRows<RunAnswers>, run: &RunAnswers) -> Vec<CalibrationRow> {
    let (judged, seed) = (run.judged(), run.seed);
    let of = |wanted: bool| -> Vec<f64> {
        let wanted = |&(p, right): &ScoredAnswer| (right == wanted).then_some(p);
        judged.iter().filter_map(wanted).collect()
    };
    let (right, wrong) = (of(true), of(false));
    let (asked, invented) = (confidences(&run.asked), confidences(&run.invented));
    let mut rows = vec![];
    let mut add = |measure: &str, answers: usize, found: Option<Estimate>| {
        let Some(found) = found else { return };
        let (low_95, high_95, interval) = Interval::columns(found.interval);
        rows.push(CalibrationRow {
            point: point.folder.clone(),
            label: point.label.clone(),
            seed,
            split: run.split.to_owned(),
            measure: measure.to_owned(),
            bins: measure.starts_with("ece").then_some(DEFAULT_BINS),
            answers,
            value: found.value,
            low_95,
            high_95,
            interval,
        });
    };
    for (measure, group) in [
        ("mean-confidence", &asked),
        ("mean-confidence-right", &right),
        ("mean-confidence-wrong", &wrong),
        ("mean-confidence-invented", &invented),
    ] {
        let found = Estimate::bootstrapped(group, seed, mean);
        add(measure, group.len(), found);
    }
    let n = judged.len();
    let error = expected_calibration_error(&equal_width_bins(&judged, DEFAULT_BINS));
    // Resampling increases the error: a bootstrap interval would not be centred on it.
    add("ece", n, error.map(Estimate::exact));
    let all: Vec<f64> = judged.iter().map(|(p, _)| *p).collect();
    let by_chance = ece_under_calibration(&all, DEFAULT_BINS, seed);
    add("ece-if-calibrated", n, by_chance);
    let brier = BRIER_SCORE.score(&run.asked.clone().into(), seed);
    add("brier", n, brier.map(|scored| scored.estimate));
    for (measure, higher, lower) in [
        ("auroc-right-over-wrong", &right, &wrong),
        ("auroc-right-over-invented", &right, &invented),
        ("auroc-asked-over-invented", &asked, &invented),
    ] {
        let sided = |side: bool, group: &[f64]| -> Vec<(bool, f64)> {
            group.iter().map(|&p| (side, p)).collect()
        };
        let both = [sided(true, higher), sided(false, lower)].concat();
        let area = |drawn: &[(bool, f64)]| {
            let side = |wanted| -> Vec<f64> {
                let own = drawn.iter().filter(|(side, _)| *side == wanted);
                own.map(|(_, p)| *p).collect()
            };
            auroc(&side(true), &side(false))
        };
        add(
            measure,
            both.len(),
            Estimate::bootstrapped(&both, seed, area),
        );
    }
    rows
}

/// Probabilities of some answers.
fn confidences(rows: &[PredictionRow]) -> Vec<f64> {
    rows.iter().filter_map(PredictionRow::confidence).collect()
}
