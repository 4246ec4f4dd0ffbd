//! The ranges of the axes: outliers of a few points and of diverging runs are left outside.

use super::{Curve, Kind, LONG};
use crate::error::Result;
use crate::plot::axis::ends;
use crate::plot::theme::{MARGIN, TEXT_SIZE};
use crate::plot::{Axis, Canvas, Chart, Point};

/// A run that rises above this multiple of the highest loss that any run starts with may have diverged.
const CLIMBS: f64 = 2.0;
/// It has if it is also this many times as far above the lowest loss: it would flatten the other curves.
const PRESSES: f64 = 3.0;

/// The ranges of both axes, and what lies above the vertical one.
#[derive(Debug)]
pub(super) struct Frame {
    steps: Axis,
    losses: Axis,
    /// Points of all runs above it.
    pub(super) beyond: usize,
    /// Runs that left the frame because they exploded: series, seed, and the highest loss; the highest first.
    pub(super) exploded: Vec<(usize, Option<u64>, f64)>,
}

impl Frame {
    /// Everything, except what would flatten the rest: a run that explodes while others do not, and the
    /// initial drop of long runs, where the axis ends a little above 98 % of the points of each.
    pub(super) fn around(curves: &[Curve]) -> Self {
        let (first, last) = ends(curves.iter().flat_map(|c| &c.samples).map(|s| s.0));
        let first = if first <= 0.05 * last {
            first.min(0.0)
        } else {
            first
        };
        let limit = limit(curves);
        let within = |loss: &f64| *loss <= limit;
        let samples = curves.iter().flat_map(|c| &c.samples).map(|s| s.1);
        let (least, most) = ends(samples.filter(within));
        let runs = || curves.iter().filter(|c| c.kind == Kind::Loss);
        let calm = runs().filter(|run| within(&highest(run)));
        let usual = calm.map(|run| quantile(run, 0.98)).reduce(f64::max);
        let usual = usual.unwrap_or(most);
        let top = usual + 0.25 * (usual - least);
        let long = curves.iter().any(|c| c.samples.len() > LONG);
        let crop = long && usual > least && most - least > 1.6 * (usual - least);
        let losses = loss_axis(least, if crop { top } else { most });
        let exploded = runs().filter_map(|curve| {
            let highest = highest(curve);
            (highest > limit.max(losses.high)).then_some((curve.series, curve.seed, highest))
        });
        let mut exploded: Vec<_> = exploded.collect();
        exploded.sort_by(|a, b| b.2.total_cmp(&a.2));
        let points = runs().flat_map(|c| &c.samples).map(|s| s.1);
        Self {
            steps: Axis::new(first, last, 7).whole(),
            beyond: points.filter(|loss| *loss > losses.high).count(),
            losses,
            exploded,
        }
    }

    pub(super) fn place(&self, chart: &Chart, step: f64, loss: f64) -> Point {
        chart.at(self.steps.share(step), self.losses.share(loss))
    }

    pub(super) fn draw_axes(
        &self,
        canvas: &mut Canvas<'_>,
        chart: &Chart,
        stage: &str,
    ) -> Result<()> {
        chart.draw_up(canvas, &self.losses.ticks(1.0))?;
        let vertical = ("loss (nats per scored token)", TEXT_SIZE);
        chart.quantity_before(canvas, MARGIN, vertical)?;
        chart.draw_across(canvas, &self.steps.ticks(1.0))?;
        chart.draw_ground(canvas)?;
        let horizontal = match stage {
            "" => "optimiser step".to_owned(),
            _ => format!("optimiser step ({stage})"),
        };
        chart.quantity_below(canvas, &horizontal)
    }
}

/// Losses above this do not affect where the axis ends; infinite if no run explodes.
///
/// A run may start high and fall, however far the others are below it; one has exploded only if it climbs far
/// above what any run starts with. If it comes back, it counts with where it is most of the time, and if it
/// stays there, not at all.
fn limit(curves: &[Curve]) -> f64 {
    let runs: Vec<&Curve> = curves.iter().filter(|c| c.kind == Kind::Loss).collect();
    let (least, most) = ends(runs.iter().flat_map(|c| &c.samples).map(|s| s.1));
    let starts = runs.iter().filter_map(|run| run.samples.first());
    let (_, start) = ends(starts.map(|s| s.1));
    let exploded = |loss: &f64| *loss > CLIMBS * start && *loss - least > PRESSES * (start - least);
    let reach = |run: &&Curve| {
        let levels = [highest(run), quantile(run, 0.5)];
        levels.into_iter().find(|loss| !exploded(loss))
    };
    match runs.iter().filter_map(reach).reduce(f64::max) {
        // If only the exploding runs vary, there is nothing else to show.
        Some(reach) if exploded(&most) && reach.max(start) > least => {
            least + 1.25 * (reach.max(start) - least)
        }
        _ => f64::INFINITY,
    }
}

/// The loss under which a share of a run's points lies.
fn quantile(curve: &Curve, share: f64) -> f64 {
    let mut losses: Vec<f64> = curve.samples.iter().map(|s| s.1).collect();
    losses.sort_unstable_by(f64::total_cmp);
    let at = (losses.len() as f64 * share) as usize;
    losses.get(at).copied().unwrap_or(0.0)
}

