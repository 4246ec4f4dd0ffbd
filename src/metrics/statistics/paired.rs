//! Paired tests: is one of two models more accurate on the same questions?

use statrs::function::factorial::ln_binomial;

use super::wilson_95;

/// McNemar's exact test: the two-sided p value of `only_a_right` against `only_b_right`, the
/// questions that only one of the two models answers right.
///
/// If both models were equally good, each such question would be a fair coin; p is the probability
/// of a split at least as uneven as this one. Without such questions it is 1. It is never 0: values that
/// underflow become [`f64::MIN_POSITIVE`].
///
/// Source: McNemar 1947, *Note on the sampling error of the difference between correlated
/// proportions or percentages*, with the binomial distribution in place of its approximation.
///
/// ```
/// let p = attnlab::metrics::statistics::mcnemar_exact(1, 5);
/// assert!((p - 2.0 * (1.0 + 6.0) / 64.0).abs() < 1e-12);
/// ```
pub fn mcnemar_exact(only_a_right: usize, only_b_right: usize) -> f64 {
    let fewer = only_a_right.min(only_b_right) as u64;
    let all = (only_a_right + only_b_right) as u64;
    if only_a_right == only_b_right {
        return 1.0;
    }
    // By symmetry, twice one tail: its largest term times a sum of ratios. Only that term needs a
    // logarithm, so thousands of questions neither overflow nor lose digits.
    let largest = ln_binomial(all, fewer) - all as f64 * std::f64::consts::LN_2;
    let (mut sum, mut ratio) = (0.0, 1.0);
    for k in (0..=fewer).rev() {
        sum += ratio;
        ratio *= k as f64 / (all - k + 1) as f64;
        if ratio < sum * f64::EPSILON {
            break;
        }
    }
    (2.0 * largest.exp() * sum).clamp(f64::MIN_POSITIVE, 1.0)
}

/// The 95 % interval of b's accuracy minus a's on the same questions, as fractions from -1 to 1.
///
/// `both` and `neither` count the questions that both or neither of the models answer right. Without
/// questions it is all of -1 to 1.
///
/// It combines two Wilson intervals and corrects for the correlation of the models. Source:
/// Newcombe 1998, *Improved confidence intervals for the difference between binomial proportions
/// based on paired data*, Statistics in Medicine 17, 2635-2650, method 10.
///
/// ```
/// let (low, high) = attnlab::metrics::statistics::paired_difference_95(36, 2, 12, 0);
/// assert_eq!(format!("{low:.4} {high:.4}"), "0.0569 0.3404");
/// ```
pub fn paired_difference_95(
    both: usize,
    only_a_right: usize,
    only_b_right: usize,
    neither: usize,
) -> (f64, f64) {
    let questions = both + only_a_right + only_b_right + neither;
    if questions == 0 {
        return (-1.0, 1.0);
    }
    let (right_a, right_b) = (both + only_a_right, both + only_b_right);
    let n = questions as f64;
    let (a, b) = (right_a as f64 / n, right_b as f64 / n);
    let ((a_low, a_high), (b_low, b_high)) =
        (wilson_95(right_a, questions), wilson_95(right_b, questions));
    let common = correlation(both, only_a_right, only_b_right, neither);
    let half = |x: f64, y: f64| (x * x - 2.0 * common * x * y + y * y).max(0.0).sqrt();
    let difference = (only_b_right as f64 - only_a_right as f64) / n;
    (
        (difference - half(b - b_low, a_high - a)).max(-1.0),
        (difference + half(b_high - b, a - a_low)).min(1.0),
    )
}

