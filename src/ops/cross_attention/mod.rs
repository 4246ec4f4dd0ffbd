//! Causal attention from one stream to another: layer norm of one of them, multi-head attention, dropout,
//! residual.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod head;
mod maps;
mod reading;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod reference;
#[cfg(any(test, feature = "cuda"))]
mod rereading;
mod sides;

use dfdx::shapes::Dtype;
use dfdx::tensor::Tape;
use dfdx::tensor_ops::Device;

use super::Stream;
use super::attention::{AttentionDropout, Projections};
use super::parameters::LayerNorm;
pub use maps::maps;

/// Which of the two streams the layer norm is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normed {
    /// That of the queries; their residual is not normed.
    Queries,
    /// That of the keys and values.
    Keys,
}

/// A device that runs causal attention from one ragged stream to another.
pub trait CrossAttentionOp<N: Dtype>: Device<N> {
    /// `y = queries + dropout(proj(attend(queries, keys)))`, `[queries, EMBED]` and `[keys, EMBED]` →
    /// `[queries, EMBED]`, on `tape`. One of the streams goes through `norm` before it is attended.
    ///
    /// `starts` are those of the documents in either stream, as many, each of some tokens. Within each
    /// document and head, query i sees the keys 0 to i by `softmax(q · k / √HEAD_DIM)`, or all keys if
    /// there are fewer, with dropout on the weights; keys beyond the number of queries are not read.
    /// `HEADS * HEAD_DIM = EMBED`. Dropout of weights counts queries and keys.
    ///
    /// The gradient of `queries` is set: no other op that goes back before this one may have read them.
    /// That of `keys` is added to: whoever else reads them goes back before or adds to it too.
    ///
    /// # Errors
    /// The device's.
    ///
    /// Source: Jaegle et al. 2021, Perceiver, §3.1; the causal mask as in Hawthorne et al. 2022, Perceiver
    /// AR, §2.
    fn try_cross_attention<
        const EMBED: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        T: Tape<N, Self>,
    >(
        queries_and_keys: [&Stream<EMBED, N, Self>; 2],
        norm: (Normed, &LayerNorm<EMBED, N, Self>),
        weights: &Projections<EMBED, EMBED, N, Self>,
        starts: [&[usize]; 2],
        dropout: AttentionDropout,
        tape: T,
    ) -> Result<Stream<EMBED, N, Self, T>, Self::Err>;

    /// The same for reading so many rows bit by bit, each of at most so many keys.
    fn cross_attention_reader<'a, const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize>(
        norm: (Normed, &'a LayerNorm<EMBED, N, Self>),
        weights: &'a Projections<EMBED, EMBED, N, Self>,
        rows_and_context: (usize, usize),
    ) -> BoxedCrossReader<'a, EMBED, N, Self>;
}

/// Attention from one stream to another in the middle of reading some rows: it has what their further
/// queries need.
pub trait CrossReader<const EMBED: usize, N: Dtype, D: Device<N>> {
    /// The new stream of some rows' new queries: `[new queries, EMBED]` and `[new keys, EMBED]` →
    /// `[new queries, EMBED]`, without dropout.
    ///
    /// The last new query of a row sees all keys that the row has, the new ones included; the one before
    /// it all but the last; and so on. No keys at all are `None`: dfdx has no empty tensors.
    ///
    /// # Errors
    /// The device's; then the reader is of no more use.
    fn try_read(
        &mut self,
        queries: &Stream<EMBED, N, D>,
        keys: Option<&Stream<EMBED, N, D>>,
        new: &NewPairs<'_>,
    ) -> Result<Stream<EMBED, N, D>, D::Err>;
}

/// Some reader, borrowing its weights.
pub type BoxedCrossReader<'a, const EMBED: usize, N, D> = Box<dyn CrossReader<EMBED, N, D> + 'a>;

/// Queries and keys that come to some rows, a row's after another's.
#[derive(Clone, Copy, Debug)]
pub struct NewPairs<'a> {
    /// Which rows, each at most once.
    pub rows: &'a [usize],
    /// Where each one's new queries start, and where the last one's end: `[rows + 1]`; each has some, at
    /// most as many as it has keys.
    pub queries: &'a [usize],
    /// The same for the new keys; a row that has keys already may get none.
    pub keys: &'a [usize],
}

