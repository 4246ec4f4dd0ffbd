//! What all residual sublayers have in common on the CPU: `y = x + dropout(branch(norm(x)))`, where the branch of
//! cross-attention reads a second stream.
//!
//! A sublayer implements [`Branch`]. Here is the rest: shards of whole documents over the threads, the
//! norm, dropout and residual, the tape, and the sums of the shards' gradients.

use std::array::from_fn;
use std::sync::Arc;

use dfdx::shapes::{Dim, HasShape, Shape};
use dfdx::tensor::{Cpu, CpuError, Gradients, PutTape, SplitTape, Tape, Tensor, TensorFromVec};
use dfdx::tensor_ops::ReshapeTo;

use super::Stream;
use super::bridge::{host, set_gradient, take_gradient};
use super::decoding::BoxedPointwise;
use super::dropout::Dropout;
use super::kernels::matmul::{Packed, Part, Pass, Target, View, linear, multiply};
use super::kernels::rows::{
    RowNorm, drop_and_add, drop_into, normalise, normalise_backward, normed_rows,
};
use super::kernels::scratch::Scratch;
use super::kernels::shards::{Shard, add_in_order, pair, plan, take};
use super::kernels::threads;
use super::parameters::{Linear, Norm, Projection};

/// The branch of a residual sublayer, as a function of streams with the same number of documents, `[tokens, EMBED]`
/// each → the shape of the first, to which it is added. One of them has been normalised.
///
/// All methods work on one shard; threads work on different shards.
pub(super) trait Branch<const STREAMS: usize = 1>: Send + Sync + 'static {
    /// What backward needs of a shard's forward pass.
    type Saved: Send + 'static;
    /// The weights, packed for one pass.
    type Weights<'a>: Sync
    where
        Self: 'a;

    /// The parameters, in the order in which [`Branch::backward`] writes their gradients.
    fn parameters(&self) -> Vec<&dyn Parameter>;

    /// Packs the weights.
    fn pack(&self, pass: Pass) -> Self::Weights<'_>;

    /// Writes all of `out`.
    fn forward(
        &self,
        weights: &Self::Weights<'_>,
        shard: &[Shard; STREAMS],
        inputs: [&[f32]; STREAMS],
        out: &mut [f32],
    ) -> Self::Saved;

    /// Writes all of `dinputs`, and the shard's partial gradients of all parameters, concatenated.
    fn backward(
        &self,
        weights: &Self::Weights<'_>,
        shard: &[Shard; STREAMS],
        saved: Self::Saved,
        ends: BranchBackward<'_, STREAMS>,
        share: &mut [f32],
    );
}

/// The inputs and the gradients of a branch in the backward pass of one shard: `[tokens, EMBED]` each.
pub(super) struct BranchBackward<'a, const STREAMS: usize = 1> {
    /// The inputs.
    pub(super) inputs: &'a [Packed<'a>; STREAMS],
    /// Gradient of the output.
    pub(super) dout: &'a [f32],
    /// Gradients of the inputs, to be written.
    pub(super) dinputs: [&'a mut [f32]; STREAMS],
}

/// A learned tensor.
pub trait Parameter: Send + Sync {
    /// Its elements.
    fn elements(&self) -> &[f32];

    /// The same tensor.
    fn share(&self) -> Box<dyn Parameter>;

    /// Adds the shards' partial sums to its gradient, in order.
    fn add(&self, gradients: &mut Gradients<f32, Cpu>, shares: &[&[f32]]) -> Result<(), CpuError>;
}

impl<S: Shape> Parameter for Tensor<S, f32, Cpu> {
    fn elements(&self) -> &[f32] {
        host(self)
    }

    fn share(&self) -> Box<dyn Parameter> {
        Box::new(self.clone())
    }

    fn add(&self, gradients: &mut Gradients<f32, Cpu>, shares: &[&[f32]]) -> Result<(), CpuError> {
        add_in_order(shares, gradients.get_or_alloc_mut(self)?);
        Ok(())
    }
}

/// A linear layer of any width.
pub(super) trait Layer {
    /// The weight, the bias if there is one, and the number of inputs.
    fn parts(&self) -> (&dyn Parameter, Option<&dyn Parameter>, usize);
}

