//! A measure of every point of a sweep with its confidence interval: the numbers behind the bars.

mod horizontal;
mod kind;
mod marks;
mod vertical;

use serde::{Deserialize, Serialize};

use super::Figure;
use super::caption::Caption;
use super::point_labels::PointLabels;
use super::seed_values::{self, SeedValue, direction, in_words, tally, whiskers};
use crate::error::{Error, Result};
use crate::eval::measures::Measure;
use crate::kinds::{Listed as _, Named};
use crate::metrics::statistics::{Interval, IntervalKind, OverSeeds};

/// A measure of the points of a sweep beside a constant answer and beside what others reported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccuracyBars {
    /// The heading.
    pub title: String,
    /// How the caption begins: split, profile. What bars and whiskers are is added.
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
    /// What it comes to; its seed means nothing.
    pub run: SeedValue,
}

/// One line of the figure's CSV; fractions throughout.
#[derive(Debug, Default, Serialize, Deserialize)]
struct PlottedRow<'a> {
    /// `bar`, `seed`, `baseline` or `reported`.
    kind: &'static str,
    label: &'a str,
    seed: Option<u64>,
    correct: Option<usize>,
    questions: Option<usize>,
    /// The value of an exact match; empty for other measures.
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
        self.reported
            .as_ref()
            .filter(|r| r.0.is_finite())
            .map(|r| (r.0, r.1.as_str()))
    }
}

impl AccuracyBars {
    /// The height of a bar and its whisker; `None` where nothing was asked.
    fn height(&self, bar: &Bar) -> Option<OverSeeds> {
        seed_values::mean(&bar.runs, self.measure.0)
    }

    /// The numbers beside a bar: its value, if it has one, and what that is of.
    fn numbers(&self, bar: &Bar) -> (Option<String>, String) {
        let value = self.height(bar).map(|height| self.show(height.mean));
        (value, tally(&bar.runs))
    }

    /// A value with its unit: `21.0 %`.
    fn show(&self, value: f64) -> String {
        self.measure.0.unit.show(value)
    }

    fn check(&self) -> Result<()> {
        let bars = self.bars.iter().map(|bar| (&bar.label, &bar.runs[..]));
        let baseline = self.baseline.iter();
        let baseline = baseline.map(|one| (&one.label, std::slice::from_ref(&one.run)));
        for (label, runs) in bars.chain(baseline) {
            let values = runs.iter().map(|run| run.estimate.value);
            seed_values::check(label, values, self.measure.0)?;
        }
        let reported = self.bars.iter().filter_map(Bar::reported);
        for (accuracy, source) in reported {
            if !(0.0..=1.0).contains(&accuracy) {
                let message =
                    format!("reported accuracy {accuracy} ({source}) is not a fraction of 0 to 1");
                return Err(Error::data(message).help("write 21 % as 0.21"));
            }
        }
        Ok(())
    }

    fn rows<'a>(&'a self) -> Vec<PlottedRow<'a>> {
        let measure = self.measure.0;
        let row = |kind, label, value: Option<f64>| PlottedRow {
            kind,
            label,
            accuracy: value.filter(|_| measure.is_exact_match()),
            measure: measure.name(),
            value,
            ..PlottedRow::default()
        };
        let with_interval = |row: PlottedRow<'a>, interval: Option<Interval>| PlottedRow {
            low_95: interval.map(|one| one.low),
            high_95: interval.map(|one| one.high),
            interval: interval.map(|one| one.kind),
            ..row
        };
        let of_run = |kind, label, run: &SeedValue| PlottedRow {
            correct: run.correct,
            questions: Some(run.questions),
            ..row(kind, label, Some(run.estimate.value))
        };
        let mut rows = vec![];
        for bar in &self.bars {
            let height = self.height(bar);
            let mean = height.as_ref().map(|height| height.mean);
            let interval = height.and_then(|height| height.interval);
            rows.push(with_interval(
                row("bar", bar.label.as_str(), mean),
                interval,
            ));
            rows.extend(bar.runs.iter().map(|run| PlottedRow {
                seed: Some(run.seed),
                ..of_run("seed", bar.label.as_str(), run)
            }));
            rows.extend(bar.reported().map(|(accuracy, source)| PlottedRow {
                source: Some(source),
                ..row("reported", bar.label.as_str(), Some(accuracy))
            }));
        }
        rows.extend(self.baseline.as_ref().map(|baseline| {
            let row = of_run("baseline", baseline.label.as_str(), &baseline.run);
            with_interval(row, baseline.run.estimate.interval)
        }));
        rows
    }

    /// The caller's caption, then n, seeds, and what every mark is.
    fn full_caption(&self, names: &PointLabels) -> String {
        let mut caption = Caption::new(&self.title, &self.caption);
        let runs = in_words(self.bars.iter().flat_map(|bar| &bar.runs));
        runs.into_iter().for_each(|runs| caption.say(runs));
        direction(self.measure.0)
            .into_iter()
            .for_each(|words| caption.say(words));
        let heights = self.bars.iter().filter_map(|bar| self.height(bar));
        let heights: Vec<OverSeeds> = heights.collect();
        if heights.is_empty() {
            caption.say("No run has answered a question.");
        }
        let whiskers = whiskers("Bar", "dot", &heights);
        whiskers.into_iter().for_each(|words| caption.say(words));
        if self.baseline.is_some() {
            caption.say("Band: Wilson's 95 % interval of the constant answer.");
        }
        if self.bars.iter().any(|b| b.reported().is_some()) {
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

/// Draws values as bars with whiskers, horizontal ones if names or numbers would collide.
///
/// One run gets the interval over its questions; several get dots and their mean's t-interval.
///
/// # Errors
/// A value that the measure cannot have.
pub fn draw_accuracy_bars(figure: &AccuracyBars) -> Result<Figure> {
    figure.check()?;
    let names = PointLabels::of(figure.bars.iter().map(|bar| bar.label.as_str()));
    let caption = figure.full_caption(&names);
    let drawing = match vertical::have_room(figure, &names) {
        true => vertical::draw(figure, &names, &caption)?,
        false => horizontal::draw(figure, &names, &caption)?,
    };
    Figure::finish(&drawing, &figure.title, &caption, &figure.rows())
}

#[cfg(test)]
mod tests;
