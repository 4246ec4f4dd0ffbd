//! What `kind = "learning-curves"` takes and shows: loss against optimiser step, from `metrics.csv` of all runs, and from
//! `validation.csv` where a run is validated by its loss.

mod drawing;
mod frame;
mod styles;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::smoothing::{
    Sample, finite, interval_over_seeds, mean_over_seeds, running_mean, window,
};
use super::text::{self, count, plural, significant};
use super::theme::PLOT_HEIGHT;
use super::{Caption, Chart, Figure, Gathered, Need, Page, Plot, PointLabels};
use crate::error::Result;
use crate::metrics::artefacts::{METRICS, VALIDATION};
use crate::metrics::measured::Measured;
use crate::metrics::rows::ValidationRow;
use crate::metrics::steps::{TrainingStage, read_steps};
use drawing::draw_curves;
use frame::Frame;
use styles::{PICKED, SeriesStyles};

/// The keys of `kind = "learning-curves"`.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Which stage.
    stage: TrainingStage,
}

impl Plot for LearningCurves {
    type Keys = Keys;

    const NAME: &'static str = "learning-curves";
    const SHOWS: &'static str = "loss against steps";
    const NEEDS: Need = Need::Pretraining;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::tests::gallery::Example] = &[
        |points, label| tests::made_up(points, label, 1),
        |points, label| tests::made_up(points, label, 2),
    ];

    fn title(keys: &Keys, _: &Measured) -> String {
        let doing = match keys.stage {
            TrainingStage::Pretrain => "pretraining",
            TrainingStage::Finetune => "finetuning",
        };
        format!("Loss while {doing}")
    }

    fn needs(keys: &Keys) -> Need {
        match keys.stage {
            TrainingStage::Pretrain => Need::Pretraining,
            TrainingStage::Finetune => Need::Finetuning,
        }
    }

    fn origin(_: &Keys, measured: &Measured) -> String {
        format!("{}.", measured.origin)
    }

    fn gather(keys: &Keys, measured: &Measured) -> Result<Gathered<Self>> {
        let stage = keys.stage.name();
        let mut series = vec![];
        for point in &measured.points {
            let mut traces = vec![];
            for run in &point.runs {
                let rows = read_steps(&run.path(&METRICS, ""))?;
                let rows = rows.iter().filter(|row| row.stage == stage);
                let points: Vec<_> = rows.map(|row| (row.step as f64, row.loss_nats)).collect();
                let validated: Vec<ValidationRow> = run.read(&VALIDATION, "")?.unwrap_or_default();
                let is_shown =
                    |row: &&ValidationRow| row.stage == stage && row.measure == VALIDATED_BY;
                let validations = validated.iter().filter(is_shown);
                let validations = validations.map(|row| (row.step as f64, row.value));
                if !points.is_empty() {
                    traces.push(Trace {
                        seed: run.seed,
                        validations: validations.collect(),
                        points,
                    });
                }
            }
            // Points that did not train in this stage stay in the list: a colour belongs to a point.
            let label = point.label.clone();
            series.push(Series { label, traces });
        }
        if series.iter().all(|series| series.traces.is_empty()) {
            return Ok(Gathered::Nothing("no run has trained in that stage".into()));
        }
        Ok(Gathered::Figure(Self {
            stage: stage.to_owned(),
            series,
        }))
    }

    /// Loss in nats against optimiser steps, linear on both axes.
    fn draw(&self, caption: Caption) -> Result<Figure> {
        let (curves, left_out) = self.curves();
        let frame = Frame::around(&curves);
        let styles = SeriesStyles::of(self, &curves);
        let names = self.names();
        let told = (&frame, &styles, &names);
        let caption = self.explained(caption, (&curves, left_out), told);
        let page = Page {
            right: 18.0,
            below: Chart::BELOW,
            ..Page::new(caption, styles.legend(&names))
        };
        page.figure(PLOT_HEIGHT, &self.rows(&curves), |canvas, chart| {
            frame.draw_axes(canvas, chart, &self.stage)?;
            draw_curves(canvas, chart, self, &curves, (&frame, &styles))
        })
    }
}

/// Loss of one or more points of a sweep over the steps of one stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LearningCurves {
    /// `pretrain` or `finetune`; names the horizontal axis.
    stage: String,
    /// One colour each.
    series: Vec<Series>,
}

