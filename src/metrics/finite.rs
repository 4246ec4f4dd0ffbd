//! Serde support for finite numbers in tables: NaN and infinities are neither written nor read.
//!
//! Put `#[serde(with = "finite")]` on a column that becomes part of a result.

use std::fmt::Display;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

/// A cell with a number or an optional number.
pub(super) trait Number {
    /// The number, if there is one and it is not finite.
    fn strange(&self) -> Option<&dyn Display>;
}

impl Number for f32 {
    fn strange(&self) -> Option<&dyn Display> {
        (!self.is_finite()).then_some(self)
    }
}

impl Number for f64 {
    fn strange(&self) -> Option<&dyn Display> {
        (!self.is_finite()).then_some(self)
    }
}

impl<T: Number> Number for Option<T> {
    fn strange(&self) -> Option<&dyn Display> {
        self.as_ref()?.strange()
    }
}

fn check<T: Number>(number: &T) -> Result<(), String> {
    match number.strange() {
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
