//! What `kind = "accuracy-scatter"` takes and shows: a measure of the points of a sweep, from `summary.csv`, against the
//! size of the models, the times of their steps, or what the sweep sets.

mod drawing;
mod key;
mod names;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::seed_values::{self, SeedValue};
use super::{Caption, Figure, Gathered, Need, Plot, Points};
use crate::error::{Error, Result};
use crate::eval::measures::Measure;
use crate::kinds::{BrokenRule, Listed as _, Named};
use crate::metrics::artefacts::TIMINGS;
use crate::metrics::measured::{Measured, MeasuredPoint};
use crate::metrics::rows::{GroupRow, TimingRow};
use crate::metrics::statistics::{Estimate, Interval, IntervalKind, quantile};
use crate::metrics::steps::{TrainingStage, read_timings};
use crate::metrics::table;
use key::Naming;

/// The keys of `kind = "accuracy-scatter"`.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// What the horizontal axis shows, one of `"parameters"`, `"step_ms"` (median time of a training step, measured
    /// in the runs) or a key that the sweep sets to numbers; logarithmic where they span more than a decade.
    x: String,
    /// Which of the measures in `evaluate.measures` is shown. Default: the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    measure: Option<Named<Measure>>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            x: PARAMETERS.to_owned(),
            measure: None,
        }
    }
}

const PARAMETERS: &str = "parameters";
const STEP_MS: &str = "step_ms";

impl Plot for AccuracyScatter {
    type Keys = Keys;

    const NAME: &'static str = "accuracy-scatter";
    const SHOWS: &'static str = "a measure of each point, such as accuracy, against its parameters, its step time, or a numeric key of the sweep";
    const NEEDS: Need = Need::ModelScores;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::tests::gallery::Example] = &[
        |points, label| tests::made_up(points, label, 1),
        |points, label| tests::made_up(points, label, 3),
        tests::losses,
    ];

    fn title(keys: &Keys, measured: &Measured) -> String {
        let quantity = match keys.x.as_str() {
            STEP_MS => "time of a step",
            key => key,
        };
        let measure = keys.measure.unwrap_or(measured.measure);
        format!("{}, by {quantity}", measure.0.title())
    }

    fn check(keys: &Keys, points: &Points<'_>) -> Option<BrokenRule> {
        let quantity = keys.x.as_str();
        if [PARAMETERS, STEP_MS].contains(&quantity) || points.numbers.contains(&quantity) {
            return seed_values::check_measure(keys.measure, points);
        }
        let mut help = "write \"parameters\", \"step_ms\"".to_owned();
        for key in &points.numbers {
            help.push_str(&format!(", {key:?}"));
        }
        if points.numbers.is_empty() {
            help.push_str(", or a key that the sweep sets to numbers");
        }
        Some(BrokenRule {
            key: "x",
            reads: &[],
            message: format!("= {quantity:?} is not a numeric setting of these points"),
            help: Some(help),
        })
    }

    fn shows_candidates(keys: &Keys, chosen: &[String]) -> bool {
        chosen.contains(&keys.x)
    }

    fn origin(keys: &Keys, measured: &Measured) -> String {
        let timed = || {
            let machines = &**measured.timed_on;
            format!(" Times were measured during the runs, on {machines}.")
        };
        let timed = (keys.x == STEP_MS).then(timed);
        measured.asked() + &timed.unwrap_or_default()
    }

    fn gather(keys: &Keys, measured: &Measured) -> Result<Gathered<Self>> {
        let measure = keys.measure.unwrap_or(measured.measure);
        let rows = seed_values::rows_of(measure.0, measured)?;
        let groups: Vec<GroupRow> = table::read(&measured.folder.join("groups.csv"))?;
        let mut spots = vec![];
        for point in &measured.points {
            let own = seed_values::own(&rows, "model", point);
            let runs: Vec<SeedValue> = own
                .filter_map(|row| SeedValue::of(row, row.seed?))
                .collect();
            let x = keys.quantity(point, &groups)?;
            let label = point.label.clone();
            let x = x.filter(|_| !runs.is_empty());
            spots.extend(x.map(|x| Spot { label, x, runs }));
        }
        if spots.is_empty() {
            return Ok(Gathered::Nothing(
                "no finished point has both a value of `measure` and the quantity of `x`".into(),
            ));
        }
        let horizontal = match keys.x.as_str() {
            STEP_MS => "median time of a training step (ms)",
            key => key,
        };
        Ok(Gathered::Figure(Self {
            measure,
            horizontal: horizontal.to_owned(),
            // If the sweep varies a single number, the axis already identifies the points.
            named: measured.has_labels
                || measured.points.iter().any(|point| {
                    let mut others = point.values.iter().filter(|(key, _)| *key != keys.x);
                    others.next().is_some() || point.number(&keys.x).is_none()
                }),
            spots,
        }))
    }

    /// A measure against a quantity, on a logarithmic axis where its values are positive and span more than a decade.
    fn draw(&self, caption: Caption) -> Result<Figure> {
        self.check()?;
        let (places, naming) = (drawing::Places::of(self), Naming::of(self));
        let caption = self.explained(caption, places.shifted(), &naming);
        drawing::draw(self, &places, &naming, caption)
    }
}

