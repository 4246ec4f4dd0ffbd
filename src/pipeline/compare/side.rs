//! The runs of one recipe, read from their files.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Accuracy, ComparedRun, MeasuredValue, Side, Spread};
use crate::config;
use crate::config::schema::{EvaluateSpec, Settings};
use crate::error::{Error, Result};
use crate::eval::measures::{EXACT_MATCH, Evaluated, Measure};
use crate::kinds::{Listed as _, Named};
use crate::metrics::artefacts::{HELD_OUT, METRICS};
use crate::metrics::rows::StepRow;
use crate::metrics::statistics::{Estimate, Interval, mean};
use crate::metrics::steps::TrainingStage;
use crate::metrics::{steps, table};
use crate::pipeline::directory::{RunDirectory, State, all_below, at_least_one_below};

/// One side of a comparison with what its files hold.
pub(super) struct LoadedSide {
    /// `A` or `B`.
    pub(super) name: &'static str,
    pub(super) settings: Settings,
    pub(super) side: Side,
    /// What each finished run was evaluated on, in the order of the runs; none without evaluation.
    pub(super) evaluated: Vec<(u64, Option<Evaluated>)>,
    /// The measures in its settings other than exact match.
    pub(super) measures: Vec<Named<Measure>>,
    /// The values of each measure, over the finished runs that have one.
    estimates: BTreeMap<&'static str, Vec<Estimate>>,
    /// Caveats about it.
    pub(super) notes: Vec<String>,
}

impl LoadedSide {
    /// Reads every run at or below a folder.
    pub(super) fn read(name: &'static str, folder: &Path) -> Result<Self> {
        let (settings, runs) = runs_of_one_point(folder)?;
        let evaluate = settings.evaluate.as_ref();
        let mut measures = settings.measures();
        measures.retain(|one| !one.0.is_exact_match());
        let mut loaded = Self {
            name,
            side: Side {
                folder: folder.to_owned(),
                split: evaluate.map(|spec| spec.split.name().to_owned()),
                subject: evaluate.map(|spec| subject(spec).to_owned()),
                ..Side::default()
            },
            evaluated: vec![],
            measures,
            estimates: BTreeMap::new(),
            notes: vec![],
            settings,
        };
        for (seed, directory) in runs {
            loaded.add(seed, &directory)?;
        }
        if loaded.settings.evaluate.is_none() {
            loaded.notes.push(format!("{name} evaluates nothing"));
        }
        loaded.sum_up();
        Ok(loaded)
    }

