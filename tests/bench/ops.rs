//! How fast each op is alone, at the shapes of the assignment's step: `cargo bench`.
//!
//! Forward and backward together, on dfdx's tape, on the processor; of the optimiser one update of
//! the largest kind of matrix. `cargo bench -- attention` runs one. The matrix products are those of
//! a step, computed on every thread at once as in the step; what they are measured against is
//! `attnlab bench`.

use attnlab::data::ragged::{Ragged, Sequence};
use attnlab::ops::attention::{
    AttentionDropout, AttentionOp, AttentionWeights, HeadKind, Layout, NormedStream,
};
use attnlab::ops::dropout::Dropout;
use attnlab::ops::embedding::EmbeddingOp;
use attnlab::ops::feed_forward::{Activation, FeedForward, FeedForwardOp};
use attnlab::ops::head::HeadOp;
use attnlab::ops::optimiser::{OptimiserOp, Update};
use attnlab::ops::parameters::{Norm, VisitorMut, Weights};
use attnlab::ops::products::Products;
use attnlab::ops::synthetic_gradient::{backward_from, gradient};
use dfdx::shapes::{Const, ConstShape, HasShape as _, Rank2, Rank3, Shape};
use dfdx::tensor::{
    Cpu, CpuError, Gradients, NoneTape, OwnedTape, PutTape as _, SampleTensor as _, Tensor,
    Trace as _, ZerosTensor as _,
};
use dfdx::tensor_ops::{Backward as _, SumTo as _};
use divan::{Bencher, counter::ItemsCount};

const EMBED: usize = 256;
const HIDDEN: usize = 1024;
const VOCAB: usize = 256;
const CONTEXT: usize = 128;
const HEAD_DIM: usize = 32;

type Tape = OwnedTape<f32, Cpu>;
type Stream<T> = Tensor<(usize, Const<EMBED>), f32, Cpu, T>;

fn main() {
    divan::main();
}

/// 128 documents of 4 to 112 tokens, about 7,400 in all: as long as the assignment's excerpts.
fn batch() -> Ragged {
    let sequences: Vec<Sequence> = (0..128)
        .map(|document: u32| {
            let ids = |salt| (0..4 + document * 67 % 109).map(move |t| 2 + (t * 7 + salt) % 254);
            Sequence {
                tokens: ids(document).collect(),
                targets: ids(document + 1).collect(),
            }
        })
        .collect();
    Ragged::from_sequences(&sequences)
}

fn dropout() -> Dropout {
    Dropout::new(0.1, 1)
}

/// A tensor of small numbers, drawn.
fn small<S: ConstShape>() -> Tensor<S, f32, Cpu> {
    Cpu::default().sample_normal::<S>() * 0.02
}

/// Replaces weights by small numbers.
struct Draw;

impl VisitorMut<f32, Cpu> for Draw {
    fn visit<S: Shape>(
        &mut self,
        _: &str,
        weight: &mut Tensor<S, f32, Cpu>,
    ) -> Result<(), CpuError> {
        let drawn: Tensor<S, f32, Cpu> = Cpu::default().sample_normal_like(weight.shape()) * 0.02;
        weight.copy_from(&drawn.as_vec());
        Ok(())
    }
}

fn drawn<W: Weights<f32, Cpu>>(weights: Result<W, CpuError>) -> W {
    let mut weights = weights.expect("memory for the weights");
    weights
        .each_mut("", &mut Draw)
        .expect("tensors of the same length");
    weights
}

fn norm() -> Norm<EMBED, f32, Cpu> {
    drawn(Norm::layer(&Cpu::default()))
}

const SOFTMAX: Layout = Layout::softmax(EMBED / HEAD_DIM, HEAD_DIM);

fn heads(layout: Layout) -> AttentionWeights<EMBED, f32, Cpu> {
    drawn(AttentionWeights::zeros(&Cpu::default(), layout))
}

/// Where attention drops.
fn sites() -> AttentionDropout {
    AttentionDropout {
        weights: dropout().at(1),
        output: dropout().at(2),
        context: CONTEXT,
    }
}

fn stream(batch: &Ragged) -> Stream<NoneTape> {
    Cpu::default().sample_normal_like(&(batch.len(), Const::<EMBED>))
}

fn tape() -> Tape {
    Tape::default()
}

/// Forward, and back from an even gradient of the output.
fn there_and_back<S: Shape>(
    forward: impl FnOnce() -> Result<Tensor<S, f32, Cpu, Tape>, CpuError>,
) -> Gradients<f32, Cpu> {
    let y = forward().expect("memory for the output");
    let dy = gradient(&Cpu::default(), &vec![1e-3; y.shape().num_elements()]);
    let dy = dy.expect("memory for its gradient");
    backward_from(y, dy).expect("memory for the gradients")
}

