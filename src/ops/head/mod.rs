//! The language-model head: final norm, projection to the vocabulary, and cross-entropy loss.

mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
#[cfg(test)]
pub(crate) mod reference;

use dfdx::shapes::{Dtype, Rank0, Rank2};
use dfdx::tensor::{Tape, Tensor};
use dfdx::tensor_ops::Device;

use super::Stream;
use super::parameters::Norm;
use crate::data::ragged::{PAD, Ragged};

/// A device that runs the language-model head.
pub trait HeadOp<N: Dtype>: Device<N> {
    /// Mean cross-entropy of the scored targets, in nats.
    ///
    /// `x: [tokens, EMBED]`, `head: [VOCAB, EMBED]`. Rows whose target is [`PAD`] are skipped entirely. The
    /// caller guarantees that the batch has a scored token.
    fn try_loss<const EMBED: usize, const VOCAB: usize, T: Tape<N, Self>>(
        x: Stream<EMBED, N, Self, T>,
        norm: &Norm<EMBED, N, Self>,
        head: &Tensor<Rank2<VOCAB, EMBED>, N, Self>,
        batch: &Ragged,
    ) -> Result<Tensor<Rank0, N, Self, T>, Self::Err>;

    /// Logits for the token after each of `rows`: `[rows, VOCAB]`.
    fn try_logits<const EMBED: usize, const VOCAB: usize>(
        x: Stream<EMBED, N, Self>,
        norm: &Norm<EMBED, N, Self>,
        head: &Tensor<Rank2<VOCAB, EMBED>, N, Self>,
        rows: &[usize],
    ) -> Result<Stream<VOCAB, N, Self>, Self::Err>;
}

/// The tokens whose target is scored, and these targets.
fn scored(batch: &Ragged) -> (Vec<usize>, Vec<usize>) {
    let targets = batch.targets.iter().enumerate();
    targets
        .filter(|&(_, &target)| target != PAD)
        .map(|(t, &target)| (t, target as usize))
        .unzip()
}

#[cfg(test)]
mod tests {
    use dfdx::shapes::Const;
    use dfdx::tensor::Cpu;
    use dfdx::tensor_ops::ReshapeTo;

    use super::*;
    use crate::ops::tests::{
        Case, NormKind, batch, check_op, for_each_norm, in_bf16, on_each_device,
    };

    type Layers<N, D> = (Norm<6, N, D>, Tensor<Rank2<13, 6>, N, D>);

    fn layers<N: Dtype, D: Device<N>>(device: &D, norm: NormKind) -> Layers<N, D> {
        (norm.zeros(device), device.zeros())
    }

    on_each_device!(
        agrees_with_the_reference_and_with_finite_differences,
        |device| for_each_norm(|norm| check(&device, norm, 1e-5))
    );

    #[test]
    fn agrees_in_bf16() {
        in_bf16(|tolerance| check(&Cpu::default(), NormKind::Layer, tolerance));
    }

    fn check<D: HeadOp<f32> + 'static>(device: &D, norm: NormKind, tolerance: f64) {
        let many: Vec<usize> = (0..30).map(|i| 1 + i % 9).collect();
        for lengths in [&[1][..], &[4, 2], &many] {
            let mut batch = batch(lengths, 13);
            batch
                .targets
                .iter_mut()
                .skip(1)
                .step_by(3)
                .for_each(|target| *target = PAD);
            let shape = (1usize, Const::<1>);
            check_op::<D, 6, 1, Layers<f32, D>, Layers<f64, Cpu>>(Case {
                device: device.clone(),
                fast_model: layers(device, norm),
                exact_model: layers(&Cpu::default(), norm),
                fast: &|m, x, _| D::try_loss(x, &m.0, &m.1, &batch)?.try_reshape_like(&shape),
                exact: &|m, x, _| reference::loss(x, &m.0, &m.1, &batch)?.try_reshape_like(&shape),
                plain: &|m, x, _| reference::loss(x, &m.0, &m.1, &batch)?.try_reshape_like(&shape),
                tokens: batch.len(),
                tolerance,
            });
        }
    }

    type Words<D> = (Norm<2, f32, D>, Tensor<Rank2<2, 2>, f32, D>);

    /// An identity head after a norm that leaves `[1, -1]` unchanged, up to epsilon.
    fn two_words<D: HeadOp<f32>>(device: &D, scale: f32) -> Words<D> {
        let mut norm = Norm::layer(device).expect("memory");
        norm.weight.copy_from(&[1.0; 2]);
        let head = device.tensor_from_vec(vec![scale, 0.0, 0.0, scale], Default::default());
        (norm, head)
    }

    on_each_device!(logits_of_1e4_stay_finite, |device| check_large(&device));

    fn check_large<D: HeadOp<f32>>(device: &D) {
        let (norm, head) = two_words(device, 1e4);
        let x = device.tensor_from_vec(vec![1.0, -1.0], (1, Const::<2>));
        let batch = Ragged {
            tokens: vec![1],
            targets: vec![1],
            starts: vec![0, 1],
        };
        let loss = D::try_loss(x, &norm, &head, &batch)
            .expect("a loss")
            .as_vec()[0];
        assert!((loss - 2e4).abs() < 2.0, "{loss}");
    }

    on_each_device!(logits_come_for_the_rows_asked_for, |device| check_rows(
        &device
    ));

    fn check_rows<D: HeadOp<f32>>(device: &D) {
        let (norm, head) = two_words(device, 1.0);
        let x = device.tensor_from_vec(vec![1.0, -1.0, -1.0, 1.0], (2, Const::<2>));
        let logits = D::try_logits(x, &norm, &head, &[1])
            .expect("logits")
            .as_vec();
        assert!(
            (logits[0] + 1.0).abs() < 1e-4 && (logits[1] - 1.0).abs() < 1e-4,
            "{logits:?}"
        );
    }
}
