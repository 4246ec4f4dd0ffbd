//! Units of measures, and how their values are formatted.

use std::ops::RangeInclusive;

/// The unit of a measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// A fraction from 0 to 1, shown as a percentage.
    #[default]
    Fraction,
    /// A number from 0 to 1 without a unit, shown as it is.
    Score,
    /// Nats, from 0.
    Nats,
}

impl Unit {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fraction => "fraction",
            Self::Score => "score",
            Self::Nats => "nats",
        }
    }

    /// What follows a number in this unit: `%`, `nats`, or nothing.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Fraction => "%",
            Self::Score => "",
            Self::Nats => "nats",
        }
    }

    /// Factor from a value to the number shown.
    pub fn scale(self) -> f64 {
        match self {
            Self::Fraction => 100.0,
            Self::Score | Self::Nats => 1.0,
        }
    }

    /// The possible values.
    pub fn range(self) -> RangeInclusive<f64> {
        match self {
            Self::Fraction | Self::Score => 0.0..=1.0,
            Self::Nats => 0.0..=f64::INFINITY,
        }
    }

    /// A value without its unit: `21.0`, `0.123`.
    pub fn digits(self, value: f64) -> String {
        let decimals = match self {
            Self::Fraction => 1,
            Self::Score | Self::Nats => 3,
        };
        format!("{:.decimals$}", self.scale() * value)
    }

    /// A value with its unit: `21.0 %`, `0.123`, `1.204 nats`.
    pub fn show(self, value: f64) -> String {
        self.with_symbol(self.digits(value))
    }

    /// An interval: `17.7 to 24.8 %`.
    pub fn show_range(self, low: f64, high: f64) -> String {
        self.with_symbol(format!("{} to {}", self.digits(low), self.digits(high)))
    }

    /// A difference of two values, or a standard deviation: `5.9 percentage points`, `0.012 nats`.
    pub fn show_distance(self, distance: f64) -> String {
        match self {
            Self::Fraction => format!("{} percentage points", self.digits(distance)),
            Self::Score | Self::Nats => self.show(distance),
        }
    }

    fn with_symbol(self, digits: String) -> String {
        match self.symbol() {
            "" => digits,
            symbol => format!("{digits} {symbol}"),
        }
    }
}