/// One point of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
struct Series {
    /// What it is called in the legend.
    label: String,
    /// One per seed.
    traces: Vec<Trace>,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq)]
struct Trace {
    seed: u64,
    /// Optimiser step, and loss in nats per scored token; those that are not finite are left out.
    points: Vec<Sample>,
    /// The same of what is held out.
    validations: Vec<Sample>,
}

/// A run with more points than this gets a running mean, because nobody can read so many points.
const LONG: usize = 2_000;

/// The measure of a validation that stands on the axis of losses.
const VALIDATED_BY: &str = "loss";

/// Runs above the axis that a caption names.
const NAMED: usize = 3;

/// What a curve shows; its name is in the CSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// The loss of a run, step by step.
    Loss,
    /// The running mean of one run.
    RunningMean,
    /// The mean over seeds.
    MeanOverSeeds,
    /// The running mean of the mean over seeds.
    RunningMeanOverSeeds,
    /// The loss of what is held out, of one run.
    Validation,
}

/// Visual emphasis of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Emphasis {
    /// Behind a smoothed line.
    Faint,
    /// One of several seeds.
    Thin,
    /// The main line, which the reader should follow.
    Thick,
}

/// A line as drawn.
#[derive(Debug)]
struct Curve {
    series: usize,
    /// Empty for a mean over seeds.
    seed: Option<u64>,
    kind: Kind,
    weight: Emphasis,
    /// Samples in a running mean; empty where there is none.
    window: Option<usize>,
    samples: Vec<Sample>,
    /// The interval of the mean at each sample; empty where there is none.
    band: Vec<(f64, f64)>,
}

/// One line of the figure's CSV.
#[derive(Debug, Serialize, Deserialize)]
struct PlottedRow<'a> {
    stage: &'a str,
    series: &'a str,
    seed: Option<u64>,
    kind: Kind,
    window: Option<usize>,
    step: f64,
    loss_nats: f64,
    /// Ends of the mean's 95 % t-interval over seeds; empty for one seed.
    low_95: Option<f64>,
    high_95: Option<f64>,
}

impl LearningCurves {
    fn names(&self) -> PointLabels {
        PointLabels::of(self.series.iter().map(|series| series.label.as_str()))
    }

    /// All lines, and how many points cannot be drawn.
    fn curves(&self) -> (Vec<Curve>, usize) {
        let (mut curves, mut left_out) = (vec![], 0);
        for (series, Series { traces, .. }) in self.series.iter().enumerate() {
            let several = traces.len() > 1;
            let usable = traces.iter().map(|trace| finite(&trace.points));
            let (usable, lost): (Vec<Vec<Sample>>, Vec<usize>) = usable.unzip();
            left_out += lost.iter().sum::<usize>();
            let longest = usable.iter().map(Vec::len).max().unwrap_or(0);
            let over = (longest > LONG).then(|| window(longest));
            let curve = |seed, kind, weight, samples| Curve {
                series,
                seed,
                kind,
                weight,
                window: None,
                samples,
                band: vec![],
            };
            // The main line of each run: its losses, or their running mean.
            let followed: Vec<Vec<Sample>> = match over {
                Some(width) => usable.iter().map(|run| running_mean(run, width)).collect(),
                None => usable.clone(),
            };
            let (mean, band) = (mean_over_seeds(&followed), interval_over_seeds(&followed));
            let own = match several {
                true => Emphasis::Thin,
                false => Emphasis::Thick,
            };
            for ((trace, samples), calm) in traces.iter().zip(usable).zip(followed) {
                let seed = Some(trace.seed);
                let validations = trace.validations.clone();
                curves.push(curve(seed, Kind::Validation, Emphasis::Thin, validations));
                if over.is_none() {
                    curves.push(curve(seed, Kind::Loss, own, samples));
                    continue;
                }
                curves.push(Curve {
                    window: over,
                    ..curve(seed, Kind::RunningMean, own, calm)
                });
                curves.push(curve(seed, Kind::Loss, Emphasis::Faint, samples));
            }
            if several {
                let kind = match over {
                    Some(_) => Kind::RunningMeanOverSeeds,
                    None => Kind::MeanOverSeeds,
                };
                curves.push(Curve {
                    window: over,
                    band,
                    ..curve(None, kind, Emphasis::Thick, mean)
                });
            }
        }
        curves.retain(|curve: &Curve| !curve.samples.is_empty());
        (curves, left_out)
    }