impl<In: Dim, Out: Dim> Layer for Linear<In, Out, f32, Cpu> {
    fn parts(&self) -> (&dyn Parameter, Option<&dyn Parameter>, usize) {
        (&self.weight, Some(&self.bias), self.widths().0)
    }
}

impl<const EMBED: usize> Layer for Projection<EMBED, f32, Cpu> {
    fn parts(&self) -> (&dyn Parameter, Option<&dyn Parameter>, usize) {
        (&self.weight, None, EMBED)
    }
}

/// A linear layer, packed for one pass, and its bias if it has one.
pub(super) type PackedLinear<'a> = (Packed<'a>, Option<&'a [f32]>);

/// Packs a linear layer.
pub(super) fn pack_linear(layer: &impl Layer, pass: Pass) -> PackedLinear<'_> {
    let (weight, bias, inputs) = layer.parts();
    let sizes = (inputs, weight.elements().len() / inputs);
    let weight = linear(weight.elements(), sizes, pass);
    (weight, bias.map(|bias| bias.elements()))
}

/// Linear layers of the same input, as one whose outputs lie side by side.
pub(super) struct Joined {
    weight: Vec<f32>,
    bias: Vec<f32>,
    /// The layers' weights, then the biases of those that have one.
    parameters: Vec<Box<dyn Parameter>>,
    biases: usize,
}

impl Joined {
    /// Those without a bias come last.
    pub(super) fn of(layers: &[&dyn Layer]) -> Self {
        let weights = || layers.iter().map(|layer| layer.parts().0);
        let biases = || layers.iter().filter_map(|layer| layer.parts().1);
        let join = |parts: Vec<&[f32]>| parts.concat();
        let weight = join(weights().map(|one| one.elements()).collect());
        let mut bias = join(biases().map(|one| one.elements()).collect());
        let count = bias.len();
        bias.resize(weight.len() / layers[0].parts().2, 0.0);
        Self {
            weight,
            bias,
            parameters: weights().chain(biases()).map(|one| one.share()).collect(),
            biases: count,
        }
    }

    /// Numbers of elements of the weights and of the biases, given the width of the input.
    pub(super) fn lengths(&self, inputs: usize) -> [usize; 2] {
        [self.width() * inputs, self.biases]
    }

    /// Number of outputs.
    pub(super) fn width(&self) -> usize {
        self.bias.len()
    }

    pub(super) fn parameters(&self) -> impl Iterator<Item = &dyn Parameter> {
        self.parameters.iter().map(|parameter| &**parameter)
    }

    pub(super) fn pack(&self, pass: Pass) -> PackedLinear<'_> {
        let outputs = self.width();
        let sizes = (self.weight.len() / outputs, outputs);
        (linear(&self.weight, sizes, pass), Some(&self.bias))
    }
}

/// `y = x Wᵀ + b`, or without a bias `x Wᵀ`, where `y` has row stride `step`; `x: [rows, inputs]`.
pub(super) fn apply((weight, bias): &PackedLinear<'_>, x: &[f32], y: &mut [f32], step: usize) {
    let (inputs, target) = (weight.depth(), Target::biased(y, step, *bias));
    let left = View::rows(x, inputs);
    multiply(x.len() / inputs, left, weight, 1.0, Part::Whole, target);
}

/// The input gradient of [`apply`], with a layer packed for the backward pass: `dx = dy W`, written.
pub(super) fn back((weight, _): &PackedLinear<'_>, dy: &[f32], dx: &mut [f32]) {
    let (outputs, target) = (weight.depth(), Target::set(dx, weight.columns()));
    let left = View::rows(dy, outputs);
    multiply(dy.len() / outputs, left, weight, 1.0, Part::Whole, target);
}

/// `x + dropout(branch(norm(x)))`: see [`try_residual_of`].
pub(super) fn try_residual<const EMBED: usize, B: Branch, T: Tape<f32, Cpu>>(
    x: Stream<EMBED, f32, Cpu, T>,
    norm: &Norm<EMBED, f32, Cpu>,
    branch: B,
    starts: &[usize],
    dropout: Dropout,
) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
    let (x, tape) = x.try_contiguous()?.split_tape();
    try_residual_of(([x], tape), (0, norm), branch, [starts], dropout)
}

