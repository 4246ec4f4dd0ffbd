//! Doing an exploration: its arithmetic, as the rows of one table.

use std::path::PathBuf;

use rayon::prelude::*;

use crate::config::schema::{Exploration, ExploredQuestion};
use crate::error::Result;
use crate::explore::noisy_averaging::{REPORTED_SCALE, weight_on_others};
use crate::explore::{averaging, copying, extraction, swing, two_heads};
use crate::metrics::artefacts::{CURVES, SAMPLES};
use crate::metrics::rows::{CurveRow, SampleRow};
use crate::metrics::statistics::quantile;
use crate::metrics::table;
use crate::pipeline::stage::store::StageFolder;
use crate::progress;
use crate::stop::Stop;

/// Samples between two looks at whether to stop.
const ROUND: usize = 512;

/// All that an exploration works with.
pub struct Exploring<'a> {
    pub spec: &'a Exploration,
    pub seed: u64,
    /// Where it writes; locked by this process.
    pub folder: &'a StageFolder,
    pub shown: &'a progress::Run,
    pub stop: &'a Stop,
}

/// Multiplications of an exploration, nearly all of them to make directions perpendicular.
pub fn multiplications(spec: &Exploration) -> f64 {
    let basis = |vectors: usize| 2.0 * (vectors * vectors * spec.dimension) as f64;
    let bases = spec.bases.iter().flatten().map(|&m| basis(2 * m));
    let sets = match spec.question {
        ExploredQuestion::Copying | ExploredQuestion::Averaging => 2.0,
        _ => 1.0,
    };
    let one = sets * basis(spec.keys.unwrap_or(0)) + bases.sum::<f64>();
    spec.samples.unwrap_or(1) as f64 * one
}

