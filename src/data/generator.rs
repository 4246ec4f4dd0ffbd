//! Reproducible random draws: a separate generator for each purpose and each item.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// The generator for a purpose and up to three numbers, such as (seed, epoch, document).
///
/// Different keys give independent draws, so nothing depends on the order of drawing.
/// Ranges are drawn as `u32`, never as `usize`, so that all platforms draw the same numbers.
pub(crate) fn generator(purpose: &[u8; 8], numbers: [u64; 3]) -> ChaCha8Rng {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(purpose);
    for (bytes, number) in seed[8..].chunks_exact_mut(8).zip(numbers) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngCore as _;

    #[test]
    fn every_part_of_the_key_counts() {
        let first = |purpose, numbers| generator(purpose, numbers).next_u64();
        let here = first(b"purpose1", [1, 2, 3]);
        assert_eq!(here, first(b"purpose1", [1, 2, 3]));
        for other in [
            first(b"purpose2", [1, 2, 3]),
            first(b"purpose1", [0, 2, 3]),
            first(b"purpose1", [1, 3, 2]),
            first(b"purpose1", [1, 2, 3 + (1 << 40)]),
        ] {
            assert_ne!(here, other);
        }
    }
}
