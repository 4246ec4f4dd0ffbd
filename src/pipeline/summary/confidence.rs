//! From predictions to what their probabilities are worth: `calibration.csv`, and what the figures
//! about confidence show.

use std::path::Path;

use super::content::{Content, origin, splits};
use crate::config::Experiment;
use crate::config::schema::FigureSpec;
use crate::error::Result;
use crate::files;
use crate::metrics::rows::{CalibrationRow, PredictionRow, TrainingAnswerRow};
use crate::metrics::statistics::{
    BOOTSTRAP, DEFAULT_BINS, Judged, SIMULATION, auroc, bootstrap_95, brier_score,
    calibrated_error, equal_width_bins, expected_calibration_error, mean,
};
use crate::metrics::table;
use crate::pipeline::artefacts::TRAINING_ANSWERS;
use crate::pipeline::directory::{RunDirectory, finished};
use crate::plot::{
    AnswerKind, AnswersOfPoint, CommonestAnswers, Confidence, ConfidencePoint, Counts,
    ReliabilityDiagram, ReliabilityPoint, draw_commonest_answers, draw_confidence,
    draw_reliability_diagram,
};

/// Answers in a figure of the commonest, where the file does not say.
const ANSWERS: usize = 8;

/// What one finished run answered, with what probability.
struct Answered {
    seed: u64,
    /// To the questions of its split.
    asked: Vec<PredictionRow>,
    /// About people in no data; no right answer is known.
    invented: Vec<PredictionRow>,
    training: Vec<TrainingAnswerRow>,
}

/// The finished runs of a point in which a model was asked.
struct OfPoint {
    folder: String,
    label: String,
    split: &'static str,
    runs: Vec<Answered>,
}

impl Answered {
    fn read(run: &RunDirectory, seed: u64, split: &str) -> Result<Option<Self>> {
        let asked = run.predictions_tsv(split, "model");
        if !asked.is_file() {
            return Ok(None);
        }
        Ok(Some(Self {
            seed,
            asked: table::read(&asked)?,
            invented: if_there(&run.invented_tsv())?,
            training: if_there(&run.file(&TRAINING_ANSWERS))?,
        }))
    }

    /// Probabilities of the answers that somebody judged.
    fn judged(&self) -> Vec<Judged> {
        let judged = |row: &PredictionRow| Some((row.confidence()?, row.correct?));
        self.asked.iter().filter_map(judged).collect()
    }
}

fn if_there<R: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<R>> {
    match path.is_file() {
        true => table::read(path),
        false => Ok(vec![]),
    }
}

/// Probabilities of some answers.
fn confidences(rows: &[PredictionRow]) -> Vec<f64> {
    rows.iter().filter_map(PredictionRow::confidence).collect()
}

impl OfPoint {
    /// The points with a run that has asked a model, in their order.
    fn of(experiment: &Experiment, results: &Path) -> Result<Vec<Self>> {
        let mut points = vec![];
        for point in &experiment.points {
            let evaluate = point.settings.training().map(|one| &one.evaluate);
            let Some(Some(spec)) = evaluate else {
                continue;
            };
            let mut runs = vec![];
            for (seed, run) in finished(experiment, point, results) {
                runs.extend(Answered::read(&run, seed, spec.split.name())?);
            }
            points.push(Self {
                folder: point.folder(),
                label: point.label.clone(),
                split: spec.split.name(),
                runs,
            });
        }
        points.retain(|point| !point.runs.is_empty());
        Ok(points)
    }

    fn seeds(&self) -> Vec<u64> {
        self.runs.iter().map(|run| run.seed).collect()
    }
}

/// How often each of them occurs.
fn count<'a>(answers: impl Iterator<Item = &'a str>) -> Counts {
    let mut counts = Counts::new();
    for answer in answers {
        *counts.entry(answer.to_owned()).or_default() += 1;
    }
    counts
}

/// Writes `calibration.csv`, a row for each measure of each finished run; without a run that has
/// asked a model there is none.
///
/// # Errors
/// Predictions cannot be read, or the file not be written.
pub fn write(experiment: &Experiment, results: &Path, folder: &Path) -> Result<()> {
    let points = OfPoint::of(experiment, results)?;
    let runs = points
        .iter()
        .flat_map(|point| point.runs.iter().map(move |run| (point, run)));
    let rows: Vec<CalibrationRow> = runs.flat_map(|(point, run)| measures(point, run)).collect();
    let path = folder.join("calibration.csv");
    match rows.is_empty() {
        true => files::remove(&path),
        false => table::write(&path, &rows),
    }
}