/// The phi coefficient of the two models' right answers, with Newcombe's continuity correction: a
/// positive one is moved towards 0. It is 0 if one of the two is always or never right.
fn correlation(both: usize, only_a_right: usize, only_b_right: usize, neither: usize) -> f64 {
    let [both, only_a, only_b, neither] =
        [both, only_a_right, only_b_right, neither].map(|count| count as f64);
    let product = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither);
    if product == 0.0 {
        return 0.0;
    }
    let together = both * neither - only_a * only_b;
    let corrected = match together > 0.0 {
        true => (together - (both + only_a + only_b + neither) / 2.0).max(0.0),
        false => together,
    };
    corrected / product.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with scipy.stats.binomtest(a, a + b, 0.5).pvalue.
    #[test]
    fn p_agrees_with_another_library() {
        for (a, b, p) in [
            (0, 1, 1.0),
            (1, 5, 0.21875),
            (2, 10, 0.03857421875),
            (7, 1, 0.0703125),
            (10, 25, 0.016673847800120715),
            (45, 62, 0.12151242187624432),
            (0, 40, 1.8189894035458565e-12),
            (1000, 1100, 0.03072070786424249),
            (2500, 2700, 0.0057814420391163164),
            (5000, 5400, 9.116949314541157e-05),
        ] {
            let found = mcnemar_exact(a, b);
            assert!(
                (found / p - 1.0).abs() < 1e-9,
                "{a}, {b}: {found} is not {p}"
            );
        }
    }

    /// By enumerating all outcomes of the coin flips.
    #[test]
    fn p_agrees_with_counting() {
        for all in 0..=14u32 {
            for a in 0..=all {
                let at_least = a.abs_diff(all - a);
                let uneven = (0..1u32 << all).filter(|coins| {
                    let heads = coins.count_ones();
                    heads.abs_diff(all - heads) >= at_least
                });
                let p = uneven.count() as f64 / f64::from(1u32 << all);
                let found = mcnemar_exact(a as usize, (all - a) as usize);
                assert!(
                    (found - p).abs() < 1e-12,
                    "{a} of {all}: {found} is not {p}"
                );
            }
        }
    }

    #[test]
    fn p_is_1_without_a_difference_and_never_0() {
        assert_eq!(mcnemar_exact(0, 0), 1.0);
        assert_eq!(mcnemar_exact(4321, 4321), 1.0);
        assert_eq!(mcnemar_exact(0, 100_000), f64::MIN_POSITIVE);
    }

    /// The first is in table II of Newcombe 1998. The others are studies by Cavo and others (2012)
    /// and Bentur and others (2009), computed by Fagerland, Lydersen and Laake's R package
    /// contingencytables as square-and-add intervals.
    #[test]
    fn the_interval_agrees_with_published_examples() {
        for ([both, only_a, only_b, neither], low, high) in [
            ([36, 2, 12, 0], 0.0569, 0.3404),
            ([59, 16, 6, 80], -0.1186, -0.0046),
            ([1, 7, 1, 12], -0.507, -0.026),
        ] {
            let found = paired_difference_95(both, only_a, only_b, neither);
            let close = |a: f64, b: f64| (a - b).abs() < 5e-4;
            assert!(close(found.0, low) && close(found.1, high), "{found:?}");
        }
    }

    /// The probability that the interval covers the true difference, summed over all outcomes.
    #[test]
    fn the_interval_has_a_coverage_of_about_95_percent() {
        let n = 24;
        for (both, only_a, only_b) in [(0.3, 0.1, 0.3), (0.5, 0.2, 0.2), (0.1, 0.05, 0.6)] {
            let neither: f64 = 1.0 - both - only_a - only_b;
            let ln = [both, only_a, only_b, neither].map(f64::ln);
            let mut held = 0.0;
            for i in 0..=n {
                for j in 0..=n - i {
                    for k in 0..=n - i - j {
                        let counts = [i, j, k, n - i - j - k];
                        let (low, high) = paired_difference_95(i, j, k, counts[3]);
                        if low <= only_b - only_a && only_b - only_a <= high {
                            let ways = statrs::function::factorial::multinomial(
                                n as u64,
                                &counts.map(|count| count as u64),
                            );
                            let chance: f64 =
                                counts.iter().zip(ln).map(|(&c, ln)| c as f64 * ln).sum();
                            held += ways * chance.exp();
                        }
                    }
                }
            }
            assert!((0.93..0.985).contains(&held), "{held}");
        }
    }

    #[test]
    fn without_questions_the_interval_is_the_whole_range() {
        assert_eq!(paired_difference_95(0, 0, 0, 0), (-1.0, 1.0));
        let (low, high) = paired_difference_95(0, 0, 9, 0);
        assert!(low > 0.4 && high == 1.0, "{low} {high}");
    }
}
