//! One check for every differentiable op: on the CPU the fast f32 path, the f64 reference and finite
//! differences agree; on a GPU, if there is one, its path agrees with the same reference.

use std::any::TypeId;
use std::ops::Mul;

use dfdx::shapes::{Const, Dtype, Shape};
use dfdx::tensor::{
    AsArray, Cpu, Gradients, HasErr, NoneTape, OwnedTape, PutTape, SplitTape, Tape, Tensor,
    TensorFromVec, Trace,
};
use dfdx::tensor_ops::{Backward, Device, SumTo};

use super::Stream;
use super::parameters::{Norm, Visitor, VisitorMut, Weights, member, set_values, values};
use super::precision::Precision;
use super::products::supports;
use crate::data::ragged::{Ragged, Sequence};

type Op<'a, const IN: usize, const OUT: usize, M, N, D, T> =
    &'a dyn Fn(&M, Stream<IN, N, D, T>, T) -> Result<Stream<OUT, N, D, T>, <D as HasErr>::Err>;

/// An op on `[tokens, IN]` with a model's weights: the fast path, the reference with a tape, and without.
pub(super) struct Case<'a, D: Device<f32>, const IN: usize, const OUT: usize, M32, M64> {
    /// Where the fast path runs.
    pub(super) device: D,
    pub(super) fast_model: M32,
    pub(super) exact_model: M64,
    pub(super) fast: Op<'a, IN, OUT, M32, f32, D, OwnedTape<f32, D>>,
    pub(super) exact: Op<'a, IN, OUT, M64, f64, Cpu, OwnedTape<f64, Cpu>>,
    /// The reference without a tape, for finite differences.
    pub(super) plain: Op<'a, IN, OUT, M64, f64, Cpu, NoneTape>,
    pub(super) tokens: usize,
    /// Tolerance of the fast path, relative to the largest value of each tensor.
    pub(super) tolerance: f64,
}

/// Documents of the given lengths with arbitrary ids in `1..vocabulary`.
pub(super) fn batch(lengths: &[usize], vocabulary: u32) -> Ragged {
    let ids = |n: usize, salt: usize| {
        (0..n)
            .map(|i| 1 + ((i * 7 + salt * 3) as u32) % (vocabulary - 1))
            .collect()
    };
    let sequences: Vec<Sequence> = (lengths.iter().enumerate())
        .map(|(d, &n)| Sequence {
            tokens: ids(n, d),
            targets: ids(n, d + 5),
        })
        .collect();
    Ragged::from_sequences(&sequences)
}

/// Compares the outputs, and all gradients of a weighted sum of squares of the output.
pub(super) fn check_op<D, const IN: usize, const OUT: usize, M32, M64>(
    mut case: Case<'_, D, IN, OUT, M32, M64>,
) where
    D: Device<f32> + 'static,
    M32: Weights<f32, D>,
    M64: Weights<f64, Cpu>,
{
    let mut salt = 0.0;
    let mut next = |n: usize| {
        salt += 1.0;
        numbers(n, salt)
    };
    let shapes: Vec<usize> = weights(&case.exact_model).iter().map(Vec::len).collect();
    let values: Vec<Vec<f64>> = shapes.into_iter().map(&mut next).collect();
    fill(&mut case.fast_model, &values);
    fill(&mut case.exact_model, &values);
    let x = next(case.tokens * IN);
    let (fast_y, fast) = run(&case.device, &case.fast_model, &x, case.tokens, case.fast);
    let cpu = Cpu::default();
    let (exact_y, exact) = run(&cpu, &case.exact_model, &x, case.tokens, case.exact);
    assert_close("output", &fast_y, &exact_y, case.tolerance, 0.0);
    assert_eq!(fast.len(), exact.len());
    let largest = exact
        .iter()
        .flat_map(|(_, g)| g)
        .fold(0f64, |m, g| m.max(g.abs()));
    for ((name, fast), (_, exact)) in fast.iter().zip(&exact) {
        assert_close(
            &format!("gradient of {name}"),
            fast,
            exact,
            case.tolerance,
            0.1 * largest,
        );
    }
    // Checking the reference itself on one device is enough.
    if TypeId::of::<D>() == TypeId::of::<Cpu>() {
        check_differences(&mut case, &values, &x, &exact);
    }
}

/// Defines a test on the CPU and the same test on a GPU. Without a GPU the latter is skipped with a
/// message.
macro_rules! on_each_device {
    ($name:ident, |$device:ident| $check:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn cpu() {
                let $device = dfdx::tensor::Cpu::default();
                $check;
            }

            #[cfg(feature = "cuda")]
            #[test]
            fn cuda() {
                if let Some($device) = crate::ops::tests::cuda() {
                    $check;
                }
            }
        }
    };
}
pub(crate) use on_each_device;

