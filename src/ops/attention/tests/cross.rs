//! Cross-attention against the reference, and its maps against the output.

use dfdx::shapes::Const;
use dfdx::tensor::{NoneTape, SplitTape, TensorFromVec};

use super::*;
use crate::ops::decoding::{NewTokens, recomputing};
use crate::ops::embedding::{self, EmbeddingOp, LookupTable};
use crate::ops::maps::normed as after_norm;
use crate::ops::maps::tests::check_maps;
use crate::ops::tests::{NormKind, assert_close, fill, for_each_norm, numbers, weights};

/// A norm and 3 heads of width 4.
type Sublayer<N, D> = super::Sublayer<12, N, D>;

fn sublayer<N: Dtype, D: Device<N>>(
    device: &D,
    (norm, layout): (NormKind, Layout),
) -> Sublayer<N, D> {
    let (_, weights) = super::sublayer(device, layout);
    (norm.zeros(device), weights)
}

/// Learned queries attend to a stream, and the stream attends to the result: covers the op with
/// either norm, and a stream that is used by both.
type ThereAndBack<N, D> = (LookupTable<12, N, D>, (Sublayer<N, D>, Sublayer<N, D>));

fn fresh<N: Dtype, D: Device<N>>(
    device: &D,
    rows: usize,
    of: (NormKind, Layout),
) -> ThereAndBack<N, D> {
    let table = device.zeros_like(&(Const::<1>, rows, Const::<12>));
    (table, (sublayer(device, of), sublayer(device, of)))
}

/// The two ops in single precision, and as the references.
macro_rules! there_and_back {
    ($lookup:expr, $attend:expr, $starts:expr, $dropout:expr) => {
        |m, x, tape| {
            let [tokens, latents]: [&[usize]; 2] = $starts;
            let dropout: [AttentionDropout; 2] = $dropout;
            let positions: Vec<usize> = latents.windows(2).flat_map(|w| 0..w[1] - w[0]).collect();
            let (x, of_x) = x.split_tape();
            let _ = tape;
            let (start, tape) = $lookup(&m.0, &positions, of_x)?.split_tape();
            let (norm, weights) = &m.1.0;
            let norm = (NormedStream::Queries, norm);
            let at = [latents, tokens];
            let found = $attend([&start, &x], norm, weights, at, dropout[0], tape)?;
            let (found, tape) = found.split_tape();
            let (norm, weights) = &m.1.1;
            let norm = (NormedStream::Keys, norm);
            $attend(
                [&x, &found],
                norm,
                weights,
                [tokens, latents],
                dropout[1],
                tape,
            )
        }
    };
}

fn check<D>(device: &D, rows: usize, norm: NormKind)
where
    D: AttentionOp<f32> + EmbeddingOp<f32> + 'static,
{
    let many: Vec<usize> = (0..40).map(|i| 1 + (i * 5) % 12).collect();
    // Up to two vectors of keys, and more than a panel of the matrix kernel.
    let long = [16, 17, 33, 40];
    let batches = [&[1][..], &[12], &[3, 1, 7], &many, &long];
    check_batches(device, rows, (norm, SOFTMAX), &batches, 1e-5);
}

/// Checks on batches of these lengths of documents, within a relative tolerance.
fn check_batches<D>(
    device: &D,
    rows: usize,
    of: (NormKind, Layout),
    batches: &[&[usize]],
    tolerance: f64,
) where
    D: AttentionOp<f32> + EmbeddingOp<f32> + 'static,
{
    for lengths in batches {
        for (weights, output) in [
            (Dropout::NONE, Dropout::NONE),
            (Dropout::new(0.3, 1), Dropout::new(0.2, 2)),
        ] {
            let batch = batch(lengths, 9);
            let mut latents = vec![0];
            for length in *lengths {
                latents.push(latents[latents.len() - 1] + length.min(&rows));
            }
            let starts = [&batch.starts[..], &latents[..]];
            let dropout = [5, 6].map(|site| AttentionDropout {
                weights: weights.at(site),
                output: output.at(site),
                context: 40,
            });
            check_op::<D, 12, 12, ThereAndBack<f32, D>, ThereAndBack<f64, Cpu>>(Case {
                device: device.clone(),
                fast_model: fresh(device, rows, of),
                exact_model: fresh(&Cpu::default(), rows, of),
                fast: &there_and_back!(D::try_lookup, D::try_cross_attention, starts, dropout),
                exact: &there_and_back!(
                    embedding::reference::lookup,
                    reference::cross_attention,
                    starts,
                    dropout
                ),
                plain: &there_and_back!(
                    embedding::reference::lookup,
                    reference::cross_attention,
                    starts,
                    dropout
                ),
                tokens: batch.len(),
                tolerance,
            });
        }
    }
}

