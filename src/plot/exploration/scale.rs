//! An axis that is linear, or logarithmic with its numbers at powers of ten.

use crate::plot::axis::Axis;

/// Maps a quantity to its place on an axis.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    /// Axis of the values, or of their base-10 logarithms.
    axis: Axis,
    is_logarithmic: bool,
}

/// About so many numbers on an axis.
const NUMBERS: usize = 9;
/// Empty space beside the outermost values of a horizontal axis, as a share of their range.
const SPACE: f64 = 0.02;

impl Scale {
    /// From the least to the largest value; a logarithmic one, of those above 0, from one power of
    /// ten to another.
    pub(super) fn around(values: &[f64], is_logarithmic: bool) -> Self {
        let shown = values
            .iter()
            .copied()
            .filter(|&value| is_shown(value, is_logarithmic));
        let shown: Vec<f64> = match is_logarithmic {
            true => shown.map(f64::log10).collect(),
            false => shown.collect(),
        };
        let low = shown.iter().copied().fold(f64::INFINITY, f64::min);
        let high = shown.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let axis = match is_logarithmic {
            true => Axis::new(low.floor(), high.ceil(), NUMBERS).whole(),
            false => Axis::rounded(low, high, NUMBERS),
        };
        Self {
            axis,
            is_logarithmic,
        }
    }

    /// A linear one with a little space beside all values.
    pub(super) fn across(values: &[f64]) -> Self {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let space = SPACE * (high - low);
        Self {
            axis: Axis::new(low - space, high + space, NUMBERS),
            is_logarithmic: false,
        }
    }

    /// Whether a value has a place on the axis.
    pub(super) fn shows(&self, value: f64) -> bool {
        is_shown(value, self.is_logarithmic)
    }

    /// Places of the numbers, 0 to 1, with their texts.
    pub(super) fn numbers(&self) -> Vec<(f64, String)> {
        let text = |number: f64| match self.is_logarithmic {
            true => power_of_ten(number.round() as i32),
            false => self.axis.label(number, 1.0),
        };
        let numbers = self.axis.numbers().into_iter();
        numbers
            .map(|number| (self.axis.pixel(number, 0.0, 1.0), text(number)))
            .collect()
    }

    /// Place of a value that is shown, 0 to 1.
    pub(super) fn place(&self, value: f64) -> f64 {
        let value = if self.is_logarithmic {
            value.log10()
        } else {
            value
        };
        self.axis.pixel(value, 0.0, 1.0)
    }
}

fn is_shown(value: f64, is_logarithmic: bool) -> bool {
    value.is_finite() && (value > 0.0 || !is_logarithmic)
}

/// `0.01`, and `1e-7` where zeros would have to be counted.
fn power_of_ten(decade: i32) -> String {
    match decade {
        -3..=-1 => format!("{:.*}", -decade as usize, 10f64.powi(decade)),
        0..=3 => format!("{}", 10u32.pow(decade as u32)),
        _ => format!("1e{decade}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[f64], is_logarithmic: bool) -> Vec<String> {
        let numbers = Scale::around(values, is_logarithmic).numbers().into_iter();
        numbers.map(|(_, text)| text).collect()
    }

    #[test]
    fn logarithmic_numbers_are_powers_of_ten() {
        assert_eq!(texts(&[0.02, 0.7], true), ["0.01", "0.1", "1"]);
        assert_eq!(texts(&[2e-5, 0.0, 0.7], true)[0], "1e-5");
        let wide = texts(&[1e-16, 1.0], true);
        assert!((4..=9).contains(&wide.len()), "{wide:?}");
        assert_eq!(texts(&[0.1, 0.9], false)[0], "0.1");
    }

    #[test]
    fn every_value_that_is_shown_stands_inside() {
        for values in [
            &[1e-300, 1e300][..],
            &[0.0],
            &[],
            &[0.5, 0.5],
            &[f64::NAN, 3.0],
        ] {
            for is_logarithmic in [true, false] {
                let scale = Scale::around(values, is_logarithmic);
                for &value in values.iter().filter(|&&value| scale.shows(value)) {
                    assert!((0.0..=1.0).contains(&scale.place(value)), "{values:?}");
                }
                assert!(scale.numbers().len() < 30, "{values:?}");
            }
        }
    }
}