/// The norms of [`Norm`], by name.
#[derive(Clone, Copy, Debug)]
pub(super) enum NormKind {
    Layer,
    Rms,
}

impl NormKind {
    /// All zero.
    pub(super) fn zeros<const EMBED: usize, N: Dtype, D: Device<N>>(
        self,
        device: &D,
    ) -> Norm<EMBED, N, D> {
        let norm = match self {
            Self::Layer => Norm::layer(device),
            Self::Rms => Norm::rms(device),
        };
        norm.expect("memory")
    }
}

/// Checks something with either norm.
pub(super) fn for_each_norm(check: impl Fn(NormKind)) {
    [NormKind::Layer, NormKind::Rms].into_iter().for_each(check);
}

/// Runs `check` on the CPU in bf16, if supported; its argument is a tolerance for inputs rounded to 8 bits.
pub(super) fn in_bf16(check: impl FnOnce(f64)) {
    match supports(Precision::Bf16) {
        true => Precision::Bf16.run(|| check(0.1)),
        false => eprintln!("not tested in bf16: no AVX512_BF16"),
    }
}

/// The GPU, if one is available.
#[cfg(feature = "cuda")]
pub(crate) fn cuda() -> Option<dfdx::tensor::Cuda> {
    use super::cuda::device;
    device(Precision::F32)
        .inspect_err(|cause| eprintln!("skipped: no CUDA device is available ({cause})"))
        .ok()
}

/// Arbitrary numbers between -0.9 and 0.9, different for each salt.
pub(super) fn numbers(n: usize, salt: f64) -> Vec<f64> {
    (0..n)
        .map(|i| ((i as f64 + 1.0) * 12.9898 * salt).sin() * 0.9)
        .collect()
}

/// Central differences in f64 at up to three elements of every tensor.
fn check_differences<
    D: Device<f32>,
    const IN: usize,
    const OUT: usize,
    M32,
    M64: Weights<f64, Cpu>,
>(
    case: &mut Case<'_, D, IN, OUT, M32, M64>,
    values: &[Vec<f64>],
    x: &[f64],
    exact: &[(String, Vec<f64>)],
) {
    const STEP: f64 = 1e-6;
    let device = Cpu::default();
    let mut loss_at = |values: &[Vec<f64>], x: &[f64]| {
        fill(&mut case.exact_model, values);
        let x = device.tensor_from_vec(x.to_vec(), (case.tokens, Const::<IN>));
        let y = (case.plain)(&case.exact_model, x, NoneTape).expect("a forward pass");
        weighted(y).array()
    };
    let scale = exact
        .iter()
        .flat_map(|(_, g)| g)
        .fold(0f64, |m, g| m.max(g.abs()));
    for (which, (name, gradient)) in exact.iter().enumerate() {
        let largest = gradient.iter().fold(0.1 * scale, |m, g| m.max(g.abs()));
        for at in [0, gradient.len() / 2, gradient.len() - 1] {
            let mut shifted = |sign: f64| {
                let (mut values, mut x) = (values.to_vec(), x.to_vec());
                // The input comes first in the list of gradients.
                let target = if which == 0 {
                    &mut x
                } else {
                    &mut values[which - 1]
                };
                target[at] += sign * STEP;
                loss_at(&values, &x)
            };
            let difference = (shifted(1.0) - shifted(-1.0)) / (2.0 * STEP);
            let error = (difference - gradient[at]).abs() / largest;
            assert!(
                error < 1e-6,
                "{name}[{at}]: {} by autodiff, {difference}",
                gradient[at]
            );
        }
    }
}

/// Output, and the gradients of the input and of every weight.
fn run<const IN: usize, const OUT: usize, M, N, D>(
    device: &D,
    model: &M,
    x: &[f64],
    tokens: usize,
    op: Op<'_, IN, OUT, M, N, D, OwnedTape<N, D>>,
) -> (Vec<f64>, Vec<(String, Vec<f64>)>)
where
    N: Dtype,
    D: Device<N>,
    M: Weights<N, D>,
{
    let x = x.iter().map(|&v| N::from_f64(v).expect("finite")).collect();
    let x: Stream<IN, N, D> = device.tensor_from_vec(x, (tokens, Const::<IN>));
    // The first op of a stream takes the tape as an argument; others find it in `x`.
    let tape = OwnedTape::default();
    let y = op(model, x.leaky_trace(), tape).expect("a forward pass");
    let output = to_f64(y.as_vec());
    let mut gradients = weighted(y).backward();
    let mut all = vec![("input".to_owned(), gradient_of(&x, &mut gradients))];
    let mut collect = Collect {
        gradients: &mut gradients,
        all: &mut all,
    };
    model.each("", &mut collect).expect("gradients");
    (output, all)
}