#[cfg(test)]
mod tests {
    use dfdx::nn::BuildModule;
    use dfdx::nn::tensor_collection::{ModuleVisitor, TensorCollection, TensorOptions};
    use dfdx::shapes::{Const, Rank3};
    use dfdx::tensor::{Cpu, NoneTape, SplitTape, Tensor, TensorFromVec};

    use super::rereading::Rereading;
    use super::*;
    use crate::ops::dropout::Dropout;
    use crate::ops::embedding::{self, EmbeddingOp};
    use crate::ops::maps::tests::{check_maps, check_sums};
    use crate::ops::maps::{normed, on_host, projected};
    use crate::ops::testing::{
        Case, arbitrary, assert_close, batch, check_op, fill, numbers, on_each_device, weights,
    };

    /// A norm and 3 heads of width 4.
    type Sublayer<N, D> = (LayerNorm<12, N, D>, Projections<12, 12, N, D>);

    /// ROWS learned queries look at a stream, and the stream looks at what they have found: the op with
    /// either norm, and a stream that is read by both.
    struct ThereAndBack<const ROWS: usize, N: Dtype, D: Device<N>> {
        table: Tensor<Rank3<1, ROWS, 12>, N, D>,
        there: Sublayer<N, D>,
        back: Sublayer<N, D>,
    }

    impl<const ROWS: usize, N: Dtype, D: Device<N>> TensorCollection<N, D>
        for ThereAndBack<ROWS, N, D>
    {
        type To<N2: Dtype, D2: Device<N2>> = ();

        fn iter_tensors<V: ModuleVisitor<Self, N, D>>(
            visitor: &mut V,
        ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
            let options = TensorOptions::reset_to_zeros();
            visitor.visit_fields(
                (
                    Self::tensor("table", |s| &s.table, |s| &mut s.table, options),
                    Self::module("there", |s| &s.there, |s| &mut s.there),
                    Self::module("back", |s| &s.back, |s| &mut s.back),
                ),
                |_| (),
            )
        }
    }

    fn fresh<const ROWS: usize, N: Dtype, D: Device<N>>(device: &D) -> ThereAndBack<ROWS, N, D> {
        ThereAndBack {
            table: device.zeros(),
            there: BuildModule::build(device),
            back: BuildModule::build(device),
        }
    }

