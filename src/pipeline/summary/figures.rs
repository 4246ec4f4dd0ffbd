//! From CSV files to figures: gathers what a figure shows and lets `plot` draw it.

use std::path::{Path, PathBuf};

use crate::config::schema::{FigureKind, FigureSpec, StageKind};
use crate::config::{Experiment, Point};
use crate::error::Result;
use crate::files;
use crate::metrics::rows::{AccuracyRow, CorruptionRow};
use crate::metrics::{steps, table};
use crate::pipeline::artefacts::{CORRUPTION_EXAMPLES, METRICS};
use crate::pipeline::directory::{RunDirectory, finished};
use crate::pipeline::summary::content::{Content, origin, splits};
use crate::pipeline::summary::{attention, confidence, exploration, paired, scatter};
use crate::plot::{
    AccuracyBars, Bar, Baseline, CorruptionExamples, LearningCurves, SeedAccuracy, Series, Trace,
    draw_accuracy_bars, draw_answer_attention, draw_attention_maps, draw_corruption_examples,
    draw_learning_curves,
};

/// Documents in a figure of corruption examples, where the file does not say.
const EXAMPLES: usize = 4;

/// Draws every figure of an experiment into `folder/figures`; those that have nothing to show are
/// left out, with the reason.
///
/// # Errors
/// A CSV file that cannot be read, or a figure that cannot be written.
pub fn draw(experiment: &Experiment, results: &Path, folder: &Path) -> Result<Drawn> {
    let mut drawn = Drawn::default();
    for (name, spec) in &experiment.figures {
        let figure = match spec.kind {
            FigureKind::AccuracyBars => accuracy_bars(experiment, spec, folder)?,
            FigureKind::AccuracyScatter => scatter::gather(experiment, spec, results, folder)?,
            FigureKind::PairedMatrix => paired::gather(experiment, spec, results)?,
            FigureKind::LearningCurves => learning_curves(experiment, spec, results)?,
            FigureKind::CorruptionExamples => corruption_examples(experiment, spec, results)?,
            FigureKind::Confidence => confidence::confidence(experiment, spec, results)?,
            FigureKind::ReliabilityDiagram => {
                confidence::reliability_diagram(experiment, spec, results)?
            }
            FigureKind::CommonestAnswers => {
                confidence::commonest_answers(experiment, spec, results)?
            }
            FigureKind::AttentionMaps => {
                let title = "Where every head looks";
                attention::gather(experiment, spec, results, (title, draw_attention_maps))?
            }
            FigureKind::AnswerAttention => {
                let title = "Where every head looks when the answer begins";
                attention::gather(experiment, spec, results, (title, draw_answer_attention))?
            }
            FigureKind::ExplorationCurves => exploration::curves(experiment, spec, results)?,
            FigureKind::ExplorationDistribution => {
                exploration::distribution(experiment, spec, results)?
            }
        };
        match figure {
            Content::Drawn(figure) => drawn
                .written
                .extend(figure.write(&folder.join("figures"), name)?),
            Content::Nothing(why) => {
                // What it showed before is true no more.
                for extension in ["svg", "png", "csv"] {
                    let old = folder.join("figures").join(format!("{name}.{extension}"));
                    files::remove(&old)?;
                }
                drawn.left_out.push((name.clone(), why.to_owned()));
            }
        }
    }
    Ok(drawn)
}

/// What became of an experiment's figures.
#[derive(Default)]
pub struct Drawn {
    /// The files.
    pub written: Vec<PathBuf>,
    /// Figures with nothing to show, and why.
    pub left_out: Vec<(String, String)>,
}

