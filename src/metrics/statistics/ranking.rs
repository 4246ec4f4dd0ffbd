//! Ranking: are the numbers of one group larger than those of another?

/// The area under the ROC curve: the probability that one of `higher` is above one of `lower`, ties counting
/// half. `None` if either is empty.
///
/// One half means no separation, 1 that all of `higher` are above all of `lower`.
///
/// Source: Hanley and McNeil 1982, *The meaning and use of the area under a receiver operating
/// characteristic (ROC) curve*: it is the Mann-Whitney statistic over the number of pairs.
///
/// ```
/// let area = attnlab::metrics::statistics::auroc(&[0.9, 0.4], &[0.1, 0.4, 0.5]);
/// // Pairs: 3 of 3 for 0.9; for 0.4 one, a tie and a loss.
/// assert_eq!(area, Some(4.5 / 6.0));
/// ```
pub fn auroc(higher: &[f64], lower: &[f64]) -> Option<f64> {
    if higher.is_empty() || lower.is_empty() {
        return None;
    }
    let mut sorted = lower.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let halves = |&value: &f64| {
        let below = sorted.partition_point(|other| *other < value);
        let not_above = sorted.partition_point(|other| *other <= value);
        below + not_above
    };
    let won: usize = higher.iter().map(halves).sum();
    Some(won as f64 / (2.0 * higher.len() as f64 * lower.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_0_and_1_and_equals_a_half() {
        assert_eq!(auroc(&[0.8, 0.9], &[0.1, 0.2, 0.3]), Some(1.0));
        assert_eq!(auroc(&[0.1], &[0.2, 0.3]), Some(0.0));
        assert_eq!(auroc(&[0.5; 3], &[0.5; 4]), Some(0.5));
        assert_eq!(auroc(&[], &[0.5]), None);
        assert_eq!(auroc(&[0.5], &[]), None);
    }

    /// Computed by scikit-learn's roc_auc_score on its documentation's example.
    #[test]
    fn it_agrees_with_another_library() {
        assert_eq!(auroc(&[0.35, 0.8], &[0.1, 0.4]), Some(0.75));
    }
}
