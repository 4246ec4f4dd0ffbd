//! The MLP sublayer of a pre-norm block: norm, linear layers to hidden activations and back, dropout, residual.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
pub(crate) mod reference;

use dfdx::shapes::{Const, Dtype};
use dfdx::tensor::{Storage, Tape};
use dfdx::tensor_ops::Device;

use super::Stream;
use super::decoding::BoxedPointwise;
use super::dropout::Dropout;
use super::parameters::{Linear, Norm, Visitor, VisitorMut, Weights, member};

/// How hidden activations are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Exact `gelu(expand(x))`, where `gelu(h) = h Φ(h)` (Hendrycks and Gimpel 2016).
    Gelu,
    /// `max(0, expand(x))²` (So et al. 2021, Primer).
    SquaredRelu,
    /// `silu(gate(x)) * expand(x)`, where `silu(h) = h / (1 + e^-h)` (Shazeer 2020).
    SwiGlu,
}

impl Activation {
    /// PyTorch's names of gate, [`FeedForward::expand`] and [`FeedForward::contract`]: indices in an `nn.Sequential`,
    /// or as in Hugging Face's LLaMA.
    fn names(self) -> [&'static str; 3] {
        match self {
            Self::Gelu | Self::SquaredRelu => ["", "0", "2"],
            Self::SwiGlu => ["gate_proj", "up_proj", "down_proj"],
        }
    }
}

/// The linear layers.
#[derive(Clone, Debug)]
pub struct FeedForward<const EMBED: usize, const HIDDEN: usize, N: Dtype, D: Storage<N>> {
    /// What is computed of the layers to `[HIDDEN]`.
    pub activation: Activation,
    /// `[EMBED] → [HIDDEN]`; only in [`Activation::SwiGlu`].
    pub gate: Option<Linear<Const<EMBED>, Const<HIDDEN>, N, D>>,
    /// `[EMBED] → [HIDDEN]`.
    pub expand: Linear<Const<EMBED>, Const<HIDDEN>, N, D>,
    /// `[HIDDEN] → [EMBED]`.
    pub contract: Linear<Const<HIDDEN>, Const<EMBED>, N, D>,
}

impl<const EMBED: usize, const HIDDEN: usize, N: Dtype, D: Device<N>> Weights<N, D>
    for FeedForward<EMBED, HIDDEN, N, D>
{
    fn each(&self, group: &str, visitor: &mut impl Visitor<N, D>) -> Result<(), D::Err> {
        let [gate, expand, contract] = self.activation.names().map(|name| member(group, name));
        self.gate.each(&gate, visitor)?;
        self.expand.each(&expand, visitor)?;
        self.contract.each(&contract, visitor)
    }

    fn each_mut(&mut self, group: &str, visitor: &mut impl VisitorMut<N, D>) -> Result<(), D::Err> {
        let [gate, expand, contract] = self.activation.names().map(|name| member(group, name));
        self.gate.each_mut(&gate, visitor)?;
        self.expand.each_mut(&expand, visitor)?;
        self.contract.each_mut(&contract, visitor)
    }
}

impl<const EMBED: usize, const HIDDEN: usize, N: Dtype, D: Device<N>>
    FeedForward<EMBED, HIDDEN, N, D>
{
    /// All zero.
    pub fn zeros(device: &D, activation: Activation) -> Result<Self, D::Err> {
        let is_gated = activation == Activation::SwiGlu;
        let gate = is_gated.then(|| Linear::zeros(device, (Const, Const)));
        Ok(Self {
            activation,
            gate: gate.transpose()?,
            expand: Linear::zeros(device, (Const, Const))?,
            contract: Linear::zeros(device, (Const, Const))?,
        })
    }

    /// The layers to the hidden activations: the gate, if there is one, and [`Self::expand`].
    fn hidden_layers(&self) -> impl Iterator<Item = &Linear<Const<EMBED>, Const<HIDDEN>, N, D>> {
        self.gate.iter().chain([&self.expand])
    }

    /// Total width of these layers' outputs.
    fn hidden_width(&self) -> usize {
        self.hidden_layers().count() * HIDDEN
    }
}