fn accuracy_bars(experiment: &Experiment, spec: &FigureSpec, folder: &Path) -> Result<Content> {
    let rows: Vec<AccuracyRow> = table::read(&folder.join("summary.csv"))?;
    let of = |subject: &'static str, point: String| {
        rows.iter()
            .filter(move |row| row.subject == subject && row.point == point)
    };
    let counts = |row: &AccuracyRow| Some((row.correct?, row.questions?));
    if rows.iter().all(|row| row.correct.is_none()) {
        return Ok(Content::Nothing(
            "no answer can be compared with a right one",
        ));
    }
    // Where no model is asked, the constant answer is the run; no seed changes it.
    let asked = rows.iter().any(|row| row.subject == "model");
    let bar = |point: &Point| Bar {
        label: point.label.clone(),
        runs: of(if asked { "model" } else { "constant" }, point.folder())
            .filter_map(|row| {
                let (correct, questions) = counts(row)?;
                let seed = row.seed.unwrap_or(experiment.seeds[0]);
                Some(SeedAccuracy {
                    seed,
                    correct,
                    questions,
                })
            })
            .collect(),
        reported: of("reported", point.folder())
            .map(|row| (row.accuracy, row.detail.clone().unwrap_or_default()))
            .next(),
    };
    let mut constants = rows.iter().filter(|row| row.subject == "constant");
    let said = |row: &AccuracyRow| (row.detail.clone(), row.correct, row.questions);
    let first = constants.next();
    // A line across all bars is true only if it is the same for all of them.
    let same = first.filter(|first| constants.all(|row| said(row) == said(first)));
    let constant = same.filter(|_| asked);
    let baseline = constant.and_then(|row| {
        let (correct, questions) = counts(row)?;
        let label = format!(
            "always \u{201c}{}\u{201d}",
            row.detail.as_deref().unwrap_or_default()
        );
        Some(Baseline {
            label,
            correct,
            questions,
        })
    });
    let split = splits(experiment);
    Ok(Content::Drawn(draw_accuracy_bars(&AccuracyBars {
        title: spec
            .title
            .clone()
            .unwrap_or_else(|| "Questions answered right".to_owned()),
        caption: format!("{}, {split} questions.", origin(experiment)),
        bars: experiment.points.iter().map(bar).collect(),
        baseline,
    })?))
}

fn learning_curves(experiment: &Experiment, spec: &FigureSpec, results: &Path) -> Result<Content> {
    let stage = spec.stage.unwrap_or(StageKind::Pretrain);
    let doing = match stage {
        StageKind::Pretrain => "pretraining",
        StageKind::Finetune => "finetuning",
    };
    let mut series = vec![];
    for point in &experiment.points {
        let mut traces = vec![];
        for (seed, run) in finished(experiment, point, results) {
            let rows = steps::read_steps(&run.file(&METRICS))?;
            let rows = rows.iter().filter(|row| row.stage == stage.name());
            let points: Vec<_> = rows.map(|row| (row.step as f64, row.loss_nats)).collect();
            if !points.is_empty() {
                traces.push(Trace { seed, points });
            }
        }
        // Points that did not train in this stage stay in the list: a colour belongs to a point.
        let label = point.label.clone();
        series.push(Series { label, traces });
    }
    if series.iter().all(|series| series.traces.is_empty()) {
        return Ok(Content::Nothing("no run has trained in that stage"));
    }
    Ok(Content::Drawn(draw_learning_curves(&LearningCurves {
        title: spec
            .title
            .clone()
            .unwrap_or_else(|| format!("Loss while {doing}")),
        caption: format!("{}.", origin(experiment)),
        stage: stage.name().to_owned(),
        series,
    })?))
}

fn corruption_examples(
    experiment: &Experiment,
    spec: &FigureSpec,
    results: &Path,
) -> Result<Content> {
    let runs = experiment.points.iter().flat_map(|point| {
        let run = |&seed| {
            (
                seed,
                RunDirectory::new(experiment, point, seed, results).file(&CORRUPTION_EXAMPLES),
            )
        };
        experiment.seeds.iter().map(run)
    });
    let found = runs.into_iter().find(|(_, path)| path.is_file());
    let Some((seed, path)) = found else {
        return Ok(Content::Nothing("no run has pretrained"));
    };
    let mut rows: Vec<CorruptionRow> = table::read(&path)?;
    rows.truncate(spec.examples.unwrap_or(EXAMPLES));
    Ok(Content::Drawn(draw_corruption_examples(
        &CorruptionExamples {
            title: spec
                .title
                .clone()
                .unwrap_or_else(|| "What pretraining shows the model".to_owned()),
            caption: format!("{}, seed {seed}.", experiment.name),
            rows,
        },
    )?))
}
