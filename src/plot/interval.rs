//! How sure a mean over seeds is: Student's 95 % interval.

use crate::metrics::statistics;

/// The 95 % t-interval of the mean of fractions, kept within 0 to 1; `None` of fewer than two, and of
/// fractions that are all the same.
///
/// It says how far the mean over *other seeds* may lie, on the same questions.
pub(super) fn mean_95(fractions: &[f64]) -> Option<(f64, f64)> {
    let mean = statistics::mean(fractions)?;
    let deviation = statistics::standard_deviation(fractions)?;
    if deviation == 0.0 {
        return None; // Seeds that agree say nothing about how far others would be.
    }
    let half = t_975(fractions.len() - 1) * deviation / (fractions.len() as f64).sqrt();
    Some(((mean - half).max(0.0), (mean + half).min(1.0)))
}

/// The 97.5 % quantile of Student's t with `freedom` degrees of freedom (at least 1).
///
/// Up to 10 from the table, beyond by the expansion around the normal quantile, which is then right
/// to 0.0005. Source: Abramowitz and Stegun 1964, table 26.10 and formula 26.7.5.
fn t_975(freedom: usize) -> f64 {
    const TABLE: [f64; 10] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    ];
    const Z: f64 = 1.959_963_984_540_054;
    if let Some(quantile) = TABLE.get(freedom.saturating_sub(1)) {
        return *quantile;
    }
    let n = freedom as f64;
    let (z3, z5, z7) = (Z.powi(3), Z.powi(5), Z.powi(7));
    Z + (z3 + Z) / (4.0 * n)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * Z) / (96.0 * n.powi(2))
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * Z) / (384.0 * n.powi(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_the_printed_table() {
        let table = [
            (1, 12.706),
            (2, 4.303),
            (10, 2.228),
            (11, 2.201),
            (20, 2.086),
            (120, 1.980),
        ];
        for (freedom, quantile) in table {
            assert!(
                (t_975(freedom) - quantile).abs() < 6e-4,
                "{freedom}: {}",
                t_975(freedom)
            );
        }
    }

    #[test]
    fn the_interval_of_three_seeds() {
        // By hand: mean 0.2, deviation 0.01, 4.303 x 0.01 / sqrt 3 = 0.02484.
        let (low, high) = mean_95(&[0.19, 0.20, 0.21]).unwrap();
        assert!(
            (low - 0.17516).abs() < 1e-4 && (high - 0.22484).abs() < 1e-4,
            "{low} {high}"
        );
        assert_eq!(mean_95(&[0.0, 1.0]), Some((0.0, 1.0)));
        assert_eq!(mean_95(&[0.5]), None);
        assert_eq!(mean_95(&[0.5, 0.5]), None);
    }
}
