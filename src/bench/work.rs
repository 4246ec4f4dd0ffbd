//! The useful arithmetic of a training step: a count that does not depend on the implementation.

use crate::config::schema::{ModelSpec, NormSpec, PositionsSpec};
use crate::data::ragged::Ragged;

/// Floating-point operations of forward and backward on a batch:
///
/// ```text
/// 6 × (parameters - embeddings - head) × tokens  +  6 × head × scored tokens
///     +  6 × layers × embed × Σ n (n + 1)   over documents of n tokens
/// ```
///
/// Every parameter except those that are only looked up, see `looked_up`, is multiplied with each token once in
/// the forward and twice in the backward pass, and a multiply-add counts as 2 operations: hence the first
/// 6. Those of the output head are multiplied with scored tokens alone. Attention has two more products, queries by keys and weights by values, over the `n (n + 1) / 2`
/// causal pairs (fewer with a window; heads that share keys have fewer parameters, not fewer pairs); with the backward pass that is 6 × 2 × `embed` per pair. For a
/// Perceiver's latents see `with_latents`. Everything else (norms, GELU, softmax, dropout, the optimiser)
/// counts as zero, and so does whatever is computed twice or masked out.
///
/// Source: Kaplan et al. 2020, *Scaling laws for neural language models*, §2.1.
pub fn flop(spec: &ModelSpec, parameters: usize, batch: &Ragged) -> f64 {
    if let Some(bottleneck) = spec.attention.bottleneck {
        return with_latents(spec, bottleneck, parameters, batch);
    }
    let embeddings = looked_up(spec);
    let pairs = |layer: usize| -> usize {
        let window = spec.attention_of(layer).window;
        let pairs = |n: usize| {
            // Pairs further apart than the window are masked out.
            let beyond = n.saturating_sub(window.unwrap_or(n));
            all_before(n) - all_before(beyond)
        };
        batch.lengths().map(pairs).sum()
    };
    let head = head(spec);
    let linear = (parameters - embeddings - head) * batch.len() + head * batch.scored();
    total(linear, (0..spec.layers).map(pairs).sum(), spec)
}

/// The same for a Perceiver, where a document of n tokens has m = min(n, `bottleneck`) latents:
///
/// * a latent is multiplied with the parameters of all blocks except the last, and with the key and value
///   projections of the last, their norm included; its initial state is an embedding;
/// * a token is multiplied with the other parameters of the last block and the final norm, and a scored one with the head;
/// * each block except the last has m (m + 1) / 2 pairs, and the last has n - m further queries of m
///   latents each.
fn with_latents(spec: &ModelSpec, bottleneck: usize, parameters: usize, batch: &Ragged) -> f64 {
    let (embed, hidden) = (spec.embed, spec.hidden);
    let linear = |inputs: usize, outputs: usize| (inputs + 1) * outputs;
    let norm = match spec.norm {
        NormSpec::Layer => 2 * embed,
        NormSpec::Rms => embed,
    };
    let mlp = match spec.mlp.hidden_width(hidden) {
        0 => 0,
        width => norm + linear(embed, width) + linear(hidden, embed),
    };
    let of_a_token = 2 * linear(embed, embed) + mlp + norm;
    let embeddings = looked_up(spec) + bottleneck * embed;
    let of_a_latent = parameters - embeddings - head(spec) - of_a_token;
    let latents = |n: usize| n.min(bottleneck);
    let multiplied = |n: usize| latents(n) * of_a_latent + n * of_a_token;
    let pairs = |n: usize| {
        let m = latents(n);
        spec.layers * all_before(m) + (n - m) * m
    };
    total(
        batch.lengths().map(multiplied).sum::<usize>() + head(spec) * batch.scored(),
        batch.lengths().map(pairs).sum(),
        spec,
    )
}

/// Number of parameters of the output head.
fn head(spec: &ModelSpec) -> usize {
    spec.vocabulary * spec.embed
}

