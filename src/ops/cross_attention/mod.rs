//! Causal cross-attention: norm of one of the two streams, multi-head attention, dropout, residual.

mod cached;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod head;
mod maps;
#[cfg(any(test, feature = "cuda"))]
mod recomputing;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod reference;
mod sides;

use dfdx::shapes::Dtype;
use dfdx::tensor::{HasErr, Tape};
use dfdx::tensor_ops::Device;

use super::Stream;
use super::attention::{AttentionDropout, AttentionWeights};
use super::parameters::Norm;
pub use maps::maps;

/// Which of the two streams the norm applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormedStream {
    /// The queries; the residual connection bypasses the norm.
    Queries,
    /// The keys and values.
    Keys,
}

/// A device that runs causal cross-attention between ragged streams.
pub trait CrossAttentionOp<N: Dtype>: Device<N> {
    /// `y = queries + dropout(proj(attend(queries, keys)))`, `[queries, EMBED]` and `[keys, EMBED]` →
    /// `[queries, EMBED]`, on `tape`. One of the streams goes through `norm` first.
    ///
    /// `starts` are the document starts in either stream; both have the same number of documents, none
    /// empty. Within each document and head, query i attends to the keys 0 to i by
    /// plain softmax weights, or to all keys if there are fewer, with dropout on the weights; keys
    /// beyond the number of queries are not used. Dropout of weights is indexed by query and key.
    ///
    /// The gradient of `queries` is set: no op whose backward runs before this one may have used them. The
    /// gradient of `keys` is accumulated: other ops may use them too.
    ///
    /// # Panics
    /// If the layout is more than [`Layout::softmax`](super::attention::Layout::softmax).
    ///
    /// Source: Jaegle et al. 2021, Perceiver, §3.1; the causal mask as in Hawthorne et al. 2022, Perceiver
    /// AR, §2.
    fn try_cross_attention<const EMBED: usize, T: Tape<N, Self>>(
        queries_and_keys: [&Stream<EMBED, N, Self>; 2],
        norm: (NormedStream, &Norm<EMBED, N, Self>),
        weights: &AttentionWeights<EMBED, N, Self>,
        starts: [&[usize]; 2],
        dropout: AttentionDropout,
        tape: T,
    ) -> Result<Stream<EMBED, N, Self, T>, Self::Err>;

    /// The same for incremental decoding of a number of sequences with a maximum number of keys each.
    fn incremental_cross_attention<'a, const EMBED: usize>(
        norm: (NormedStream, &'a Norm<EMBED, N, Self>),
        weights: &'a AttentionWeights<EMBED, N, Self>,
        rows_and_context: (usize, usize),
    ) -> BoxedIncrementalCrossAttention<'a, EMBED, N, Self>;
}

/// Cross-attention during incremental decoding, with what further queries need; it borrows its weights.
///
/// It computes the output for new queries of some sequences, `[new queries, EMBED]` and `[new keys, EMBED]` →
/// `[new queries, EMBED]`, without dropout. The last new query of a sequence attends to all its keys, the new
/// ones included; the one before it to all but the last; and so on. Without new keys pass `None`: dfdx has no
/// empty tensors. After a failure of the device the sublayer cannot be used any more.
pub type BoxedIncrementalCrossAttention<'a, const EMBED: usize, N, D> = Box<
    dyn FnMut(
            &Stream<EMBED, N, D>,
            Option<&Stream<EMBED, N, D>>,
            &NewPairs<'_>,
        ) -> Result<Stream<EMBED, N, D>, <D as HasErr>::Err>
        + 'a,
>;

/// New queries and keys of some sequences, concatenated.
#[derive(Clone, Copy, Debug)]
pub struct NewPairs<'a> {
    /// The sequences, by number, each at most once.
    pub sequences: &'a [usize],
    /// Where the new queries of each sequence start, and where the last one's end: `[sequences + 1]`. Each
    /// sequence has at least one, and at most as many as it has keys.
    pub queries: &'a [usize],
    /// The same for the new keys; a sequence that has keys already may get none.
    pub keys: &'a [usize],
}

#[cfg(test)]
mod tests {
    use dfdx::shapes::Const;
    use dfdx::tensor::{Cpu, NoneTape, SplitTape, TensorFromVec};

    use super::recomputing::recomputing;
    use super::*;
    use crate::ops::attention::Layout;
    use crate::ops::dropout::Dropout;
    use crate::ops::embedding::{self, EmbeddingOp, LookupTable};
    use crate::ops::maps::tests::{check_maps, check_sums};
    use crate::ops::maps::{normed, on_host, projected};
    use crate::ops::tests::{
        Case, NormKind, arbitrary, assert_close, batch, check_op, fill, for_each_norm, numbers,
        on_each_device, weights,
    };

    /// A norm and 3 heads of width 4.
    type Sublayer<N, D> = (Norm<12, N, D>, AttentionWeights<12, N, D>);

    fn sublayer<N: Dtype, D: Device<N>>(device: &D, norm: NormKind) -> Sublayer<N, D> {
        let weights = AttentionWeights::zeros(device, Layout::softmax(3, 4));
        (norm.zeros(device), weights.expect("memory"))
    }

    /// Learned queries attend to a stream, and the stream attends to the result: covers the op with
    /// either norm, and a stream that is used by both.
    type ThereAndBack<N, D> = (LookupTable<12, N, D>, (Sublayer<N, D>, Sublayer<N, D>));

