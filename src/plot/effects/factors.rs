//! The keys of a sweep as factors of a design.

use std::collections::BTreeSet;

use crate::kinds::joined;
use crate::metrics::statistics::factorial::{Change, Design, Term};

/// A key that the sweep sets to several values, or several keys that change together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Factor {
    pub(super) name: String,
    /// Its values, in the order in which the points have them.
    pub(super) levels: Vec<String>,
}

/// The factors of a sweep, and the level of each at every point.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Factors {
    pub(super) all: Vec<Factor>,
    pub(super) points: Vec<Vec<usize>>,
}

impl Factors {
    /// From the keys and values of every point. Numbers that others reported decide nothing.
    pub(super) fn of(points: &[Vec<(String, String)>]) -> Self {
        let mut all: Vec<(Factor, Vec<usize>)> = vec![];
        let keys = points.iter().take(1).flatten().map(|(key, _)| key);
        for key in keys.filter(|key| !key.starts_with("evaluate.reported")) {
            let (factor, own) = Factor::of(key, points);
            let together = all.iter_mut().find(|(_, other)| *other == own);
            match together {
                _ if factor.levels.len() < 2 => {}
                Some((other, _)) => other.join(&factor),
                None => all.push((factor, own)),
            }
        }
        let of_point = |point: usize| all.iter().map(|(_, own)| own[point]).collect();
        Self {
            points: (0..points.len()).map(of_point).collect(),
            all: all.into_iter().map(|(factor, _)| factor).collect(),
        }
    }

    /// The design of every point with each of so many seeds, point by point.
    pub(super) fn design(&self, seeds: usize) -> Design {
        let runs = self.points.iter().flat_map(|point| {
            let with = move |seed| (point.clone(), seed);
            (0..seeds).map(with)
        });
        let (runs, blocks) = runs.unzip();
        Design {
            levels: self.all.iter().map(|factor| factor.levels.len()).collect(),
            runs,
            blocks,
        }
    }

    /// The two values of a change.
    pub(super) fn values(&self, change: Change) -> (&str, &str) {
        let levels = &self.all[change.factor].levels;
        (&levels[0], &levels[change.level])
    }

    /// `key`, or `key × other key`; nothing for the mean and the seeds.
    pub(super) fn name(&self, term: Term) -> Option<String> {
        let name = |factor: usize| &self.all[factor].name;
        match term {
            Term::Mean | Term::Blocks => None,
            Term::Main(factor) => Some(name(factor).clone()),
            Term::Interaction(a, b) => Some(format!("{} × {}", name(a), name(b))),
        }
    }

    /// The names of terms: `a, b × c and 5 more`.
    pub(super) fn names(&self, terms: &BTreeSet<Term>) -> String {
        const MOST: usize = 4;
        let mut names: Vec<String> = terms.iter().filter_map(|term| self.name(*term)).collect();
        if names.len() > MOST + 1 {
            let more = names.split_off(MOST).len();
            names.push(format!("{more} more"));
        }
        joined(names, "and")
    }
}

impl Factor {
    /// The values of a key in order, and which of them each point has.
    fn of(key: &str, points: &[Vec<(String, String)>]) -> (Self, Vec<usize>) {
        let mut levels: Vec<String> = vec![];
        let own = points.iter().map(|point| {
            let value = point.iter().find(|(name, _)| name == key);
            let value = value.map_or("", |(_, value)| value);
            let known = levels.iter().position(|level| level == value);
            known.unwrap_or_else(|| {
                levels.push(value.to_owned());
                levels.len() - 1
            })
        });
        let own = own.collect();
        let name = key.to_owned();
        (Self { name, levels }, own)
    }

    /// Adds a key that changes together with this one.
    fn join(&mut self, other: &Self) {
        self.name = format!("{}, {}", self.name, other.name);
        for (level, with) in self.levels.iter_mut().zip(&other.levels) {
            *level = format!("{level}, {with}");
        }
    }

    /// Whether all values are numbers, so that their order means something.
    pub(super) fn is_numeric(&self) -> bool {
        let is_number = |level: &String| level.replace('_', "").parse::<f64>().is_ok();
        self.levels.iter().all(is_number)
    }
}
