//! Selects which of many points are shown when a figure has no room for all.

use super::text::count;

/// The greatest height of stacked charts, in px; nobody looks at a taller figure.
pub(super) const TALLEST: f64 = 6_000.0;

/// Some of a figure's points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PointSubset {
    /// Which, in their order.
    pub(super) points: Vec<usize>,
    all: usize,
}

impl PointSubset {
    /// All, or `most` of them spread evenly over their order, the first and the last among them.
    pub(super) fn of(all: usize, most: usize) -> Self {
        let most = most.max(1);
        let points = match all <= most {
            true => (0..all).collect(),
            false => (0..most)
                .map(|i| (i * (all - 1) + (most - 1) / 2) / (most - 1).max(1))
                .collect(),
        };
        Self { points, all }
    }

    /// As many of them as [`TALLEST`] has room for, each `height` px tall.
    pub(super) fn of_height(all: usize, height: f64) -> Self {
        Self::of(all, (TALLEST / height.max(1.0)) as usize)
    }

    /// Those that are shown.
    pub(super) fn among<T: Clone>(&self, all: &[T]) -> Vec<T> {
        self.points
            .iter()
            .map(|&point| all[point].clone())
            .collect()
    }

    /// The sentence of a caption about those that are not; empty where all are shown. `what` is their
    /// plural: `points`.
    pub(super) fn note(&self, what: &str) -> String {
        match self.points.len() == self.all {
            true => String::new(),
            false => format!(
                " {} of {} {what} are shown, evenly spread over the sweep; the CSV beside the figure has all.",
                count(self.points.len()),
                count(self.all)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_among_those_that_are_shown() {
        assert_eq!(PointSubset::of(3, 3).points, [0, 1, 2]);
        assert_eq!(PointSubset::of(3, 3).note("points"), "");
        for (all, most) in [(80, 20), (21, 20), (7, 2), (1_000, 31)] {
            let shown = PointSubset::of(all, most);
            assert_eq!(shown.points.len(), most);
            assert!(
                shown.points.windows(2).all(|two| two[0] < two[1]),
                "{shown:?}"
            );
            assert_eq!([shown.points[0], shown.points[most - 1]], [0, all - 1]);
            assert!(shown.note("points").starts_with(&format!(" {most} of ")));
        }
        assert_eq!(
            PointSubset::of(9, 0).points,
            [0],
            "a figure shows something"
        );
        assert_eq!(PointSubset::of(0, 5).points, [0; 0]);
    }
}
