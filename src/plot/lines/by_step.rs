//! What `kind = "validation-curves"` takes and shows: the measure of each validation during training against the steps before
//! it, from `validation.csv`.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Lines, Names, Spot};
use crate::error::Result;
use crate::eval::measures::Measure;
use crate::kinds::{BrokenRule, Listed as _, Named};
use crate::metrics::artefacts::VALIDATION;
use crate::metrics::measured::{Measured, MeasuredPoint};
use crate::metrics::rows::ValidationRow;
use crate::metrics::statistics::{Estimate, Interval};
use crate::metrics::steps::TrainingStage;
use crate::plot::seed_values::SeedValue;
use crate::plot::{Caption, Figure, Gathered, Need, Plot, Points};

/// The keys of `kind = "validation-curves"`.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Which stage.
    stage: TrainingStage,
    /// A key of the sweep; each of its values gets a chart of its own. Default: one chart.
    #[serde(skip_serializing_if = "Option::is_none")]
    panels: Option<String>,
}

/// The figure.
pub struct ByStep(pub(super) Lines);

/// The validations of a point: those of each seed, by step.
type Validations<'a> = (
    &'a MeasuredPoint,
    Vec<(u64, BTreeMap<usize, ValidationRow>)>,
);

impl Plot for ByStep {
    type Keys = Keys;

    const NAME: &'static str = "validation-curves";
    const SHOWS: &'static str = "validation scores during training against steps";
    const TITLE: &'static str = "Validation during training";
    const NEEDS: Need = Need::Validations;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::tests::gallery::Example] = &[super::tests::by_step];

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
                let of_stage = |row: &ValidationRow| row.stage == keys.stage.name();
                let rows = rows.into_iter().filter(of_stage);
                let rows: BTreeMap<usize, ValidationRow> =
                    rows.map(|row| (row.step, row)).collect();
                if !rows.is_empty() {
                    seeds.push((run.seed, rows));
                }
            }
            validated.push((point, seeds));
        }
        let rows = validated.iter().flat_map(|(_, seeds)| seeds);
        let rows = rows.flat_map(|(_, rows)| rows.values());
        let measures: BTreeSet<&str> = rows.map(|row| row.measure.as_str()).collect();
        let measure = match Vec::from_iter(measures)[..] {
            [] => {
                let why = format!("no finished run was validated in {}", keys.stage.name());
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
            horizontal: format!("optimiser step ({})", keys.stage.name()),
            ..Lines::default()
        };
        let split = measure.validation_split().name();
        figure.notes.push(format!("Scored on the {split} split."));
        let mut is_shortened = false;
        for (point, seeds) in &validated {
            let steps = seeds.iter().flat_map(|(_, rows)| rows.keys());
            let steps: BTreeSet<usize> = steps.copied().collect();
            for step in steps {
                let runs = seeds
                    .iter()
                    .filter_map(|(seed, rows)| Some(value(*seed, rows.get(&step)?)));
                let runs: Vec<SeedValue> = runs.collect();
                // A mean over fewer seeds than before would jump.
                if runs.len() < seeds.len() {
                    is_shortened = true;
                    continue;
                }
                let spot = Spot {
                    x: step as f64,
                    runs,
                    ..Spot::default()
                };
                figure.add(names.panel(point), names.line(point), spot);
            }
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
