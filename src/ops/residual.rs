//! What all residual sublayers have in common on the CPU: `y = x + dropout(branch(norm(x)))`.
//!
//! A sublayer implements [`Branch`]. Here is the rest: shards of whole documents over the threads, the
//! norm, dropout and residual, the tape, and the sums of the shards' gradients.

use std::sync::Arc;

use dfdx::shapes::{Const, Dim, HasShape, Shape};
use dfdx::tensor::{Cpu, CpuError, Gradients, PutTape, SplitTape, Tape, Tensor, TensorFromVec};
use dfdx::tensor_ops::ReshapeTo;
use rayon::prelude::*;

use super::Stream;
use super::bridge::{host, set_gradient, take_gradient};
use super::decoding::BoxedPointwise;
use super::dropout::Dropout;
use super::kernels::matmul::{Left, Packed, Part, Pass, Target, linear, multiply};
use super::kernels::rows::{
    RowNorm, drop_and_add, drop_into, normalise, normalise_backward, normed_rows,
};
use super::kernels::scratch::Scratch;
use super::kernels::shards::{Shard, add_in_order, plan, split};
use super::parameters::{Linear, Norm, Projection};

/// The branch of a residual sublayer, as a function of the normalised stream, `[tokens, EMBED]` → the same.
///
/// All methods work on one shard; threads work on different shards.
pub(super) trait Branch: Send + Sync + 'static {
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
        shard: &Shard,
        normed: &[f32],
        out: &mut [f32],
    ) -> Self::Saved;

    /// Writes all of `dnormed`, and the shard's partial gradients of all parameters, concatenated.
    fn backward(
        &self,
        weights: &Self::Weights<'_>,
        shard: &Shard,
        saved: Self::Saved,
        ends: BranchBackward<'_>,
        share: &mut [f32],
    );
}

/// The input and the gradients of a branch in the backward pass of one shard: `[tokens, EMBED]` each.
pub(super) struct BranchBackward<'a> {
    /// The input.
    pub(super) normed: &'a Packed<'a>,
    /// Gradient of the output.
    pub(super) dout: &'a [f32],
    /// Gradient of the input, to be written.
    pub(super) dnormed: &'a mut [f32],
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

/// A linear layer, packed for one pass, and its bias.
pub(super) type PackedLinear<'a> = (Packed<'a>, &'a [f32]);

/// Packs a linear layer.
pub(super) fn pack_linear<In: Dim, Out: Dim>(
    layer: &Linear<In, Out, f32, Cpu>,
    pass: Pass,
) -> PackedLinear<'_> {
    let weight = linear(host(&layer.weight), layer.widths(), pass);
    (weight, host(&layer.bias))
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
        let weights = || layers.iter().map(|layer| layer.weight());
        let biases = || layers.iter().filter_map(|layer| layer.bias());
        let join = |parts: Vec<&[f32]>| parts.concat();
        let mut bias = join(biases().map(|one| one.elements()).collect());
        let count = bias.len();
        bias.resize(layers.iter().map(|layer| layer.outputs()).sum(), 0.0);
        Self {
            weight: join(weights().map(|one| one.elements()).collect()),
            bias,
            parameters: weights().chain(biases()).map(|one| one.share()).collect(),
            biases: count,
        }
    }

    /// Number of elements of the biases.
    pub(super) fn biases(&self) -> usize {
        self.biases
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
        (linear(&self.weight, sizes, pass), &self.bias)
    }
}

/// A linear layer of any width.
pub(super) trait Layer {
    fn weight(&self) -> &dyn Parameter;

    fn bias(&self) -> Option<&dyn Parameter>;

    /// Number of outputs.
    fn outputs(&self) -> usize;
}

impl<In: Dim, Out: Dim> Layer for Linear<In, Out, f32, Cpu> {
    fn weight(&self) -> &dyn Parameter {
        &self.weight
    }

    fn bias(&self) -> Option<&dyn Parameter> {
        Some(&self.bias)
    }

    fn outputs(&self) -> usize {
        self.widths().1
    }
}

impl<const EMBED: usize> Layer for Projection<EMBED, f32, Cpu> {
    fn weight(&self) -> &dyn Parameter {
        &self.weight
    }

    fn bias(&self) -> Option<&dyn Parameter> {
        None
    }

    fn outputs(&self) -> usize {
        self.weight.shape().0
    }
}

/// `y = x Wᵀ + b`, where `y` has row stride `step`; `x: [rows, inputs]`.
pub(super) fn apply((weight, bias): &PackedLinear<'_>, x: &[f32], y: &mut [f32], step: usize) {
    let (inputs, target) = (weight.depth(), Target::biased(y, step, bias));
    let left = Left::Rows(x, inputs);
    multiply(x.len() / inputs, left, weight, 1.0, Part::Whole, target);
}

/// Packs a linear layer without a bias for the forward pass.
pub(super) fn pack_projection<const EMBED: usize>(
    layer: &Projection<EMBED, f32, Cpu>,
) -> Packed<'_> {
    let sizes = (EMBED, layer.weight.shape().0);
    linear(host(&layer.weight), sizes, Pass::Forward)
}

