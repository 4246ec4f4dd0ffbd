//! A measure of every point of a sweep with its confidence interval: the numbers behind the bars.

mod horizontal;
mod kind;
mod marks;
mod vertical;

use serde::{Deserialize, Serialize};

use super::seed_values::{self, SeedValue, tally};
use super::{Caption, PointLabels};
use crate::error::{Error, Result};
use crate::eval::measures::Measure;
use crate::kinds::{Listed as _, Named};
use crate::metrics::statistics::{Estimate, Interval, IntervalKind};

/// A measure of the points of a sweep beside a constant answer and beside what others reported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccuracyBars {
    /// The heading.
    pub title: String,
    /// Start of the caption: split, profile. The explanation of bars and whiskers is appended.
    pub caption: String,
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
    /// A fraction that somebody else reported for this point, and where.
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
    /// The reported fraction, where it is a number.
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

    /// The reported fractions and their sources.
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
        let Some((accuracy, source)) = self.reported().find(|one| !(0.0..=1.0).contains(&one.0))
        else {
            return Ok(());
        };
        let message =
            format!("reported accuracy {accuracy} ({source}) is not a fraction of 0 to 1");
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

    /// The caller's caption, then n, seeds, and what every mark is.
    fn full_caption(&self, names: &PointLabels) -> String {
        let mut caption = Caption::new(&self.title, &self.caption);
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
        caption
            .labels(names)
            .draws(sources.chain(constant))
            .finish()
    }
}

#[cfg(test)]
mod tests;
