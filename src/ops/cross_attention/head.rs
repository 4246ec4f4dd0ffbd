//! One head over one document: queries `[queries, width]`, keys and values `[keys, 2 * width]`, where `width` is that of all heads.

use crate::ops::attention::head_scores::AddendGradient;
use crate::ops::attention::heads::{HeadTile, Values};
use crate::ops::kernels::matmul::{Target, View};

/// Where the queries, keys and values of a head start, for a document that starts at these rows.
fn starts(tile: &HeadTile, [query, key]: [usize; 2]) -> [usize; 3] {
    let (width, column) = (tile.layout.width(), tile.head * tile.layout.head_dim);
    let key = key * 2 * width + column;
    [query * width + column, key, key + width]
}

/// One head over one document: writes what backward needs, and the head's columns of `heads`.
pub(super) fn attend(
    tile: HeadTile,
    at: [usize; 2],
    [queries, keys_and_values]: [&[f32]; 2],
    kept: &mut [f32],
    heads: &mut [f32],
) {
    let [q, k, v] = starts(&tile, at);
    let (width, head_dim) = (tile.layout.width(), tile.layout.head_dim);
    let queries = View::rows(&queries[q..], width);
    let keys = View::rows(&keys_and_values[k..], 2 * width);
    tile.compare(&tile.plain_scores(), [queries, keys], head_dim, kept);
    let values = Values {
        rows: View::rows(&keys_and_values[v..], 2 * width),
        width: head_dim,
    };
    tile.apply_weights(kept, values, Target::set(&mut heads[q..], width));
}

/// Backward of [`attend`]: writes the head's columns of both gradients.
pub(super) fn attend_backward(
    tile: HeadTile,
    at: [usize; 2],
    ([queries, keys_and_values], kept): ([&[f32]; 2], &[f32]),
    dheads: &[f32],
    [dqueries, dkeys_and_values]: [&mut [f32]; 2],
) {
    let [q, k, v] = starts(&tile, at);
    let (of_heads, head_dim) = (tile.layout.width(), tile.layout.head_dim);
    let width = 2 * of_heads;
    let values = Values {
        rows: View::rows(&keys_and_values[v..], width),
        width: head_dim,
    };
    let dout = View::rows(&dheads[q..], of_heads);
    let target = Target::set(&mut dkeys_and_values[v..], width);
    let mut dscores = tile.apply_weights_backward(kept, values, dout, target);
    let scores = tile.plain_scores();
    tile.scores_to_weights_backward(&scores, kept, &mut dscores, &mut AddendGradient::None);
    let keys = View::rows(&keys_and_values[k..], width);
    let target = Target::set(&mut dqueries[q..], of_heads);
    tile.queries_gradient(&dscores, keys, head_dim, target);
    let queries = View::rows(&queries[q..], of_heads);
    let target = Target::set(&mut dkeys_and_values[k..], width);
    tile.keys_gradient(&dscores, queries, head_dim, target);
}
