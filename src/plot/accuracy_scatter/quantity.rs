//! The horizontal axis: linear, or logarithmic where the values span more than a decade.

use crate::plot::axis::Axis;
use crate::plot::text;

/// From a quantity to a pixel.
#[derive(Clone, Debug)]
pub(super) struct Quantity {
    /// Axis of the values, or of their base-10 logarithms.
    axis: Axis,
    logarithmic: bool,
}

/// Empty space beside the outermost values, as a share of their range.
const SPACE: f64 = 0.08;

impl Quantity {
    /// An axis on which all values stand, with space beside them.
    pub(super) fn around(values: &[f64]) -> Self {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let logarithmic = low > 0.0 && high > 10.0 * low;
        let (low, high) = match logarithmic {
            true => (low.log10(), high.log10()),
            false if low > high => (0.0, 1.0),
            false => (low, high),
        };
        let space = match high - low {
            0.0 => 0.1 * low.abs().max(0.1),
            range => SPACE * range,
        };
        Self {
            axis: Axis::new(low - space, high + space, 6),
            logarithmic,
        }
    }

    /// Round numbers on the axis, with their texts.
    pub(super) fn numbers(&self) -> Vec<(f64, String)> {
        if !self.logarithmic {
            let label = |value: f64| (value, self.axis.label(value, 1.0));
            return self.axis.numbers().into_iter().map(label).collect();
        }
        let factors: &[f64] = match self.axis.high - self.axis.low > 3.0 {
            true => &[1.0],
            false => &[1.0, 2.0, 5.0],
        };
        let decades = self.axis.low.floor() as i32..=self.axis.high.ceil() as i32;
        let all = decades.flat_map(|decade| {
            let value = move |factor: &f64| (*factor, decade);
            factors.iter().map(value)
        });
        let value = |(factor, decade): (f64, i32)| factor * 10f64.powi(decade);
        let inside = |value: &f64| (self.axis.low..=self.axis.high).contains(&value.log10());
        all.map(value)
            .filter(inside)
            .map(|value| (value, plain(value)))
            .collect()
    }

    /// Where a value stands between the pixels `start` and `end`.
    pub(super) fn pixel(&self, value: f64, start: f64, end: f64) -> f64 {
        let value = if self.logarithmic {
            value.log10()
        } else {
            value
        };
        self.axis.pixel(value, start, end)
    }
}

/// A round number as people write it: `0.002`, `20,000`, and `1e-7` where zeros would have to be
/// counted.
fn plain(value: f64) -> String {
    let decade = (value.log10() + 1e-9).floor();
    match decade {
        -4.0..=-1.0 => text::number(value, -decade as usize),
        0.0..=6.0 => text::number(value, 0),
        _ => format!("{}e{decade}", (value / 10f64.powf(decade)).round()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[f64]) -> Vec<String> {
        let numbers = Quantity::around(values).numbers().into_iter();
        numbers.map(|(_, text)| text).collect()
    }

    #[test]
    fn more_than_a_decade_is_logarithmic() {
        let rates = [
            "0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005", "0.01",
        ];
        assert_eq!(texts(&[1e-4, 1e-2]), rates);
        assert_eq!(
            texts(&[1e-9, 1.0]).first().map(String::as_str),
            Some("1e-9")
        );
        assert_eq!(texts(&[0.0, 5.0]).first().map(String::as_str), Some("0"));
    }

    #[test]
    fn every_value_stands_inside() {
        let lists: [&[f64]; 6] = [
            &[3.0],
            &[0.0],
            &[-5.0, 100.0],
            &[1e-8, 1e8],
            &[],
            &[7e6, 7e6],
        ];
        for values in lists {
            let quantity = Quantity::around(values);
            for &value in values {
                let x = quantity.pixel(value, 0.0, 1.0);
                assert!((0.0..=1.0).contains(&x), "{values:?}: {x}");
            }
            assert!(quantity.numbers().len() < 30, "{values:?}");
        }
    }
}