impl Keys {
    /// Position of a point on the horizontal axis.
    fn quantity(&self, point: &MeasuredPoint, groups: &[GroupRow]) -> Result<Option<f64>> {
        match self.x.as_str() {
            PARAMETERS => {
                let own = |row: &&GroupRow| row.subject == "model" && row.point == point.folder;
                let parameters = groups.iter().find(own).and_then(|row| row.parameters);
                Ok(parameters.map(|number| number as f64))
            }
            STEP_MS => median_step_ms(point),
            key => Ok(point.number(key)),
        }
    }
}

/// Median time of a training step over all runs: of pretraining, or else of finetuning; absent where nothing was
/// trained.
fn median_step_ms(point: &MeasuredPoint) -> Result<Option<f64>> {
    let mut timings: Vec<TimingRow> = vec![];
    for run in &point.runs {
        let path = run.path(&TIMINGS, "");
        if path.is_file() {
            timings.extend(read_timings(&path)?);
        }
    }
    let of = |stage: TrainingStage| {
        let rows = timings.iter().filter(|row| row.stage == stage.name());
        let times: Vec<f64> = rows.map(|row| row.step_ms).collect();
        (!times.is_empty()).then(|| quantile(&times, 0.5))
    };
    Ok(TrainingStage::ALL.into_iter().find_map(of))
}

/// One marker for each point of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccuracyScatter {
    /// What the vertical axis shows.
    pub measure: Named<Measure>,
    /// Quantity and unit of the horizontal axis.
    pub horizontal: String,
    /// One marker and colour each.
    pub spots: Vec<Spot>,
    /// Whether the markers are labelled; if not, the swept number identifies each point.
    pub named: bool,
}

/// One point of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spot {
    /// What it is called.
    pub label: String,
    /// Position on the horizontal axis; finite.
    pub x: f64,
    /// One per seed.
    pub runs: Vec<SeedValue>,
}

/// One line of the figure's CSV; accuracies are fractions, other values are in the unit of the measure.
#[derive(Debug, Default, Serialize, Deserialize)]
struct PlottedRow<'a> {
    /// `mean` or `seed`.
    kind: &'static str,
    label: &'a str,
    x: f64,
    seed: Option<u64>,
    correct: Option<usize>,
    questions: Option<usize>,
    /// The value of exact match; empty for other measures.
    accuracy: Option<f64>,
    low_95: Option<f64>,
    high_95: Option<f64>,
    interval: Option<IntervalKind>,
    measure: &'static str,
    value: f64,
}

impl AccuracyScatter {
    /// The height of a disc and its whisker; `None` if nothing was asked.
    fn height(&self, spot: &Spot) -> Option<Estimate> {
        seed_values::mean(&spot.runs, self.measure.0)
    }

    fn check(&self) -> Result<()> {
        for Spot { label, x, runs } in &self.spots {
            if !x.is_finite() {
                let message = format!("`{label}` has x = {x}, which is not finite");
                return Err(Error::data(message));
            }
            seed_values::check(label, runs, self.measure.0)?;
        }
        Ok(())
    }

    fn rows(&self) -> Vec<PlottedRow<'_>> {
        let measure = self.measure.0;
        let mut rows = vec![];
        for spot in &self.spots {
            let row = |kind, of: Estimate| {
                let (low_95, high_95, interval) = Interval::columns(of.interval);
                PlottedRow {
                    kind,
                    label: &spot.label,
                    x: spot.x,
                    accuracy: measure.is_exact_match().then_some(of.value),
                    low_95,
                    high_95,
                    interval,
                    measure: measure.name(),
                    value: of.value,
                    ..PlottedRow::default()
                }
            };
            rows.extend(self.height(spot).map(|height| row("mean", height)));
            rows.extend(spot.runs.iter().map(|run| PlottedRow {
                seed: Some(run.seed),
                correct: run.correct,
                questions: Some(run.questions),
                ..row("seed", Estimate::exact(run.estimate.value))
            }));
        }
        rows
    }

    /// The caption with n, seeds, and what every mark is.
    fn explained(&self, mut caption: Caption, shifted: bool, naming: &Naming) -> Caption {
        let runs = self.spots.iter().map(|spot| &spot.runs[..]);
        seed_values::explain(&mut caption, self.measure.0, ["Disc", "small dot"], runs);
        if shifted {
            caption.say(
                "Markers that would overlap are moved sideways: the tick on the axis marks the true value.",
            );
        }
        let caption = caption.draws([self.horizontal.as_str()]);
        caption.labels(&naming.names)
    }
}

#[cfg(test)]
mod tests;
