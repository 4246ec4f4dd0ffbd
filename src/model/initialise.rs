//! The reference's initialisation, drawn on the host: the same weights on every device.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Normal, Uniform};

use super::Start;

/// How the name of a Perceiver's latents ends.
const LATENTS: &str = ".C";

/// How the name of the vectors ends that λ of differential attention is made of.
const LAMBDA: &str = "attn.lambda";

/// How the name of a synthesizer's table of places ends.
const PLACES: &str = "attn.w2";

/// Initial values of each tensor, given names and shapes.
///
/// Matrices (linears and embeddings) are N(0, `deviation`), 0.02 in the reference; layer-norm weights are 1;
/// biases and position embeddings are 0; the synthesizer's table of places is uniform between -0.001 and 0.001,
/// and the vectors of differential attention's λ are N(0, 0.1) (Ye et al. 2025). A Perceiver's latents are
/// uniform within ± √(6 / (fan in + fan out)) (Glorot and Bengio 2010; `xavier_uniform_` counts width times
/// latents as fan in, and the width as fan out). Each tensor draws from a stream of its own, so that one more
/// tensor changes no other.
pub(super) fn draw(layout: &[(String, Vec<usize>)], start: Start) -> Vec<Vec<f32>> {
    let normal = Normal::new(0.0, start.deviation).expect("a finite deviation");
    let lambda = Normal::new(0.0, 0.1).expect("a finite deviation");
    let places = Uniform::new(-0.001, 0.001);
    let tensors = layout.iter().enumerate().map(|(stream, (name, shape))| {
        let length = shape.iter().product();
        let mut generator = ChaCha8Rng::seed_from_u64(start.seed);
        generator.set_stream(stream as u64);
        match shape[..] {
            [_, _] if name.ends_with(PLACES) => {
                generator.sample_iter(places).take(length).collect()
            }
            [_, _] if name.ends_with(LAMBDA) => {
                generator.sample_iter(lambda).take(length).collect()
            }
            [_, _] => generator.sample_iter(normal).take(length).collect(),
            [_, latents, width] if name.ends_with(LATENTS) => {
                let bound = (6.0 / (latents * width + width) as f32).sqrt();
                let uniform = Uniform::new(-bound, bound);
                generator.sample_iter(uniform).take(length).collect()
            }
            [_] if name.ends_with("weight") => vec![1.0; length],
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
        let places = &values[4];
        let deviation = (places.iter().map(|v| v * v).sum::<f32>() / 4000.0).sqrt();
        assert!(
            (deviation - 0.001 / 3f32.sqrt()).abs() < 2e-5,
            "{deviation}"
        );
        assert!(places.iter().all(|v| v.abs() <= 0.001));
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
        // The variance of a uniform draw is a third of the bound's square, with a standard error of 0.7 %.
        let count = values.len() as f32;
        let mean = values.iter().sum::<f32>() / count;
        let variance = values.iter().map(|v| v * v).sum::<f32>() / count;
        let ratio = variance / (bound * bound / 3.0);
        assert!((ratio - 1.0).abs() < 0.021, "{ratio}");
        assert!(mean.abs() < 0.014 * bound, "{mean}");
    }
}
