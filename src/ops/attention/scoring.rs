//! What kinds of attention change about scores: how places enter them, which keys are seen, and how they
//! become weights.

use crate::ops::kernels::rows::{LANES, exp, softmax, sum_of, wide};

/// How the weight of a key comes from a query and it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scoring {
    /// How their places enter.
    pub places: Places,
    /// A query sees so many keys, itself the last; all before it if `None`.
    pub window: Option<usize>,
    /// How scores become weights.
    pub weights: Weights,
}

/// How the places of query and key enter a score, beside what the embedding says of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// They do not.
    Unused,
    /// Queries and keys are rotated, pair by pair of channels (2i, 2i + 1), by their place times
    /// 10000^(-2i / HEAD_DIM): a score depends on the distance (Su et al. 2021, RoFormer, §3.2.2).
    Rotated,
    /// A score loses its head's slope times the distance: slopes 2^(-8 h / HEADS), h = 1..HEADS
    /// (Press et al. 2022, ALiBi, §3).
    Distance,
}

/// How the scores of a query become weights that add up to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// `softmax(q · k / √HEAD_DIM)` (Vaswani et al. 2017, §3.2.1).
    Softmax,
    /// `φ(q) · φ(k)` by its share of the sum, φ(x) = elu(x) + 1: what attention with a state instead of
    /// keys computes (Katharopoulos et al. 2020, Transformers are RNNs, §3.2). It goes with
    /// [`Places::Unused`] alone.
    Features,
}

impl Scoring {
    /// Plain softmax attention.
    pub const SOFTMAX: Self = Self {
        places: Places::Unused,
        window: None,
        weights: Weights::Softmax,
    };

    /// What the product of query and key is multiplied by.
    pub(in crate::ops) fn scale(self, head_dim: usize) -> f64 {
        match self.weights {
            Weights::Softmax => 1.0 / (head_dim as f64).sqrt(),
            Weights::Features => 1.0,
        }
    }

    /// What a unit of distance takes off a score of a head, counted from 0.
    pub(super) fn slope(self, head: usize, heads: usize) -> f64 {
        match self.places {
            Places::Distance => (-8.0 * (head + 1) as f64 / heads as f64).exp2(),
            Places::Unused | Places::Rotated => 0.0,
        }
    }

    /// The first key that a query sees.
    pub(super) fn first_seen(self, query: usize) -> usize {
        self.window
            .map_or(0, |window| (query + 1).saturating_sub(window))
    }

    /// Makes weights of the scores of the last queries of a row of `tokens`, `step` apart: see [`Self::weigh`].
    pub(in crate::ops) fn weigh_last(
        self,
        scores: &mut [f32],
        step: usize,
        tokens: usize,
        slope: f32,
    ) {
        wide(
            #[inline(always)]
            || {
                let places = tokens - scores.len() / step..;
                for (place, row) in places.zip(scores.chunks_exact_mut(step)) {
                    self.weigh(row, place, slope);
                }
            },
        );
    }

    /// Makes weights of the scores of one query, those of the keys `0..=query` of the row; 0 for the rest
    /// and what it does not see. Returns what [`Weights::Features`] multiplied the scores by.
    #[inline(always)]
    pub(in crate::ops) fn weigh(self, row: &mut [f32], query: usize, slope: f32) -> f32 {
        let first = self.first_seen(query);
        // Whole vectors: loops over them have no tail of single elements.
        let end = (query + 1).next_multiple_of(LANES).min(row.len());
        let (seen, hidden) = row.split_at_mut(end);
        hidden.fill(0.0);
        if self.places == Places::Distance {
            for (key, score) in seen.iter_mut().enumerate() {
                *score -= slope * (query as f32 - key as f32);
            }
        }
        match self.weights {
            Weights::Softmax => {
                seen[..first].fill(f32::NEG_INFINITY);
                seen[query + 1..].fill(f32::NEG_INFINITY);
                softmax(seen);
                // What is left of a key that is not seen is below the precision of the sum.
                seen[..first].fill(0.0);
                seen[query + 1..].fill(0.0);
                1.0
            }
            Weights::Features => {
                seen[..first].fill(0.0);
                seen[query + 1..].fill(0.0);
                let scale = 1.0 / sum_of(seen, seen, |s, _| s);
                seen.iter_mut().for_each(|s| *s *= scale);
                scale
            }
        }
    }
}