/// `x + dropout(branch(inputs))`, where `x` is the first of the streams, and the inputs are the streams after the norm
/// of one of them. Shards are cut only at `starts`, which include the end of the batch. Dropout index: token × EMBED +
/// channel.
///
/// The gradient of `x` is set, those of other streams are accumulated.
pub(super) fn try_residual_of<
    const EMBED: usize,
    const STREAMS: usize,
    B: Branch<STREAMS>,
    T: Tape<f32, Cpu>,
>(
    (streams, mut tape): ([Stream<EMBED, f32, Cpu>; STREAMS], T),
    (which, norm): (usize, &Norm<EMBED, f32, Cpu>),
    branch: B,
    starts: [&[usize]; STREAMS],
    dropout: Dropout,
) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
    for (stream, starts) in streams.iter().zip(starts) {
        let ends = (starts.first(), starts.last());
        let whole = (Some(&0), Some(&stream.shape().0));
        assert_eq!(ends, whole, "the pieces are the whole batch");
    }
    let shards = Arc::new(pair(plan(starts[0]), starts));
    let norm = norm.clone();
    let (y, saved) = {
        let (weights, x) = (branch.pack(Pass::Forward), streams.each_ref().map(host));
        let net = ((which, norm_of(&norm)), &branch, &weights);
        forward::<EMBED, STREAMS, B>(net, &shards, x, dropout, T::OWNS_TAPE)
    };
    let device = streams[0].device().clone();
    let out = device.try_tensor_from_vec(y, *streams[0].shape())?;
    if T::OWNS_TAPE {
        let kept = out.clone();
        tape.add_backward_op(move |gradients| {
            // The residual connection: the gradient bypasses the branch, so `dy` becomes `dx` in place.
            let mut dstreams = vec![take_gradient(gradients, &device, &kept)?];
            for stream in &streams[1..] {
                dstreams.push(take_gradient(gradients, &device, stream)?);
            }
            let mut parameters = norm_parameters(&norm);
            parameters.extend(branch.parameters());
            let count: usize = parameters.iter().map(|p| p.elements().len()).sum();
            let shares: Vec<Scratch> = {
                let (weights, x) = (branch.pack(Pass::Backward), streams.each_ref().map(host));
                let net = ((which, norm_of(&norm)), &branch, &weights);
                let mut rest: Vec<&mut [f32]> = dstreams.iter_mut().map(|d| &mut d[..]).collect();
                let work = shards.iter().zip(saved).map(|(shard, saved)| {
                    let own = |stream: usize| shard[stream].len() * EMBED;
                    let dx = from_fn(|stream| take(&mut rest[stream], own(stream)));
                    (shard, saved.expect("saved because the tape is owned"), dx)
                });
                threads::map(work, |(shard, saved, dx)| {
                    let mut share = Scratch::new(count);
                    backward::<EMBED, STREAMS, B>(net, shard, saved, x, (dx, dropout), &mut share);
                    share
                })
            };
            for (stream, dx) in streams.iter().zip(dstreams) {
                set_gradient(gradients, stream, dx)?;
            }
            add_all_shares(gradients, &parameters, &shares)
        });
    }
    Ok(out.put_tape(tape))
}

/// The norm of one of the streams, and a branch with its weights.
type Net<'a, B, W> = ((usize, RowNorm<'a>), &'a B, &'a W);

/// A shard's rows of each stream.
fn rows_of<'a, const EMBED: usize, const STREAMS: usize>(
    shard: &[Shard; STREAMS],
    streams: [&'a [f32]; STREAMS],
) -> [&'a [f32]; STREAMS] {
    from_fn(|stream| shard[stream].rows(streams[stream], EMBED))
}

/// The forward pass by all threads: the output, and what each shard saved if `save` is set.
fn forward<const EMBED: usize, const STREAMS: usize, B: Branch<STREAMS>>(
    ((which, norm), branch, weights): Net<'_, B, B::Weights<'_>>,
    shards: &[[Shard; STREAMS]],
    streams: [&[f32]; STREAMS],
    dropout: Dropout,
    save: bool,
) -> (Vec<f32>, Vec<Option<B::Saved>>) {
    let outputs = (shards.iter()).map(|shard| (shard, shard[0].len() * EMBED));
    threads::map_parts(outputs, |shard, y| {
        let x = rows_of::<EMBED, STREAMS>(shard, streams);
        let mut normed = Scratch::new(x[which].len());
        normalise(x[which], norm, &mut normed);
        let mut inputs = x;
        inputs[which] = &normed;
        let saved = branch.forward(weights, shard, inputs, y);
        drop_and_add(y, x[0], dropout, shard[0].starts[0] * EMBED);
        save.then_some(saved)
    })
}

