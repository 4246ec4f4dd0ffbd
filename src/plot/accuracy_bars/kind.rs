//! What `kind = "accuracy-bars"` shows: `summary.csv`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccuracyBars, Bar, Baseline, SeedValue, horizontal, vertical};
use crate::error::Result;
use crate::eval::measures::Measure;
use crate::kinds::{BrokenRule, Named};
use crate::metrics::measured::{Measured, MeasuredPoint};
use crate::metrics::rows::MeasureRow;
use crate::plot::{Figure, Gathered, Plot, PointLabels, Points, seed_values};

/// The keys of `kind = "accuracy-bars"`.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Which of the measures in `evaluate.measures` is shown. Default: the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    measure: Option<Named<Measure>>,
}

impl Plot for AccuracyBars {
    type Keys = Keys;

    const NAME: &'static str = "accuracy-bars";
    const SHOWS: &'static str = "a measure of each point, such as accuracy, with its 95 % interval, the constant answer, and the reported accuracy";
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::gallery::Example] = &[
        |points, label| super::tests::made_up(points, label, 1),
        |points, label| super::tests::made_up(points, label, 3),
        super::tests::losses,
    ];

    fn title(keys: &Keys, measured: &Measured) -> String {
        keys.measure.unwrap_or(measured.measure).0.title()
    }

    fn check(keys: &Keys, points: &Points<'_>) -> Option<BrokenRule> {
        seed_values::check_measure(keys.measure, points)
    }

    fn gather(keys: &Keys, title: String, measured: &Measured) -> Result<Gathered<Self>> {
        let measure = keys.measure.unwrap_or(measured.measure);
        let rows = seed_values::rows_of(measure.0, measured)?;
        if rows.iter().all(|row| row.questions.is_none()) {
            return Ok(Gathered::Nothing(
                "there is no reference answer to compare with",
            ));
        }
        // Without a model, the constant answer is the result; it does not depend on the seed.
        let is_asked = rows.iter().any(|row| row.subject == "model");
        let subject = if is_asked { "model" } else { "constant" };
        let of = |subject: &'static str, point: &MeasuredPoint| {
            let folder = point.folder.clone();
            let own = move |row: &&MeasureRow| row.subject == subject && row.point == folder;
            rows.iter().filter(own)
        };
        let run = |row: &MeasureRow| SeedValue::of(row, measured.seeds[0]);
        let bar = |point: &MeasuredPoint| Bar {
            label: point.label.clone(),
            runs: of(subject, point).filter_map(run).collect(),
            reported: of("reported", point)
                .next()
                .map(|row| (row.value, row.detail.clone().unwrap_or_default())),
        };
        Ok(Gathered::Figure(Self {
            title,
            caption: measured.asked(),
            measure,
            bars: measured.points.iter().map(bar).collect(),
            baseline: baseline(&rows).filter(|_| is_asked),
        }))
    }

    /// Bars with whiskers, horizontal ones if names or numbers would collide. One run gets the interval over its
    /// questions; several get dots and their mean's t-interval.
    fn draw(&self) -> Result<Figure> {
        self.check()?;
        let names = PointLabels::of(self.bars.iter().map(|bar| bar.label.as_str()));
        let caption = self.full_caption(&names);
        let drawing = match vertical::have_room(self, &names) {
            true => vertical::draw(self, &names, &caption)?,
            false => horizontal::draw(self, &names, &caption)?,
        };
        Figure::finish(&drawing, &self.title, &caption, &self.rows())
    }
}

/// The constant answer, if it is the same for all points: otherwise a line across all bars would be wrong.
fn baseline(rows: &[MeasureRow]) -> Option<Baseline> {
    let said = |row: &MeasureRow| (row.detail.clone(), row.correct, row.questions, row.value);
    let mut constants = rows.iter().filter(|row| row.subject == "constant");
    let first = constants.next()?;
    let answer = first.detail.as_deref().unwrap_or_default();
    let run = SeedValue::of(first, 0)?;
    constants
        .all(|row| said(row) == said(first))
        .then_some(Baseline {
            label: format!("always \u{201c}{answer}\u{201d}"),
            run,
        })
}
