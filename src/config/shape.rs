//! The shape of a model: the numbers that are compiled in, as one value.
//!
//! This file uses the standard library alone, because the build script includes it too.

use std::fmt;

/// The constants of one compiled model type. Ordered by width, then the others in field order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelShape {
    /// Width of the residual stream.
    pub embed: usize,
    /// Width of the hidden layer of a block's MLP.
    pub hidden: usize,
    /// Number of token ids.
    pub vocabulary: usize,
    /// Longest document, in tokens.
    pub context: usize,
}

impl ModelShape {
    /// The counts with their names, in the order of the fields.
    pub fn counts(&self) -> [(&'static str, usize); 4] {
        [
            ("embed", self.embed),
            ("hidden", self.hidden),
            ("vocabulary", self.vocabulary),
            ("context", self.context),
        ]
    }

    /// Whether such a model can be built: every count is at least 1.
    pub fn is_consistent(&self) -> bool {
        self.counts().iter().all(|(_, count)| *count > 0)
    }

    /// How far two shapes are apart: the sum of `|ln ratio|` over the counts.
    fn distance(&self, other: &Self) -> f64 {
        let pairs = self.counts().into_iter().zip(other.counts());
        pairs
            .map(|((_, a), (_, b))| (a.max(1) as f64 / b.max(1) as f64).ln().abs())
            .sum()
    }
}

impl fmt::Display for ModelShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts().map(|(name, count)| format!("{name}={count}"));
        f.write_str(&counts.join(" "))
    }
}

/// The `n` compiled shapes most like `shape`, nearest first; ties keep the order of `compiled`.
pub fn nearest<'a>(
    shape: &ModelShape,
    compiled: &'a [ModelShape],
    n: usize,
) -> Vec<&'a ModelShape> {
    let mut all: Vec<&ModelShape> = compiled.iter().collect();
    all.sort_by(|a, b| shape.distance(a).total_cmp(&shape.distance(b)));
    all.truncate(n);
    all
}
