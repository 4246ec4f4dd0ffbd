//! Question 1 of the assignment as numerical experiments: what a single attention head can do.
//!
//! There are `n` keys `k_i` and values `v_i` of `d` dimensions, and a query `q`. The attention weights are
//! `softmax(k_i . q)`, the output is `c = sum of weight_i v_i`. Everything is `f64`; every draw has its own
//! random stream, so results have the same bits for any number of threads.
//!
//! | question | file |
//! |---|---|
//! | a: when does attention copy a value? | [`copying`] |
//! | b.i: a matrix that extracts `v_a` from `v_a + v_b` | [`extraction`] |
//! | b.ii: a query that averages two values | [`averaging`] |
//! | c.i: the same with keys that are close to their means | [`noisy_averaging`] |
//! | c.ii: the same with one key of random length | [`swing`] |
//! | d: two heads instead of one | [`two_heads`] |

pub mod averaging;
pub mod copying;
mod curve;
pub mod extraction;
pub mod noisy_averaging;
mod question;
pub mod swing;
pub mod two_heads;
pub mod vectors;

use vectors::{Vector, dot, weighted_sum};

pub use question::{Measurements, Question, QuestionKind, Sampling, Sizes};

/// All questions.
pub static QUESTIONS: [QuestionKind; 6] = [
    QuestionKind::of::<copying::Copying>(),
    QuestionKind::of::<extraction::Extraction>(),
    QuestionKind::of::<averaging::Averaging>(),
    QuestionKind::of::<noisy_averaging::NoisyAveraging>(),
    QuestionKind::of::<swing::Swing>(),
    QuestionKind::of::<two_heads::TwoHeads>(),
];

/// The attention weights of one query: `softmax(k_i . q)`, shape `[n]`.
///
/// The largest score is subtracted before `exp`, so that nothing overflows.
pub fn attention_weights(keys: &[Vector], query: &[f64]) -> Vec<f64> {
    let scores: Vec<f64> = keys.iter().map(|key| dot(key, query)).collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// The output of one head, shape `[d]`.
pub fn attend(keys: &[Vector], values: &[Vector], query: &[f64]) -> Vector {
    weighted_sum(&attention_weights(keys, query), values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_whatever_the_scores() {
        let keys = [vec![1.0], vec![0.5], vec![-1.0]];
        for beta in [0.0, 1.0, 1e3, -1e300] {
            let weights = attention_weights(&keys, &[beta]);
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-15, "{beta}");
        }
    }
}
