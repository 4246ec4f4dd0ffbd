//! Where heads look, for people to see: the weights of every head over one document, without dropout.
//!
//! No path of the model: what goes into a layer is projected once more, on the host and for a single document.
//! Scores become weights by the code of the fast paths, and the tests of the ops blend values by the maps and
//! get what the sublayers give.

use dfdx::shapes::{Dtype, Shape};
use dfdx::tensor::{Storage, Tensor};

use super::kernels::matmul::{Pass, linear};
use super::kernels::rows::normalise;
use super::parameters::{LayerNorm, Linear};
use super::residual::apply;

/// The weights that the queries of one head give to keys.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadMap {
    /// How many ask.
    pub queries: usize,
    /// How many are asked.
    pub keys: usize,
    /// `[queries, keys]`, row by row; 0 for a key that a query does not see.
    pub weights: Vec<f32>,
}

/// The elements of a tensor of any device, on the host.
pub(in crate::ops) fn on_host<S: Shape, N: Dtype, D: Storage<N>>(
    tensor: &Tensor<S, N, D>,
) -> Vec<f32> {
    let elements = tensor.as_vec().into_iter();
    elements
        .map(|x| x.to_f32().expect("a number in single precision"))
        .collect()
}

/// `[tokens, EMBED]` → the same.
pub(in crate::ops) fn normed<const EMBED: usize, N: Dtype, D: Storage<N>>(
    x: &[f32],
    norm: &LayerNorm<EMBED, N, D>,
) -> Vec<f32> {
    let mut normed = vec![0.0; x.len()];
    let (weight, bias) = (on_host(&norm.weight), on_host(&norm.bias));
    normalise(x, [&weight, &bias], &mut normed);
    normed
}

/// `[tokens, IN]` → `[tokens, OUT]`.
pub(in crate::ops) fn projected<const IN: usize, const OUT: usize, N: Dtype, D: Storage<N>>(
    x: &[f32],
    layer: &Linear<IN, OUT, N, D>,
) -> Vec<f32> {
    let (weight, bias) = (on_host(&layer.weight), on_host(&layer.bias));
    let packed = linear(&weight, (IN, OUT), Pass::Forward);
    let mut y = vec![0.0; x.len() / IN * OUT];
    apply(&(packed, &bias), x, &mut y, OUT);
    y
}

#[cfg(test)]
pub(in crate::ops) mod tests {
    use dfdx::tensor::Cpu;

    use super::*;
    use crate::ops::testing::assert_close;

    /// What a sublayer gives, rebuilt from its maps: values `[keys, KV]` blended by them, the output
    /// projection, and the residual `x`.
    pub(in crate::ops) fn check_maps<const EMBED: usize>(
        maps: &[HeadMap],
        values: &[f32],
        proj: &Linear<EMBED, EMBED, f32, Cpu>,
        x: &[f32],
        given: &[f32],
    ) {
        check_output(&blended(maps, values), proj, x, given, 1e-5);
    }

    /// Values blended by maps, heads side by side; heads one after another share values where there are
    /// fewer of them.
    pub(in crate::ops) fn blended(maps: &[HeadMap], values: &[f32]) -> Vec<f32> {
        let (queries, keys) = (maps[0].queries, maps[0].keys);
        // The test's heads are 4 wide.
        let (width, kv) = (4 * maps.len(), values.len() / keys);
        let mut heads = vec![0.0; queries * width];
        for (head, map) in maps.iter().enumerate() {
            assert_eq!((map.queries, map.keys), (queries, keys));
            let shared = head * kv / width * 4;
            for (query, row) in map.weights.chunks_exact(keys).enumerate() {
                let hidden = &row[(query + 1).min(keys)..];
                assert!(hidden.iter().all(|&w| w == 0.0), "the future is seen");
                for (key, weight) in row.iter().enumerate() {
                    let values = &values[key * kv + shared..][..4];
                    let place = &mut heads[query * width + head * 4..][..4];
                    (place.iter_mut().zip(values)).for_each(|(sum, v)| *sum += weight * v);
                }
            }
        }
        heads
    }

    /// The heads' outputs, projected and added to `x`, are what the sublayer has given.
    pub(in crate::ops) fn check_output<const EMBED: usize>(
        heads: &[f32],
        proj: &Linear<EMBED, EMBED, f32, Cpu>,
        x: &[f32],
        given: &[f32],
        tolerance: f64,
    ) {
        let rebuilt = projected(heads, proj);
        let rebuilt: Vec<f64> = rebuilt
            .iter()
            .zip(x)
            .map(|(y, x)| f64::from(y + x))
            .collect();
        let given: Vec<f64> = given.iter().map(|&y| f64::from(y)).collect();
        assert_close("rebuilt", &rebuilt, &given, tolerance, 0.0);
    }

    /// The weights of every query add up to 1.
    pub(in crate::ops) fn check_sums(maps: &[HeadMap]) {
        for row in maps
            .iter()
            .flat_map(|map| map.weights.chunks_exact(map.keys))
        {
            let sum: f32 = row.iter().sum();
            assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        }
    }
}
