//! T5's relative positions: a learned number for each head and bucket of distances is added to scores (Raffel et al.
//! 2020, §2.1).
//!
//! Half of the 32 buckets have one distance each; the others grow with the logarithm of the distance up to 128, and
//! the last has all that is farther away.

/// Number of buckets.
pub const BUCKETS: usize = 32;

/// The bucket of a distance, as in the authors' code (`relative_position_bucket`, not bidirectional).
pub(super) fn bucket(distance: usize) -> usize {
    const EXACT: usize = BUCKETS / 2;
    if distance < EXACT {
        return distance;
    }
    let doubled = (distance as f64 / EXACT as f64).ln() / (128.0 / EXACT as f64).ln();
    (EXACT + (doubled * (BUCKETS - EXACT) as f64) as usize).min(BUCKETS - 1)
}

/// What one head adds for each distance below `distances`; `table: [BUCKETS, heads]`.
pub(super) fn by_distance(
    table: &[f32],
    (head, heads): (usize, usize),
    distances: usize,
) -> Vec<f32> {
    let at = |distance| table[bucket(distance) * heads + head];
    (0..distances).map(at).collect()
}
