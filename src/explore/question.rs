//! The interface of a question about an attention head: its keys in a file, its rules and its measurement.

use figment::value::Value;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::kinds::{BrokenRule, Entry, Kinded, TableKind};
use crate::metrics::rows::{CurveRow, SampleRow};

/// Samples between two reports.
const ROUND: usize = 512;

/// A question. Its fields are the keys that `[explore]` takes beside `question`; all must be given.
pub trait Question: DeserializeOwned + Serialize + JsonSchema + Sync {
    /// Its name in an experiment file.
    const NAME: &'static str;
    /// The question as a sentence.
    const ASKS: &'static str;
    /// The heading of its figures.
    const HEADING: &'static str;
    /// Details of the setup that the axes of its figures do not show.
    const NOTE: &'static str;

    /// The sizes that captions report.
    fn sizes(&self) -> Sizes;

    /// What is wrong with the keys, beyond their ranges.
    fn check(&self) -> Vec<BrokenRule>;

    /// Multiplications of one sample, nearly all of them for orthogonalisation.
    fn multiplications(&self) -> f64;

    /// Measures it.
    ///
    /// # Errors
    /// The progress report failed.
    fn measure(&self, seed: u64, sampling: &mut Sampling<'_>) -> Result<Measurements>;
}

/// The sizes of a question.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    /// Dimension d of keys, values and queries.
    pub dimension: usize,
    /// Number n of keys, and of values.
    pub keys: Option<usize>,
    /// Variance of the keys around their means.
    pub alpha: Option<f64>,
    /// Scale factor of the query.
    pub beta: Option<f64>,
    /// How many times keys or subspaces are drawn; absent where one draw is enough.
    pub samples: Option<usize>,
}

/// What was measured.
pub enum Measurements {
    /// The rows of `curves.csv`.
    Curves(Vec<CurveRow>),
    /// The rows of `samples.csv`.
    Samples(Vec<SampleRow>),
}

/// Draws samples, and reports how many are done.
pub struct Sampling<'a> {
    /// How many to draw.
    pub samples: usize,
    /// Called after each round with the number of samples drawn; its error stops the sampling.
    pub report: &'a mut dyn FnMut(usize) -> Result<()>,
}

impl Sampling<'_> {
    /// The result of every sample, in order, whatever the number of threads.
    ///
    /// # Errors
    /// The progress report failed.
    pub fn each<T: Send>(&mut self, one: impl Fn(u64) -> T + Sync) -> Result<Vec<T>> {
        let mut found = Vec::with_capacity(self.samples);
        while found.len() < self.samples {
            let end = (found.len() + ROUND).min(self.samples);
            let round = (found.len() as u64..end as u64).into_par_iter().map(&one);
            found.extend(round.collect::<Vec<T>>());
            (self.report)(end)?;
        }
        Ok(found)
    }
}

/// A question, as an entry of [`QUESTIONS`](super::QUESTIONS).
pub struct QuestionKind {
    entry: Entry,
    /// See [`Question::HEADING`].
    pub heading: &'static str,
    /// See [`Question::NOTE`].
    pub note: &'static str,
    sizes: fn(&Value) -> Option<Sizes>,
    check: fn(&Value) -> Vec<BrokenRule>,
    multiplications: fn(&Value) -> f64,
    measure: fn(&Value, u64, &mut Sampling<'_>) -> Result<Measurements>,
}

impl QuestionKind {
    /// The entry of a question.
    pub const fn of<Q: Question>() -> Self {
        Self {
            entry: Entry::of::<Q>(Q::NAME, Q::ASKS),
            heading: Q::HEADING,
            note: Q::NOTE,
            sizes: |own| Some(Q::deserialize(own).ok()?.sizes()),
            check: |own| Q::deserialize(own).map_or(vec![], |question| question.check()),
            multiplications: |own| {
                Q::deserialize(own).map_or(0.0, |question| question.multiplications())
            },
            measure: |own, seed, sampling| {
                let question = Q::deserialize(own).map_err(|e| Error::config(e.to_string()))?;
                question.measure(seed, sampling)
            },
        }
    }
}

impl TableKind for QuestionKind {
    const TABLE: &'static str = "One question about a head of attention, and how it is put.";
    const KEY: &'static str = "question";
    const CHOOSES: &'static str = "Which part of question 1.";
    const IS_COMPLETE: bool = true;

    fn kinds() -> &'static [Self] {
        &super::QUESTIONS
    }

    fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl Kinded<QuestionKind> {
    /// See [`Question::sizes`].
    pub fn sizes(&self) -> Sizes {
        (self.kind.sizes)(&self.own).unwrap_or_default()
    }

    /// See [`Question::check`]; nothing where the keys cannot be read.
    pub fn check(&self) -> Vec<BrokenRule> {
        (self.kind.check)(&self.own)
    }

    /// Multiplications of all samples.
    pub fn multiplications(&self) -> f64 {
        self.sizes().samples.unwrap_or(1) as f64 * (self.kind.multiplications)(&self.own)
    }

    /// Measures the question; `report` is called with the number of samples drawn so far.
    ///
    /// # Errors
    /// The progress report failed, or the keys cannot be read.
    pub fn measure(
        &self,
        seed: u64,
        report: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Measurements> {
        let samples = self.sizes().samples.unwrap_or(1);
        (self.kind.measure)(&self.own, seed, &mut Sampling { samples, report })
    }
}

/// Multiplications needed to orthogonalise `vectors` vectors.
pub fn orthogonalisation_cost(vectors: usize, dimension: usize) -> f64 {
    2.0 * (vectors * vectors * dimension) as f64
}

/// The rule that there are at most `dimension` keys, because the keys, or the means around which they are drawn,
/// are orthogonal.
pub fn check_key_count(keys: usize, dimension: usize) -> Option<BrokenRule> {
    let message = format!(
        "= {keys} must be at most `explore.dimension` = {dimension}: they are perpendicular"
    );
    (keys > dimension).then_some(BrokenRule::new("keys", message))
}

/// The rule that a grid is not empty, and that its numbers are finite and strictly increasing.
pub fn check_grid(key: &'static str, values: &[f64]) -> Option<BrokenRule> {
    let broken = |says: &str| Some(BrokenRule::new(key, says));
    let ascends = values.windows(2).all(|pair| pair[0] < pair[1]);
    match values {
        [] => broken("is empty; nothing would be measured"),
        _ if ascends && values.iter().all(|value| value.is_finite()) => None,
        _ => broken("must be finite numbers, each larger than the one before"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_in_their_order_and_are_reported() {
        let mut heard = vec![];
        let mut report = |drawn| {
            heard.push(drawn);
            Ok(())
        };
        let mut sampling = Sampling {
            samples: 1_100,
            report: &mut report,
        };
        let found = sampling.each(|sample| sample).expect("nothing stops it");
        assert!(found.into_iter().eq(0..1_100));
        assert_eq!(heard, [512, 1_024, 1_100]);
    }
}