on_each_device!(fewer_keys_than_queries, |device| {
    for rows in [1, 7, 20] {
        check(&device, rows, NormKind::Layer);
    }
    check(&device, 7, NormKind::Rms);
});

on_each_device!(as_many_keys_as_queries, |device| {
    for_each_norm(|norm| check(&device, 40, norm))
});

/// Sequence, number of new queries and number of new keys, for each sequence in a call.
type Call = [(usize, usize, usize)];

fn check_decoding<D: AttentionOp<f32>>(
    device: &D,
    (normed, of): (NormedStream, (NormKind, Layout)),
    calls: &[&Call],
    tolerance: f64,
) {
    let cpu = Cpu::default();
    let (mut weights_32, mut weights_64): (Sublayer<f32, D>, Sublayer<f64, Cpu>) =
        (sublayer(device, of), sublayer(&cpu, of));
    let sizes = weights(&weights_64);
    let values = (1..).zip(&sizes);
    let values: Vec<_> = values
        .map(|(salt, w)| numbers(w.len(), f64::from(salt)))
        .collect();
    fill(&mut weights_32, &values);
    fill(&mut weights_64, &values);
    let (norm, projections) = &weights_32;
    let mut fast = D::incremental_cross_attention((normed, norm), projections, (60, [128; 2]));
    let (norm, projections) = &weights_64;
    let none = AttentionDropout::none(128);
    let mut exact = recomputing(60, |x, starts| {
        let norm = (normed, norm);
        reference::cross_attention(x, norm, projections, starts, none, NoneTape)
    });
    let mut lengths = vec![0; 60];
    for (call, salt) in calls.iter().zip(20..) {
        let sequences: Vec<usize> = call.iter().map(|(sequence, ..)| *sequence).collect();
        let (mut queries, mut keys, mut positions) = (vec![0], vec![0], vec![]);
        for &(sequence, of_queries, of_keys) in *call {
            // The last query is aligned with the last key.
            lengths[sequence] += of_keys;
            positions.extend(lengths[sequence] - of_queries..lengths[sequence]);
            queries.push(queries[queries.len() - 1] + of_queries);
            keys.push(keys[keys.len() - 1] + of_keys);
        }
        let new = NewTokens {
            sequences: &sequences,
            queries: &queries,
            positions: &positions,
            keys: &keys,
            prefixes: &vec![vec![]; sequences.len()],
        };
        let [x, y] = [&queries, &keys].map(|starts| {
            let count = starts[starts.len() - 1];
            (numbers(count * 12, f64::from(salt)), (count, Const::<12>))
        });
        let single = |(x, shape): &(Vec<f64>, _)| {
            let x = x.iter().map(|&v| v as f32).collect();
            device.tensor_from_vec(x, *shape)
        };
        let double = |(x, shape): &(Vec<f64>, _)| cpu.tensor_from_vec(x.clone(), *shape);
        let some = !y.0.is_empty();
        let (keys_32, keys_64) = (some.then(|| single(&y)), some.then(|| double(&y)));
        let output = fast(&single(&x), keys_32.as_ref(), &new);
        let expected = exact(&double(&x), keys_64.as_ref(), &new);
        let output = output.expect("memory").as_vec();
        let output: Vec<f64> = output.into_iter().map(f64::from).collect();
        let expected = expected.expect("memory").as_vec();
        assert_close(&format!("{call:?}"), &output, &expected, tolerance, 0.0);
    }
}

on_each_device!(decoding_agrees_with_recomputing, |device| {
    for_each_norm(|norm| check_decoding_calls(&device, norm))
});

/// Calls that fill blocks of 32 tokens of the KV cache, and go on.
const ACROSS_BLOCKS: [&Call; 3] = [
    &[(3, 31, 31), (0, 2, 40)],
    &[(0, 5, 5), (3, 1, 1)],
    &[(3, 2, 2)],
];

