//! The MLP sublayer of a pre-norm block: layer norm, two linear layers around an exact GELU, dropout,
//! residual.

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
use super::parameters::{LayerNorm, Linear, named_weights};

/// The two linear layers. In PyTorch's names `0` and `2`: indices in an `nn.Sequential`.
#[derive(Clone, Debug)]
pub struct FeedForward<const EMBED: usize, const HIDDEN: usize, N: Dtype, D: Storage<N>> {
    /// `[EMBED] → [HIDDEN]`.
    pub expand: Linear<Const<EMBED>, Const<HIDDEN>, N, D>,
    /// `[HIDDEN] → [EMBED]`.
    pub contract: Linear<Const<HIDDEN>, Const<EMBED>, N, D>,
}

named_weights! {
    impl [const EMBED: usize, const HIDDEN: usize,] FeedForward<EMBED, HIDDEN> {
        expand: "0",
        contract: "2",
    }
}

impl<const EMBED: usize, const HIDDEN: usize, N: Dtype, D: Device<N>>
    FeedForward<EMBED, HIDDEN, N, D>
{
    /// All zero.
    pub fn zeros(device: &D) -> Result<Self, D::Err> {
        Ok(Self {
            expand: Linear::zeros(device, (Const, Const))?,
            contract: Linear::zeros(device, (Const, Const))?,
        })
    }
}

/// A device that runs the MLP sublayer.
pub trait FeedForwardOp<N: Dtype>: Device<N> {
    /// `y = x + dropout(contract(gelu(expand(norm(x)))))`, `[tokens, EMBED]` → the same.
    ///
    /// Every token is processed independently. Dropout index: token × EMBED + channel. `x` must not be used
    /// by another op on a tape: the residual stream is a chain.
    ///
    /// Source: Vaswani et al. 2017, §3.3; pre-norm as in GPT-2 (Radford et al. 2019).
    fn try_feed_forward<const EMBED: usize, const HIDDEN: usize, T: Tape<N, Self>>(
        x: Stream<EMBED, N, Self, T>,
        norm: &LayerNorm<EMBED, N, Self>,
        weights: &FeedForward<EMBED, HIDDEN, N, Self>,
        dropout: Dropout,
    ) -> Result<Stream<EMBED, N, Self, T>, Self::Err>;

    /// The same sublayer for inference, without dropout or gradients, prepared for repeated use.
    fn inference_feed_forward<'a, const EMBED: usize, const HIDDEN: usize>(
        norm: &'a LayerNorm<EMBED, N, Self>,
        weights: &'a FeedForward<EMBED, HIDDEN, N, Self>,
    ) -> BoxedPointwise<'a, EMBED, N, Self>;
}

#[cfg(test)]
mod tests {
    use dfdx::shapes::Const;
    use dfdx::tensor::Cpu;

    use super::*;
    use crate::ops::tests::{self as ops_tests, Case, check_op, numbers, on_each_device};

    type Sublayer<N, D> = (LayerNorm<6, N, D>, FeedForward<6, 10, N, D>);

    fn sublayer<N: Dtype, D: Device<N>>(device: &D) -> Sublayer<N, D> {
        let norm = LayerNorm::zeros(device).expect("memory");
        (norm, FeedForward::zeros(device).expect("memory"))
    }

    on_each_device!(
        agrees_with_the_reference_and_with_finite_differences,
        |device| check(&device)
    );

    fn check<D: FeedForwardOp<f32> + 'static>(device: &D) {
        for tokens in [1, 2, 77, 200] {
            for dropout in [Dropout::NONE, Dropout::new(0.2, 3)] {
                check_op::<D, 6, 6, Sublayer<f32, D>, Sublayer<f64, Cpu>>(Case {
                    device: device.clone(),
                    fast_model: sublayer(device),
                    exact_model: sublayer(&Cpu::default()),
                    fast: &|m, x, _| D::try_feed_forward(x, &m.0, &m.1, dropout),
                    exact: &|m, x, _| reference::feed_forward(x, &m.0, &m.1, dropout),
                    plain: &|m, x, _| reference::feed_forward(x, &m.0, &m.1, dropout),
                    tokens,
                    tolerance: 1e-5,
                });
            }
        }
    }

    on_each_device!(inference_gives_the_same_bits, |device| check_inference(
        &device
    ));

    fn check_inference<D: FeedForwardOp<f32>>(device: &D) {
        let (norm, mut weights): Sublayer<f32, D> = sublayer(device);
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
}