    fn fresh<N: Dtype, D: Device<N>>(
        device: &D,
        rows: usize,
        norm: NormKind,
    ) -> ThereAndBack<N, D> {
        let table = device.zeros_like(&(Const::<1>, rows, Const::<12>));
        (table, (sublayer(device, norm), sublayer(device, norm)))
    }

    /// The two ops in single precision, and as the references.
    macro_rules! there_and_back {
        ($lookup:expr, $attend:expr, $starts:expr, $dropout:expr) => {
            |m, x, tape| {
                let [tokens, latents]: [&[usize]; 2] = $starts;
                let dropout: [AttentionDropout; 2] = $dropout;
                let positions: Vec<usize> =
                    latents.windows(2).flat_map(|w| 0..w[1] - w[0]).collect();
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
        D: CrossAttentionOp<f32> + EmbeddingOp<f32> + 'static,
    {
        let many: Vec<usize> = (0..40).map(|i| 1 + (i * 5) % 12).collect();
        // Up to two vectors of keys, and more than a panel of the matrix kernel.
        let long = [16, 17, 33, 40];
        for lengths in [&[1][..], &[12], &[3, 1, 7], &many, &long] {
            for (weights, output) in [
                (Dropout::NONE, Dropout::NONE),
                (Dropout::new(0.3, 1), Dropout::new(0.2, 2)),
            ] {
                let batch = batch(lengths, 9);
                let mut latents = vec![0];
                for length in lengths {
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
                    fast_model: fresh(device, rows, norm),
                    exact_model: fresh(&Cpu::default(), rows, norm),
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
                    tolerance: 1e-5,
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

    fn check_decoding<D: CrossAttentionOp<f32>>(
        device: &D,
        (normed, norm): (NormedStream, NormKind),
        calls: &[&Call],
    ) {
        let cpu = Cpu::default();
        let (mut weights_32, mut weights_64): (Sublayer<f32, D>, Sublayer<f64, Cpu>) =
            (sublayer(device, norm), sublayer(&cpu, norm));
        let sizes = weights(&weights_64);
        let values = (1..).zip(&sizes);
        let values: Vec<_> = values
            .map(|(salt, w)| numbers(w.len(), f64::from(salt)))
            .collect();
        fill(&mut weights_32, &values);
        fill(&mut weights_64, &values);
        let (norm, projections) = &weights_32;
        let mut fast = D::incremental_cross_attention((normed, norm), projections, (60, 128));
        let (norm, projections) = &weights_64;
        let none = AttentionDropout::none(128);
        let mut exact = recomputing(
            60,
            |x: [&Stream<12, f64, Cpu>; 2], starts: [&[usize]; 2]| {
                let norm = (normed, norm);
                reference::cross_attention(x, norm, projections, starts, none, NoneTape)
            },
        );
        for (call, salt) in calls.iter().zip(20..) {
            let sequences: Vec<usize> = call.iter().map(|(sequence, ..)| *sequence).collect();
            let (mut queries, mut keys) = (vec![0], vec![0]);
            for (_, of_queries, of_keys) in *call {
                queries.push(queries[queries.len() - 1] + of_queries);
                keys.push(keys[keys.len() - 1] + of_keys);
            }
            let new = NewPairs {
                sequences: &sequences,
                queries: &queries,
                keys: &keys,
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
            assert_close(&format!("{call:?}"), &output, &expected, 1e-5, 0.0);
        }
    }

    on_each_device!(decoding_agrees_with_recomputing, |device| {
        for_each_norm(|norm| check_decoding_calls(&device, norm))
    });

    fn check_decoding_calls<D: CrossAttentionOp<f32>>(device: &D, norm: NormKind) {
        let many: Vec<_> = (0..60).map(|row| (row, 1 + row % 3, 3 + row % 5)).collect();
        let some: Vec<_> = (0..60)
            .step_by(4)
            .map(|row| (row, 1, row / 4 % 2))
            .collect();
        let no_keys: Vec<_> = (0..60).map(|row| (row, 1, 0)).collect();
        for normed in [NormedStream::Queries, NormedStream::Keys].map(|side| (side, norm)) {
            check_decoding(device, normed, &[&[(0, 1, 1)], &[(0, 1, 0)], &[(0, 1, 1)]]);
            // Across the blocks of 32 tokens of the KV cache.
            check_decoding(
                device,
                normed,
                &[
                    &[(3, 31, 31), (0, 2, 40)],
                    &[(0, 5, 5), (3, 1, 1)],
                    &[(3, 2, 2)],
                ],
            );
            check_decoding(device, normed, &[&many, &some, &no_keys, &many]);
        }
    }

    #[test]
    fn values_blended_by_the_maps_are_what_is_added_to_the_queries() {
        for (queries, keys) in [(1, 1), (13, 7), (13, 13), (5, 9)] {
            let mut sublayer: Sublayer<f32, Cpu> = sublayer(&Cpu::default(), NormKind::Rms);
            let x: Stream<12, f32, Cpu> = arbitrary(&mut sublayer, queries);
            let y: Stream<12, f32, Cpu> = arbitrary(&mut sublayer, keys);
            let (norm, weights) = &sublayer;
            for side in [NormedStream::Queries, NormedStream::Keys] {
                let maps = super::maps([&x, &y], (side, norm), weights);
                check_sums(&maps);
                let read = on_host(&y)[..12 * keys.min(queries)].to_vec();
                let values = match side {
                    NormedStream::Queries => read,
                    NormedStream::Keys => normed(&read, norm),
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
                check_maps(&maps, &values, &weights.proj, &on_host(&x), &given);
            }
        }
    }
}