/// The backward pass of a shard: turns the gradient of its output into that of its rows of the first stream, in place,
/// adds to those of others, and writes its partial gradients of all parameters.
fn backward<const EMBED: usize, const STREAMS: usize, B: Branch<STREAMS>>(
    ((which, norm), branch, weights): Net<'_, B, B::Weights<'_>>,
    shard: &[Shard; STREAMS],
    saved: B::Saved,
    streams: [&[f32]; STREAMS],
    (dx, dropout): ([&mut [f32]; STREAMS], Dropout),
    share: &mut [f32],
) {
    let x = rows_of::<EMBED, STREAMS>(shard, streams);
    let mut dout = Scratch::new(dx[0].len());
    drop_into(&mut dout, dx[0], dropout, shard[0].starts[0] * EMBED);
    let mut dinputs = x.map(|x| Scratch::new(x.len()));
    let (of_norm, of_branch) = share.split_at_mut(norm.len());
    let input = |stream: usize| match stream == which {
        true => normed_rows(x[stream], norm),
        false => Packed::of_input(View::rows(x[stream], EMBED), shard[stream].len(), EMBED),
    };
    let ends = BranchBackward {
        inputs: &from_fn(input),
        dout: &dout,
        dinputs: dinputs.each_mut().map(|dinput| &mut **dinput),
    };
    branch.backward(weights, shard, saved, ends, of_branch);
    for (stream, (dx, dinput)) in dx.into_iter().zip(&dinputs).enumerate() {
        match stream == which {
            true => normalise_backward(dinput, x[stream], norm, dx, of_norm),
            false => dx.iter_mut().zip(&**dinput).for_each(|(dx, d)| *dx += d),
        }
    }
}

/// A sublayer that treats tokens independently, without dropout, with its weights packed once.
pub(super) fn packed<'a, const EMBED: usize, B: Branch>(
    norm: &'a Norm<EMBED, f32, Cpu>,
    branch: &'a B,
) -> BoxedPointwise<'a, EMBED, f32, Cpu> {
    let weights = branch.pack(Pass::Forward);
    Box::new(move |x| {
        let x = x.try_contiguous()?;
        let starts: Vec<usize> = (0..=x.shape().0).collect();
        let net = ((0, norm_of(norm)), branch, &weights);
        let shards = pair(plan(&starts), [&starts]);
        let (y, _) = forward::<EMBED, 1, B>(net, &shards, [host(&x)], Dropout::NONE, false);
        x.device().try_tensor_from_vec(y, *x.shape())
    })
}

/// Adds the shards' partial sums to the gradients of several parameters, which are concatenated in each
/// sum.
pub(super) fn add_all_shares(
    gradients: &mut Gradients<f32, Cpu>,
    parameters: &[&dyn Parameter],
    shares: &[Scratch],
) -> Result<(), CpuError> {
    let mut first = 0;
    for parameter in parameters {
        let end = first + parameter.elements().len();
        let of_parameter: Vec<&[f32]> = shares.iter().map(|share| &share[first..end]).collect();
        parameter.add(gradients, &of_parameter)?;
        first = end;
    }
    Ok(())
}

/// The elements of a norm's parameters.
pub(super) fn norm_of<const EMBED: usize>(norm: &Norm<EMBED, f32, Cpu>) -> RowNorm<'_> {
    RowNorm {
        weight: host(&norm.weight),
        bias: norm.bias.as_ref().map(host),
    }
}

/// A norm's parameters, in the order in which [`normalise_backward`] writes their gradients.
pub(super) fn norm_parameters<const EMBED: usize>(
    norm: &Norm<EMBED, f32, Cpu>,
) -> Vec<&dyn Parameter> {
    let bias = norm.bias.as_ref().map(|bias| bias as &dyn Parameter);
    let weight: &dyn Parameter = &norm.weight;
    [weight].into_iter().chain(bias).collect()
}
