//! One head over one document: queries `[queries, EMBED]`, keys and values `[keys, 2 * EMBED]`.

use crate::ops::attention::heads::{HeadTile, Values};
use crate::ops::kernels::matmul::{Target, View};

/// Where the queries, keys and values of a head start, for a document that starts at these rows.
fn starts<const EMBED: usize, const HEAD_DIM: usize>(
    [query, key]: [usize; 2],
    head: usize,
) -> [usize; 3] {
    let (column, key) = (head * HEAD_DIM, key * 2 * EMBED);
    [query * EMBED + column, key + column, key + EMBED + column]
}

/// One head over one document: writes what backward needs, and the head's columns of `heads`.
pub(super) fn attend<const EMBED: usize, const HEAD_DIM: usize>(
    tile: HeadTile,
    at: [usize; 2],
    [queries, keys_and_values]: [&[f32]; 2],
    kept: &mut [f32],
    heads: &mut [f32],
) {
    let [q, k, v] = starts::<EMBED, HEAD_DIM>(at, tile.head);
    let queries = View::rows(&queries[q..], EMBED);
    let keys = View::rows(&keys_and_values[k..], 2 * EMBED);
    tile.compare([queries, keys], HEAD_DIM, kept);
    let values = Values {
        rows: View::rows(&keys_and_values[v..], 2 * EMBED),
        width: HEAD_DIM,
    };
    tile.apply_weights(kept, values, Target::set(&mut heads[q..], EMBED));
}

/// Backward of [`attend`]: writes the head's columns of both gradients.
pub(super) fn attend_backward<const EMBED: usize, const HEAD_DIM: usize>(
    tile: HeadTile,
    at: [usize; 2],
    ([queries, keys_and_values], kept): ([&[f32]; 2], &[f32]),
    dheads: &[f32],
    [dqueries, dkeys_and_values]: [&mut [f32]; 2],
) {
    let [q, k, v] = starts::<EMBED, HEAD_DIM>(at, tile.head);
    let width = 2 * EMBED;
    let values = Values {
        rows: View::rows(&keys_and_values[v..], width),
        width: HEAD_DIM,
    };
    let dout = View::rows(&dheads[q..], EMBED);
    let target = Target::set(&mut dkeys_and_values[v..], width);
    let mut dscores = tile.apply_weights_backward(kept, values, dout, target);
    tile.scores_to_weights_backward(kept, &mut dscores);
    let keys = View::rows(&keys_and_values[k..], width);
    let target = Target::set(&mut dqueries[q..], EMBED);
    tile.queries_gradient(&dscores, keys, HEAD_DIM, target);
    let queries = View::rows(&queries[q..], EMBED);
    let target = Target::set(&mut dkeys_and_values[k..], width);
    tile.keys_gradient(&dscores, queries, HEAD_DIM, target);
}
