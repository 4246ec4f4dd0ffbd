//! What `kind = "validation-curves"` takes and shows: the measure of each validation during training against the steps or the
//! minutes before it, from `validation.csv` and `timings.csv`.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Lines, Names, Spot};
use crate::error::Result;
use crate::eval::measures::Measure;
use crate::kinds::{BrokenRule, Listed as _, Named};
use crate::metrics::artefacts::{TIMINGS, VALIDATION};
use crate::metrics::measured::{Measured, MeasuredPoint, MeasuredRun};
use crate::metrics::rows::ValidationRow;
use crate::metrics::statistics::{Estimate, Interval};
use crate::metrics::steps::{TrainingStage, read_timings};
use crate::plot::seed_values::SeedValue;
use crate::plot::{Caption, Figure, Gathered, Need, Plot, Points};

/// The keys of `kind = "validation-curves"`.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Which stage.
    stage: TrainingStage,
    /// What the horizontal axis shows: `"steps"` of the stage, or `"minutes"` of training since the run began, over both stages.
    /// Default: `"steps"`.
    time: Time,
    /// A key of the sweep; each of its values gets a chart of its own. Default: one chart.
    #[serde(skip_serializing_if = "Option::is_none")]
    panels: Option<String>,
}

/// See [`Keys::time`].
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Time {
    /// Optimiser steps of a stage.
    #[default]
    Steps,
    /// The time that steps took, on the machine that trained.
    Minutes,
}

impl Time {
    /// Whether validations of a stage are shown.
    fn shows(self, stage: &str, chosen: TrainingStage) -> bool {
        self == Self::Minutes || stage == chosen.name()
    }
}

/// The figure.
pub struct ByStep(pub(super) Lines);

/// The validations of a point: those of each seed, by stage and step, with their place on the horizontal axis.
type Validations<'a> = (
    &'a MeasuredPoint,
    Vec<(u64, BTreeMap<Moment, (f64, ValidationRow)>)>,
);

/// The number of a stage, from 0, and a step of it.
type Moment = (usize, usize);

fn moment(stage: &str, step: usize) -> Moment {
    let number = TrainingStage::ALL
        .iter()
        .position(|one| one.name() == stage);
    (number.unwrap_or(TrainingStage::ALL.len()), step)
}

/// Minutes of training up to each step of a run.
fn minutes(run: &MeasuredRun) -> Result<BTreeMap<Moment, f64>> {
    let path = run.path(&TIMINGS, "");
    let rows = if path.is_file() {
        read_timings(&path)?
    } else {
        vec![]
    };
    let mut by_moment: BTreeMap<Moment, f64> = BTreeMap::new();
    by_moment.extend(
        rows.iter()
            .map(|row| (moment(&row.stage, row.step), row.step_ms)),
    );
    let mut sum_ms = 0.0;
    for minutes in by_moment.values_mut() {
        sum_ms += *minutes;
        *minutes = sum_ms / 60e3;
    }
    Ok(by_moment)
}

impl Plot for ByStep {
    type Keys = Keys;