/// What is done with each query and key before they meet.
pub(super) enum Map {
    /// Nothing.
    Same,
    /// Rotation: cosine and sine of each place and pair of channels, `[places, HEAD_DIM / 2]`.
    Rotation(Vec<[f32; 2]>),
    /// φ.
    Features,
}

impl Map {
    /// For places below `places`.
    pub(super) fn new(scoring: Scoring, head_dim: usize, places: usize) -> Self {
        match (scoring.places, scoring.weights) {
            (Places::Rotated, Weights::Softmax) => Self::Rotation(rotations(head_dim, places)),
            (Places::Unused, Weights::Features) => Self::Features,
            (Places::Unused | Places::Distance, Weights::Softmax) => Self::Same,
            (places, Weights::Features) => panic!("features with {places:?}: see `Weights`"),
        }
    }

    /// Maps queries or keys of one token, heads side by side.
    pub(super) fn apply(&self, heads: &mut [f32], head_dim: usize, place: usize) {
        match self {
            Self::Same => {}
            Self::Rotation(table) => rotate(heads, turns(table, head_dim, place), 1.0),
            Self::Features => wide(
                #[inline(always)]
                || heads.iter_mut().for_each(|x| *x = feature(*x)),
            ),
        }
    }

    /// Maps their gradient back; `heads` are the mapped ones.
    pub(super) fn backward(
        &self,
        gradient: &mut [f32],
        heads: &[f32],
        head_dim: usize,
        place: usize,
    ) {
        match self {
            Self::Same => {}
            // The inverse of a rotation is its transpose.
            Self::Rotation(table) => rotate(gradient, turns(table, head_dim, place), -1.0),
            // φ' is 1 where φ > 1, and φ elsewhere.
            Self::Features => wide(
                #[inline(always)]
                || {
                    let pairs = gradient.iter_mut().zip(heads);
                    pairs.for_each(|(d, &x)| *d *= if x > 1.0 { 1.0 } else { x });
                },
            ),
        }
    }
}

/// elu(x) + 1: x + 1 above 0, and e^x below.
#[inline(always)]
fn feature(x: f32) -> f32 {
    if x > 0.0 { x + 1.0 } else { exp(x) }
}

/// Cosine and sine for each place and pair of channels.
fn rotations(head_dim: usize, places: usize) -> Vec<[f32; 2]> {
    assert!(head_dim.is_multiple_of(2), "channels are rotated in pairs");
    let pairs = 0..head_dim / 2;
    let frequencies: Vec<f64> = pairs
        .map(|pair| 10_000f64.powf(-2.0 * pair as f64 / head_dim as f64))
        .collect();
    let turn = |angle: f64| {
        let (sine, cosine) = angle.sin_cos();
        [cosine as f32, sine as f32]
    };
    (0..places)
        .flat_map(|place| frequencies.iter().map(move |f| turn(place as f64 * f)))
        .collect()
}

/// The rotations of one place.
fn turns(table: &[[f32; 2]], head_dim: usize, place: usize) -> &[[f32; 2]] {
    let pairs = head_dim / 2;
    &table[place * pairs..(place + 1) * pairs]
}

/// Turns each pair of channels of each head.
fn rotate(heads: &mut [f32], turns: &[[f32; 2]], sign: f32) {
    for head in heads.chunks_exact_mut(2 * turns.len()) {
        for (pair, [cosine, sine]) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
            let ([x, y], sine) = (*pair, sign * sine);
            *pair = [x * cosine - y * sine, x * sine + y * cosine];
        }
    }
}
