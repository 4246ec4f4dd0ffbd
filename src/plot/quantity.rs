//! A horizontal axis of any quantity: linear, or logarithmic where the values span more than a decade.

use crate::plot::axis::{Axis, Ticks, ends};
use crate::plot::text;

/// Empty space beside the outermost values, as a share of their range.
const SPACE: f64 = 0.08;

/// An axis on which all values stand, with space beside them.
pub(super) fn around(values: &[f64]) -> Axis {
    let (low, high) = ends(values.iter().copied());
    if low > 0.0 && high > 10.0 * low {
        return logarithmic(values);
    }
    spaced(low, high)
}

/// The same, logarithmic; all values are above 0.
pub(super) fn logarithmic(values: &[f64]) -> Axis {
    let (low, high) = ends(values.iter().copied());
    let mut axis = spaced(low.log10(), high.log10());
    axis.is_logarithmic = true;
    axis
}

fn spaced(low: f64, high: f64) -> Axis {
    let space = match high - low {
        0.0 => 0.1 * low.abs().max(0.1),
        range => SPACE * range,
    };
    Axis::new(low - space, high + space, 6)
}

/// A number as a tick shows it: `128`, `0.05`, `1e-7`.
pub(super) fn text(value: f64) -> String {
    let is_short = value == 0.0 || (1e-4..1e7).contains(&value.abs());
    match (is_short, value.fract() == 0.0) {
        (true, true) => text::number(value, 0),
        (true, false) => format!("{value}"),
        (false, _) => format!("{value:e}"),
    }
}

/// Round numbers on the axis: how far along it each stands, 0 to 1, and its text.
pub(super) fn ticks(axis: &Axis) -> Ticks {
    if !axis.is_logarithmic {
        return axis.ticks(1.0);
    }
    let factors: &[f64] = match axis.high - axis.low > 3.0 {
        true => &[1.0],
        false => &[1.0, 2.0, 5.0],
    };
    let decades = axis.low.floor() as i32..=axis.high.ceil() as i32;
    let values = decades.flat_map(|decade| {
        let factors = factors.iter();
        factors.map(move |factor| factor * 10f64.powi(decade))
    });
    let inside = |value: &f64| (axis.low..=axis.high).contains(&value.log10());
    let tick = |value| (axis.share(value), plain(value));
    values.filter(inside).map(tick).collect()
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
        let numbers = ticks(&around(values)).into_iter();
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
            let quantity = around(values);
            for &value in values {
                let x = quantity.share(value);
                assert!((0.0..=1.0).contains(&x), "{values:?}: {x}");
            }
            assert!(ticks(&quantity).len() < 30, "{values:?}");
        }
    }
}
