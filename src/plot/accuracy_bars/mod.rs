//! What `kind = "accuracy-bars"` shows: a measure of every point of a sweep with its confidence interval, from
//! `summary.csv`.

mod horizontal;
mod marks;
mod vertical;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::seed_values::{self, SeedValue, tally};
use super::{Caption, Figure, Gathered, Need, Plot, PointLabels, Points};
use crate::error::{Error, Result};
use crate::eval::measures::Measure;
use crate::kinds::{BrokenRule, Listed as _, Named};
use crate::metrics::measured::{Measured, MeasuredPoint};
use crate::metrics::rows::MeasureRow;
use crate::metrics::statistics::{Estimate, Interval, IntervalKind};

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
    const SHOWS: &'static str = "a measure of each point, such as accuracy, with its 95 % interval, the constant answer, and what was reported elsewhere";
    const NEEDS: Need = Need::Scores;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::tests::gallery::Example] = &[
        |points, label| tests::made_up(points, label, 1),
        |points, label| tests::made_up(points, label, 3),
        tests::losses,
    ];

    fn title(keys: &Keys, measured: &Measured) -> String {
        keys.measure.unwrap_or(measured.measure).0.title()
    }

    fn check(keys: &Keys, points: &Points<'_>) -> Option<BrokenRule> {
        seed_values::check_measure(keys.measure, points)
    }

    fn gather(keys: &Keys, measured: &Measured) -> Result<Gathered<Self>> {
        let measure = keys.measure.unwrap_or(measured.measure);
        let rows = seed_values::rows_of(measure.0, measured)?;
        if rows.iter().all(|row| row.questions.is_none()) {
            return Ok(Gathered::Nothing(
                "there is no reference answer to compare with".into(),
            ));
        }
        // Without a model, the constant answer is the result; it does not depend on the seed.
        let is_asked = rows.iter().any(|row| row.subject == "model");
        let subject = if is_asked { "model" } else { "constant" };
        let run = |row: &MeasureRow| SeedValue::of(row, measured.seeds[0]);
        let bar = |point: &MeasuredPoint| {
            let reported = seed_values::own(&rows, "reported", point).next();
            let runs = seed_values::own(&rows, subject, point).filter_map(run);
            Bar {
                label: point.label.clone(),
                runs: runs.collect(),
                reported: reported.map(|row| (row.value, row.detail.clone().unwrap_or_default())),
            }
        };
        Ok(Gathered::Figure(Self {
            measure,
            bars: measured.points.iter().map(bar).collect(),
            baseline: baseline(&rows).filter(|_| is_asked),
        }))
    }

    /// Bars with whiskers, horizontal ones if names or numbers would collide. One run gets the interval over its
    /// questions; several get dots and their mean's t-interval.
    fn draw(&self, caption: Caption) -> Result<Figure> {
        self.check()?;
        let names = PointLabels::of(self.bars.iter().map(|bar| bar.label.as_str()));
        let caption = self.explained(caption, &names);
        match vertical::have_room(self, &names) {
            true => vertical::draw(self, &names, caption),
            false => horizontal::draw(self, &names, caption),
        }
    }
}

/// A measure of the points of a sweep beside a constant answer and beside what others reported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccuracyBars {
    /// What is measured.
    pub measure: Named<Measure>,
    /// One per point of the sweep, from left to right.
    pub bars: Vec<Bar>,
    /// The constant answer, which needs no model.
    pub baseline: Option<Baseline>,
}

/// One point of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bar {
    /// Label of the bar.
    pub label: String,
    /// One per seed.
    pub runs: Vec<SeedValue>,
    /// The value that somebody else reported for this point, and where.
    pub reported: Option<(f64, String)>,
}

/// The same answer to every question.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// Its label, for instance `always "London"`.
    pub label: String,
    /// Its value; the seed has no meaning.
    pub run: SeedValue,
}

/// One line of the figure's CSV; accuracies are fractions, other values are in the unit of the measure.
#[derive(Debug, Default, Serialize, Deserialize)]
struct PlottedRow<'a> {
    /// `bar`, `seed`, `baseline` or `reported`.
    kind: &'static str,
    label: &'a str,
    seed: Option<u64>,
    correct: Option<usize>,
    questions: Option<usize>,
    /// The value of exact match; empty for other measures.
    accuracy: Option<f64>,
    low_95: Option<f64>,
    high_95: Option<f64>,
    interval: Option<IntervalKind>,
    source: Option<&'a str>,
    measure: &'static str,
    value: Option<f64>,
}

