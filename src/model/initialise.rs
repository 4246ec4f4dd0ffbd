//! The reference's initialisation, drawn on the host: the same weights on every device.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Normal, Uniform};

use super::Start;
use crate::ops::attention::FIRST_SCALE;

/// Initial values of each tensor, given names and shapes.
///
/// Matrices (linear layers and embeddings) are N(0, `deviation`), 0.02 in the reference; layer-norm weights
/// are 1; biases and position embeddings are 0; the synthesizer's table of position scores is uniform
/// between -0.001 and 0.001, and the vectors of differential attention's λ are N(0, 0.1) (Ye et al. 2025).
/// A Perceiver's latents are uniform within ± √(6 / (fan in + fan out)) (Glorot and Bengio 2010;
/// `xavier_uniform_` counts width times latents as fan in, and the width as fan out). Each tensor draws
/// from its own random stream, so that adding a tensor changes no other.
pub(super) fn draw(layout: &[(String, Vec<usize>)], start: Start) -> Vec<Vec<f32>> {
    let normal = Normal::new(0.0, start.deviation).expect("a finite deviation");
    let lambda = Normal::new(0.0, 0.1).expect("a finite deviation");
    let position_scores = Uniform::new(-0.001, 0.001);
    let tensors = layout.iter().enumerate().map(|(stream, (name, shape))| {
        let length = shape.iter().product();
        let mut generator = ChaCha8Rng::seed_from_u64(start.seed);
        generator.set_stream(stream as u64);
        match shape[..] {
            [_, _] if name.ends_with("attn.w2") => generator
                .sample_iter(position_scores)
                .take(length)
                .collect(),
            [_, _] if name.ends_with("attn.lambda") => {
                generator.sample_iter(lambda).take(length).collect()
            }
            [heads, _] if name.ends_with("talking_heads.weight") => {
                let one = |i: usize| f32::from(u8::from(i.is_multiple_of(heads + 1)));
                (0..length).map(one).collect()
            }
            [_, _] => generator.sample_iter(normal).take(length).collect(),
            [_, latents, width] if name.ends_with(".C") => {
                let bound = (6.0 / (latents * width + width) as f32).sqrt();
                let uniform = Uniform::new(-bound, bound);
                generator.sample_iter(uniform).take(length).collect()
            }
            [_] if name.ends_with("weight") => vec![1.0; length],
            [_] if name.ends_with("qk_norm_scale") => vec![FIRST_SCALE; length],
            _ => vec![0.0; length],
        }
    });
    tensors.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_reference() {
        let layout = [
            ("tok_emb.weight".to_owned(), vec![100, 50]),
            ("pos_emb".to_owned(), vec![1, 4, 3]),
            ("ln_f.weight".to_owned(), vec![3]),
            ("ln_f.bias".to_owned(), vec![3]),
            ("blocks.0.attn.w2".to_owned(), vec![40, 100]),
            ("blocks.0.attn.lambda".to_owned(), vec![2, 2500]),
        ];
        let values = draw(
            &layout,
            Start {
                seed: 1,
                deviation: 0.02,
            },
        );
        let deviation = (values[0].iter().map(|v| v * v).sum::<f32>() / 5000.0).sqrt();
        assert!((deviation - 0.02).abs() < 0.001, "{deviation}");
        assert_eq!(values[1], [0.0; 12]);
        assert_eq!((&values[2], &values[3]), (&vec![1.0; 3], &vec![0.0; 3]));
        let position_scores = &values[4];
        let deviation = (position_scores.iter().map(|v| v * v).sum::<f32>() / 4000.0).sqrt();
        assert!(
            (deviation - 0.001 / 3f32.sqrt()).abs() < 2e-5,
            "{deviation}"
        );
        assert!(position_scores.iter().all(|v| v.abs() <= 0.001));
        let deviation = (values[5].iter().map(|v| v * v).sum::<f32>() / 5000.0).sqrt();
        assert!((deviation - 0.1).abs() < 0.005, "{deviation}");
        assert_eq!(
            values,
            draw(
                &layout,
                Start {
                    seed: 1,
                    deviation: 0.02
                }
            )
        );
        assert_ne!(
            values[0],
            draw(
                &layout,
                Start {
                    seed: 2,
                    deviation: 0.02
                }
            )[0]
        );
    }

    #[test]
    fn latents_are_uniform_within_the_bound_of_their_fans() {
        let layout = [("down_block.C".to_owned(), vec![1, 64, 256])];
        let start = Start {
            seed: 3,
            deviation: 0.02,
        };
        let values = &draw(&layout, start)[0];
        let bound = (6.0f32 / (64 * 256 + 256) as f32).sqrt();
        let most = values.iter().fold(0f32, |most, v| most.max(v.abs()));
        assert!(most <= bound && most > 0.999 * bound, "{most} of {bound}");
        // The variance of a uniform draw is a third of the squared bound, with a standard error of 0.7 %.
        let count = values.len() as f32;
        let mean = values.iter().sum::<f32>() / count;
        let variance = values.iter().map(|v| v * v).sum::<f32>() / count;
        let ratio = variance / (bound * bound / 3.0);
        assert!((ratio - 1.0).abs() < 0.021, "{ratio}");
        assert!(mean.abs() < 0.014 * bound, "{mean}");
    }
}
