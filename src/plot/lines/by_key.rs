//! What `kind = "accuracy-lines"` takes and shows: a measure of the points of a sweep against a key that it sets to numbers,
//! from `summary.csv`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Lines, Names, Spot};
use crate::error::Result;
use crate::eval::measures::Measure;
use crate::kinds::{BrokenRule, Named, joined};
use crate::metrics::measured::{Measured, MeasuredPoint};
use crate::metrics::rows::MeasureRow;
use crate::plot::seed_values::{self, SeedValue};
use crate::plot::{Caption, Figure, Gathered, Need, Plot, Points};

/// The keys of `kind = "accuracy-lines"`.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Which of the measures in `evaluate.measures` is shown. Default: the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    measure: Option<Named<Measure>>,
    /// What the horizontal axis shows: a key that the sweep sets to numbers. Default: the first of them that `choose` does
    /// not name.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// A key of the sweep; each of its values gets a chart of its own. Default: one chart.
    #[serde(skip_serializing_if = "Option::is_none")]
    panels: Option<String>,
}

/// The figure.
pub struct ByKey(pub(super) Lines);

impl Plot for ByKey {
    type Keys = Keys;

    const NAME: &'static str = "accuracy-lines";
    const SHOWS: &'static str = "a measure of each point, such as accuracy, against a numeric key of the sweep, with a line for each combination of the other keys";
    const NEEDS: Need = Need::ModelPairs;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::tests::gallery::Example] =
        &[super::tests::by_width, super::tests::losses_in_panels];

    fn title(keys: &Keys, measured: &Measured) -> String {
        let measure = keys.measure.unwrap_or(measured.measure);
        match keys.by(&measured.points) {
            Some(by) => format!("{}, by {by}", measure.0.title()),
            None => measure.0.title(),
        }
    }

    fn shows_candidates(keys: &Keys, chosen: &[String]) -> bool {
        let named = [&keys.by, &keys.panels].into_iter().flatten();
        named.into_iter().any(|key| chosen.contains(key))
    }

    fn check(keys: &Keys, points: &Points<'_>) -> Option<BrokenRule> {
        if points.values.is_empty() {
            return None;
        }
        let mut free = points
            .numbers
            .iter()
            .filter(|key| !points.chosen.iter().any(|one| one == *key));
        if keys.by.is_none() && free.next().is_none() {
            return Some(BrokenRule {
                help: Some(
                    "sweep a number, such as `model.embed`, name one in `by`, or remove the figure"
                        .to_owned(),
                ),
                ..BrokenRule::new(
                    "kind",
                    "= \"accuracy-lines\" needs a numeric key of the sweep that `choose` does not name",
                )
            });
        }
        if let Some(by) = keys.by.as_deref().filter(|by| !points.numbers.contains(by)) {
            let numbers = points.numbers.iter().map(|key| format!("{key:?}"));
            return Some(BrokenRule {
                help: Some(match points.numbers.is_empty() {
                    true => {
                        "sweep a number, such as `model.embed`, or remove the figure".to_owned()
                    }
                    false => format!("write {}", joined(numbers, "or")),
                }),
                ..BrokenRule::new(
                    "by",
                    format!("= {by:?} is not a key that the sweep sets to numbers"),
                )
            });
        }
        super::check_panels(keys.panels.as_deref(), points)
            .or_else(|| seed_values::check_measure(keys.measure, points))
    }

    fn gather(keys: &Keys, measured: &Measured) -> Result<Gathered<Self>> {
        let measure = keys.measure.unwrap_or(measured.measure);
        let rows = seed_values::rows_of(measure.0, measured)?;
        let Some(by) = keys.by(&measured.points) else {
            return Ok(Gathered::Nothing("the sweep sets no key to numbers".into()));
        };
        let names = Names::of(&measured.points, Some(&by), keys.panels.as_deref());
        let mut figure = Lines {
            measure,
            horizontal: by.clone(),
            by_ratio: true,
            ..Lines::default()
        };
        for point in &measured.points {
            let spot = point.number(&by).and_then(|x| spot(point, x, &rows));
            let Some(spot) = spot else { continue };
            figure.add(names.panel(point), names.line(point), spot);
        }
        if figure.panels.is_empty() {
            return Ok(Gathered::Nothing(
                "no finished run has a value of the measure".into(),
            ));
        }
        Ok(Gathered::Figure(Self(figure.sorted())))
    }

    fn draw(&self, caption: Caption) -> Result<Figure> {
        self.0.draw(caption)
    }
}

impl Keys {
    /// The key of the horizontal axis.
    fn by(&self, points: &[MeasuredPoint]) -> Option<String> {
        let is_number = |key: &&String| points.iter().all(|point| point.number(key).is_some());
        let mut keys = points
            .iter()
            .take(1)
            .flat_map(|point| &point.values)
            .map(|one| &one.0);
        self.by.clone().or_else(|| keys.find(is_number).cloned())
    }
}

/// The runs of a point; `None` if none has been scored.
fn spot(point: &MeasuredPoint, x: f64, rows: &[MeasureRow]) -> Option<Spot> {
    let own = seed_values::own(rows, "model", point);
    let runs: Vec<SeedValue> = own
        .filter_map(|row| SeedValue::of(row, row.seed?))
        .collect();
    let reported = seed_values::own(rows, "reported", point).next();
    (!runs.is_empty()).then(|| Spot {
        x,
        runs,
        reported: reported.map(|row| (row.value, row.detail.clone().unwrap_or_default())),
        bin: None,
    })
}
