//! Compares two recipes, from the files of their runs alone.
//!
//! `side` reads the runs of one recipe, `pairs` matches answers to the same questions.

mod pairs;
mod side;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::directory::State;
use crate::config::{Difference, differences};
use crate::error::Result;
use crate::eval::measures::{MEASURES, Measure};
use crate::kinds::Listed as _;
use crate::metrics::statistics::{
    Estimate, IntervalKind, mean, over_seeds, standard_deviation, t_interval_95_within,
};
use crate::metrics::steps::TrainingStage;
use side::LoadedSide;

/// A comparison of two recipes. Accuracies and differences are fractions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub a: Side,
    pub b: Side,
    pub settings: Vec<Difference>,
    /// The runs that are compared question by question: those with the same seed, or the only two there
    /// are.
    pub pairs: Vec<Pair>,
    /// B's accuracy minus A's over the pairs; absent with fewer than two.
    pub difference: Option<Spread>,
    /// The same for other measures, by name, that both recipes have in `evaluate.measures`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub differences: BTreeMap<&'static str, Spread>,
    /// Caveats about these numbers, one sentence each.
    pub notes: Vec<String>,
}

/// All runs of one recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Side {
    /// The folder as it was named.
    pub folder: PathBuf,
    /// Which questions were answered: `dev`, `test` or `train`; absent without evaluation.
    pub split: Option<String>,
    /// Who answered: `model`, or `constant` where no model is asked.
    pub subject: Option<String>,
    /// One per seed.
    pub runs: Vec<ComparedRun>,
    /// Accuracy over the seeds; absent with fewer than two finished.
    pub accuracy: Option<Spread>,
    /// The other measures of `evaluate.measures` over the seeds, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub measures: BTreeMap<&'static str, Spread>,
    /// Final training loss of each stage over the seeds, in nats per scored token; only stages
    /// with at least two seeds.
    pub final_loss_nats: BTreeMap<TrainingStage, Spread>,
}

/// One run. It has no numbers before it is finished.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ComparedRun {
    pub folder: PathBuf,
    pub seed: u64,
    /// Its state; absent if it cannot be read from its folder.
    pub state: Option<State>,
    /// How many questions it answered right; absent where no right answer is known.
    pub accuracy: Option<Accuracy>,
    /// The other measures of `evaluate.measures`, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub measures: BTreeMap<&'static str, MeasuredValue>,
    /// Mean loss of the steps of each stage's last epoch, in nats per scored token.
    pub final_loss_nats: BTreeMap<TrainingStage, f64>,
}

/// How many questions were answered right, with Wilson's 95 % interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    pub correct: usize,
    /// Questions whose right answer is known.
    pub questions: usize,
    pub accuracy: f64,
    pub low_95: f64,
    pub high_95: f64,
}

/// The value of a measure of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeasuredValue {
    /// Number of answers that were scored.
    pub questions: usize,
    /// The value, in the unit of the measure.
    pub value: f64,
    /// Lower end of the 95 % interval over the questions; absent without an interval.
    pub low_95: Option<f64>,
    pub high_95: Option<f64>,
}

/// A number over several seeds, with its sample standard deviation and 95 % interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub seeds: usize,
    pub mean: f64,
    pub standard_deviation: f64,
    pub low_95: f64,
    pub high_95: f64,
    /// `student-t` of the mean; where all seeds agree, `wilson` or `bootstrap` over one seed's questions.
    pub interval: IntervalKind,
}

impl Spread {
    /// Student's interval of numbers that cannot lie outside `within`; `None` for fewer than two.
    fn of(values: &[f64], within: RangeInclusive<f64>) -> Option<Self> {
        let (low_95, high_95) = t_interval_95_within(values, &within)?;
        Some(Self {
            seeds: values.len(),
            mean: mean(values)?,
            standard_deviation: standard_deviation(values)?,
            low_95,
            high_95,
            interval: IntervalKind::StudentT,
        })
    }

    /// The mean of a measure over seeds, with the interval of one seed if all agree; `None` for fewer than two.
    fn over_seeds(runs: &[Estimate], within: &RangeInclusive<f64>) -> Option<Self> {
        let over_seeds = over_seeds(runs, within)?;
        let interval = over_seeds.mean.interval?;
        Some(Self {
            seeds: runs.len(),
            mean: over_seeds.mean.value,
            standard_deviation: over_seeds.standard_deviation?,
            low_95: interval.low,
            high_95: interval.high,
            interval: interval.kind,
        })
    }
}

/// Two runs on the same questions, or why they cannot be compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    pub seed_a: u64,
    pub seed_b: u64,
    /// The test; absent if the two cannot be compared.
    pub test: Option<PairedTest>,
    /// Why there is no paired test; absent with one.
    pub untested: Option<String>,
    /// B's value minus A's in the other measures, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub differences: BTreeMap<&'static str, PairedDifference>,
}

/// B's value of a measure minus A's, question by question.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairedDifference {
    /// Questions whose answers have a value: the same ones in both runs.
    pub questions: usize,
    /// Mean over the questions.
    pub difference: f64,
    /// Lower end of Student's 95 % interval of that mean, within what is possible.
    pub low_95: f64,
    pub high_95: f64,
}

/// McNemar's exact test on the questions that both answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairedTest {
    /// Questions answered by both runs.
    pub questions: usize,
    pub both_right: usize,
    pub only_a_right: usize,
    pub only_b_right: usize,
    pub neither_right: usize,
    /// Two-sided p-value, from `only_a_right` and `only_b_right`.
    pub p: f64,
    /// B's accuracy minus A's.
    pub difference: f64,
    pub low_95: f64,
    pub high_95: f64,
}

/// Compares all runs at or below one folder with all at or below another; each must contain the
/// runs of a single point. Nothing is run and nothing written.
///
/// # Errors
/// A folder holds no run, runs of several points, or one seed twice; a file of a finished run is
/// missing or damaged.
pub fn compare(a: &Path, b: &Path) -> Result<Comparison> {
    let (mut a, mut b) = (LoadedSide::read("A", a)?, LoadedSide::read("B", b)?);
    let mut notes: Vec<String> = a.notes.drain(..).chain(b.notes.drain(..)).collect();
    let (pairs, unpaired) = pairs::pair(&a, &b);
    notes.extend(unpaired);
    let tests = pairs.iter().filter_map(|pair| pair.test.as_ref());
    let of_tests: Vec<f64> = tests.map(|test| test.difference).collect();
    let of_measure = |measure: &'static Measure| {
        let name = measure.name();
        let own = pairs.iter().filter_map(|pair| pair.differences.get(name));
        let values: Vec<f64> = own.map(|one| one.difference).collect();
        let spread = Spread::of(&values, measure.unit.differences())?;
        Some((name, spread))
    };
    Ok(Comparison {
        settings: differences(&a.settings, &b.settings),
        difference: Spread::of(&of_tests, -1.0..=1.0),
        differences: MEASURES.iter().filter_map(of_measure).collect(),
        pairs,
        notes,
        a: a.side,
        b: b.side,
    })
}
