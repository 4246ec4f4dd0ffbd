//! The GPU: the kernels of attention, with the places' weights as keys.
//!
//! A score of the synthesizer is a product of the token's hidden layer with what belongs to a place, which is what a
//! score of attention is if every token has its place's weights for a key. What is then the gradient of keys is
//! summed place by place.

use dfdx::shapes::Rank1;
use dfdx::tensor::{Cuda, CudaError, Gradients, Tape, Tensor};

use super::{Synthesis, SynthesizerOp, reference};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::attention::cuda::{OneMap, layout};
use crate::ops::attention::{AttentionDropout, Scoring};
use crate::ops::bridge::cuda::{address, gradient_address};
use crate::ops::cuda::heads::{Attention, Found, Layout, Three, WIDEST};
use crate::ops::cuda::kernels::{Kernel, Source};
use crate::ops::cuda::linear::{Joined, Layer, apply_each, apply_without_bias, back_without_bias};
use crate::ops::cuda::products::{Into, Matrix};
use crate::ops::cuda::reading::{Placed, Recall, Remembering};
use crate::ops::cuda::sublayer::{Around, Branch, stream_of, try_residual};
use crate::ops::cuda::{Buffer, Gpu, at, gpu};
use crate::ops::parameters::{LayerNorm, Linear};
use crate::ops::reading::{BoxedReader, Rereading};

pub(in crate::ops) static PLACES_AS_KEYS: Source = Source {
    name: "synthesizer",
    text: concat!(include_str!("../cuda/sums.cuh"), include_str!("kernel.cu")),
    constant: "HEAD_DIM",
    kernels: &["lay_keys", "relu", "relu_backward", "add_to_places"],
};

impl SynthesizerOp<f32> for Cuda {
    fn try_synthesize<
        const EMBED: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        const PLACES: usize,
        T: Tape<f32, Cuda>,
    >(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &LayerNorm<EMBED, f32, Cuda>,
        weights: &Synthesis<EMBED, HEADS, HEAD_DIM, PLACES, f32, Cuda>,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
        const { assert!(EMBED == HEADS * HEAD_DIM, "heads lie side by side") };
        assert!(batch.longest() <= PLACES, "a document has too many tokens");
        if HEAD_DIM > WIDEST {
            return reference::synthesize::<EMBED, HEADS, HEAD_DIM, PLACES, _, _, _>(
                x, norm, weights, batch, dropout,
            );
        }
        let documents = gpu().documents(&batch.starts)?;
        let branch = Synthesizer {
            weights: weights.clone(),
            attention: Attention {
                layout: weights.layout(),
                dropout,
                queries: documents.clone(),
                keys: documents,
            },
        };
        try_residual(x, norm, branch, dropout.output)
    }

    fn synthesizer_reader<
        'a,
        const EMBED: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        const PLACES: usize,
    >(
        norm: &'a LayerNorm<EMBED, f32, Cuda>,
        weights: &'a Synthesis<EMBED, HEADS, HEAD_DIM, PLACES, f32, Cuda>,
        rows: usize,
    ) -> BoxedReader<'a, EMBED, f32, Cuda> {
        if HEAD_DIM > WIDEST {
            return Box::new(Rereading::new(rows, move |x, batch: &Ragged| {
                let none = AttentionDropout::none(batch.longest());
                reference::synthesize::<EMBED, HEADS, HEAD_DIM, PLACES, _, _, _>(
                    x, norm, weights, batch, none,
                )
            }));
        }
        let layout = weights.layout();
        let size = (rows, PLACES);
        Box::new(Remembering::new(norm, weights, OneMap, layout, size))
    }
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize, const PLACES: usize>
    Synthesis<EMBED, HEADS, HEAD_DIM, PLACES, f32, Cuda>
{
    fn layout(&self) -> Layout {
        Layout {
            of_places: address(&self.b2),
            ..layout::<EMBED, HEADS, HEAD_DIM>(Scoring::SOFTMAX)
        }
    }

    fn kernel(name: &'static str) -> Kernel {
        PLACES_AS_KEYS.kernel(HEAD_DIM, name)
    }

    /// What attention divides scores by, and this op does not.
    fn root() -> f32 {
        (HEAD_DIM as f32).sqrt()
    }

    /// Keys of tokens that stand at `places`.
    fn lay_keys(&self, gpu: &Gpu, keys: Matrix, (places, tokens): Placed) -> Result<(), CudaError> {
        let count = tokens * EMBED;
        let arguments = (
            keys.start,
            keys.step as u32,
            EMBED as u32,
            address(&self.w2),
            PLACES as u32,
            places,
            count as u32,
        );
        gpu.launch_each(Self::kernel("lay_keys"), count, arguments)
    }

    /// In place: hidden layers of so many tokens, with their bias, become queries.
    fn relu(&self, gpu: &Gpu, hidden: Matrix, tokens: usize) -> Result<(), CudaError> {
        let count = tokens * EMBED;
        let (step, width) = (hidden.step as u32, EMBED as u32);
        let arguments = (hidden.start, step, width, Self::root(), count as u32);
        gpu.launch_each(Self::kernel("relu"), count, arguments)
    }

    /// In place: gradients of queries become those of the hidden layer; both lie alike.
    fn relu_backward(
        &self,
        gpu: &Gpu,
        (gradients, queries): (Matrix, Matrix),
        tokens: usize,
    ) -> Result<(), CudaError> {
        let count = tokens * EMBED;
        let arguments = (
            gradients.start,
            queries.start,
            queries.step as u32,
            EMBED as u32,
            Self::root(),
            count as u32,
        );
        gpu.launch_each(Self::kernel("relu_backward"), count, arguments)
    }
}

