//! Two recipes on the same questions, each with one or more seeds.

/// The exact two-sided p value of the sign-flip test on paired differences.
///
/// Each difference belongs to one question: how many more seeds of b than of a answer it right. If the recipes
/// were equally good, either sign would be equally likely; p is the probability that random signs give a sum
/// at least as far from 0. With one seed this is McNemar's exact test. It generalises to other questions for
/// the same trained models, not to other seeds. It is never 0: values that underflow become
/// [`f64::MIN_POSITIVE`].
///
/// Source: Fisher 1935, *The Design of Experiments*, section 21; Pitman 1937, *Significance tests
/// which may be applied to samples from any populations*.
///
/// ```
/// use attnlab::metrics::statistics::{mcnemar_exact, sign_flip_exact};
/// let one_seed = [1, 1, 1, 1, 1, -1, 0, 0];
/// assert!((sign_flip_exact(&one_seed) - mcnemar_exact(1, 5)).abs() < 1e-12);
/// ```
pub fn sign_flip_exact(differences: &[i64]) -> f64 {
    let sizes = || differences.iter().map(|d| d.unsigned_abs() as usize);
    let most: usize = sizes().sum();
    let observed = differences.iter().sum::<i64>().unsigned_abs() as usize;
    // The distribution of the sum of the differences with a plus sign; the others follow from it.
    let mut probability = vec![0.0; most + 1];
    probability[0] = 1.0;
    let mut reached = 0;
    for size in sizes().filter(|&size| size > 0) {
        for sum in (0..=reached + size).rev() {
            let flipped = sum.checked_sub(size).map_or(0.0, |less| probability[less]);
            let stayed = probability[..=reached].get(sum).unwrap_or(&0.0);
            probability[sum] = 0.5 * (stayed + flipped);
        }
        reached += size;
    }
    let extreme = |plus: &usize| (2 * plus).abs_diff(most) >= observed;
    let extremes = (0..=most).filter(extreme);
    let p: f64 = extremes.map(|plus| probability[plus]).sum();
    p.clamp(f64::MIN_POSITIVE, 1.0)
}

/// Holm's adjusted p values, in the order given: rejecting those below 0.05 keeps the family-wise error rate
/// below 0.05, however the tests depend on one another.
///
/// Source: Holm 1979, *A simple sequentially rejective multiple test procedure*.
///
/// ```
/// let adjusted = attnlab::metrics::statistics::holm(&[0.01, 0.04, 0.03]);
/// assert_eq!(adjusted, [0.03, 0.06, 0.06]);
/// ```
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut highest = 0.0f64;
    for (rank, &i) in order.iter().enumerate() {
        let left = (p_values.len() - rank) as f64;
        highest = highest.max((left * p_values[i]).min(1.0));
        adjusted[i] = highest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::statistics::mcnemar_exact;

    #[test]
    fn one_seed_is_mcnemars_test() {
        for (a, b) in [(0, 0), (0, 1), (3, 3), (2, 9), (0, 20), (40, 11)] {
            let mut differences = vec![0; 7];
            differences.extend(vec![-1; a]);
            differences.extend(vec![1; b]);
            let (p, expected) = (sign_flip_exact(&differences), mcnemar_exact(a, b));
            assert!((p / expected - 1.0).abs() < 1e-9, "{a} {b}: {p} {expected}");
        }
    }

    #[test]
    fn every_choice_of_signs_counts_once() {
        let differences: [i64; 7] = [3, -1, 2, 2, 0, 1, 3];
        let observed = differences.iter().sum::<i64>().abs();
        let sum = |signs: u32| -> i64 {
            let signed = |(i, d): (usize, &i64)| if signs >> i & 1 == 1 { -d } else { *d };
            differences.iter().enumerate().map(signed).sum()
        };
        let extreme = (0..128)
            .filter(|&signs| sum(signs).abs() >= observed)
            .count();
        assert!((sign_flip_exact(&differences) - extreme as f64 / 128.0).abs() < 1e-12);
    }

    #[test]
    fn swapping_the_sides_changes_nothing_and_much_evidence_is_not_zero() {
        let differences: Vec<i64> = (0..600).map(|i| i % 5 - 1).collect();
        let swapped: Vec<i64> = differences.iter().map(|d| -d).collect();
        assert_eq!(sign_flip_exact(&differences), sign_flip_exact(&swapped));
        assert_eq!(sign_flip_exact(&[]), 1.0);
        let p = sign_flip_exact(&vec![3; 4_000]);
        assert!(p > 0.0 && p < 1e-200, "{p}");
    }

    #[test]
    fn adjusted_values_keep_their_order_and_are_never_smaller() {
        let given = [0.5, 0.001, 0.02, 0.02, 1.0];
        let adjusted = holm(&given);
        assert!(
            given
                .iter()
                .zip(&adjusted)
                .all(|(p, a)| a >= p && *a <= 1.0)
        );
        assert_eq!(adjusted[1], 0.005);
        assert_eq!(adjusted[2], adjusted[3]);
        assert!(holm(&[]).is_empty());
    }
}