/// Every measure that a run's answers allow.
fn measures(point: &OfPoint, run: &Answered) -> Vec<CalibrationRow> {
    let (judged, seed) = (run.judged(), run.seed);
    let of = |wanted: bool| -> Vec<f64> {
        let wanted = |&(p, right): &Judged| (right == wanted).then_some(p);
        judged.iter().filter_map(wanted).collect()
    };
    let (right, wrong) = (of(true), of(false));
    let (asked, invented) = (confidences(&run.asked), confidences(&run.invented));
    let mut rows = vec![];
    let mut add = |measure: &str, answers: usize, value: Option<f64>, interval, name: &str| {
        let Some(value) = value else { return };
        let interval: Option<(f64, f64)> = interval;
        rows.push(CalibrationRow {
            point: point.folder.clone(),
            label: point.label.clone(),
            seed,
            split: point.split.to_owned(),
            measure: measure.to_owned(),
            bins: measure.starts_with("ece").then_some(DEFAULT_BINS),
            answers,
            value,
            low_95: interval.map(|i| i.0),
            high_95: interval.map(|i| i.1),
            interval: interval.map(|_| name.to_owned()),
        });
    };
    for (measure, group) in [
        ("mean-confidence", &asked),
        ("mean-confidence-right", &right),
        ("mean-confidence-wrong", &wrong),
        ("mean-confidence-invented", &invented),
    ] {
        let interval = bootstrap_95(group, seed, mean);
        add(measure, group.len(), mean(group), interval, BOOTSTRAP);
    }
    let n = judged.len();
    let error = expected_calibration_error(&equal_width_bins(&judged, DEFAULT_BINS));
    // Drawing again makes the error larger, so that a bootstrap would not lie around it.
    add("ece", n, error, None, "");
    let all: Vec<f64> = judged.iter().map(|(p, _)| *p).collect();
    let (by_chance, range) = calibrated_error(&all, DEFAULT_BINS, seed).unzip();
    add("ece-if-calibrated", n, by_chance, range, SIMULATION);
    let interval = bootstrap_95(&judged, seed, brier_score);
    add("brier", n, brier_score(&judged), interval, BOOTSTRAP);
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
        let interval = bootstrap_95(&both, seed, area);
        add(measure, both.len(), area(&both), interval, BOOTSTRAP);
    }
    rows
}

/// How probable right, wrong and invented people's answers were.
pub(super) fn confidence(
    experiment: &Experiment,
    spec: &FigureSpec,
    results: &Path,
) -> Result<Content> {
    let points = OfPoint::of(experiment, results)?;
    if points.is_empty() {
        return Ok(Content::Nothing("no run has asked a model"));
    }
    let answers = |run: &Answered| -> Vec<(AnswerKind, f64)> {
        let kind = |row: &PredictionRow| match row.correct {
            Some(true) => AnswerKind::Right,
            Some(false) => AnswerKind::Wrong,
            None => AnswerKind::Unjudged,
        };
        let asked = run.asked.iter().map(|row| (kind(row), row.confidence()));
        let invented = run.invented.iter();
        let invented = invented.map(|row| (AnswerKind::Invented, row.confidence()));
        let known = |(kind, confidence): (AnswerKind, Option<f64>)| Some((kind, confidence?));
        asked.chain(invented).filter_map(known).collect()
    };
    let panel = |point: &OfPoint| ConfidencePoint {
        label: point.label.clone(),
        seeds: point.seeds(),
        answers: point.runs.iter().flat_map(answers).collect(),
    };
    Ok(Content::Drawn(draw_confidence(&Confidence {
        title: title(spec, "How sure the model was of its answers"),
        caption: format!("{}, {} questions.", origin(experiment), splits(experiment)),
        points: points.iter().map(panel).collect(),
    })?))
}

/// How often answers of a given probability were right.
pub(super) fn reliability_diagram(
    experiment: &Experiment,
    spec: &FigureSpec,
    results: &Path,
) -> Result<Content> {
    let mut points = OfPoint::of(experiment, results)?;
    for point in &mut points {
        point.runs.retain(|run| !run.judged().is_empty());
    }
    points.retain(|point| !point.runs.is_empty());
    if points.is_empty() {
        return Ok(Content::Nothing(
            "no answer of a model can be compared with a right one",
        ));
    }
    let panel = |point: &OfPoint| ReliabilityPoint {
        label: point.label.clone(),
        seeds: point.seeds(),
        answers: point.runs.iter().flat_map(Answered::judged).collect(),
    };
    Ok(Content::Drawn(draw_reliability_diagram(
        &ReliabilityDiagram {
            title: title(spec, "Is an answer right as often as it is probable?"),
            caption: format!("{}, {} questions.", origin(experiment), splits(experiment)),
            bins: spec.bins.unwrap_or(DEFAULT_BINS),
            points: points.iter().map(panel).collect(),
        },
    )?))
}

/// What was said most often about invented people.
pub(super) fn commonest_answers(
    experiment: &Experiment,
    spec: &FigureSpec,
    results: &Path,
) -> Result<Content> {
    let mut points = OfPoint::of(experiment, results)?;
    for point in &mut points {
        point.runs.retain(|run| !run.invented.is_empty());
    }
    points.retain(|point| !point.runs.is_empty());
    if points.is_empty() {
        return Ok(Content::Nothing(
            "no run was asked about invented people (`evaluate.invented`)",
        ));
    }
    let panel = |point: &OfPoint| AnswersOfPoint {
        label: point.label.clone(),
        seeds: point.seeds(),
        invented: count(said(&point.runs, |run| &run.invented)),
        given: count(said(&point.runs, |run| &run.asked)),
        // No seed changes what is right.
        gold: count(
            point.runs[0]
                .asked
                .iter()
                .filter_map(|row| row.gold.as_deref()),
        ),
        training: {
            let rows = point.runs[0].training.iter();
            rows.map(|row| (row.answer.clone(), row.questions))
                .collect()
        },
    };
    Ok(Content::Drawn(draw_commonest_answers(&CommonestAnswers {
        title: title(spec, "What the model says of people it has never read of"),
        caption: format!("{}.", origin(experiment)),
        answers: spec.answers.unwrap_or(ANSWERS),
        split: splits(experiment),
        points: points.iter().map(panel).collect(),
    })?))
}

/// The answers that runs gave to some of their questions.
fn said(runs: &[Answered], to: fn(&Answered) -> &Vec<PredictionRow>) -> impl Iterator<Item = &str> {
    let rows = runs.iter().flat_map(to);
    rows.map(|row| row.predicted.as_str())
}

fn title(spec: &FigureSpec, default: &str) -> String {
    spec.title.clone().unwrap_or_else(|| default.to_owned())
}
