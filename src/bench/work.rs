//! The useful arithmetic of a training step, by a rule that knows nothing of how it is done.

use crate::config::shape::ModelShape;
use crate::data::ragged::Ragged;

/// Floating-point operations of forward and backward on a batch:
///
/// ```text
/// 6 × (parameters - embeddings) × tokens  +  6 × layers × embed × Σ n (n + 1)   over documents of n tokens
/// ```
///
/// Each parameter but those of the token and position embeddings multiplies each token once forward
/// and twice backward, and a product and its sum are 2 operations: that is the first 6. Attention
/// has two products of its own, queries by keys and weights by values, over the `n (n + 1) / 2`
/// pairs that causality lets see each other (fewer in a window); twice as many come back: 6 × 2 ×
/// `embed` a pair.
/// Everything else (norms, GELU, softmax, dropout, the optimiser) counts as nothing, and so does
/// whatever is computed twice or hidden by the mask.
///
/// Source: Kaplan et al. 2020, *Scaling laws for neural language models*, §2.1.
pub fn flop(shape: &ModelShape, parameters: usize, batch: &Ragged) -> f64 {
    let embeddings = (shape.vocabulary + shape.context) * shape.embed;
    let pairs = |document: &[usize]| {
        let n = document[1] - document[0];
        // What is beyond the window of each token but the first few is not seen.
        let beyond = n.saturating_sub(shape.window());
        n * (n + 1) - beyond * (beyond + 1)
    };
    let pairs: usize = batch.starts.windows(2).map(pairs).sum();
    let linear = (parameters - embeddings) * batch.len();
    6.0 * linear as f64 + 6.0 * (shape.layers * shape.embed * pairs) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_attends_to_itself_and_three_to_six_pairs() {
        let shape = ModelShape {
            layers: 2,
            embed: 4,
            heads: 2,
            head_dim: 2,
            hidden: 8,
            vocabulary: 10,
            context: 5,
            attention: "vanilla".into(),
            own: 0,
        };
        let batch = |starts: &[usize]| Ragged {
            tokens: vec![2; starts[starts.len() - 1]],
            targets: vec![2; starts[starts.len() - 1]],
            starts: starts.to_vec(),
        };
        // 160 parameters, of which 60 are embeddings.
        let alone = flop(&shape, 160, &batch(&[0, 1]));
        assert_eq!(alone, 600.0 + 2.0 * 12.0 * 4.0);
        let three = flop(&shape, 160, &batch(&[0, 3]));
        assert_eq!(three, 3.0 * 600.0 + 6.0 * 2.0 * 12.0 * 4.0);
        let both = flop(&shape, 160, &batch(&[0, 1, 4]));
        assert_eq!(both, alone + three);
        // Of the six pairs, a window of two leaves out the last token's with the first.
        let window = ModelShape {
            attention: "sliding-window".into(),
            own: 2,
            ..shape
        };
        let five = flop(&window, 160, &batch(&[0, 3]));
        assert_eq!(five, 3.0 * 600.0 + 5.0 * 2.0 * 12.0 * 4.0);
    }
}
