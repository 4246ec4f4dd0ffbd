//! An axis: its ends, its round numbers, and the way from a value to a pixel.

use super::text;

/// The ticks of an axis: the position of each along it, 0 to 1, and its label.
pub(super) type Ticks = Vec<(f64, String)>;

/// Maps values to pixels.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// The value at the start.
    pub(super) low: f64,
    /// The value at the end; greater than `low`.
    pub(super) high: f64,
    /// No number beyond this is written; `high` unless set.
    pub(super) last_number: f64,
    /// Distance between the numbers: 1, 2 or 5 times a power of ten.
    step: f64,
    /// Whether the fields above are base-10 logarithms.
    pub(super) is_logarithmic: bool,
}

impl Axis {
    /// An axis from exactly `low` to `high` with at most about `numbers` numbers.
    ///
    /// Ends that do not make a range are moved apart.
    pub(super) fn new(low: f64, high: f64, numbers: usize) -> Self {
        let apart = (low.abs() * 1e-6).max(1e-9);
        let half = apart.max(0.5);
        let (low, high) = match high - low > apart {
            true => (low, high),
            false if low == 0.0 => (0.0, 1.0),
            false => (low - half, low + half),
        };
        let rough = (high - low) / numbers.max(1) as f64;
        let unit = 10f64.powf(rough.log10().floor());
        let factor = [1.0, 2.0, 5.0]
            .into_iter()
            .find(|f| f * unit >= rough * 0.999)
            .unwrap_or(10.0);
        Self {
            low,
            high,
            last_number: high,
            step: factor * unit,
            is_logarithmic: false,
        }
    }

    /// An axis whose ends are moved outward to round numbers.
    pub(super) fn rounded(low: f64, high: f64, numbers: usize) -> Self {
        let exact = Self::new(low, high, numbers);
        let step = exact.step;
        let high = (exact.high / step).ceil() * step;
        Self {
            low: (exact.low / step).floor() * step,
            high,
            last_number: high,
            ..exact
        }
    }

    /// The same axis with numbers at whole values only.
    pub(super) fn whole(self) -> Self {
        Self {
            step: self.step.max(1.0),
            ..self
        }
    }

    /// A logarithmic axis whose ends, given as base-10 logarithms, are moved outward to powers of ten.
    pub(super) fn decades((low, high): (f64, f64), numbers: usize) -> Self {
        Self {
            is_logarithmic: true,
            ..Self::new(low.floor(), high.ceil(), numbers).whole()
        }
    }

    /// The round numbers from `low` to `high`.
    pub(super) fn numbers(&self) -> Vec<f64> {
        // A little slack, so that a rounded end is not lost to the last bit.
        let first = (self.low / self.step - 1e-6).ceil() as i64;
        let last = (self.high.min(self.last_number) / self.step + 1e-6).floor() as i64;
        (first..=last).map(|i| i as f64 * self.step).collect()
    }

    /// A number of the axis as text, with as many decimals as the step needs, times `scale`.
    pub(super) fn label(&self, value: f64, scale: f64) -> String {
        let decimals = (-(self.step * scale).log10() - 1e-6).ceil().clamp(0.0, 9.0);
        text::number(value * scale, decimals as usize)
    }

    /// All ticks; on a linear axis, labels are multiplied by `scale`.
    pub(super) fn ticks(&self, scale: f64) -> Ticks {
        let label = |number: f64| match self.is_logarithmic {
            true => power_of_ten(number.round() as i32),
            false => self.label(number, scale),
        };
        let tick = |number| (self.along(number), label(number));
        self.numbers().into_iter().map(tick).collect()
    }

    /// How far along `value` lies, 0 to 1.
    pub(super) fn share(&self, value: f64) -> f64 {
        match self.is_logarithmic {
            true => self.along(value.log10()),
            false => self.along(value),
        }
    }

    fn along(&self, place: f64) -> f64 {
        (place - self.low) / (self.high - self.low)
    }

    /// Where `value` lies between the pixels `start` and `end`.
    pub(super) fn pixel(&self, value: f64, start: f64, end: f64) -> f64 {
        start + self.share(value) * (end - start)
    }
}

/// A power of ten as text: `0.01`, or `1e-7` if there would be many zeros.
fn power_of_ten(decade: i32) -> String {
    match decade {
        -3..=-1 => format!("{:.*}", -decade as usize, 10f64.powi(decade)),
        0..=3 => format!("{}", 10u32.pow(decade as u32)),
        _ => format!("1e{decade}"),
    }
}

/// The smallest and the largest value; 0 and 1 if there are none.
pub(super) fn ends(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let wider = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
    let none = (f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) = values.into_iter().fold(none, wider);
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_round() {
        let axis = Axis::rounded(0.83, 5.6, 6);
        assert_eq!(axis.numbers(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(Axis::new(0.0, 0.37, 5).numbers().len(), 4);
        assert_eq!(Axis::new(0.0, 0.37, 5).label(0.1, 100.0), "10");
        assert_eq!(Axis::new(0.0, 0.02, 5).label(0.005, 100.0), "0.5");
        assert_eq!(Axis::new(0.0, 15_000.0, 6).label(5_000.0, 1.0), "5,000");
    }

    #[test]
    fn an_empty_range_is_still_an_axis() {
        assert_eq!(Axis::new(10.0, 10.0, 6).whole().numbers(), [10.0]);
        for value in [0.0, 1.0, -3.0, 1e-300, 1e14, -1e14] {
            let axis = Axis::rounded(value, value, 6);
            assert!(
                axis.high > axis.low && axis.pixel(value, 0.0, 1.0).is_finite(),
                "{axis:?}"
            );
            assert!((1..40).contains(&axis.numbers().len()), "{axis:?}");
        }
    }
}