impl Exploring<'_> {
    /// Does the exploration in a folder where it has begun.
    ///
    /// # Errors
    /// The user stops it, or a file cannot be written.
    pub fn run(&self) -> Result<Vec<PathBuf>> {
        let written = match self.spec.question.is_distribution() {
            true => self.write_samples(&self.samples()?)?,
            false => self.write_curves(&self.curves()?)?,
        };
        Ok(vec![written])
    }

    fn write_curves(&self, rows: &[CurveRow]) -> Result<PathBuf> {
        let path = self.folder.file(&CURVES);
        table::write(&path, rows).map(|()| path)
    }

    fn write_samples(&self, rows: &[SampleRow]) -> Result<PathBuf> {
        let path = self.folder.file(&SAMPLES);
        table::write(&path, rows).map(|()| path)
    }

    fn curves(&self) -> Result<Vec<CurveRow>> {
        match self.spec.question {
            ExploredQuestion::Copying => Ok(self.at_once(Self::copying)),
            ExploredQuestion::Averaging => Ok(self.at_once(Self::averaging)),
            ExploredQuestion::Extraction => self.extraction(),
            ExploredQuestion::NoisyAveraging => self.noisy_averaging(),
            ExploredQuestion::Swing | ExploredQuestion::TwoHeads => Ok(vec![]),
        }
    }

    fn copying(&self) -> Vec<CurveRow> {
        let (keys, margins) = (self.keys(), self.spec.margins.as_deref());
        let margins = margins.unwrap_or_default();
        let found = copying::measure(keys, self.spec.dimension, margins, self.seed);
        let x = "margin: score of key j minus each other score";
        let weight = Curve {
            curve: "weight",
            x,
            y: "weight on value j",
            ..Curve::default()
        };
        let error = Curve {
            curve: "distance",
            x,
            y: "|c - v_j| for values of length 1",
            is_logarithmic: true,
            ..Curve::default()
        };
        let weights = found.iter().map(|one| weight.at(one.margin, &[one.weight]));
        let errors = found.iter().map(|one| error.at(one.margin, &[one.error]));
        weights.chain(errors).collect()
    }

    fn averaging(&self) -> Vec<CurveRow> {
        let (keys, betas) = (self.keys(), self.betas());
        let errors = averaging::errors(keys, self.spec.dimension, betas, self.seed);
        let curve = Curve {
            curve: "q = β (k_a + k_b)",
            x: "factor β of the query",
            y: "|c - (v_a + v_b) / 2| for values of length 1",
            is_logarithmic: true,
            ..Curve::default()
        };
        let both = betas.iter().zip(errors);
        both.map(|(&beta, error)| curve.at(beta, &[error]))
            .collect()
    }

    fn extraction(&self) -> Result<Vec<CurveRow>> {
        let curve = Curve {
            x: "vectors in each basis: m",
            y: "|M (v_a + v_b) - v_a| / |v_a|",
            is_logarithmic: true,
            ..Curve::default()
        };
        let (ours, reported) = (
            Curve {
                curve: "M = A times its transpose",
                ..curve
            },
            Curve {
                curve: "as reported: M with the basis vectors as columns",
                is_reported: true,
                ..curve
            },
        );
        let bases = self.spec.bases.as_deref().unwrap_or_default();
        let (dimension, seed) = (self.spec.dimension, self.seed);
        let found = self.each_sample(|sample| {
            let one = |&basis: &usize| extraction::measure(basis, dimension, seed, sample);
            bases.iter().map(one).collect::<Vec<_>>()
        })?;
        let all = |i: usize, of: fn(&extraction::Extracted) -> f64| -> Vec<f64> {
            found.iter().map(|sample| of(&sample[i])).collect()
        };
        let at = |(i, &basis): (usize, &usize)| {
            let x = basis as f64;
            [
                ours.at(x, &all(i, |one| one.projection)),
                reported.at(x, &all(i, |one| one.reported)),
            ]
        };
        Ok(bases.iter().enumerate().flat_map(at).collect())
    }

    fn noisy_averaging(&self) -> Result<Vec<CurveRow>> {
        let scales = [self.betas(), &[REPORTED_SCALE]].concat();
        let (shape, alpha) = ((self.keys(), self.spec.dimension), self.alpha());
        let seed = self.seed;
        let found =
            self.each_sample(|sample| weight_on_others(shape, alpha, &scales, (seed, sample)))?;
        let ours = Curve {
            curve: "q = β (μ_a + μ_b)",
            x: "factor β of the query",
            y: "weight left on the other n - 2 keys",
            is_logarithmic: true,
            ..Curve::default()
        };
        let reported = Curve {
            curve: "as reported: q = (μ_a + μ_b) / 2",
            is_reported: true,
            ..ours
        };
        let last = scales.len() - 1;
        let at = |(i, &scale): (usize, &f64)| {
            let curve = if i == last { reported } else { ours };
            let all: Vec<f64> = found.iter().map(|sample| sample[i]).collect();
            curve.at(scale, &all)
        };
        Ok(scales.iter().enumerate().map(at).collect())
    }

    /// The weight on `v_a` of every draw of keys; two heads beside one, on the same keys.
    fn samples(&self) -> Result<Vec<SampleRow>> {
        let (keys, dimension, alpha) = (self.keys(), self.spec.dimension, self.alpha());
        let beta = self.spec.beta.unwrap_or_default();
        let two = self.spec.question == ExploredQuestion::TwoHeads;
        let rows = self.each_sample(|sample| {
            let drawn = swing::draw(keys, dimension, alpha, (self.seed, sample));
            let row = |series: &str, value: f64| SampleRow {
                series: series.to_owned(),
                is_reported: series == REPORTED_HEADS,
                quantity: "weight on value a".to_owned(),
                sample,
                epsilon: drawn.epsilon,
                value,
            };
            let mut rows = vec![row(ONE_HEAD, swing::weight_on_a(&drawn, beta))];
            if two {
                let of = |queries| two_heads::weight_on_a(&drawn, &queries);
                rows.push(row(TWO_HEADS, of(two_heads::queries(&drawn, beta))));
                rows.push(row(REPORTED_HEADS, of(two_heads::reported_queries(&drawn))));
            }
            rows
        })?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// What needs no samples, as one step.
    fn at_once(&self, curves: fn(&Self) -> Vec<CurveRow>) -> Vec<CurveRow> {
        let mut task = self.shown.begin("explore", 1, 0);
        let rows = curves(self);
        task.at(1, "measured");
        rows
    }

    /// What each sample gives, in their order, for any number of threads.
    fn each_sample<T: Send>(&self, one: impl Fn(u64) -> T + Sync) -> Result<Vec<T>> {
        let all = self.spec.samples.unwrap_or(1);
        let mut task = self.shown.begin("explore", all, 0);
        let mut found = Vec::with_capacity(all);
        while found.len() < all {
            let end = (found.len() + ROUND).min(all);
            let round = (found.len() as u64..end as u64).into_par_iter().map(&one);
            found.extend(round.collect::<Vec<T>>());
            task.at(end, "samples");
            if end < all {
                self.stop
                    .check(|| format!("in explore after sample {end}"))?;
            }
        }
        Ok(found)
    }

    // What a question needs was required of the file.

    fn keys(&self) -> usize {
        self.spec.keys.unwrap_or_default()
    }

    fn betas(&self) -> &[f64] {
        self.spec.betas.as_deref().unwrap_or_default()
    }

    fn alpha(&self) -> f64 {
        self.spec.alpha.unwrap_or_default()
    }
}

const ONE_HEAD: &str = "one head: q = β (μ_a + μ_b)";
const TWO_HEADS: &str = "two heads: q1 = β μ_a and q2 = β μ_b";
const REPORTED_HEADS: &str = "two heads as reported: q1 and q2 = (±μ_a + μ_b) / 2";

/// What the rows of one curve share.
#[derive(Clone, Copy, Default)]
struct Curve {
    curve: &'static str,
    x: &'static str,
    y: &'static str,
    is_logarithmic: bool,
    is_reported: bool,
}

impl Curve {
    /// The row at `x` of what the samples gave. Not their mean: a quotient may have none.
    fn at(self, x: f64, samples: &[f64]) -> CurveRow {
        let end = |share: f64| (samples.len() > 1).then(|| quantile(samples, share));
        CurveRow {
            curve: self.curve.to_owned(),
            is_reported: self.is_reported,
            x_quantity: self.x.to_owned(),
            x,
            y_quantity: self.y.to_owned(),
            y_is_logarithmic: self.is_logarithmic,
            y: quantile(samples, 0.5),
            low_90: end(0.05),
            high_90: end(0.95),
            samples: samples.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_has_no_range() {
        let row = Curve::default().at(3.0, &[7.0]);
        assert_eq!((row.y, row.low_90, row.samples), (7.0, None, 1));
    }
}
