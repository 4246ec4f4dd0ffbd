//! Effects in a factorial design: how much each of several factors matters, and each pair beyond the sum of both.
//!
//! A run has one level of every factor and belongs to a block, here its seed. The linear model is
//!
//! ```text
//! value = mean + block + sum of main effects + sum of two-way interactions + error
//! ```
//!
//! in sum coding, where the effects of a factor's levels add up to 0 and so do those of an interaction along either
//! factor. A contrast of main effects is then a difference between two levels averaged equally over the levels of all
//! other factors, whether or not the runs are balanced. Errors are taken to be independent and of equal variance;
//! three-way and higher interactions count as error.
//!
//! Sources: Box, Hunter and Hunter 2005, *Statistics for experimenters*, 2nd edition, chapters 5 (factorial designs) and
//! 6 (fractions, and what is aliased with what); Searle, Speed and Milliken 1980, *Population marginal means in the
//! linear model*, for averages over unequal cells; Dunn 1961, *Multiple comparisons among means*, for the intervals
//! that hold together.

mod least_squares;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::Range;

use super::student::t_quantile;
use least_squares::Decomposition;

/// Which levels every run has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Design {
    /// Number of levels of each factor, at least two.
    pub levels: Vec<usize>,
    /// For each run the level of each factor, counted from 0.
    pub runs: Vec<Vec<usize>>,
    /// For each run its block, counted from 0.
    pub blocks: Vec<usize>,
}

/// Part of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Term {
    Mean,
    Blocks,
    Main(usize),
    /// The first of the two factors comes before the second.
    Interaction(usize, usize),
}

/// A factor changed from its first level to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    pub factor: usize,
    pub level: usize,
}

/// A difference that the model estimates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contrast {
    /// By how much a change raises the value, averaged equally over the levels of all other factors.
    Main(Change),
    /// By how much more one change raises the value after the other than before it. (For two levels Box, Hunter and
    /// Hunter call half of this the interaction.)
    Interaction(Change, Change),
}

/// An estimated contrast, in the unit of the values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    pub contrast: Contrast,
    pub estimate: f64,
    /// `None` where nothing is left to estimate the error from.
    pub precision: Option<Precision>,
}

/// How precise an estimate is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Precision {
    pub standard_error: f64,
    /// Student's 95 % interval of this effect alone.
    pub own_95: (f64, f64),
    /// Bonferroni's interval: with at least 95 % probability those of all effects hold together.
    pub joint_95: (f64, f64),
}

/// The effects of a design.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// All that can be estimated, in the order of factors and levels, main effects first.
    pub effects: Vec<Effect>,
    /// Residual degrees of freedom.
    pub freedom: usize,
    /// Standard deviation of the errors; `None` without degrees of freedom, and where the model fits exactly.
    pub residual_deviation: Option<f64>,
}

/// The linear model of a design, before any value is known.
pub struct Model {
    runs: usize,
    terms: Vec<(Term, Range<usize>)>,
    levels: Vec<usize>,
    columns: Decomposition,
}

impl Term {
    /// The terms of a model with or without interactions.
    fn all(factors: usize, has_interactions: bool) -> Vec<Self> {
        let pairs = (0..factors).flat_map(|a| (a + 1..factors).map(move |b| (a, b)));
        let pairs = pairs.filter(|_| has_interactions);
        let mut all = vec![Self::Mean, Self::Blocks];
        all.extend((0..factors).map(Self::Main));
        all.extend(pairs.map(|(a, b)| Self::Interaction(a, b)));
        all
    }
}

impl Contrast {
    /// The term that it belongs to.
    pub fn term(&self) -> Term {
        match self {
            Self::Main(change) => Term::Main(change.factor),
            Self::Interaction(one, other) => Term::Interaction(one.factor, other.factor),
        }
    }
}

impl Design {
    fn blocks(&self) -> usize {
        self.blocks.iter().max().map_or(0, |last| last + 1)
    }

    /// The number of coefficients of a term.
    fn width(&self, term: Term) -> usize {
        match term {
            Term::Mean => 1,
            Term::Blocks => self.blocks().saturating_sub(1),
            Term::Main(factor) => self.levels[factor] - 1,
            Term::Interaction(a, b) => (self.levels[a] - 1) * (self.levels[b] - 1),
        }
    }

    /// The number of coefficients of its model.
    pub fn coefficients(&self, has_interactions: bool) -> usize {
        let terms = Term::all(self.levels.len(), has_interactions);
        terms.into_iter().map(|term| self.width(term)).sum()
    }

    /// The columns of a term, each with a number for every run.
    fn columns(&self, term: Term) -> Vec<Vec<f64>> {
        let coded = |run: usize, factor: usize| {
            sum_code(self.runs[run][factor], self.levels[factor]).collect::<Vec<f64>>()
        };
        let row = |run: usize| match term {
            Term::Mean => vec![1.0],
            Term::Blocks => sum_code(self.blocks[run], self.blocks()).collect(),
            Term::Main(factor) => coded(run, factor),
            Term::Interaction(a, b) => products(&coded(run, a), &coded(run, b)),
        };
        let mut columns = vec![Vec::with_capacity(self.runs.len()); self.width(term)];
        for run in 0..self.runs.len() {
            for (column, number) in columns.iter_mut().zip(row(run)) {
                column.push(number);
            }
        }
        columns
    }
}

