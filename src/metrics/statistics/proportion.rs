//! Confidence interval of a proportion.

/// The 97.5 % quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Wilson's 95 % score interval of `correct` out of `questions`, as fractions.
///
/// Unlike the normal approximation it does not collapse if none or all are right. Without questions it is all
/// of 0 to 1.
///
/// Source: Wilson 1927, *Probable inference, the law of succession, and statistical inference*.
///
/// ```
/// let (low, high) = attnlab::metrics::statistics::wilson_95(25, 500);
/// assert_eq!(format!("{low:.3} {high:.3}"), "0.034 0.073");
/// ```
pub fn wilson_95(correct: usize, questions: usize) -> (f64, f64) {
    match questions {
        0 => (0.0, 1.0),
        _ => wilson_95_of(correct as f64 / questions as f64, questions as f64),
    }
}

/// The same for a fraction and an effective number of questions above 0: several seeds on the same questions
/// count as one.
pub fn wilson_95_of(fraction: f64, questions: f64) -> (f64, f64) {
    let (n, p) = (questions, fraction);
    let scale = 1.0 / (1.0 + Z * Z / n);
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let (low, high) = (scale * (centre - half), scale * (centre + half));
    // Exact at the ends, where subtraction would leave a rounding error.
    (
        if p == 0.0 { 0.0 } else { low },
        if p == 1.0 { 1.0 } else { high },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_keeps_its_width_at_the_ends() {
        let (low, high) = wilson_95(0, 500);
        assert!(low == 0.0 && (high - 0.00763).abs() < 1e-4, "{low} {high}");
        let (low, high) = wilson_95(500, 500);
        assert!((low - 0.99237).abs() < 1e-4 && high == 1.0, "{low} {high}");
        assert_eq!(wilson_95(0, 0), (0.0, 1.0));
    }

    #[test]
    fn a_fraction_of_as_many_questions_is_the_same() {
        assert_eq!(wilson_95_of(0.25, 8.0), wilson_95(2, 8));
        let (low, high) = wilson_95_of(0.25, 2.5);
        assert!(low < wilson_95(2, 8).0 && high > wilson_95(2, 8).1);
    }
}
