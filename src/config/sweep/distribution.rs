//! What a random search draws a value from.
//!
//! A drawn value is a function of 64 random bits, and these of a seed, the number of the draw and
//! the key. Nothing of it is the platform's: logarithms are those of the `libm` crate, and values
//! are rounded to [`DIGITS`] digits, so that the number in a file is the number that was used.

use figment::value::Value;
use sha2::{Digest as _, Sha256};

use super::{Fault, RANDOM, tree};

/// Significant digits of a drawn number that need not be whole.
const DIGITS: usize = 6;

/// Where values of one key come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Distribution {
    /// Uniform over the numbers from the first to the second.
    Uniform(f64, f64),
    /// Log-uniform over the numbers from the first to the second, both above 0.
    LogUniform(f64, f64),
    /// Uniform over the whole numbers from the first to the second, both included.
    Integers(i64, i64),
    /// Each of these with equal probability.
    Choice(Vec<Value>),
}

impl Distribution {
    /// Reads the distribution `name` of `key`, one of [`DISTRIBUTIONS`](super::DISTRIBUTIONS).
    pub(super) fn read(key: &str, name: &str, given: &Value) -> Result<Self, Fault> {
        let text = tree::text(given);
        let here = |message: String| Fault::at_key(&["sweep", RANDOM, key, name], message);
        let must = |rule: &str| here(format!("`{name}` of `{key}` must {rule}, but is {text}"));
        if name == "choice" {
            let Some(values) = given.as_array().filter(|values| !values.is_empty()) else {
                return Err(must("be a list of values").help("write { choice = [1, 2] }"));
            };
            let repeats = |(at, value): &(usize, &Value)| values[..*at].contains(value);
            if let Some((_, twice)) = values.iter().enumerate().find(repeats) {
                let twice = tree::text(twice);
                return Err(here(format!("`choice` of `{key}` has {twice} twice")));
            }
            return Ok(Self::Choice(values.to_vec()));
        }
        let Some([low @ Value::Num(..), high @ Value::Num(..)]) = given.as_array() else {
            let fault = must("be a list of two numbers, the least and the greatest");
            return Err(fault.help(format!("write {{ {name} = [1, 5] }}")));
        };
        let not_ascending =
            || must("go from less to more").help("to give a single value, set the key itself");
        if name == "integers" {
            return match (whole(low), whole(high)) {
                (Some(low), Some(high)) if low < high => Ok(Self::Integers(low, high)),
                (Some(_), Some(_)) => Err(not_ascending()),
                _ => {
                    let help = "write uniform or log_uniform for numbers that are not whole";
                    Err(must("be whole numbers").help(help))
                }
            };
        }
        let [low, high] = [low, high].map(tree::number);
        if !(low.is_finite() && high.is_finite()) {
            return Err(must("have finite ends"));
        }
        match name {
            _ if low >= high => Err(not_ascending()),
            "uniform" => Ok(Self::Uniform(low, high)),
            _ if low <= 0.0 => {
                let help = "write uniform, or a least number above 0";
                Err(must("be above 0").help(help))
            }
            _ => Ok(Self::LogUniform(low, high)),
        }
    }

    /// The value for some random bits; for a choice, also its index in the list.
    pub(super) fn value(&self, bits: u64) -> (Value, Option<usize>) {
        match self {
            Self::Uniform(low, high) => {
                let part = fraction(bits);
                // Not `low + part * (high - low)`: that may be infinite.
                let value = low * (1.0 - part) + high * part;
                (Value::from(rounded(value).clamp(*low, *high)), None)
            }
            Self::LogUniform(low, high) => {
                let (start, end) = (libm::log(*low), libm::log(*high));
                let value = libm::exp(start + fraction(bits) * (end - start));
                (Value::from(rounded(value).clamp(*low, *high)), None)
            }
            Self::Integers(low, high) => {
                let number = (i128::from(*high) - i128::from(*low) + 1) as u128;
                let value = i128::from(*low) + below(bits, number) as i128;
                let value = i64::try_from(value).expect("it is between two of that type");
                (Value::from(value), None)
            }
            Self::Choice(values) => {
                let at = below(bits, values.len() as u128) as usize;
                (values[at].clone(), Some(at))
            }
        }
    }

    /// The least and the greatest value, or all that can be chosen.
    pub(super) fn extremes(&self) -> Vec<Value> {
        match self {
            Self::Uniform(low, high) | Self::LogUniform(low, high) => {
                vec![Value::from(*low), Value::from(*high)]
            }
            Self::Integers(low, high) => vec![Value::from(*low), Value::from(*high)],
            Self::Choice(values) => values.clone(),
        }
    }
}

fn whole(number: &Value) -> Option<i64> {
    i64::try_from(number.to_i128()?).ok()
}

/// 64 random bits that belong to a seed, the number of a draw and a key: they are the same whatever
/// else is drawn, and unrelated to those of other seeds, draws and keys.
pub(super) fn bits(seed: u64, draw: u64, key: &str) -> u64 {
    let [seed, draw] = [seed, draw].map(u64::to_le_bytes);
    let digest = Sha256::digest([&seed[..], &draw, key.as_bytes()].concat());
    u64::from_le_bytes(std::array::from_fn(|at| digest[at]))
}

/// At least 0 and below 1, in steps of 2^-53.
fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// At least 0 and below `number`, which is at most 2^64.
fn below(bits: u64, number: u128) -> u128 {
    (u128::from(bits) * number) >> 64
}

fn rounded(value: f64) -> f64 {
    let text = format!("{value:.*e}", DIGITS - 1);
    text.parse().expect("a number as text is a number")
}
