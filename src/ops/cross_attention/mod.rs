//! Causal attention from one stream to another: layer norm of one of them, multi-head attention, dropout,
//! residual.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod reference;

use dfdx::shapes::Dtype;
use dfdx::tensor::Tape;
use dfdx::tensor_ops::Device;

use super::Stream;
use super::attention::{AttentionDropout, Projections};
use super::parameters::LayerNorm;

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
}

#[cfg(test)]
mod tests {
    use dfdx::nn::BuildModule;
    use dfdx::nn::tensor_collection::{ModuleVisitor, TensorCollection, TensorOptions};
    use dfdx::shapes::Rank3;
    use dfdx::tensor::{Cpu, SplitTape, Tensor, ZerosTensor};

    use super::*;
    use crate::ops::dropout::Dropout;
    use crate::ops::embedding::{self, EmbeddingOp as _};
    use crate::ops::testing::{Case, batch, check_op};

    /// A norm and 3 heads of width 4.
    type Sublayer<N> = (LayerNorm<12, N, Cpu>, Projections<12, 12, N, Cpu>);

    /// ROWS learned queries look at a stream, and the stream looks at what they have found: the op with
    /// either norm, and a stream that is read by both.
    struct ThereAndBack<const ROWS: usize, N: Dtype>
    where
        Cpu: Device<N>,
    {
        table: Tensor<Rank3<1, ROWS, 12>, N, Cpu>,
        there: Sublayer<N>,
        back: Sublayer<N>,
    }

    impl<const ROWS: usize, N: Dtype> TensorCollection<N, Cpu> for ThereAndBack<ROWS, N>
    where
        Cpu: Device<N>,
    {
        type To<N2: Dtype, D2: Device<N2>> = ();

        fn iter_tensors<V: ModuleVisitor<Self, N, Cpu>>(
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

    fn fresh<const ROWS: usize, N: Dtype>() -> ThereAndBack<ROWS, N>
    where
        Cpu: Device<N>,
        Sublayer<N>: BuildModule<Cpu, N>,
    {
        let device = Cpu::default();
        ThereAndBack {
            table: device.zeros(),
            there: BuildModule::build(&device),
            back: BuildModule::build(&device),
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

    fn check<const ROWS: usize>() {
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
                check_op::<12, 12, ThereAndBack<ROWS, f32>, ThereAndBack<ROWS, f64>>(Case {
                    fast_model: fresh(),
                    exact_model: fresh(),
                    fast: &there_and_back!(
                        Cpu::try_look_up,
                        Cpu::try_cross_attention::<12, 3, 4, _>,
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
                });
            }
        }
    }

    #[test]
    fn fewer_keys_than_queries() {
        check::<1>();
        check::<7>();
        check::<20>();
    }

    #[test]
    fn as_many_keys_as_queries() {
        check::<40>();
    }
}