impl Model {
    pub fn of(design: &Design, has_interactions: bool) -> Self {
        let mut start = 0;
        let terms = Term::all(design.levels.len(), has_interactions).into_iter();
        let terms = terms.map(|term| {
            let from = start;
            start += design.width(term);
            (term, from..start)
        });
        let terms: Vec<(Term, Range<usize>)> = terms.collect();
        let columns = terms.iter().flat_map(|(term, _)| design.columns(*term));
        Self {
            runs: design.runs.len(),
            columns: Decomposition::of(columns),
            levels: design.levels.clone(),
            terms,
        }
    }

    /// All contrasts with the first level of each factor.
    fn contrasts(&self) -> Vec<Contrast> {
        let changes =
            |factor: usize| (1..self.levels[factor]).map(move |level| Change { factor, level });
        let of_term = |(term, _): &(Term, Range<usize>)| -> Vec<Contrast> {
            match *term {
                Term::Mean | Term::Blocks => vec![],
                Term::Main(factor) => changes(factor).map(Contrast::Main).collect(),
                Term::Interaction(a, b) => {
                    let with = |one| changes(b).map(move |other| Contrast::Interaction(one, other));
                    changes(a).flat_map(with).collect()
                }
            }
        };
        self.terms.iter().flat_map(of_term).collect()
    }

    /// A contrast as a combination of the coefficients.
    fn combination(&self, contrast: &Contrast) -> Vec<f64> {
        let step = |change: &Change| -> Vec<f64> {
            let levels = self.levels[change.factor];
            let (from, to) = (sum_code(0, levels), sum_code(change.level, levels));
            from.zip(to).map(|(from, to)| to - from).collect()
        };
        let own = match contrast {
            Contrast::Main(change) => step(change),
            Contrast::Interaction(one, other) => products(&step(one), &step(other)),
        };
        let all = self.terms.iter().flat_map(|(term, span)| {
            let is_own = *term == contrast.term();
            let zeros = vec![0.0; span.len()];
            if is_own { own.clone() } else { zeros }
        });
        all.collect()
    }

    /// The contrasts that the runs cannot estimate.
    pub fn inestimable(&self) -> Vec<Contrast> {
        let mut all = self.contrasts();
        all.retain(|one| self.columns.weights(&self.combination(one)).is_none());
        all
    }

    /// Groups of terms that the runs cannot tell apart, so that some of their contrasts cannot be estimated.
    pub fn aliased(&self) -> Vec<BTreeSet<Term>> {
        let mut groups: Vec<BTreeSet<Term>> = vec![];
        for columns in self.columns.dependencies() {
            let mut group: BTreeSet<Term> = columns.iter().map(|&one| self.term_of(one)).collect();
            groups.retain(|other| {
                let is_apart = other.is_disjoint(&group);
                if !is_apart {
                    group.extend(other);
                }
                is_apart
            });
            groups.push(group);
        }
        groups.sort();
        groups
    }

    fn term_of(&self, column: usize) -> Term {
        let mut terms = self.terms.iter();
        let own = terms.find(|(_, span)| span.contains(&column));
        own.map_or(Term::Mean, |(term, _)| *term)
    }

    /// The effects on these values, one for each run.
    pub fn fit(&self, values: &[f64]) -> Effects {
        let (coordinates, residuals) = self.columns.project(values);
        let freedom = self.runs - self.columns.rank();
        let squares = dot(&residuals, &residuals);
        // What is left of an exact fit is rounding.
        let is_exact = squares <= 1e-24 * dot(values, values);
        let residual_deviation =
            (freedom > 0 && !is_exact).then(|| (squares / freedom as f64).sqrt());
        let estimable = self.contrasts().into_iter().filter_map(|contrast| {
            let weights = self.columns.weights(&self.combination(&contrast))?;
            Some((contrast, weights))
        });
        let estimable: Vec<(Contrast, Vec<f64>)> = estimable.collect();
        let intervals = residual_deviation.map(|deviation| Intervals {
            deviation,
            quantiles: [1, estimable.len().max(1)]
                .map(|together| t_quantile(1.0 - 0.025 / together as f64, freedom)),
        });
        let effect = |(contrast, weights): (Contrast, Vec<f64>)| {
            let estimate = dot(&weights, &coordinates);
            let around = |intervals: &Intervals| intervals.around(estimate, &weights);
            Effect {
                contrast,
                estimate,
                precision: intervals.as_ref().map(around),
            }
        };
        Effects {
            effects: estimable.into_iter().map(effect).collect(),
            freedom,
            residual_deviation,
        }
    }
}

/// What all intervals of a fit have in common.
struct Intervals {
    /// Standard deviation of the errors.
    deviation: f64,
    /// Of Student's t, for one interval and for all together.
    quantiles: [f64; 2],
}

impl Intervals {
    /// The precision of an estimate with these weights; see [`Decomposition::weights`].
    fn around(&self, estimate: f64, weights: &[f64]) -> Precision {
        let standard_error = self.deviation * dot(weights, weights).sqrt();
        let [own_95, joint_95] = self.quantiles.map(|quantile| {
            let half = quantile * standard_error;
            (estimate - half, estimate + half)
        });
        Precision {
            standard_error,
            own_95,
            joint_95,
        }
    }
}

/// Sum coding: a column for each level but the last, which is -1 in all of them.
fn sum_code(level: usize, levels: usize) -> impl Iterator<Item = f64> {
    let last = levels.saturating_sub(1);
    (0..last).map(move |column| match level {
        _ if level == last => -1.0,
        _ => f64::from(u8::from(level == column)),
    })
}

/// Every number of the one times every number of the other.
fn products(one: &[f64], other: &[f64]) -> Vec<f64> {
    let with = |a: &f64| other.iter().map(|b| a * b).collect::<Vec<f64>>();
    one.iter().flat_map(with).collect()
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}
