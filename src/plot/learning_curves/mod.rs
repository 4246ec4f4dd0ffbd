//! Loss against optimiser step: the numbers behind the curves.

mod drawing;
mod frame;
mod kind;
mod styles;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Figure;
use super::caption::Caption;
use super::point_labels::PointLabels;
use super::smoothing::{
    Sample, finite, interval_over_seeds, mean_over_seeds, running_mean, window,
};
use super::text::{count, plural, significant};
use crate::error::Result;
use frame::{Beyond, Frame};
use styles::SeriesStyles;

/// Loss of one or more points of a sweep over the steps of one stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LearningCurves {
    /// The heading.
    pub title: String,
    /// How the caption begins: profile, data. What the lines are is added.
    pub caption: String,
    /// `pretrain` or `finetune`; names the horizontal axis.
    pub stage: String,
    /// One colour each.
    pub series: Vec<Series>,
}

/// One point of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// What it is called in the legend.
    pub label: String,
    /// One per seed.
    pub traces: Vec<Trace>,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Seed of the run.
    pub seed: u64,
    /// Optimiser step, and loss in nats per scored token; those that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// A run with more points than this gets a running mean, because nobody can read so many points.
const LONG: usize = 2_000;

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

/// All lines, and what the caption has to say about them.
#[derive(Debug, Default)]
struct Curves {
    curves: Vec<Curve>,
    left_out: usize,
}

impl LearningCurves {
    fn names(&self) -> PointLabels {
        PointLabels::of(self.series.iter().map(|series| series.label.as_str()))
    }

    fn curves(&self) -> Curves {
        let mut all = Curves::default();
        for (series, Series { traces, .. }) in self.series.iter().enumerate() {
            let several = traces.len() > 1;
            let mut usable = vec![];
            for trace in traces {
                let (samples, lost) = finite(&trace.points);
                all.left_out += lost;
                usable.push(samples);
            }
            let longest = usable.iter().map(Vec::len).max().unwrap_or(0);
            let over = (longest > LONG).then(|| window(longest));
            let own = if several {
                Emphasis::Thin
            } else {
                Emphasis::Thick
            };
            let mut add = |seed, kind, weight, window, samples: Vec<Sample>, band| {
                all.curves.push(Curve {
                    series,
                    seed,
                    kind,
                    weight,
                    window,
                    samples,
                    band,
                });
            };
            // The main line of each run: its losses, or their running mean.
            let followed: Vec<Vec<Sample>> = match over {
                Some(width) => usable.iter().map(|run| running_mean(run, width)).collect(),
                None => usable.clone(),
            };
            let mean = mean_over_seeds(&followed);
            let band = interval_over_seeds(&followed);
            for ((trace, samples), calm) in traces.iter().zip(usable).zip(followed) {
                let seed = Some(trace.seed);
                if over.is_some() {
                    add(seed, Kind::RunningMean, own, over, calm, vec![]);
                    add(seed, Kind::Loss, Emphasis::Faint, None, samples, vec![]);
                } else {
                    add(seed, Kind::Loss, own, None, samples, vec![]);
                }
            }
            if several {
                let kind = match over {
                    Some(_) => Kind::RunningMeanOverSeeds,
                    None => Kind::MeanOverSeeds,
                };
                add(None, kind, Emphasis::Thick, over, mean, band);
            }
        }
        all.curves.retain(|curve| !curve.samples.is_empty());
        all
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
        curves
            .iter()
            .flat_map(|c| c.samples.iter().enumerate().map(move |s| row(c, s)))
            .collect()
    }

    /// The caller's caption, then seeds, and what every line is.
    fn full_caption(
        &self,
        all: &Curves,
        beyond: &Beyond,
        (styles, names): (&SeriesStyles, &PointLabels),
    ) -> String {
        let mut caption = Caption::new(&self.title, &self.caption);
        let seeds: BTreeSet<u64> = all.curves.iter().filter_map(|c| c.seed).collect();
        let list: Vec<String> = seeds.iter().map(u64::to_string).collect();
        match list.len() {
            0 => caption.say("No step was recorded."),
            1 => caption.say(format!("Seed {}.", list.concat())),
            2..=10 => caption.say(format!("Seeds {}.", list.join(", "))),
            many => caption.say(format!("{many} seeds.")),
        }
        styles.note().into_iter().for_each(|note| caption.say(note));
        let several = all.curves.iter().any(|c| c.weight == Emphasis::Thin);
        if several && styles.is_crowd() {
            caption.say("Line: mean over seeds; the CSV has every seed.");
        } else if several {
            let band = match drawing::crowd(self) > drawing::CROWD {
                true => "the CSV has its 95 % t-interval",
                false => "band: 95 % t-interval of the mean",
            };
            caption.say(format!("Thin: one seed; thick: mean over seeds; {band}."));
        }
        let windows: BTreeSet<usize> = all.curves.iter().filter_map(|c| c.window).collect();
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
        if beyond.points > 0 {
            let points = plural(beyond.points, "point lies", "points lie");
            let heights = self.heights(beyond, names);
            caption.say(format!(
                "{points} above the axis{heights}; the CSV has them."
            ));
        }
        if all.left_out > 0 {
            caption.say(format!(
                "{} without a finite loss left out.",
                plural(all.left_out, "point", "points")
            ));
        }
        caption.draws([self.stage.as_str()]).labels(names).finish()
    }

    /// How high the runs go that the frame leaves out: `, up to 1.3e7 (rate = 5, seed 1)`.
    fn heights(&self, beyond: &Beyond, names: &PointLabels) -> String {
        let names: Vec<&String> = names.iter().collect();
        let height = |&(series, seed, highest): &(usize, Option<u64>, f64)| {
            let seed = seed.filter(|_| self.series[series].traces.len() > 1);
            let seed = seed.map_or_else(String::new, |seed| format!(", seed {seed}"));
            format!("{} ({}{seed})", significant(highest), names[series])
        };
        let (named, rest) = beyond.exploded.split_at(NAMED.min(beyond.exploded.len()));
        let named: Vec<String> = named.iter().map(height).collect();
        match (named.is_empty(), rest.len()) {
            (true, _) => String::new(),
            (_, 0) => format!(", up to {}", named.join(", ")),
            (_, others) => format!(
                ", up to {}, and of {}",
                named.join(", "),
                plural(others, "other run", "other runs")
            ),
        }
    }
}

/// Draws loss in nats against optimiser steps, linear on both axes.
///
/// # Errors
/// None that the caller can cause; the renderer's own pass through.
pub fn draw_learning_curves(figure: &LearningCurves) -> Result<Figure> {
    let all = figure.curves();
    let frame = Frame::around(&all.curves);
    let styles = SeriesStyles::of(figure, &all.curves);
    let names = figure.names();
    let caption = figure.full_caption(&all, &frame.beyond, (&styles, &names));
    let drawing = drawing::draw(figure, &all.curves, &frame, (&styles, &names), &caption)?;
    Figure::finish(&drawing, &figure.title, &caption, &figure.rows(&all.curves))
}

#[cfg(test)]
mod tests;