    fn rows<'a>(&'a self, curves: &'a [Curve]) -> Vec<PlottedRow<'a>> {
        let row = |curve: &'a Curve, (i, &(step, loss_nats)): (usize, &Sample)| PlottedRow {
            stage: &self.stage,
            series: &self.series[curve.series].label,
            seed: curve.seed,
            kind: curve.kind,
            window: curve.window,
            step,
            loss_nats,
            low_95: curve.band.get(i).map(|band| band.0),
            high_95: curve.band.get(i).map(|band| band.1),
        };
        let rows_of = |curve: &'a Curve| {
            let samples = curve.samples.iter().enumerate();
            samples.map(move |sample| row(curve, sample))
        };
        curves.iter().flat_map(rows_of).collect()
    }

    /// The caller's caption, then seeds, and what every line is.
    fn explained(
        &self,
        mut caption: Caption,
        (curves, left_out): (&[Curve], usize),
        (frame, styles, names): (&Frame, &SeriesStyles, &PointLabels),
    ) -> Caption {
        let seeds: BTreeSet<u64> = curves.iter().filter_map(|c| c.seed).collect();
        let seeds = text::seeds(&Vec::from_iter(seeds));
        match seeds.strip_prefix("seed") {
            _ if curves.is_empty() => caption.say("No step was recorded."),
            Some(which) => caption.say(format!("Seed{which}.")),
            None => caption.say(format!("{seeds}.")),
        }
        if styles.is_crowd() {
            caption.say(format!(
                "Coloured: the {PICKED} curves with the lowest and the {PICKED} with the highest loss, averaged \
                 over the last tenth of their steps."
            ));
        }
        let several = curves.iter().any(|c| c.seed.is_none());
        if several && styles.is_crowd() {
            caption.say("Line: mean over seeds; the CSV has every seed.");
        } else if several {
            let band = match self.crowd() > drawing::CROWD {
                true => "the CSV has its 95 % t-interval",
                false => "band: 95 % t-interval of the mean",
            };
            caption.say(format!("Thin: one seed; thick: mean over seeds; {band}."));
        }
        let windows: BTreeSet<usize> = curves.iter().filter_map(|c| c.window).collect();
        if !windows.is_empty() {
            let windows: Vec<String> = windows.into_iter().map(count).collect();
            let faint = match styles.is_crowd() {
                true => "the CSV has every point",
                false => "faint: every point",
            };
            let windows = windows.join(" or ");
            caption.say(format!(
                "Line: running mean over {windows} points; {faint}."
            ));
        }
        if curves.iter().any(|curve| curve.kind == Kind::Validation) {
            caption.say(match styles.is_crowd() {
                true => "The CSV has the validation loss (dev split).",
                false => "Dots: validation loss (dev split).",
            });
        }
        if frame.beyond > 0 {
            let points = plural(frame.beyond, "point lies", "points lie");
            let heights = self.heights(frame, names);
            caption.say(format!(
                "{points} above the axis{heights}; the CSV has them."
            ));
        }
        if left_out > 0 {
            caption.say(format!(
                "{} without a finite loss left out.",
                plural(left_out, "point", "points")
            ));
        }
        caption.draws([self.stage.as_str()]).labels(names)
    }

    /// How high the runs go that the frame leaves out: `, up to 1.3e7 (rate = 5, seed 1)`.
    fn heights(&self, frame: &Frame, names: &PointLabels) -> String {
        let names: Vec<&String> = names.iter().collect();
        let height = |&(series, seed, highest): &(usize, Option<u64>, f64)| {
            let seed = seed.filter(|_| self.series[series].traces.len() > 1);
            let seed = seed.map_or_else(String::new, |seed| format!(", seed {seed}"));
            format!("{} ({}{seed})", significant(highest), names[series])
        };
        let named: Vec<String> = frame.exploded.iter().take(NAMED).map(height).collect();
        if named.is_empty() {
            return String::new();
        }
        let others = match frame.exploded.len() - named.len() {
            0 => String::new(),
            others => format!(", and of {}", plural(others, "other run", "other runs")),
        };
        format!(", up to {}{others}", named.join(", "))
    }

    /// Number of series that have a run.
    fn crowd(&self) -> usize {
        let shown = self.series.iter().filter(|s| !s.traces.is_empty());
        shown.count()
    }
}

#[cfg(test)]
mod tests;
