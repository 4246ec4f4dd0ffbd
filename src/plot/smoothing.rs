//! Smoothing of curves: the mean over seeds with its interval, and the running mean.

use crate::metrics::statistics::t_interval_95;

/// Optimiser step and loss in nats.
pub(super) type Sample = (f64, f64);

/// The samples that can be drawn, in the order of their steps, and how many cannot.
///
/// A loss of 10^15 counts as not finite: no axis could show it beside another.
pub(super) fn finite(samples: &[Sample]) -> (Vec<Sample>, usize) {
    let usable = |v: f64| v.is_finite() && v.abs() < 1e15;
    let mut kept: Vec<Sample> = samples
        .iter()
        .copied()
        .filter(|s| usable(s.0) && usable(s.1))
        .collect();
    kept.sort_by(|a, b| a.0.total_cmp(&b.0));
    let lost = samples.len() - kept.len();
    (kept, lost)
}

/// The steps that *all* traces have, with the loss of each trace. Traces must be sorted by step.
///
/// A step that some seed lacks is left out: a mean over fewer seeds would jump.
fn common(traces: &[Vec<Sample>]) -> impl Iterator<Item = (f64, Vec<f64>)> {
    let loss_at = |trace: &Vec<Sample>, step: f64| {
        let found = trace.binary_search_by(|s| s.0.total_cmp(&step)).ok()?;
        Some(trace[found].1)
    };
    let losses = move |&(step, first): &Sample| {
        let others = traces[1..].iter().map(|trace| loss_at(trace, step));
        let losses: Option<Vec<f64>> = std::iter::once(Some(first)).chain(others).collect();
        Some((step, losses?))
    };
    traces.iter().take(1).flatten().filter_map(losses)
}

/// The mean loss at every step that all traces have.
pub(super) fn mean_over_seeds(traces: &[Vec<Sample>]) -> Vec<Sample> {
    let mean = |(step, losses): (f64, Vec<f64>)| {
        let others: f64 = losses[1..].iter().sum();
        (step, (losses[0] + others) / losses.len() as f64)
    };
    common(traces).map(mean).collect()
}

/// The 95 % t-interval of the mean at each step of [`mean_over_seeds`]; empty of fewer than two traces.
///
/// Its lower end is at least 0, because no loss is negative.
pub(super) fn interval_over_seeds(traces: &[Vec<Sample>]) -> Vec<(f64, f64)> {
    let intervals = common(traces).filter_map(|(_, losses)| t_interval_95(&losses));
    intervals.map(|(low, high)| (low.max(0.0), high)).collect()
}

/// How many samples a running mean over `samples` of them takes: odd, about a hundredth.
pub(super) fn window(samples: usize) -> usize {
    let about = (samples / 100).max(1);
    let unit = 10usize.pow(about.ilog10());
    let round = [5, 2, 1]
        .into_iter()
        .map(|f| f * unit)
        .find(|&w| w <= about)
        .unwrap_or(1);
    round / 2 * 2 + 1
}

/// The mean of the `window` (odd) samples around each one.
///
/// None near the ends, where fewer samples would make the line noisier.
pub(super) fn running_mean(samples: &[Sample], window: usize) -> Vec<Sample> {
    let mean = |around: &[Sample]| {
        let sum: f64 = around.iter().map(|s| s.1).sum();
        (around[window / 2].0, sum / window as f64)
    };
    samples.windows(window.max(1)).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_takes_only_common_steps() {
        let traces = [
            vec![(1.0, 2.0), (2.0, 4.0), (3.0, 9.0)],
            vec![(2.0, 6.0), (3.0, 1.0)],
        ];
        assert_eq!(mean_over_seeds(&traces), [(2.0, 5.0), (3.0, 5.0)]);
        assert_eq!(mean_over_seeds(&traces[..1]), traces[0]);
        assert!(mean_over_seeds(&[]).is_empty());
    }

    #[test]
    fn the_interval_holds_the_mean_and_needs_two_seeds() {
        let traces = [
            vec![(1.0, 2.0), (2.0, 4.0), (3.0, 9.0)],
            vec![(2.0, 6.0), (3.0, 9.0)],
        ];
        let expected = t_interval_95(&[4.0, 6.0]).unwrap();
        assert!(expected.0 < 0.0);
        assert_eq!(
            interval_over_seeds(&traces),
            [(0.0, expected.1), (9.0, 9.0)]
        );
        assert!(interval_over_seeds(&traces[..1]).is_empty());
    }

    #[test]
    fn a_running_mean_keeps_straight_lines() {
        let line: Vec<Sample> = (0..9).map(|i| (f64::from(i), f64::from(2 * i))).collect();
        assert_eq!(running_mean(&line, 5), line[2..7]);
        let drop = [(1.0, 3.0), (2.0, 0.0), (3.0, 0.0)];
        assert_eq!(running_mean(&drop, 3), [(2.0, 1.0)]);
        assert!(running_mean(&[], 3).is_empty());
    }

    #[test]
    fn windows_are_round_and_odd() {
        assert_eq!(
            [0, 99, 2_000, 15_000, 60_000].map(window),
            [1, 1, 21, 101, 501]
        );
    }

    #[test]
    fn losses_that_are_not_finite_are_left_out_and_counted() {
        let samples = [
            (2.0, 1.0),
            (1.0, f64::NAN),
            (f64::INFINITY, 1.0),
            (1.0, 3.0),
            (3.0, 1e300),
        ];
        assert_eq!(finite(&samples), (vec![(1.0, 3.0), (2.0, 1.0)], 3));
    }
}