/// A device that runs the MLP sublayer.
pub trait FeedForwardOp<N: Dtype>: Device<N> {
    /// `y = x + dropout(contract(hidden(norm(x))))`, `[tokens, EMBED]` → the same; for the hidden activations see
    /// [`Activation`].
    ///
    /// Every token is processed independently. Dropout index: token × EMBED + channel. `x` must not be used
    /// by another op on a tape: the residual stream is a chain.
    ///
    /// Source: Vaswani et al. 2017, §3.3; pre-norm as in GPT-2 (Radford et al. 2019).
    fn try_feed_forward<const EMBED: usize, const HIDDEN: usize, T: Tape<N, Self>>(
        x: Stream<EMBED, N, Self, T>,
        norm: &Norm<EMBED, N, Self>,
        weights: &FeedForward<EMBED, HIDDEN, N, Self>,
        dropout: Dropout,
    ) -> Result<Stream<EMBED, N, Self, T>, Self::Err>;

    /// The same sublayer for inference, without dropout or gradients, prepared for repeated use.
    fn inference_feed_forward<'a, const EMBED: usize, const HIDDEN: usize>(
        norm: &'a Norm<EMBED, N, Self>,
        weights: &'a FeedForward<EMBED, HIDDEN, N, Self>,
    ) -> BoxedPointwise<'a, EMBED, N, Self>;
}

#[cfg(test)]
mod tests {
    use dfdx::shapes::Const;
    use dfdx::tensor::Cpu;

    use super::*;
    use crate::ops::tests::{
        self as ops_tests, Case, NormKind, arbitrary, assert_close, check_op, in_bf16, numbers,
        on_each_device,
    };

    type Sublayer<N, D> = (Norm<6, N, D>, FeedForward<6, 10, N, D>);

    fn sublayer<N: Dtype, D: Device<N>>(device: &D, kind: Kind) -> Sublayer<N, D> {
        let layers = FeedForward::zeros(device, kind.1).expect("memory");
        (kind.0.zeros(device), layers)
    }

    type Kind = (NormKind, Activation);

    /// Every activation, and either norm.
    const KINDS: [Kind; 4] = [
        (NormKind::Layer, Activation::Gelu),
        (NormKind::Rms, Activation::Gelu),
        (NormKind::Layer, Activation::SquaredRelu),
        (NormKind::Rms, Activation::SwiGlu),
    ];

    on_each_device!(
        agrees_with_the_reference_and_with_finite_differences,
        |device| KINDS.iter().for_each(|&kind| check(&device, kind, 1e-5))
    );

    #[test]
    fn agrees_in_bf16() {
        in_bf16(|tolerance| {
            (KINDS.iter()).for_each(|&kind| check(&Cpu::default(), kind, tolerance))
        });
    }