/// `Σ wᵢ yᵢ²`, so that the incoming gradient is not constant.
fn weighted<const OUT: usize, N: Dtype, D: Device<N>, T: Tape<N, D>>(
    y: Stream<OUT, N, D, T>,
) -> Tensor<(), N, D, T> {
    let (y, tape) = y.split_tape();
    let n = y.as_vec().len();
    let w = (0..n)
        .map(|i| N::from_f64(0.3 + (i as f64 * 0.7).cos()).expect("finite"))
        .collect();
    let w = y
        .device()
        .tensor_from_vec(w, *dfdx::shapes::HasShape::shape(&y));
    y.put_tape(tape).square().mul(w).sum()
}

fn to_f64<N: Dtype>(values: Vec<N>) -> Vec<f64> {
    values
        .into_iter()
        .map(|v| v.to_f64().expect("a number"))
        .collect()
}

fn gradient_of<S: Shape, N: Dtype, D: Device<N>>(
    t: &Tensor<S, N, D>,
    gradients: &mut Gradients<N, D>,
) -> Vec<f64> {
    gradients.try_alloc_for(t).expect("memory");
    to_f64(gradients.get(t).as_vec())
}

struct Collect<'a, N: Dtype, D: Device<N>> {
    gradients: &'a mut Gradients<N, D>,
    all: &'a mut Vec<(String, Vec<f64>)>,
}

impl<N: Dtype, D: Device<N>> Visitor<N, D> for Collect<'_, N, D> {
    fn visit<S: Shape>(&mut self, name: &str, t: &Tensor<S, N, D>) -> Result<(), D::Err> {
        self.all
            .push((name.to_owned(), gradient_of(t, self.gradients)));
        Ok(())
    }
}

pub(super) fn weights<N: Dtype, D: Device<N>, M: Weights<N, D>>(model: &M) -> Vec<Vec<f64>> {
    values(model).into_iter().map(to_f64).collect()
}

struct Names(Vec<String>);

impl<N: Dtype, D: Device<N>> Visitor<N, D> for Names {
    fn visit<S: Shape>(&mut self, name: &str, _: &Tensor<S, N, D>) -> Result<(), D::Err> {
        self.0.push(name.to_owned());
        Ok(())
    }
}

pub(super) fn names<N: Dtype, D: Device<N>, M: Weights<N, D>>(model: &M) -> Vec<String> {
    let mut names = Names(vec![]);
    model.each("", &mut names).expect("weights");
    names.0
}

/// Several groups of weights, as one.
impl<A: Weights<N, D>, B: Weights<N, D>, N: Dtype, D: Device<N>> Weights<N, D> for (A, B) {
    fn each(&self, group: &str, visitor: &mut impl Visitor<N, D>) -> Result<(), D::Err> {
        self.0.each(&member(group, "0"), visitor)?;
        self.1.each(&member(group, "1"), visitor)
    }

    fn each_mut(&mut self, group: &str, visitor: &mut impl VisitorMut<N, D>) -> Result<(), D::Err> {
        self.0.each_mut(&member(group, "0"), visitor)?;
        self.1.each_mut(&member(group, "1"), visitor)
    }
}

pub(super) fn fill<N: Dtype, D: Device<N>, M: Weights<N, D>>(model: &mut M, values: &[Vec<f64>]) {
    let converted = |&value: &f64| N::from_f64(value).expect("finite");
    let values = values
        .iter()
        .map(|list| list.iter().map(converted).collect());
    set_values(model, &values.collect::<Vec<_>>());
}

/// Fills a model with arbitrary numbers, and returns an arbitrary stream of `tokens` tokens.
pub(super) fn arbitrary<const EMBED: usize, M: Weights<f32, Cpu>>(
    model: &mut M,
    tokens: usize,
) -> Stream<EMBED, f32, Cpu> {
    let sizes = (1..).zip(weights(model));
    let values: Vec<_> = sizes
        .map(|(salt, w)| numbers(w.len(), f64::from(salt)))
        .collect();
    fill(model, &values);
    let x = numbers(tokens * EMBED, 0.5).into_iter();
    let x = x.map(|x| x as f32).collect();
    Cpu::default().tensor_from_vec(x, (tokens, Const::<EMBED>))
}

/// `scale` is a lower bound of the scale of comparison, for tensors that are zero by symmetry.
pub(crate) fn assert_close(what: &str, got: &[f64], want: &[f64], tolerance: f64, scale: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(scale, |m, v| m.max(v.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got - want).abs() / largest;
        assert!(
            error <= tolerance,
            "{what}[{i}]: {got}, reference {want} (off by {error:.1e})"
        );
    }
}
