//! One head over one document: queries `[queries, EMBED]`, keys and values `[keys, 2 * EMBED]`.

use crate::ops::attention::heads::{Values, WeightMap, step};
use crate::ops::kernels::matmul::{Left, Packed, Part, Target, View, multiply};

/// Where the queries, keys and values of a head begin whose document begins at such rows.
fn places<const EMBED: usize, const HEAD_DIM: usize>(
    [query, key]: [usize; 2],
    head: usize,
) -> [usize; 3] {
    let (column, key) = (head * HEAD_DIM, key * 2 * EMBED);
    [query * EMBED + column, key + column, key + EMBED + column]
}

/// One head over one document: writes what backward needs, and the head's columns of `heads`.
pub(super) fn attend<const EMBED: usize, const HEAD_DIM: usize>(
    map: WeightMap,
    at: [usize; 2],
    [queries, keys_and_values]: [&[f32]; 2],
    kept: &mut [f32],
    heads: &mut [f32],
) {
    let [q, k, v] = places::<EMBED, HEAD_DIM>(at, map.head);
    let keys = View::rows(&keys_and_values[k..], 2 * EMBED);
    let keys = Packed::new(keys.t(), HEAD_DIM, map.keys);
    let (left, target) = (
        Left::Rows(&queries[q..], EMBED),
        Target::set(kept, step(map.keys)),
    );
    let scale = map.scoring.scale(HEAD_DIM) as f32;
    multiply(map.queries, left, &keys, scale, Part::LowerResult, target);
    map.weigh(kept);
    let values = Values {
        rows: View::rows(&keys_and_values[v..], 2 * EMBED),
        width: HEAD_DIM,
    };
    map.blend(kept, values, Target::set(&mut heads[q..], EMBED));
}

/// Backward of [`attend`]: writes the head's columns of both gradients.
pub(super) fn attend_backward<const EMBED: usize, const HEAD_DIM: usize>(
    map: WeightMap,
    at: [usize; 2],
    ([queries, keys_and_values], kept): ([&[f32]; 2], &[f32]),
    dheads: &[f32],
    [dqueries, dkeys_and_values]: [&mut [f32]; 2],
) {
    let [q, k, v] = places::<EMBED, HEAD_DIM>(at, map.head);
    let (width, scale) = (2 * EMBED, map.scoring.scale(HEAD_DIM) as f32);
    let values = Values {
        rows: View::rows(&keys_and_values[v..], width),
        width: HEAD_DIM,
    };
    let (dout, target) = (
        View::rows(&dheads[q..], EMBED),
        Target::set(&mut dkeys_and_values[v..], width),
    );
    let mut dscores = map.blend_backward(kept, values, dout, target);
    map.weigh_backward(kept, &mut dscores);
    let step = step(map.keys);
    let keys = Packed::new(View::rows(&keys_and_values[k..], width), map.keys, HEAD_DIM);
    let (left, target) = (
        Left::Rows(&dscores, step),
        Target::set(&mut dqueries[q..], EMBED),
    );
    multiply(map.queries, left, &keys, scale, Part::LowerLeft, target);
    let queries = Packed::new(View::rows(&queries[q..], EMBED), map.queries, HEAD_DIM);
    let (left, target) = (
        Left::Columns(&dscores, step),
        Target::set(&mut dkeys_and_values[k..], width),
    );
    multiply(map.keys, left, &queries, scale, Part::UpperLeft, target);
}