    fn check<D: FeedForwardOp<f32> + 'static>(device: &D, kind: Kind, tolerance: f64) {
        for tokens in [1, 2, 77, 200] {
            for dropout in [Dropout::NONE, Dropout::new(0.2, 3)] {
                check_op::<D, 6, 6, Sublayer<f32, D>, Sublayer<f64, Cpu>>(Case {
                    device: device.clone(),
                    fast_model: sublayer(device, kind),
                    exact_model: sublayer(&Cpu::default(), kind),
                    fast: &|m, x, _| D::try_feed_forward(x, &m.0, &m.1, dropout),
                    exact: &|m, x, _| reference::feed_forward(x, &m.0, &m.1, dropout),
                    plain: &|m, x, _| reference::feed_forward(x, &m.0, &m.1, dropout),
                    tokens,
                    tolerance,
                });
            }
        }
    }

    on_each_device!(inference_gives_the_same_bits, |device| {
        KINDS
            .iter()
            .for_each(|&kind| check_inference(&device, kind))
    });

    fn check_inference<D: FeedForwardOp<f32>>(device: &D, kind: Kind) {
        let (norm, mut weights): Sublayer<f32, D> = sublayer(device, kind);
        let sizes = ops_tests::weights(&weights);
        let values = (1..)
            .zip(&sizes)
            .map(|(salt, w)| numbers(w.len(), f64::from(salt)));
        ops_tests::fill(&mut weights, &values.collect::<Vec<_>>());
        let x = numbers(300 * 6, 7.0)
            .into_iter()
            .map(|x| x as f32)
            .collect();
        let x = device.tensor_from_vec(x, (300, Const::<6>));
        let whole = D::try_feed_forward(x.clone(), &norm, &weights, Dropout::NONE);
        let inference = D::inference_feed_forward(&norm, &weights)(x);
        assert_eq!(
            whole.expect("memory").as_vec(),
            inference.expect("memory").as_vec()
        );
    }

    /// `W x + b`, written out: `weight: [outputs, inputs]`.
    fn linear(weight: &[f64], bias: &[f64], x: &[f64]) -> Vec<f64> {
        let rows = weight.chunks_exact(x.len()).zip(bias);
        rows.map(|(row, b)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b)
            .collect()
    }

    /// A token after the sublayer with an RMS norm, written out in f64.
    fn by_formula(activation: Activation, weights: &[Vec<f64>], x: &[f64]) -> Vec<f64> {
        let square = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
        let normed = x.iter().zip(&weights[0]);
        let normed: Vec<f64> = normed
            .map(|(v, gain)| v / (square + 1e-5).sqrt() * gain)
            .collect();
        let layer = |first: usize, x: &[f64]| linear(&weights[first], &weights[first + 1], x);
        let (hidden, last): (Vec<f64>, usize) = match activation {
            Activation::SwiGlu => {
                let gates = layer(1, &normed).into_iter().zip(layer(3, &normed));
                let hidden = gates.map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up);
                (hidden.collect(), 5)
            }
            Activation::SquaredRelu => {
                let hidden = layer(1, &normed).into_iter();
                (hidden.map(|h| h.max(0.0).powi(2)).collect(), 3)
            }
            Activation::Gelu => unreachable!("its own test is in `kernels/rows.rs`"),
        };
        let added = layer(last, &hidden).into_iter().zip(x);
        added.map(|(y, x)| x + y).collect()
    }

    #[test]
    fn activations_match_formulas_written_out() {
        for activation in [Activation::SquaredRelu, Activation::SwiGlu] {
            let mut model: Sublayer<f32, Cpu> =
                sublayer(&Cpu::default(), (NormKind::Rms, activation));
            let x: Stream<6, f32, Cpu> = arbitrary(&mut model, 40);
            let weights = ops_tests::weights(&model);
            let tokens = x.as_vec().into_iter().map(f64::from).collect::<Vec<_>>();
            let tokens = tokens.chunks_exact(6);
            let want: Vec<f64> = tokens
                .flat_map(|x| by_formula(activation, &weights, x))
                .collect();
            let y = Cpu::try_feed_forward(x, &model.0, &model.1, Dropout::NONE);
            let y = y.expect("memory").as_vec().into_iter().map(f64::from);
            assert_close("output", &y.collect::<Vec<_>>(), &want, 1e-6, 0.0);
        }
    }

    #[test]
    fn layers_have_the_names_of_pytorch() {
        let names = |activation| {
            let layers = FeedForward::<6, 10, f32, Cpu>::zeros(&Cpu::default(), activation);
            ops_tests::names(&layers.expect("memory"))
        };
        let of_two = ["0.weight", "0.bias", "2.weight", "2.bias"];
        assert_eq!(names(Activation::Gelu), of_two);
        assert_eq!(names(Activation::SquaredRelu), of_two);
        let gated = ["gate_proj", "up_proj", "down_proj"];
        let gated = gated.map(|layer| [format!("{layer}.weight"), format!("{layer}.bias")]);
        assert_eq!(names(Activation::SwiGlu), gated.concat());
    }
}