/// `y = x Wᵀ`, where `y` has row stride `step`; `x: [rows, inputs]`.
pub(super) fn project(weight: &Packed<'_>, x: &[f32], y: &mut [f32], step: usize) {
    let (inputs, target) = (weight.depth(), Target::set(y, step));
    let left = Left::Rows(x, inputs);
    multiply(x.len() / inputs, left, weight, 1.0, Part::Whole, target);
}

/// The input gradient of [`apply`], with a layer packed for the backward pass: `dx = dy W`, written, rows
/// of `inputs`.
pub(super) fn back((weight, bias): &PackedLinear<'_>, dy: &[f32], dx: &mut [f32], inputs: usize) {
    let outputs = bias.len();
    let (left, target) = (Left::Rows(dy, outputs), Target::set(dx, inputs));
    multiply(dy.len() / outputs, left, weight, 1.0, Part::Whole, target);
}

/// `x + dropout(branch(norm(x)))`. Shards are cut only at `starts`, which include the end of the batch.
/// Dropout index: token × EMBED + channel.
pub(super) fn try_residual<const EMBED: usize, B: Branch, T: Tape<f32, Cpu>>(
    x: Stream<EMBED, f32, Cpu, T>,
    norm: &Norm<EMBED, f32, Cpu>,
    branch: B,
    starts: &[usize],
    dropout: Dropout,
) -> Result<Stream<EMBED, f32, Cpu, T>, CpuError> {
    let (x, mut tape) = x.try_contiguous()?.split_tape();
    let tokens = x.shape().0;
    assert_eq!(
        (starts.first(), starts.last()),
        (Some(&0), Some(&tokens)),
        "the pieces are the whole batch"
    );
    let shards = Arc::new(plan(starts));
    let norm = norm.clone();
    let (y, saved) = {
        let weights = branch.pack(Pass::Forward);
        let net = (norm_of(&norm), &branch, &weights);
        forward::<EMBED, B>(net, &shards, host(&x), dropout, T::OWNS_TAPE)
    };
    let device = x.device().clone();
    let out = device.try_tensor_from_vec(y, (tokens, Const::<EMBED>))?;
    if T::OWNS_TAPE {
        let kept = out.clone();
        tape.add_backward_op(move |gradients| {
            // The residual connection: the gradient bypasses the branch, so `dy` becomes `dx` in place.
            let mut dx = take_gradient(gradients, &device, &kept)?;
            let mut parameters = norm_parameters(&norm);
            parameters.extend(branch.parameters());
            let count: usize = parameters.iter().map(|p| p.elements().len()).sum();
            let shares: Vec<Scratch> = {
                let (x, norm) = (host(&x), norm_of(&norm));
                let weights = branch.pack(Pass::Backward);
                let work = (shards.par_iter().zip(saved)).zip(split(shards.iter(), EMBED, &mut dx));
                work.map(|((shard, saved), dx)| {
                    let (x, first) = (shard.rows(x, EMBED), shard.starts[0] * EMBED);
                    let [mut dout, mut dnormed] = [(); 2].map(|()| Scratch::new(x.len()));
                    drop_into(&mut dout, dx, dropout, first);
                    let mut share = Scratch::new(count);
                    let (of_norm, of_branch) = share.split_at_mut(norm.len());
                    let ends = BranchBackward {
                        normed: &normed_rows(x, norm),
                        dout: &dout,
                        dnormed: &mut dnormed,
                    };
                    let saved = saved.expect("saved because the tape is owned");
                    branch.backward(&weights, shard, saved, ends, of_branch);
                    normalise_backward(&dnormed, x, norm, dx, of_norm);
                    share
                })
                .collect()
            };
            set_gradient(gradients, &x, dx)?;
            add_all_shares(gradients, &parameters, &shares)
        });
    }
    Ok(out.put_tape(tape))
}

/// The forward pass by all threads: the output, and what each shard saved if `save` is set.
fn forward<const EMBED: usize, B: Branch>(
    (norm, branch, weights): (RowNorm<'_>, &B, &B::Weights<'_>),
    shards: &[Shard],
    x: &[f32],
    dropout: Dropout,
    save: bool,
) -> (Vec<f32>, Vec<Option<B::Saved>>) {
    let mut y = vec![0.0; x.len()];
    let work = shards.par_iter().zip(split(shards, EMBED, &mut y));
    let saved = work
        .map(|(shard, y)| {
            let x = shard.rows(x, EMBED);
            let mut normed = Scratch::new(x.len());
            normalise(x, norm, &mut normed);
            let saved = branch.forward(weights, shard, &normed, y);
            drop_and_add(y, x, dropout, shard.starts[0] * EMBED);
            save.then_some(saved)
        })
        .collect();
    (y, saved)
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
        let net = (norm_of(norm), branch, &weights);
        let (y, _) = forward::<EMBED, B>(net, &plan(&starts), host(&x), Dropout::NONE, false);
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
