//! The interface of a question about an attention head: its keys in a file, its rules and its measurement.

use figment::value::Value;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

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

    /// Whether it yields [`Measurements::Samples`]; otherwise it yields curves.
    const YIELDS_SAMPLES: bool = false;

    /// Number of orthonormal sets drawn per sample, each with one vector per key.
    const SETS: usize = 1;

    /// Checks the keys beyond their ranges: one entry per rule, `Some` if it is broken.
    fn check(&self) -> Vec<Option<BrokenRule>>;

    /// Runs the measurement; the only possible error is one from the progress report.
    fn measure(&self, seed: u64, sampling: &mut Sampling<'_>) -> Result<Measurements>;
}

/// The keys that several questions share, such as sizes; captions report them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Sizes {
    /// Dimension d of keys, values and queries.
    pub dimension: usize,
    /// Number n of keys, and of values.
    pub keys: Option<usize>,
    /// Vectors in the basis of each of two subspaces.
    pub bases: Vec<usize>,
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
    /// See [`Question::YIELDS_SAMPLES`].
    pub yields_samples: bool,
    check: fn(&Value) -> Vec<Option<BrokenRule>>,
    sets: usize,
    measure: fn(&Value, u64, &mut Sampling<'_>) -> Result<Measurements>,
}

impl QuestionKind {
    /// The entry of a question.
    pub const fn of<Q: Question>() -> Self {
        Self {
            entry: Entry::of::<Q>(Q::NAME, Q::ASKS),
            heading: Q::HEADING,
            note: Q::NOTE,
            yields_samples: Q::YIELDS_SAMPLES,
            check: |own| Q::deserialize(own).map_or(vec![], |question| question.check()),
            sets: Q::SETS,
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
    /// Its sizes.
    pub fn sizes(&self) -> Sizes {
        Sizes::deserialize(&self.own).unwrap_or_default()
    }

    /// The broken rules; none if the keys cannot be read.
    pub fn check(&self) -> impl Iterator<Item = BrokenRule> {
        (self.kind.check)(&self.own).into_iter().flatten()
    }

    /// Approximate number of multiplications over all samples; orthogonalisation dominates.
    pub fn multiplications(&self) -> f64 {
        let sizes = self.sizes();
        let keys = sizes.keys.map(|keys| (self.kind.sets, keys));
        let bases = sizes.bases.iter().map(|&vectors| (1, 2 * vectors));
        let of_set = |(sets, n): (usize, usize)| 2.0 * (sets * n * n * sizes.dimension) as f64;
        let of_sample: f64 = bases.chain(keys).map(of_set).sum();
        sizes.samples.unwrap_or(1) as f64 * of_sample
    }

    /// Runs the measurement; `report` is called with the number of samples drawn so far, and an error from it stops it.
    pub fn measure(
        &self,
        seed: u64,
        report: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Measurements> {
        let samples = self.sizes().samples.unwrap_or(1);
        (self.kind.measure)(&self.own, seed, &mut Sampling { samples, report })
    }
}

/// The rule that there are at most `dimension` keys, because the keys, or the means around which they are drawn,
/// are orthogonal.
pub fn check_key_count(keys: usize, dimension: usize) -> Option<BrokenRule> {
    let message = format!(
        "= {keys} must be at most `explore.dimension` = {dimension}: they are perpendicular"
    );
    (keys > dimension).then_some(BrokenRule {
        reads: &["dimension"],
        ..BrokenRule::new("keys", message)
    })
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