#[divan::bench]
fn embedding(bencher: Bencher) {
    let batch = batch();
    let token_table = small::<Rank2<VOCAB, EMBED>>();
    let position_table = small::<Rank3<1, CONTEXT, EMBED>>();
    let positions = batch.positions();
    let at = (&batch.tokens[..], &positions[..]);
    bencher
        .counter(ItemsCount::new(batch.len()))
        .bench_local(|| {
            there_and_back(|| {
                Cpu::try_embed(&token_table, Some(&position_table), at, dropout(), tape())
            })
        });
}

fn attend(bencher: Bencher, layout: Layout) {
    let (batch, norm) = (batch(), norm());
    let x = stream(&batch);
    let weights = heads(layout);
    bencher
        .counter(ItemsCount::new(batch.len()))
        .bench_local(|| {
            there_and_back(|| {
                let x = x.clone().put_tape(tape());
                Cpu::try_attention(x, &norm, &weights, &batch, sites())
            })
        });
}

#[divan::bench]
fn attention(bencher: Bencher) {
    attend(bencher, SOFTMAX);
}

#[divan::bench]
fn differential(bencher: Bencher) {
    let head = HeadKind::Differential;
    attend(bencher, Layout { head, ..SOFTMAX });
}

#[divan::bench]
fn synthesizer(bencher: Bencher) {
    let positions = CONTEXT - 1;
    let head = HeadKind::Synthesizer { positions };
    attend(bencher, Layout { head, ..SOFTMAX });
}

/// The tokens look at the first 64 of their document.
#[divan::bench]
fn cross_attention(bencher: Bencher) {
    let (batch, norm) = (batch(), norm());
    let mut first = vec![0];
    for document in batch.starts.windows(2) {
        first.push(first[first.len() - 1] + 64.min(document[1] - document[0]));
    }
    let (x, keys) = (stream(&batch), first[first.len() - 1]);
    let keys = Cpu::default().sample_normal_like(&(keys, Const::<EMBED>));
    let weights = heads(SOFTMAX);
    bencher
        .counter(ItemsCount::new(batch.len()))
        .bench_local(|| {
            there_and_back(|| {
                Cpu::try_cross_attention(
                    [&x, &keys],
                    (NormedStream::Keys, &norm),
                    &weights,
                    [&batch.starts, &first],
                    sites(),
                    tape(),
                )
            })
        });
}

#[divan::bench]
fn feed_forward(bencher: Bencher) {
    let (batch, norm) = (batch(), norm());
    let x = stream(&batch);
    let weights: FeedForward<EMBED, HIDDEN, f32, Cpu> =
        drawn(FeedForward::zeros(&Cpu::default(), Activation::Gelu));
    bencher
        .counter(ItemsCount::new(batch.len()))
        .bench_local(|| {
            there_and_back(|| {
                let x = x.clone().put_tape(tape());
                Cpu::try_feed_forward(x, &norm, &weights, dropout())
            })
        });
}

#[divan::bench]
fn head(bencher: Bencher) {
    let (batch, norm) = (batch(), norm());
    let (x, head) = (stream(&batch), small::<Rank2<VOCAB, EMBED>>());
    bencher
        .counter(ItemsCount::new(batch.len()))
        .bench_local(|| {
            there_and_back(|| Cpu::try_loss(x.clone().put_tape(tape()), &norm, &head, &batch))
        });
}

/// Items are parameters.
#[divan::bench]
fn adamw(bencher: Bencher) {
    let mut weights = small::<Rank2<HIDDEN, EMBED>>();
    let moment = || Cpu::default().sample_normal_like(&(HIDDEN * EMBED,)).abs();
    let mut moments = [moment(), moment()];
    let mut gradients = weights.leaky_trace().sum().backward();
    let loss = Cpu::default().zeros();
    let update = Update {
        learning_rate: 1e-3,
        ..Update::default()
    };
    bencher
        .counter(ItemsCount::new(HIDDEN * EMBED))
        .bench_local(|| {
            let mut step = || {
                let mut step = Cpu::try_begin(&loss)?;
                Cpu::try_accumulate_norm(&mut step, &weights, &mut gradients)?;
                Cpu::try_update(
                    &mut step,
                    &mut weights,
                    &mut gradients,
                    &mut moments,
                    update,
                )?;
                Cpu::try_launch(&mut step, update)?;
                Cpu::try_finish(step)
            };
            step().expect("memory")
        });
}

/// `[m, k, n]` of a shard's products, of about 460 tokens: queries, keys and values together,
/// expanding and contracting, each forward, then the gradient of the weights. Items are
/// floating-point operations: Gitem/s is GFLOP/s.
#[divan::bench(args = [
    "460 256 768", "460 256 1024", "460 1024 256", "768 460 256", "1024 460 256", "256 460 1024",
])]
fn products(bencher: Bencher, size: &str) {
    let size: Vec<usize> = size
        .split(' ')
        .map(|n| n.parse().expect("a number"))
        .collect();
    let mut products = Products::new(size.try_into().expect("three numbers"));
    let flop = ItemsCount::new(products.flop() as u64);
    bencher.counter(flop).bench_local(|| products.compute());
}