    /// The two ops in single precision, and as the references.
    macro_rules! there_and_back {
        ($look_up:expr, $attend:expr, $starts:expr, $dropout:expr) => {
            |m, x, tape| {
                let [tokens, latents]: [&[usize]; 2] = $starts;
                let dropout: [AttentionDropout; 2] = $dropout;
                let places: Vec<usize> = latents.windows(2).flat_map(|w| 0..w[1] - w[0]).collect();
                let (x, of_x) = x.split_tape();
                let _ = tape;
                let (start, tape) = $look_up(&m.table, &places, of_x)?.split_tape();
                let (norm, weights) = &m.there;
                let norm = (Normed::Queries, norm);
                let at = [latents, tokens];
                let found = $attend([&start, &x], norm, weights, at, dropout[0], tape)?;
                let (found, tape) = found.split_tape();
                let (norm, weights) = &m.back;
                let norm = (Normed::Keys, norm);
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

    fn check<const ROWS: usize, D>(device: &D)
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
                    latents.push(latents[latents.len() - 1] + length.min(&ROWS));
                }
                let starts = [&batch.starts[..], &latents[..]];
                let dropout = [5, 6].map(|site| AttentionDropout {
                    weights: weights.at(site),
                    output: output.at(site),
                    context: 40,
                });
                check_op::<D, 12, 12, ThereAndBack<ROWS, f32, D>, ThereAndBack<ROWS, f64, Cpu>>(
                    Case {
                        device: device.clone(),
                        fast_model: fresh(device),
                        exact_model: fresh(&Cpu::default()),
                        fast: &there_and_back!(
                            D::try_look_up,
                            D::try_cross_attention::<12, 3, 4, _>,
                            starts,
                            dropout
                        ),
                        exact: &there_and_back!(
                            embedding::reference::look_up,
                            reference::cross_attention::<12, 3, 4, _, _, _>,
                            starts,
                            dropout
                        ),
                        plain: &there_and_back!(
                            embedding::reference::look_up,
                            reference::cross_attention::<12, 3, 4, _, _, _>,
                            starts,
                            dropout
                        ),
                        tokens: batch.len(),
                        tolerance: 1e-5,
                    },
                );
            }
        }
    }

    on_each_device!(fewer_keys_than_queries, |device| {
        check::<1, _>(&device);
        check::<7, _>(&device);
        check::<20, _>(&device);
    });

    on_each_device!(as_many_keys_as_queries, |device| check::<40, _>(&device));

    /// Row, new queries and new keys of each row in a reading.
    type Reading = [(usize, usize, usize)];

    fn check_reading<D: CrossAttentionOp<f32>>(device: &D, normed: Normed, readings: &[&Reading]) {
        let cpu = Cpu::default();
        let (mut weights_32, mut weights_64): (Sublayer<f32, D>, Sublayer<f64, Cpu>) =
            (BuildModule::build(device), BuildModule::build(&cpu));
        let sizes = weights(&weights_64);
        let values = (1..).zip(&sizes);
        let values: Vec<_> = values
            .map(|(salt, w)| numbers(w.len(), f64::from(salt)))
            .collect();
        fill(&mut weights_32, &values);
        fill(&mut weights_64, &values);
        let (norm, projections) = &weights_32;
        let mut fast =
            D::cross_attention_reader::<12, 3, 4>((normed, norm), projections, (60, 128));
        let (norm, projections) = &weights_64;
        let none = AttentionDropout::none(128);
        let mut exact = Rereading::new(
            60,
            |x: [&Stream<12, f64, Cpu>; 2], starts: [&[usize]; 2]| {
                let norm = (normed, norm);
                reference::cross_attention::<12, 3, 4, _, _, _>(
                    x,
                    norm,
                    projections,
                    starts,
                    none,
                    NoneTape,
                )
            },
        );
        for (reading, salt) in readings.iter().zip(20..) {
            let rows: Vec<usize> = reading.iter().map(|(row, ..)| *row).collect();
            let (mut queries, mut keys) = (vec![0], vec![0]);
            for (_, of_queries, of_keys) in *reading {
                queries.push(queries[queries.len() - 1] + of_queries);
                keys.push(keys[keys.len() - 1] + of_keys);
            }
            let new = NewPairs {
                rows: &rows,
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
            let said = fast.try_read(&single(&x), keys_32.as_ref(), &new);
            let truth = exact.try_read(&double(&x), keys_64.as_ref(), &new);
            let said = said.expect("memory").as_vec();
            let said: Vec<f64> = said.into_iter().map(f64::from).collect();
            let truth = truth.expect("memory").as_vec();
            assert_close(&format!("{reading:?}"), &said, &truth, 1e-5, 0.0);
        }
    }

    on_each_device!(reading_bit_by_bit_agrees_with_the_reference, |device| {
        check_memory(&device)
    });

    fn check_memory<D: CrossAttentionOp<f32>>(device: &D) {
        let many: Vec<_> = (0..60).map(|row| (row, 1 + row % 3, 3 + row % 5)).collect();
        let some: Vec<_> = (0..60)
            .step_by(4)
            .map(|row| (row, 1, row / 4 % 2))
            .collect();
        let no_keys: Vec<_> = (0..60).map(|row| (row, 1, 0)).collect();
        for normed in [Normed::Queries, Normed::Keys] {
            check_reading(device, normed, &[&[(0, 1, 1)], &[(0, 1, 0)], &[(0, 1, 1)]]);
            // Across the blocks of 32 tokens in which keys are kept.
            check_reading(
                device,
                normed,
                &[
                    &[(3, 31, 31), (0, 2, 40)],
                    &[(0, 5, 5), (3, 1, 1)],
                    &[(3, 2, 2)],
                ],
            );
            check_reading(device, normed, &[&many, &some, &no_keys, &many]);
        }
    }

    #[test]
    fn values_blended_by_the_maps_are_what_is_added_to_the_queries() {
        for (queries, keys) in [(1, 1), (13, 7), (13, 13), (5, 9)] {
            let mut sublayer: Sublayer<f32, Cpu> = BuildModule::build(&Cpu::default());
            let x: Stream<12, f32, Cpu> = arbitrary(&mut sublayer, queries);
            let y: Stream<12, f32, Cpu> = arbitrary(&mut sublayer, keys);
            let (norm, weights) = &sublayer;
            for side in [Normed::Queries, Normed::Keys] {
                let maps = super::maps::<12, 3, 4, _, _>([&x, &y], (side, norm), weights);
                check_sums(&maps);
                let read = on_host(&y)[..12 * keys.min(queries)].to_vec();
                let values = match side {
                    Normed::Queries => read,
                    Normed::Keys => normed(&read, norm),
                };
                let given = Cpu::try_cross_attention::<12, 3, 4, _>(
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
