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
/// `embed` a pair. Where latents stand between the tokens, see `with_latents`.
/// Everything else (norms, GELU, softmax, dropout, the optimiser) counts as nothing, and so does
/// whatever is computed twice or hidden by the mask.
///
/// Source: Kaplan et al. 2020, *Scaling laws for neural language models*, §2.1.
pub fn flop(shape: &ModelShape, parameters: usize, batch: &Ragged) -> f64 {
    if let Some(bottleneck) = shape.bottleneck() {
        return with_latents(shape, bottleneck, parameters, batch);
    }
    let embeddings = (shape.vocabulary + shape.context) * shape.embed;
    let pairs = |n: usize| {
        // What is beyond the window of each token but the first few is not seen.
        let beyond = n.saturating_sub(shape.window());
        all_before(n) - all_before(beyond)
    };
    let pairs: usize = lengths(batch).map(pairs).sum();
    let linear = (parameters - embeddings) * batch.len();
    total(linear, shape.layers * pairs, shape)
}

/// The same with latents, of which a document of n tokens has m = min(n, `bottleneck`):
///
/// * a latent is multiplied by the parameters of all blocks but the last, and by those of the last that
///   make keys and values of it, their norm included; its first state is an embedding;
/// * a token is multiplied by the other parameters of the last block, by the final norm and the head;
/// * m (m + 1) / 2 pairs see each other in each block but the last, and there n - m more queries see m
///   latents each.
fn with_latents(shape: &ModelShape, bottleneck: usize, parameters: usize, batch: &Ragged) -> f64 {
    let (embed, hidden) = (shape.embed, shape.hidden);
    let linear = |inputs: usize, outputs: usize| (inputs + 1) * outputs;
    let norm = 2 * embed;
    let mlp = norm + linear(embed, hidden) + linear(hidden, embed);
    let of_a_token = 2 * linear(embed, embed) + mlp + norm + shape.vocabulary * embed;
    let embeddings = (shape.vocabulary + shape.context + bottleneck) * embed;
    let of_a_latent = parameters - embeddings - of_a_token;
    let latents = |n: usize| n.min(bottleneck);
    let multiplied = |n: usize| latents(n) * of_a_latent + n * of_a_token;
    let pairs = |n: usize| {
        let m = latents(n);
        shape.layers * all_before(m) + (n - m) * m
    };
    total(
        lengths(batch).map(multiplied).sum(),
        lengths(batch).map(pairs).sum(),
        shape,
    )
}

/// Of so many parameters that multiply something, and pairs that see each other in some block.
fn total(multiplied: usize, pairs: usize, shape: &ModelShape) -> f64 {
    6.0 * multiplied as f64 + 12.0 * (shape.embed * pairs) as f64
}

/// Pairs of `n` tokens of which the second is not before the first.
fn all_before(n: usize) -> usize {
    n * (n + 1) / 2
}

/// Tokens of each document.
fn lengths(batch: &Ragged) -> impl Iterator<Item = usize> {
    batch
        .starts
        .windows(2)
        .map(|document| document[1] - document[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(layers: usize, attention: &'static str, own: usize) -> ModelShape {
        ModelShape {
            layers,
            embed: 4,
            heads: 2,
            head_dim: 2,
            hidden: 8,
            vocabulary: 10,
            context: 5,
            attention: attention.into(),
            own,
        }
    }

    fn batch(starts: &[usize]) -> Ragged {
        Ragged {
            tokens: vec![2; starts[starts.len() - 1]],
            targets: vec![2; starts[starts.len() - 1]],
            starts: starts.to_vec(),
        }
    }

    #[test]
    fn one_token_attends_to_itself_and_three_to_six_pairs() {
        let vanilla = shape(2, "vanilla", 0);
        // 160 parameters, of which 60 are embeddings.
        let alone = flop(&vanilla, 160, &batch(&[0, 1]));
        assert_eq!(alone, 600.0 + 2.0 * 12.0 * 4.0);
        let three = flop(&vanilla, 160, &batch(&[0, 3]));
        assert_eq!(three, 3.0 * 600.0 + 6.0 * 2.0 * 12.0 * 4.0);
        let both = flop(&vanilla, 160, &batch(&[0, 1, 4]));
        assert_eq!(both, alone + three);
        // Of the six pairs, a window of two leaves out the last token's with the first.
        let window = shape(2, "sliding-window", 2);
        let five = flop(&window, 160, &batch(&[0, 3]));
        assert_eq!(five, 3.0 * 600.0 + 5.0 * 2.0 * 12.0 * 4.0);
    }

    #[test]
    fn latents_are_multiplied_by_what_they_go_through() {
        let perceiver = shape(3, "perceiver", 2);
        // A projection has 20 parameters, a norm 8, an MLP 40 + 36; a block 4 projections, 2 norms and an MLP.
        let block = 4 * 20 + 2 * 8 + 76;
        let embeddings = (10 + 5 + 2) * 4;
        let parameters = embeddings + 3 * block + 8 + 40;
        // The last block makes keys and values of normed latents; all else there is the tokens' affair.
        let of_a_latent = 2 * block + 2 * 20 + 8;
        let of_a_token = 2 * 20 + 8 + 76 + 8 + 40;
        // A pair in each of the three blocks.
        let alone = flop(&perceiver, parameters, &batch(&[0, 1]));
        let multiplied = of_a_latent + of_a_token;
        assert_eq!(alone, (6 * multiplied + 3 * 12 * 4) as f64);
        // Three tokens have two latents: three pairs a block, and the last token looks up at both.
        let three = flop(&perceiver, parameters, &batch(&[0, 3]));
        let multiplied = 2 * of_a_latent + 3 * of_a_token;
        assert_eq!(three, (6 * multiplied + (3 * 3 + 2) * 12 * 4) as f64);
        let both = flop(&perceiver, parameters, &batch(&[0, 1, 4]));
        assert_eq!(both, alone + three);
    }
}
