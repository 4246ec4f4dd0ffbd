//! Serde support for finite numbers in tables: NaN and infinities are neither written nor read.
//!
//! Put `#[serde(with = "finite")]` on a column that becomes part of a result.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

/// A cell with a number or an optional number.
pub(super) trait Number {
    /// The number, if there is one.
    fn number(&self) -> Option<f64>;
}

impl Number for f32 {
    fn number(&self) -> Option<f64> {
        Some(f64::from(*self))
    }
}

impl Number for f64 {
    fn number(&self) -> Option<f64> {
        Some(*self)
    }
}

impl<T: Number> Number for Option<T> {
    fn number(&self) -> Option<f64> {
        self.as_ref()?.number()
    }
}

fn check(number: &impl Number) -> Result<(), String> {
    match number.number().filter(|number| !number.is_finite()) {
        None => Ok(()),
        Some(strange) => Err(format!("{strange} is not a finite number")),
    }
}

pub(super) fn serialize<T: Number + Serialize, S: Serializer>(
    number: &T,
    into: S,
) -> Result<S::Ok, S::Error> {
    check(number).map_err(ser::Error::custom)?;
    number.serialize(into)
}

pub(super) fn deserialize<'de, T: Number + Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    let number = T::deserialize(from)?;
    check(&number).map_err(de::Error::custom)?;
    Ok(number)
}
