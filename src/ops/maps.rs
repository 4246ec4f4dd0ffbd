//! Attention maps for visualisation: the weights of every head over one document, without dropout.
//!
//! The model itself does not use them: the input of a layer is projected again, on the host and for a
//! single document. Scores become weights by the code of the fast paths, and the tests of the ops check
//! that the sum of values weighted by these maps is the sublayer's output.

use dfdx::tensor::{Storage, Tensor};

use super::kernels::matmul::Pass;
use super::kernels::rows::{RowNorm, normalise};
use super::parameters::Norm;
use super::residual::{Layer, apply, pack_linear};

/// The attention weights of one head over one document.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadMap {
    /// Number of queries.
    pub queries: usize,
    /// Number of keys.
    pub keys: usize,
    /// `[queries, keys]`, row-major; 0 for a masked key.
    pub weights: Vec<f32>,
}

/// A norm: `[tokens, EMBED]` → the same.
pub(super) fn normed<const EMBED: usize, D: Storage<f32>>(
    x: &[f32],
    norm: &Norm<EMBED, f32, D>,
) -> Vec<f32> {
    let mut normed = vec![0.0; x.len()];
    let (weight, bias) = (norm.weight.as_vec(), norm.bias.as_ref().map(Tensor::as_vec));
    let norm = RowNorm {
        weight: &weight,
        bias: bias.as_deref(),
    };
    normalise(x, norm, &mut normed);
    normed
}

/// Linear layer: `[tokens, inputs]` → `[tokens, outputs]`.
pub(super) fn projected(x: &[f32], layer: &impl Layer) -> Vec<f32> {
    let layer = pack_linear(layer, Pass::Forward);
    let [inputs, outputs] = [layer.0.depth(), layer.0.columns()];
    let mut y = vec![0.0; x.len() / inputs * outputs];
    apply(&layer, x, &mut y, outputs);
    y
}

#[cfg(test)]
pub(crate) mod tests {
    use dfdx::shapes::Const;
    use dfdx::tensor::Cpu;

    use super::*;
    use crate::ops::parameters::Linear;
    use crate::ops::tests::assert_close;

    /// Checks a sublayer's output against its maps: the sum of values `[keys, KV]` weighted by the maps,
    /// the output projection, and the residual `x`.
    pub(crate) fn check_maps<const EMBED: usize>(
        maps: &[HeadMap],
        values: &[f32],
        proj: &Linear<usize, Const<EMBED>, f32, Cpu>,
        x: &[f32],
        given: &[f32],
    ) {
        check_output(&apply_maps(maps, values), proj, x, given, 1e-5);
    }

    /// Values weighted by maps, heads side by side; if there are fewer heads of values, groups of
    /// consecutive heads share them.
    pub(crate) fn apply_maps(maps: &[HeadMap], values: &[f32]) -> Vec<f32> {
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
                    let sums = &mut heads[query * width + head * 4..][..4];
                    (sums.iter_mut().zip(values)).for_each(|(sum, v)| *sum += weight * v);
                }
            }
        }
        heads
    }

    /// Checks that the heads' outputs, projected and added to `x`, are the sublayer's output.
    pub(crate) fn check_output<const EMBED: usize>(
        heads: &[f32],
        proj: &Linear<usize, Const<EMBED>, f32, Cpu>,
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

    /// Checks that the weights of every query add up to 1.
    pub(crate) fn check_sums(maps: &[HeadMap]) {
        for row in maps
            .iter()
            .flat_map(|map| map.weights.chunks_exact(map.keys))
        {
            let sum: f32 = row.iter().sum();
            assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        }
    }
}