fn check_decoding_calls<D: AttentionOp<f32>>(device: &D, norm: NormKind) {
    let (of, tolerance) = ((norm, SOFTMAX), 1e-5);
    let many: Vec<_> = (0..60).map(|row| (row, 1 + row % 3, 3 + row % 5)).collect();
    let some: Vec<_> = (0..60)
        .step_by(4)
        .map(|row| (row, 1, row / 4 % 2))
        .collect();
    let no_keys: Vec<_> = (0..60).map(|row| (row, 1, 0)).collect();
    for normed in [NormedStream::Queries, NormedStream::Keys].map(|side| (side, of)) {
        let calls: [&Call; 3] = [&[(0, 1, 1)], &[(0, 1, 0)], &[(0, 1, 1)]];
        check_decoding(device, normed, &calls, tolerance);
        check_decoding(device, normed, &ACROSS_BLOCKS, tolerance);
        check_decoding(device, normed, &[&many, &some, &no_keys, &many], tolerance);
    }
}

#[test]
fn values_blended_by_the_maps_are_what_is_added_to_the_queries() {
    for (queries, keys) in [(1, 1), (13, 7), (13, 13), (5, 9)] {
        let mut sublayer: Sublayer<f32, Cpu> = sublayer(&Cpu::default(), (NormKind::Rms, SOFTMAX));
        let x: Stream<12, f32, Cpu> = arbitrary(&mut sublayer, queries);
        let y: Stream<12, f32, Cpu> = arbitrary(&mut sublayer, keys);
        let (norm, weights) = &sublayer;
        for side in [NormedStream::Queries, NormedStream::Keys] {
            let maps = cross_maps([&x, &y], (side, norm), weights);
            check_sums(&maps);
            let read = y.as_vec()[..12 * keys.min(queries)].to_vec();
            let values = match side {
                NormedStream::Queries => read,
                NormedStream::Keys => after_norm(&read, norm),
            };
            let given = Cpu::try_cross_attention(
                [&x, &y],
                (side, norm),
                weights,
                [&[0, queries], &[0, keys]],
                AttentionDropout::none(13),
                NoneTape,
            );
            let given = given.expect("memory").as_vec();
            let values = projected(&values, &weights.value);
            check_maps(&maps, &values, &weights.proj, &x.as_vec(), &given);
        }
    }
}

/// Parts that have a meaning for two streams.
const PARTS: [Layout; 12] = [
    SHARED,
    ROTARY,
    normed(QkNorm::Rms),
    normed(QkNorm::L2),
    sunk(Sink::Learned),
    gated(Gate::Channel),
    BOUNDED,
    TALKING,
    similar(Similarity::Sigmoid),
    LINEAR,
    similar(Similarity::Taylor),
    DIFFERENTIAL,
];

on_each_device!(parts_of_attention, |device| {
    for layout in PARTS {
        let (of, tolerance) = ((NormKind::Rms, layout), tolerances(&layout, 12));
        check_batches(&device, 7, of, &[&[3, 1, 7], &[16, 17, 33]], tolerance[0]);
        for side in [NormedStream::Queries, NormedStream::Keys] {
            check_decoding(&device, (side, of), &ACROSS_BLOCKS, tolerance[1]);
        }
    }
});

#[test]
fn self_attention_is_cross_attention_of_equal_streams() {
    let cpu = Cpu::default();
    for layout in PARTS {
        let mut sublayer: Sublayer<f32, Cpu> = sublayer(&cpu, (NormKind::Rms, layout));
        let x: Stream<12, f32, Cpu> = arbitrary(&mut sublayer, 30);
        let (norm, weights) = &sublayer;
        let keys = cpu.tensor_from_vec(after_norm(&x.as_vec(), norm), (30, Const::<12>));
        let (streams, which) = ([&x, &keys], (NormedStream::Queries, norm));
        let batch = batch(&[13, 17], 9);
        let dropout = AttentionDropout {
            weights: Dropout::new(0.3, 1),
            output: Dropout::new(0.2, 2),
            context: 42,
        };
        let starts = [&batch.starts[..]; 2];
        let cross = Cpu::try_cross_attention(streams, which, weights, starts, dropout, NoneTape);
        let own = Cpu::try_attention(x.clone(), norm, weights, &batch, dropout);
        let [cross, own] = [cross, own].map(|y| -> Vec<f64> {
            let y = y.expect("memory").as_vec();
            y.into_iter().map(f64::from).collect()
        });
        // Not every kernel gives a product the same bits whatever its width.
        assert_close(&format!("{layout:?}"), &cross, &own, 1e-6, 0.0);
        let of_cross = cross_maps(streams, which, weights);
        assert_eq!(of_cross, maps(&x, norm, weights), "{layout:?}");
    }
}