/// The branch of the sublayer.
struct Synthesizer<
    const EMBED: usize,
    const HEADS: usize,
    const HEAD_DIM: usize,
    const PLACES: usize,
> {
    weights: Synthesis<EMBED, HEADS, HEAD_DIM, PLACES, f32, Cuda>,
    attention: Attention,
}

/// What backward needs.
struct Saved {
    /// The projections to the hidden layer and to values.
    joined: Joined<2>,
    /// Keys, queries and values side by side: `[tokens, 3 EMBED]`.
    heads: Buffer,
    found: Found,
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize, const PLACES: usize>
    Synthesizer<EMBED, HEADS, HEAD_DIM, PLACES>
{
    /// Keys, queries and values that lie side by side.
    fn three(heads: &Buffer) -> Three {
        let keys = Matrix::new(at(heads), 3 * EMBED);
        Three {
            keys,
            queries: keys.columns_from(EMBED),
            values: keys.columns_from(2 * EMBED),
        }
    }
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize, const PLACES: usize>
    Branch<EMBED> for Synthesizer<EMBED, HEADS, HEAD_DIM, PLACES>
{
    type Saved = Saved;

    fn last_bias(&self) -> &Tensor<Rank1<EMBED>, f32, Cuda> {
        &self.weights.proj.bias
    }

    fn forward(
        &self,
        gpu: &Gpu,
        tokens: usize,
        normed: Matrix,
        out: Matrix,
    ) -> Result<Saved, CudaError> {
        let (of, attention) = (&self.weights, &self.attention);
        let layers = [&of.w1, &of.value].map(Layer::of);
        let joined = Joined::new(gpu, layers)?;
        let heads = gpu.scratch(tokens * 3 * EMBED)?;
        let three = Self::three(&heads);
        of.lay_keys(gpu, three.keys, attention.places())?;
        joined.apply(gpu, tokens, normed, three.queries)?;
        of.relu(gpu, three.queries, tokens)?;
        let found = attention.attend(gpu, three)?;
        let from = stream_of::<EMBED>(&found.out);
        apply_without_bias(gpu, &of.proj, tokens, from, out)?;
        Ok(Saved {
            joined,
            heads,
            found,
        })
    }

    fn backward(
        &self,
        gpu: &Gpu,
        tokens: usize,
        saved: Saved,
        around: Around,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let (of, attention) = (&self.weights, &self.attention);
        let factors = (around.dout, stream_of::<EMBED>(&saved.found.out));
        let dfound = back_without_bias(gpu, &of.proj, tokens, factors, gradients)?;

        let dheads = gpu.scratch(tokens * 3 * EMBED)?;
        let dscores = gpu.scratch(tokens * HEADS)?;
        let (three, dthree) = (Self::three(&saved.heads), Self::three(&dheads));
        let back = (&saved.found, &dfound);
        attention.backward(gpu, three, back, (dthree, at(&dscores)))?;
        let places = (
            dthree.keys.start,
            dthree.keys.step as u32,
            at(&dscores),
            attention.keys.starts(),
            attention.keys.count() as u32,
            HEADS as u32,
            gradient_address(gradients, &of.w2)?,
            gradient_address(gradients, &of.b2)?,
            PLACES as u32,
        );
        let kernel = Synthesis::<EMBED, HEADS, HEAD_DIM, PLACES, f32, Cuda>::kernel;
        let blocks = (attention.keys.longest(), 1, 1);
        gpu.launch(kernel("add_to_places"), blocks, places)?;
        of.relu_backward(gpu, (dthree.queries, three.queries), tokens)?;

        let to = [
            Layer::gradient_of(&of.w1, gradients)?,
            Layer::gradient_of(&of.value, gradients)?,
        ];
        let factors = (dthree.queries, around.normed);
        let dnormed = (around.dnormed, Into::Replaced);
        (saved.joined).back(gpu, tokens, factors, dnormed, to)
    }
}

impl<const EMBED: usize, const HEADS: usize, const HEAD_DIM: usize, const PLACES: usize>
    Recall<EMBED, EMBED> for Synthesis<EMBED, HEADS, HEAD_DIM, PLACES, f32, Cuda>
{
    fn keys_and_values(
        &self,
        gpu: &Gpu,
        _: &Layout,
        from: Matrix,
        placed: Placed,
    ) -> Result<Buffer, CudaError> {
        let (_, count) = placed;
        let news = gpu.scratch(count * 2 * EMBED)?;
        let keys = Matrix::new(at(&news), 2 * EMBED);
        self.lay_keys(gpu, keys, placed)?;
        let values = keys.columns_from(EMBED);
        apply_each(gpu, [Layer::of(&self.value)], count, from, values)?;
        Ok(news)
    }

    fn queries(
        &self,
        gpu: &Gpu,
        _: &Layout,
        from: Matrix,
        (_, count): Placed,
    ) -> Result<Buffer, CudaError> {
        let queries = gpu.scratch(count * EMBED)?;
        let to = stream_of::<EMBED>(&queries);
        apply_each(gpu, [Layer::of(&self.w1)], count, from, to)?;
        self.relu(gpu, to, count)?;
        Ok(queries)
    }

    fn proj(&self) -> &Linear<EMBED, EMBED, f32, Cuda> {
        &self.proj
    }
}