impl Bar {
    /// The reported value, where it is a number.
    fn reported(&self) -> Option<(f64, &str)> {
        let reported = self.reported.as_ref().filter(|one| one.0.is_finite());
        reported.map(|(value, source)| (*value, source.as_str()))
    }
}

impl AccuracyBars {
    /// The height of a bar and its whisker; `None` if nothing was asked.
    fn height(&self, bar: &Bar) -> Option<Estimate> {
        seed_values::mean(&bar.runs, self.measure.0)
    }

    /// The reported values and their sources.
    fn reported(&self) -> impl Iterator<Item = (f64, &str)> {
        self.bars.iter().filter_map(Bar::reported)
    }

    /// The texts beside a bar: its value, if it has one, and its counts as in [`tally`].
    fn numbers(&self, bar: &Bar) -> (Option<String>, String) {
        let value = self.height(bar).map(|height| self.show(height.value));
        (value, tally(&bar.runs))
    }

    /// A value with its unit: `21.0 %`.
    fn show(&self, value: f64) -> String {
        self.measure.0.unit.show(value)
    }

    fn check(&self) -> Result<()> {
        for bar in &self.bars {
            seed_values::check(&bar.label, &bar.runs, self.measure.0)?;
        }
        if let Some(Baseline { label, run }) = &self.baseline {
            seed_values::check(label, &[*run], self.measure.0)?;
        }
        let range = self.measure.0.unit.range();
        let Some((value, source)) = self.reported().find(|one| !range.contains(&one.0)) else {
            return Ok(());
        };
        let (name, low, high) = (self.measure.0.name(), range.start(), range.end());
        let message =
            format!("the reported {name} {value} ({source}) is not between {low} and {high}");
        Err(Error::data(message).help("write 21 % as 0.21"))
    }

    fn rows<'a>(&'a self) -> Vec<PlottedRow<'a>> {
        let measure = self.measure.0;
        let row = |kind, label: &'a str, of: Option<Estimate>| {
            let (low_95, high_95, interval) = Interval::columns(of.and_then(|one| one.interval));
            let value = of.map(|one| one.value);
            PlottedRow {
                kind,
                label,
                accuracy: value.filter(|_| measure.is_exact_match()),
                low_95,
                high_95,
                interval,
                measure: measure.name(),
                value,
                ..PlottedRow::default()
            }
        };
        let of_run = |kind, label, run: &SeedValue, estimate| PlottedRow {
            correct: run.correct,
            questions: Some(run.questions),
            ..row(kind, label, Some(estimate))
        };
        let mut rows = vec![];
        for bar in &self.bars {
            rows.push(row("bar", &bar.label, self.height(bar)));
            rows.extend(bar.runs.iter().map(|run| PlottedRow {
                seed: Some(run.seed),
                ..of_run("seed", &bar.label, run, Estimate::exact(run.estimate.value))
            }));
            rows.extend(bar.reported().map(|(value, source)| PlottedRow {
                source: Some(source),
                ..row("reported", &bar.label, Some(Estimate::exact(value)))
            }));
        }
        let baseline = self.baseline.iter();
        rows.extend(baseline.map(|one| of_run("baseline", &one.label, &one.run, one.run.estimate)));
        rows
    }

    /// The caption with n, seeds, and what every mark is.
    fn explained(&self, mut caption: Caption, names: &PointLabels) -> Caption {
        let runs = self.bars.iter().map(|bar| &bar.runs[..]);
        seed_values::explain(&mut caption, self.measure.0, ["Bar", "dot"], runs);
        if self.baseline.is_some() {
            caption.say("Band: 95 % interval of the constant answer, over questions.");
        }
        if self.reported().next().is_some() {
            caption.say("Diamond: reported by others, not measured here.");
        }
        let reported = self.bars.iter().filter_map(|bar| bar.reported.as_ref());
        let sources = reported.map(|(_, source)| source.as_str());
        let constant = self.baseline.iter().map(|baseline| baseline.label.as_str());
        caption.labels(names).draws(sources.chain(constant))
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

#[cfg(test)]
mod tests;
