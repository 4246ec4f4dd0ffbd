//! The delta rule, by the kernels of `delta.cu`.

use dfdx::tensor::CudaError;

use super::documents::DocumentRows;
use super::heads::{Arguments, Attention, HeadLayout, Qkv};
use super::kernels::Source;
use super::products::Matrix;
use super::{Address, Buffer, Gpu, NULL, at};

pub(super) static DELTA: Source = Source {
    name: "delta",
    text: concat!(
        include_str!("heads.cuh"),
        include_str!("tiles.cuh"),
        include_str!("delta.cu")
    ),
    constant: "HEAD_DIM",
};

/// What backward needs.
pub struct Corrected {
    /// β before the sigmoid, `[tokens, heads]`.
    beta: Buffer,
    /// Errors: each value minus what its key retrieves, `[tokens, width]`.
    errors: Buffer,
}

/// The gradients of what only the delta rule needs.
pub struct DeltaGradients {
    /// Of β before the sigmoid, `[tokens, heads]`.
    pub beta: Buffer,
    /// Of the running sums of forget gates, `[tokens, heads]`, if there are any.
    pub sums: Option<Buffer>,
}

impl HeadLayout {
    /// Corrects `values`, or backward of that, by the kernel of that name: to `corrected`, which may be the values.
    /// `errors` may be null.
    pub(super) fn correct(
        &self,
        gpu: &Gpu,
        (kernel, arguments): (&'static str, Arguments),
        (values, corrected, errors): (Matrix, Matrix, Address),
        beta: Matrix,
        rows: DocumentRows,
    ) -> Result<(), CudaError> {
        let arguments = (
            arguments,
            values.start,
            values.step,
            corrected.start,
            corrected.step,
            errors,
            beta.start,
            beta.step,
            rows,
        );
        let blocks = (rows.count as usize, self.of.heads, 1);
        gpu.launch(DELTA.kernel(self.of.head_dim, kernel), blocks, arguments)
    }
}

impl Corrected {
    /// Corrects values in place, given β.
    pub fn new(
        gpu: &Gpu,
        attention: &Attention,
        qkv: Qkv,
        beta: Buffer,
    ) -> Result<Self, CudaError> {
        let layout = &attention.layout;
        let errors = gpu.scratch(attention.keys.tokens() * layout.of.width())?;
        let kernel = ("correct", attention.arguments(qkv));
        let values = (qkv.values, qkv.values, at(&errors));
        let of_beta = Matrix::new(at(&beta), layout.of.heads);
        layout.correct(gpu, kernel, values, of_beta, attention.keys.rows())?;
        Ok(Self { beta, errors })
    }

    /// Backward of [`Self::new`], given corrected values and their gradients, which become those of the values.
    /// Accumulates the gradients of keys.
    pub fn backward(
        &self,
        gpu: &Gpu,
        attention: &Attention,
        qkv: Qkv,
        gradients: Qkv,
    ) -> Result<DeltaGradients, CudaError> {
        let (layout, tokens) = (&attention.layout, attention.keys.tokens());
        let (heads, width) = (layout.of.heads, layout.of.width());
        let derrors = gpu.scratch(tokens * width)?;
        let kernel = ("correct_backward", attention.arguments(qkv));
        let values = (gradients.values, gradients.values, at(&derrors));
        let of_beta = Matrix::new(at(&self.beta), heads);
        layout.correct(gpu, kernel, values, of_beta, attention.keys.rows())?;
        let beta = gpu.scratch(tokens * heads)?;
        let count = tokens * heads;
        let arguments = (
            at(&self.beta),
            at(&self.errors),
            at(&derrors),
            at(&beta),
            count as u32,
        );
        let kernel = DELTA.kernel(layout.of.head_dim, "beta_backward");
        gpu.launch_rows(kernel, count, arguments)?;
        let sums = self.retrieval_backward(gpu, attention, qkv, gradients)?;
        Ok(DeltaGradients { beta, sums })
    }

    /// Accumulates the gradients of keys, and returns those of the running sums of forget gates: what a key retrieves is
    /// attention of it to the keys before, whose output is subtracted.
    fn retrieval_backward(
        &self,
        gpu: &Gpu,
        attention: &Attention,
        qkv: Qkv,
        gradients: Qkv,
    ) -> Result<Option<Buffer>, CudaError> {
        let (layout, tokens) = (&attention.layout, attention.keys.tokens());
        let (heads, width) = (layout.of.heads, layout.of.width());
        let sums = gpu.scratch_if(layout.of.forgets(), tokens * heads)?;
        let room = || gpu.scratch(tokens * width);
        let [first, second, values] = [room()?, room()?, room()?];
        let [queries, keys, dvalues] =
            [&first, &second, &values].map(|one| Matrix::new(at(one), width));
        let to = Qkv {
            queries,
            keys,
            values: dvalues,
            addends: Matrix::new(at(&sums), heads),
        };
        let arguments = attention.arguments(qkv).of_retrieval();
        let dout = gradients.values;
        attention.backward_of(gpu, arguments, ([NULL; 2], dout), (to, NULL))?;
        let count = tokens * width;
        let arguments = (
            gradients.keys,
            at(&first),
            at(&second),
            width as u32,
            count as u32,
        );
        let kernel = DELTA.kernel(layout.of.head_dim, "add_keys");
        gpu.launch_each(kernel, count, arguments)?;
        Ok(sums)
    }
}