fn highest(curve: &Curve) -> f64 {
    let losses = curve.samples.iter().map(|s| s.1);
    losses.fold(f64::NEG_INFINITY, f64::max)
}

/// Starts at 0 if that is near, because no loss is negative; else just under the lowest loss.
fn loss_axis(least: f64, most: f64) -> Axis {
    let is_near = least >= 0.0 && least < 0.2 * most;
    Axis::rounded(if is_near { 0.0 } else { least }, most, 6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::learning_curves::Emphasis;

    fn run(series: usize, losses: Vec<f64>) -> Curve {
        let step = |(i, loss): (usize, f64)| (i as f64 + 1.0, loss);
        Curve {
            series,
            seed: Some(1),
            kind: Kind::Loss,
            weight: Emphasis::Thick,
            window: None,
            samples: losses.into_iter().enumerate().map(step).collect(),
            band: vec![],
        }
    }

    /// Falls from `start` towards `end`.
    fn falling(series: usize, start: f64, end: f64) -> Curve {
        let loss = |i: i32| end + (start - end) * (-f64::from(i) / 10.0).exp();
        run(series, (0..60).map(loss).collect())
    }

    /// Climbs from 4 to 4 * 2^20 and stays there, or comes back.
    fn exploding(series: usize, comes_back: bool) -> Curve {
        let loss = |i: i32| match i {
            0..=20 => 4.0 * 2f64.powi(i),
            _ if comes_back => 5.0,
            _ => 4.0 * 2f64.powi(20),
        };
        run(series, (0..60).map(loss).collect())
    }

    #[test]
    fn a_run_that_explodes_does_not_flatten_the_others() {
        for comes_back in [true, false] {
            for good in 1..4 {
                let mut curves: Vec<Curve> = (0..good).map(|i| falling(i, 4.2, 0.5)).collect();
                curves.push(exploding(good, comes_back));
                let frame = Frame::around(&curves);
                assert!(
                    (4.2..=6.0).contains(&frame.losses.high),
                    "{:?}",
                    frame.losses
                );
                assert_eq!(frame.exploded, [(good, Some(1), 4.0 * 2f64.powi(20))]);
            }
        }
        // Most of them.
        let mut curves: Vec<Curve> = (0..14).map(|i| exploding(i, false)).collect();
        curves.extend((14..20).map(|i| falling(i, 4.2, 0.5)));
        let frame = Frame::around(&curves);
        assert!(
            (4.2..=6.0).contains(&frame.losses.high),
            "{:?}",
            frame.losses
        );
        assert_eq!(frame.exploded.len(), 14);
    }

    #[test]
    fn runs_that_start_high_or_bulge_are_shown_whole() {
        let bulge = run(
            1,
            (0..60)
                .map(|i| 4.0 + 3.0 * (f64::from(i) / 10.0).sin())
                .collect(),
        );
        let levels = [4.19, 4.2, 4.21, 4.25];
        for curves in [
            vec![falling(0, 4.2, 0.5), falling(1, 0.9, 0.1)],
            // A pretrained run beside one from scratch.
            vec![falling(0, 0.4, 0.01), falling(1, 4.2, 0.05)],
            vec![falling(0, 0.5, 0.3), falling(1, 4.2, 3.0)],
            (0..9)
                .map(|i| falling(i, if i < 8 { 0.4 } else { 4.2 }, 0.01))
                .collect(),
            // Runs of one step, or of one level.
            (0..4).map(|i| run(i, vec![levels[i]])).collect(),
            (0..4).map(|i| run(i, vec![levels[i]; 9])).collect(),
            vec![run(0, vec![0.0; 9]), run(1, vec![4.2])],
            vec![run(0, vec![0.0, 0.0, 0.0, 0.1])],
            // A climb that leaves the others visible.
            vec![run(0, vec![0.5, 0.45, 0.46, 0.8, 0.45, 0.44, 0.45])],
            vec![falling(0, 4.2, 0.5), bulge],
            vec![exploding(0, false)],
            vec![falling(0, 4.2, 0.5)],
            vec![run(0, vec![0.0; 9])],
            vec![],
        ] {
            let frame = Frame::around(&curves);
            assert_eq!((frame.beyond, frame.exploded), (0, vec![]), "{curves:?}");
        }
    }

    #[test]
    fn a_long_run_is_not_cropped_for_the_level_of_the_others() {
        let long = |series, start: f64, end: f64| {
            let loss = |i: i32| end + (start - end) * (-f64::from(i) / 10.0).exp();
            run(series, (0..2_001).map(loss).collect())
        };
        let mut curves: Vec<Curve> = (0..60).map(|i| long(i, 0.4, 0.01)).collect();
        curves.push(long(60, 4.2, 3.0));
        let frame = Frame::around(&curves);
        assert_eq!(frame.exploded, []);
        assert!(frame.losses.high >= 3.0, "{:?}", frame.losses);
    }
}