/// Number of parameters of the token and position embeddings, of which a token uses a row without multiplying. A tied
/// head multiplies with the table of the token embedding.
fn looked_up(spec: &ModelSpec) -> usize {
    let tokens = if spec.tied_head { 0 } else { spec.vocabulary };
    let positions = match spec.positions {
        PositionsSpec::Learned => spec.context,
        PositionsSpec::None => 0,
    };
    (tokens + positions) * spec.embed
}

/// Total operations for `multiplied` parameter uses and `pairs` of queries and keys over all layers.
fn total(multiplied: usize, pairs: usize, spec: &ModelSpec) -> f64 {
    6.0 * multiplied as f64 + 12.0 * (spec.embed * pairs) as f64
}

/// Causal pairs of `n` tokens: the key is not after the query.
fn all_before(n: usize) -> usize {
    n * (n + 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::AttentionSpec;
    use crate::data::ragged::PAD;

    fn spec(layers: usize, attention: AttentionSpec) -> ModelSpec {
        let vocabulary = 10;
        ModelSpec {
            vocabulary,
            ..ModelSpec::small(layers, attention)
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
        let vanilla = spec(2, AttentionSpec::of("vanilla"));
        // 160 parameters, of which 60 are embeddings.
        let alone = flop(&vanilla, 160, &batch(&[0, 1]));
        assert_eq!(alone, 600.0 + 2.0 * 12.0 * 4.0);
        let three = flop(&vanilla, 160, &batch(&[0, 3]));
        assert_eq!(three, 3.0 * 600.0 + 6.0 * 2.0 * 12.0 * 4.0);
        let both = flop(&vanilla, 160, &batch(&[0, 1, 4]));
        assert_eq!(both, alone + three);
        // Of the six pairs, a window of two masks out the last token's with the first.
        let window = spec(
            2,
            AttentionSpec {
                window: Some(2),
                ..AttentionSpec::of("sliding-window")
            },
        );
        let five = flop(&window, 160, &batch(&[0, 3]));
        assert_eq!(five, 3.0 * 600.0 + 5.0 * 2.0 * 12.0 * 4.0);
    }

    #[test]
    fn a_token_without_a_target_has_no_logits() {
        let vanilla = spec(2, AttentionSpec::of("vanilla"));
        let all = batch(&[0, 3]);
        let mut one = all.clone();
        one.targets[..2].fill(PAD);
        let (head, tokens) = (10.0 * 4.0, 2.0);
        let difference = flop(&vanilla, 160, &all) - flop(&vanilla, 160, &one);
        assert_eq!(difference, 6.0 * head * tokens);
    }

    #[test]
    fn latents_are_multiplied_by_what_they_go_through() {
        let perceiver = spec(3, AttentionSpec::latents(2));
        // A projection has 20 parameters, a norm 8, an MLP 40 + 36; a block 4 projections, 2 norms and an MLP.
        let block = 4 * 20 + 2 * 8 + 76;
        let embeddings = (10 + 5 + 2) * 4;
        let parameters = embeddings + 3 * block + 8 + 40;
        // The last block projects normalised latents to keys and values; the rest of it processes tokens.
        let of_a_latent = 2 * block + 2 * 20 + 8;
        let of_a_token = 2 * 20 + 8 + 76 + 8 + 40;
        // One pair in each of the three blocks.
        let alone = flop(&perceiver, parameters, &batch(&[0, 1]));
        let multiplied = of_a_latent + of_a_token;
        assert_eq!(alone, (6 * multiplied + 3 * 12 * 4) as f64);
        // Three tokens have two latents: three pairs per block, and the last token attends to both.
        let three = flop(&perceiver, parameters, &batch(&[0, 3]));
        let multiplied = 2 * of_a_latent + 3 * of_a_token;
        assert_eq!(three, (6 * multiplied + (3 * 3 + 2) * 12 * 4) as f64);
        let both = flop(&perceiver, parameters, &batch(&[0, 1, 4]));
        assert_eq!(both, alone + three);
    }
}