    const NAME: &'static str = "validation-curves";
    const SHOWS: &'static str = "validation scores during training against steps or minutes";
    const TITLE: &'static str = "Validation during training";
    const NEEDS: Need = Need::Validations;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::tests::gallery::Example] =
        &[super::tests::by_step, super::tests::by_minutes];

    fn origin(_: &Keys, measured: &Measured) -> String {
        format!("{}.", measured.origin)
    }

    fn shows_candidates(keys: &Keys, chosen: &[String]) -> bool {
        keys.panels.iter().any(|key| chosen.contains(key))
    }

    fn check(keys: &Keys, points: &Points<'_>) -> Option<BrokenRule> {
        super::check_panels(keys.panels.as_deref(), points)
    }

    fn gather(keys: &Keys, measured: &Measured) -> Result<Gathered<Self>> {
        let mut validated: Vec<Validations<'_>> = vec![];
        for point in &measured.points {
            let mut seeds = vec![];
            for run in &point.runs {
                let rows: Vec<ValidationRow> = run.read(&VALIDATION, "")?.unwrap_or_default();
                let minutes = match keys.time {
                    Time::Steps => BTreeMap::new(),
                    Time::Minutes => minutes(run)?,
                };
                let shown = rows
                    .into_iter()
                    .filter(|row| keys.time.shows(&row.stage, keys.stage));
                let placed = shown.filter_map(|row| {
                    let at = moment(&row.stage, row.step);
                    let x = match keys.time {
                        Time::Steps => row.step as f64,
                        Time::Minutes => *minutes.get(&at)?,
                    };
                    Some((at, (x, row)))
                });
                let rows = BTreeMap::from_iter(placed);
                if !rows.is_empty() {
                    seeds.push((run.seed, rows));
                }
            }
            validated.push((point, seeds));
        }
        let rows = validated.iter().flat_map(|(_, seeds)| seeds);
        let rows = rows.flat_map(|(_, rows)| rows.values());
        let measures: BTreeSet<&str> = rows.map(|(_, row)| row.measure.as_str()).collect();
        let measure = match Vec::from_iter(measures)[..] {
            [] => {
                let why = match keys.time {
                    Time::Steps => {
                        format!("no finished run was validated in {}", keys.stage.name())
                    }
                    Time::Minutes => "no finished run was validated and timed".to_owned(),
                };
                return Ok(Gathered::Nothing(why.into()));
            }
            [one] => Measure::named(one),
            _ => None,
        };
        let Some(measure) = measure else {
            return Ok(Gathered::Nothing(
                "the points were validated by different measures".into(),
            ));
        };
        let names = Names::of(&measured.points, None, keys.panels.as_deref());
        let mut figure = Lines {
            measure: Named(measure),
            horizontal: match keys.time {
                Time::Steps => format!("optimiser step ({})", keys.stage.name()),
                Time::Minutes => "minutes of training".to_owned(),
            },
            is_measured: keys.time == Time::Minutes,
            ..Lines::default()
        };
        let split = measure.validation_split().name();
        figure.notes.push(format!("Scored on the {split} split."));
        let mut is_shortened = false;
        for (point, seeds) in &validated {
            let steps = seeds.iter().flat_map(|(_, rows)| rows.keys());
            let steps: BTreeSet<Moment> = steps.copied().collect();
            for step in steps {
                let of_seeds = seeds.iter();
                let of_seeds = of_seeds.filter_map(|(seed, rows)| Some((*seed, rows.get(&step)?)));
                let (xs, runs): (Vec<f64>, Vec<SeedValue>) = of_seeds
                    .map(|(seed, (x, row))| (*x, value(seed, row)))
                    .unzip();
                // A mean over fewer seeds than before would jump.
                if runs.len() < seeds.len() {
                    is_shortened = true;
                    continue;
                }
                let spot = Spot {
                    x: xs.iter().sum::<f64>() / xs.len() as f64,
                    runs,
                    ..Spot::default()
                };
                figure.add(names.panel(point), names.line(point), spot);
            }
        }
        if keys.time == Time::Minutes {
            let note = "Minutes are those of training steps alone, on the machine that trained; with several seeds, their mean.";
            figure.notes.push(note.to_owned());
        }
        if is_shortened {
            let note = "Steps at which some seed was not validated are left out.";
            figure.notes.push(note.to_owned());
        }
        Ok(Gathered::Figure(Self(figure)))
    }

    fn draw(&self, caption: Caption) -> Result<Figure> {
        self.0.draw(caption)
    }
}

fn value(seed: u64, row: &ValidationRow) -> SeedValue {
    SeedValue {
        seed,
        questions: row.count,
        correct: None,
        estimate: Estimate {
            value: row.value,
            interval: Interval::of_columns(row.low_95, row.high_95, row.interval),
        },
    }
}
