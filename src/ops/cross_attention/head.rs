//! One head over one document: queries `[queries, EMBED]`, keys and values `[keys, 2 * EMBED]`.

use crate::ops::attention::heads::{HeadTile, Values, step};
use crate::ops::kernels::matmul::{Left, Packed, Part, Target, View, multiply};

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
    let keys = View::rows(&keys_and_values[k..], 2 * EMBED);
    let keys = Packed::new(keys.t(), HEAD_DIM, tile.keys);
    let (left, target) = (
        Left::Rows(&queries[q..], EMBED),
        Target::set(kept, step(tile.keys)),
    );
    let scale = tile.scoring.scale(HEAD_DIM) as f32;
    multiply(tile.queries, left, &keys, scale, Part::LowerResult, target);
    tile.scores_to_weights(kept);
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
    let (width, scale) = (2 * EMBED, tile.scoring.scale(HEAD_DIM) as f32);
    let values = Values {
        rows: View::rows(&keys_and_values[v..], width),
        width: HEAD_DIM,
    };
    let (dout, target) = (
        View::rows(&dheads[q..], EMBED),
        Target::set(&mut dkeys_and_values[v..], width),
    );
    let mut dscores = tile.apply_weights_backward(kept, values, dout, target);
    tile.scores_to_weights_backward(kept, &mut dscores);
    let step = step(tile.keys);
    let keys = Packed::new(
        View::rows(&keys_and_values[k..], width),
        tile.keys,
        HEAD_DIM,
    );
    let (left, target) = (
        Left::Rows(&dscores, step),
        Target::set(&mut dqueries[q..], EMBED),
    );
    multiply(tile.queries, left, &keys, scale, Part::LowerLeft, target);
    let queries = Packed::new(View::rows(&queries[q..], EMBED), tile.queries, HEAD_DIM);
    let (left, target) = (
        Left::Columns(&dscores, step),
        Target::set(&mut dkeys_and_values[k..], width),
    );
    multiply(tile.keys, left, &queries, scale, Part::UpperLeft, target);
}