    /// Reads one run. One that is not finished may still hold files of an earlier one.
    fn add(&mut self, seed: u64, directory: &RunDirectory) -> Result<()> {
        let status = directory.status();
        let state = status.as_ref().map(|status| status.state);
        let has_results = status.is_some_and(|status| status.has_results());
        let mut run = ComparedRun {
            folder: directory.path().to_owned(),
            seed,
            state,
            ..ComparedRun::default()
        };
        let name = self.name;
        if has_results && state != Some(State::Done) {
            self.notes.push(format!(
                "{name}, seed {seed} was started again and has not finished: its numbers are from the earlier run"
            ));
        }
        if !has_results {
            self.notes.push(format!(
                "{name}, seed {seed} is not finished: its numbers are left out"
            ));
            self.side.runs.push(run);
            return Ok(());
        }
        run.final_loss_nats = final_losses(&steps::read_steps(&directory.file(&METRICS))?);
        let mut evaluated = None;
        if let Some(spec) = &self.settings.evaluate {
            let split = spec.split.name();
            let asks = self.settings.asks_questions();
            let answers = directory.predictions_tsv(split, subject(spec));
            let held_out = directory.of_stage(&HELD_OUT, "", split);
            let rows = Evaluated {
                answers: asks
                    .then(|| table::read(&answers))
                    .transpose()?
                    .unwrap_or_default(),
                held_out: match self.settings.scores_held_out() {
                    true => table::read(&held_out)?,
                    false => vec![],
                },
            };
            // As in `summary.csv`, where the constant answer belongs to no seed.
            let drawn_by = if spec.ask_model { seed } else { 0 };
            let mut score = |measure: &'static Measure| {
                let scored = measure.score(&rows, drawn_by)?;
                let estimates = self.estimates.entry(measure.name()).or_default();
                estimates.push(scored.estimate);
                Some(scored)
            };
            run.accuracy = score(&EXACT_MATCH).map(|scored| {
                let (low_95, high_95) = scored.estimate.ends();
                Accuracy {
                    correct: scored.right.unwrap_or_default(),
                    questions: scored.count,
                    accuracy: scored.estimate.value,
                    low_95,
                    high_95,
                }
            });
            let value = |measure: &Named<Measure>| {
                let scored = score(measure.0)?;
                let (low_95, high_95, _) = Interval::columns(scored.estimate.interval);
                let value = MeasuredValue {
                    questions: scored.count,
                    value: scored.estimate.value,
                    low_95,
                    high_95,
                };
                Some((measure.0.name(), value))
            };
            run.measures = self.measures.iter().filter_map(value).collect();
            if run.accuracy.is_none() && asks {
                let questions = rows.answers.len();
                self.notes.push(format!(
                    "{name}, seed {seed}: no right answer is known to its {questions} {split} questions"
                ));
            }
            evaluated = Some(rows);
        }
        self.evaluated.push((seed, evaluated));
        self.side.runs.push(run);
        Ok(())
    }

    /// Computes the mean and spread over the seeds.
    fn sum_up(&mut self) {
        let over_seeds = |measure: &Measure| {
            let estimates = self.estimates.get(measure.name())?;
            Spread::over_seeds(estimates, &measure.unit.range())
        };
        self.side.accuracy = over_seeds(&EXACT_MATCH);
        let measures = self.measures.iter().map(|one| one.0);
        let spread = |measure: &Measure| Some((measure.name(), over_seeds(measure)?));
        self.side.measures = measures.filter_map(spread).collect();
        for stage in TrainingStage::ALL {
            let runs = self.side.runs.iter();
            let losses = runs.filter_map(|run| run.final_loss_nats.get(&stage).copied());
            let spread = Spread::of(&losses.collect::<Vec<f64>>(), 0.0..=f64::INFINITY);
            let spread = spread.map(|spread| (stage, spread));
            self.side.final_loss_nats.extend(spread);
        }
    }
}

/// The settings that all runs at or below a folder have, and the runs by their seeds.
fn runs_of_one_point(folder: &Path) -> Result<(Settings, BTreeMap<u64, RunDirectory>)> {
    let mut settings: Option<Settings> = None;
    let mut runs: BTreeMap<u64, RunDirectory> = BTreeMap::new();
    for directory in at_least_one_below(folder)? {
        let experiment = config::load_alone(&directory.resolved_toml())?;
        let own = experiment.points[0]
            .settings
            .needed(folder.display(), "answers to compare")?;
        let seed = experiment.seeds[0];
        if settings.get_or_insert_with(|| own.clone()) != own {
            return Err(several_points(folder));
        }
        if let Some(first) = runs.insert(seed, directory.clone()) {
            let (first, second) = (first.path().display(), directory.path().display());
            let message = format!("{} holds seed {seed} twice", folder.display());
            return Err(Error::usage(format!("{message}\n  {first}\n  {second}"))
                .help("name a folder that holds one of them"));
        }
    }
    Ok((settings.expect("at least one run has settings"), runs))
}

/// The error for runs of several points; it lists the points' folders.
fn several_points(folder: &Path) -> Error {
    let runs = all_below(folder).into_iter();
    let point = |run: RunDirectory| Some(format!("  {}", run.path().parent()?.display()));
    let mut points: Vec<String> = runs.filter_map(point).collect();
    points.dedup();
    let message = format!("{} holds runs of several points", folder.display());
    Error::usage(format!("{message}\n{}", points.join("\n"))).help("name one of them")
}

/// Whose answers are compared: the model's, or the constant ones if no model is asked.
fn subject(spec: &EvaluateSpec) -> &'static str {
    if spec.ask_model { "model" } else { "constant" }
}

/// Mean loss of the steps of each stage's last epoch.
fn final_losses(rows: &[StepRow]) -> BTreeMap<TrainingStage, f64> {
    let of_stage = |stage: TrainingStage| {
        let rows = || rows.iter().filter(move |row| row.stage == stage.name());
        let last = rows().map(|row| row.epoch).max()?;
        let losses = rows().filter(|row| row.epoch == last);
        let losses: Vec<f64> = losses.map(|row| row.loss_nats).collect();
        Some((stage, mean(&losses)?))
    };
    TrainingStage::ALL
        .into_iter()
        .filter_map(of_stage)
        .collect()
}
