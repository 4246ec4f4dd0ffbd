//! b.ii: with orthonormal keys `q = beta (k_a + k_b)` gives `c = (v_a + v_b) / 2` as beta grows.

use super::attend;
use super::vectors::{Vector, distance, orthonormal};
use crate::data::generator::generator;

/// `|c - (v_a + v_b) / 2|` for each beta; `n` orthonormal keys and values.
pub fn errors(keys: usize, dimension: usize, betas: &[f64], seed: u64) -> Vec<f64> {
    let mut draws = generator(b"average ", [seed, keys as u64, dimension as u64]);
    let k = orthonormal(keys, dimension, &mut draws);
    let v = orthonormal(keys, dimension, &mut draws);
    let middle = scaled_sum(&v[0], &v[1], 0.5);
    let error = |&beta: &f64| distance(&attend(&k, &v, &scaled_sum(&k[0], &k[1], beta)), &middle);
    betas.iter().map(error).collect()
}

/// `scale (a + b)`
pub(super) fn scaled_sum(a: &[f64], b: &[f64], scale: f64) -> Vector {
    a.iter().zip(b).map(|(x, y)| scale * (x + y)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_has_its_closed_form() {
        let betas = [0.0, 1.0, 4.0, 10.0];
        for n in [3, 10, 50] {
            for (beta, error) in betas.iter().zip(errors(n, 64, &betas, 1)) {
                // The weight on the other keys: equal shares of it, and as much missing from a and b.
                let others = n as f64 - 2.0;
                let rest = others / (2.0 * beta.exp() + others);
                let wanted = rest * (0.5 + 1.0 / others).sqrt();
                assert!((error - wanted).abs() < 1e-12, "{n} {beta}");
            }
        }
    }
}
