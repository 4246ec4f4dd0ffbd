//! The reference's initialisation, drawn on the host: the same weights on every device.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Normal, Uniform};

use super::Start;

/// Initial values of each tensor, given names and shapes.
///
/// Matrices (linears and embeddings) are N(0, `deviation`), 0.02 in the reference; layer-norm weights are 1; biases and position
/// embeddings are 0; the synthesizer's table of places is uniform between -0.001 and 0.001. Each tensor draws
/// from a stream of its own, so that one more tensor changes no other.
pub(super) fn draw(layout: &[(String, Vec<usize>)], start: Start) -> Vec<Vec<f32>> {
    let normal = Normal::new(0.0, start.deviation).expect("a finite deviation");
    let places = Uniform::new(-0.001, 0.001);
    let tensors = layout.iter().enumerate().map(|(stream, (name, shape))| {
        let length = shape.iter().product();
        let mut generator = ChaCha8Rng::seed_from_u64(start.seed);
        generator.set_stream(stream as u64);
        match shape.len() {
            2 if name.ends_with("attn.w2") => generator.sample_iter(places).take(length).collect(),
            2 => generator.sample_iter(normal).take(length).collect(),
            1 if name.ends_with("weight") => vec![1.0; length],
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
}
