//! Units of measures, and how their values are formatted.

use std::ops::RangeInclusive;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// A fraction from 0 to 1, shown as a percentage.
    #[default]
    Fraction,
    /// A number from 0 to 1 without a unit, shown as it is.
    Score,
    /// Nats, from 0.
    Nats,
    /// Bits, from 0.
    Bits,
    /// A number of equally probable tokens, from 1.
    Tokens,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Self::Fraction => "fraction",
            Self::Score => "score",
            Self::Nats => "nats",
            Self::Bits => "bits",
            Self::Tokens => "tokens",
        }
    }

    /// What follows a number in this unit: `%`, `nats`, or nothing.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Fraction => "%",
            Self::Score | Self::Tokens => "",
            Self::Nats => "nats",
            Self::Bits => "bits",
        }
    }

    /// Factor from a value to the number shown.
    pub fn scale(self) -> f64 {
        match self {
            Self::Fraction => 100.0,
            _ => 1.0,
        }
    }

    pub fn range(self) -> RangeInclusive<f64> {
        match self {
            Self::Fraction | Self::Score => 0.0..=1.0,
            Self::Nats | Self::Bits => 0.0..=f64::INFINITY,
            Self::Tokens => 1.0..=f64::INFINITY,
        }
    }

    /// What a difference of two values can be.
    pub fn differences(self) -> RangeInclusive<f64> {
        let most = *self.range().end();
        -most..=most
    }

    /// A value without its unit: `21.0`, `0.123`, `1.7e-4`.
    pub fn digits(self, value: f64) -> String {
        match self {
            Self::Fraction => format!("{:.1}", 100.0 * value),
            _ if value != 0.0 && value.abs() < 0.0005 => format!("{value:.1e}"),
            _ => format!("{value:.3}"),
        }
    }

    /// A value with its unit: `21.0 %`, `0.123`, `1.204 nats`.
    pub fn show(self, value: f64) -> String {
        self.with_symbol(self.digits(value))
    }

    /// An interval: `17.7 to 24.8 %`.
    pub fn show_range(self, low: f64, high: f64) -> String {
        self.with_symbol(format!("{} to {}", self.digits(low), self.digits(high)))
    }

    /// A standard deviation: `5.9 percentage points`, `0.012 nats`.
    pub fn show_distance(self, distance: f64) -> String {
        match self {
            Self::Fraction => format!("{} percentage points", self.digits(distance)),
            _ => self.show(distance),
        }
    }

    /// A difference of two values: `+5.9 points`, `-0.012 nats`.
    pub fn show_difference(self, difference: f64) -> String {
        self.in_points(self.signed(difference))
    }

    /// An interval of a difference: `-1.2 to +5.9 points`.
    pub fn show_differences(self, low: f64, high: f64) -> String {
        self.in_points(format!("{} to {}", self.signed(low), self.signed(high)))
    }

    /// A difference without its unit: `+5.9`.
    pub fn signed(self, difference: f64) -> String {
        let sign = if difference < 0.0 { "" } else { "+" };
        format!("{sign}{}", self.digits(difference))
    }

    fn in_points(self, digits: String) -> String {
        match self {
            Self::Fraction => format!("{digits} points"),
            _ => self.with_symbol(digits),
        }
    }

    fn with_symbol(self, digits: String) -> String {
        match self.symbol() {
            "" => digits,
            symbol => format!("{digits} {symbol}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_say_something() {
        let unit = Unit::Nats;
        let texts = [0.0, 1.67e-4, 0.0005, 1.2044].map(|value| unit.show(value));
        assert_eq!(
            texts,
            ["0.000 nats", "1.7e-4 nats", "0.001 nats", "1.204 nats"]
        );
        assert_eq!(
            Unit::Fraction.show_range(0.17699, 0.24781),
            "17.7 to 24.8 %"
        );
        assert_eq!(Unit::Score.show(0.0779), "0.078");
    }

    #[test]
    fn differences_keep_their_sign_and_stay_possible() {
        assert_eq!(Unit::Fraction.show_difference(0.0585), "+5.9 points");
        assert_eq!(
            Unit::Nats.show_differences(-0.648, 0.053),
            "-0.648 to +0.053 nats"
        );
        assert_eq!(Unit::Score.differences(), -1.0..=1.0);
        assert!(Unit::Nats.differences().contains(&-1e9));
    }
}
