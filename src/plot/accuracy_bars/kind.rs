//! What `kind = "accuracy-bars"` shows: `summary.csv`.

use super::{AccuracyBars, Bar, Baseline, SeedAccuracy, draw_accuracy_bars};
use crate::error::Result;
use crate::metrics::measured::{Measured, MeasuredPoint};
use crate::metrics::rows::AccuracyRow;
use crate::metrics::table;
use crate::plot::Figure;
use crate::plot::kind::{Gathered, NoKeys, Plot};

impl Plot for AccuracyBars {
    type Keys = NoKeys;

    const NAME: &'static str = "accuracy-bars";
    const SHOWS: &'static str = "accuracy of each point with its 95 % interval, the constant answer, and the reported accuracy";
    const TITLE: &'static str = "Questions answered right";
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::gallery::Example] = &[
        |points, label| super::tests::made_up(points, label, 1),
        |points, label| super::tests::made_up(points, label, 3),
    ];

    fn gather(_: &NoKeys, title: String, measured: &Measured) -> Result<Gathered<Self>> {
        let rows: Vec<AccuracyRow> = table::read(&measured.folder.join("summary.csv"))?;
        if rows.iter().all(|row| row.correct.is_none()) {
            return Ok(Gathered::Nothing(
                "there is no reference answer to compare with",
            ));
        }
        // Without a model, the constant answer is the result; it does not depend on the seed.
        let is_asked = rows.iter().any(|row| row.subject == "model");
        let subject = if is_asked { "model" } else { "constant" };
        let of = |subject: &'static str, point: &MeasuredPoint| {
            let folder = point.folder.clone();
            let own = move |row: &&AccuracyRow| row.subject == subject && row.point == folder;
            rows.iter().filter(own)
        };
        let run = |row: &AccuracyRow| SeedAccuracy::of(row, measured.seeds[0]);
        let bar = |point: &MeasuredPoint| Bar {
            label: point.label.clone(),
            runs: of(subject, point).filter_map(run).collect(),
            reported: of("reported", point)
                .map(|row| (row.accuracy, row.detail.clone().unwrap_or_default()))
                .next(),
        };
        Ok(Gathered::Figure(Self {
            title,
            caption: measured.asked(),
            bars: measured.points.iter().map(bar).collect(),
            baseline: baseline(&rows).filter(|_| is_asked),
        }))
    }

    fn draw(&self) -> Result<Figure> {
        draw_accuracy_bars(self)
    }
}

/// The constant answer, if it is the same for all points: otherwise a line across all bars would be wrong.
fn baseline(rows: &[AccuracyRow]) -> Option<Baseline> {
    let said = |row: &AccuracyRow| (row.detail.clone(), row.correct, row.questions);
    let mut constants = rows.iter().filter(|row| row.subject == "constant");
    let first = constants.next()?;
    let answer = first.detail.as_deref().unwrap_or_default();
    constants
        .all(|row| said(row) == said(first))
        .then_some(Baseline {
            label: format!("always \u{201c}{answer}\u{201d}"),
            correct: first.correct?,
            questions: first.questions?,
        })
}
