//! What `kind = "accuracy-scatter"` takes and shows: `summary.csv` against the size of the models, the times of
//! their steps, or what the sweep sets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::key::Naming;
use super::{AccuracyScatter, Spot, drawing};
use crate::error::Result;
use crate::eval::measures::Measure;
use crate::kinds::{BrokenRule, Named};
use crate::metrics::artefacts::TIMINGS;
use crate::metrics::measured::{Measured, MeasuredPoint};
use crate::metrics::rows::{GroupRow, MeasureRow, TimingRow};
use crate::metrics::statistics::quantile;
use crate::metrics::steps::{TrainingStage, read_timings};
use crate::metrics::table;
use crate::plot::seed_values::{self, SeedValue};
use crate::plot::{Figure, Gathered, Plot, Points};

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
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::gallery::Example] = &[
        |points, label| super::tests::made_up(points, label, 1),
        |points, label| super::tests::made_up(points, label, 3),
        super::tests::losses,
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
            message: format!("= {quantity:?} is not a numeric setting of these points"),
            help: Some(help),
        })
    }

    fn gather(keys: &Keys, title: String, measured: &Measured) -> Result<Gathered<Self>> {
        let measure = keys.measure.unwrap_or(measured.measure);
        let rows = seed_values::rows_of(measure.0, measured)?;
        let groups: Vec<GroupRow> = table::read(&measured.folder.join("groups.csv"))?;
        let mut spots = vec![];
        for point in &measured.points {
            let own = |row: &&MeasureRow| row.subject == "model" && row.point == point.folder;
            let run = |row: &MeasureRow| SeedValue::of(row, row.seed?);
            let runs: Vec<SeedValue> = rows.iter().filter(own).filter_map(run).collect();
            let x = keys.quantity(point, &groups)?;
            let label = point.label.clone();
            let x = x.filter(|_| !runs.is_empty());
            spots.extend(x.map(|x| Spot { label, x, runs }));
        }
        if spots.is_empty() {
            return Ok(Gathered::Nothing(
                "no finished point has both a value of `measure` and the quantity of `x`",
            ));
        }
        let (horizontal, timed) = match keys.x.as_str() {
            STEP_MS => {
                let machines = &*measured.timed_on;
                let timed = format!(" Times were measured during the runs, on {machines}.");
                ("median time of a training step (ms)", timed)
            }
            key => (key, String::new()),
        };
        Ok(Gathered::Figure(Self {
            title,
            caption: measured.asked() + &timed,
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
    fn draw(&self) -> Result<Figure> {
        self.check()?;
        let (places, naming) = (drawing::Places::of(self), Naming::of(self));
        let caption = self.full_caption(places.shifted(), &naming);
        let drawing = drawing::draw(self, &places, &naming, &caption)?;
        Figure::finish(&drawing, &self.title, &caption, &self.rows())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::measured::MeasuredRun;

    #[test]
    fn the_time_of_a_step_is_the_median_over_the_runs_of_pretraining() {
        let folder = tempfile::tempdir().expect("a folder");
        let row = |stage: &str, step, step_ms| TimingRow {
            stage: stage.to_owned(),
            step,
            step_ms,
            tokens_per_second: 1.0,
        };
        for (seed, times) in [(1, [9.0, 1.0]), (2, [3.0, 5.0])] {
            let mut rows = vec![row("finetune", 1, 100.0)];
            rows.extend((1..).zip(times).map(|(step, ms)| row("pretrain", step, ms)));
            let run = folder.path().join(format!("seed-{seed}"));
            std::fs::create_dir(&run).expect("made");
            table::write(&run.join("timings.csv"), &rows).expect("written");
        }
        let of = |seeds: &[u64]| {
            let run = |&seed: &u64| MeasuredRun {
                seed,
                folder: folder.path().join(format!("seed-{seed}")),
            };
            let runs = seeds.iter().map(run).collect();
            let point = MeasuredPoint {
                runs,
                ..MeasuredPoint::default()
            };
            median_step_ms(&point).expect("read")
        };
        assert_eq!(of(&[1, 2]), Some(4.0));
        assert_eq!(of(&[1]), Some(5.0));
        assert_eq!(of(&[3]), None);
    }
}
