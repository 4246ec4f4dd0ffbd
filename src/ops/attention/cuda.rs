//! The GPU: cuBLAS for the projections, one kernel for what heads do with a document.

use dfdx::shapes::Rank1;
use dfdx::tensor::{Cuda, CudaError, Gradients, Tape, Tensor};

use super::{AttentionDropout, AttentionOp, Projections, Scoring, assert_heads, reference};
use crate::data::ragged::Ragged;
use crate::ops::Stream;
use crate::ops::bridge::cuda::{address, gradient_address};
use crate::ops::cuda::heads::{Attention, Found, Layout, Three, WIDEST};
use crate::ops::cuda::products::{Into, Matrix, Weight};
use crate::ops::cuda::reading::{HeadMemory, Remembering};
use crate::ops::cuda::rows::Rows;
use crate::ops::cuda::sublayer::{Around, Branch, stream_of, try_residual, weight};
use crate::ops::cuda::{Address, Buffer, Gpu, at, gpu};
use crate::ops::parameters::LayerNorm;
use crate::ops::reading::{BoxedReader, Rereading};

impl AttentionOp<f32> for Cuda {
    fn try_attention<
        const EMBED: usize,
        const KV: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
        T: Tape<f32, Cuda>,
    >(
        x: Stream<EMBED, f32, Cuda, T>,
        norm: &LayerNorm<EMBED, f32, Cuda>,
        weights: &Projections<EMBED, KV, f32, Cuda>,
        scoring: Scoring,
        batch: &Ragged,
        dropout: AttentionDropout,
    ) -> Result<Stream<EMBED, f32, Cuda, T>, CudaError> {
        const { assert_heads(EMBED, KV, HEADS, HEAD_DIM) };
        if HEAD_DIM > WIDEST {
            return reference::attention::<EMBED, KV, HEADS, HEAD_DIM, _, _, _>(
                x, norm, weights, scoring, batch, dropout,
            );
        }
        let documents = gpu().documents(&batch.starts)?;
        let branch = Heads {
            weights: weights.clone(),
            attention: Attention {
                layout: layout::<KV, HEADS, HEAD_DIM>(scoring),
                dropout,
                queries: documents.clone(),
                keys: documents,
            },
        };
        try_residual(x, norm, branch, dropout.output)
    }

    fn attention_reader<
        'a,
        const EMBED: usize,
        const KV: usize,
        const HEADS: usize,
        const HEAD_DIM: usize,
    >(
        norm: &'a LayerNorm<EMBED, f32, Cuda>,
        weights: &'a Projections<EMBED, KV, f32, Cuda>,
        scoring: Scoring,
        (rows, context): (usize, usize),
    ) -> BoxedReader<'a, EMBED, f32, Cuda> {
        if HEAD_DIM > WIDEST {
            return Box::new(Rereading::new(rows, move |x, batch: &Ragged| {
                let none = AttentionDropout::none(batch.longest());
                reference::attention::<EMBED, KV, HEADS, HEAD_DIM, _, _, _>(
                    x, norm, weights, scoring, batch, none,
                )
            }));
        }
        let layout = layout::<KV, HEADS, HEAD_DIM>(scoring);
        let memory = HeadMemory::new(layout, rows, context);
        Box::new(Remembering::new(norm, weights, memory))
    }
}

fn layout<const KV: usize, const HEADS: usize, const HEAD_DIM: usize>(scoring: Scoring) -> Layout {
    Layout {
        head_dim: HEAD_DIM,
        heads: HEADS,
        key_heads: KV / HEAD_DIM,
        scoring,
    }
}

/// The branch of the sublayer.
struct Heads<const EMBED: usize, const KV: usize> {
    weights: Projections<EMBED, KV, f32, Cuda>,
    attention: Attention,
}

/// What backward needs.
struct Saved {
    /// The three projections to heads as one: `[EMBED + 2 KV, EMBED]`.
    joined: Buffer,
    /// Queries, keys and values side by side, as they met: `[tokens, EMBED + 2 KV]`.
    heads: Buffer,
    found: Found,
}

impl<const EMBED: usize, const KV: usize> Heads<EMBED, KV> {
    const STEP: usize = EMBED + 2 * KV;

    /// The projections to queries, keys and values.
    fn as_one(joined: &Buffer) -> Weight {
        Weight {
            start: at(joined),
            outputs: Self::STEP,
            inputs: EMBED,
        }
    }

    /// Queries, keys and values that lie side by side.
    fn three(heads: &Buffer) -> Three {
        let queries = Matrix::new(at(heads), Self::STEP);
        Three {
            queries,
            keys: queries.columns_from(EMBED),
            values: queries.columns_from(EMBED + KV),
        }
    }

    /// The weights of the three, each with where its rows belong and its gradient.
    fn projections(
        &self,
        three: Three,
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<[(Weight, Matrix, Address); 3], CudaError> {
        let of = &self.weights;
        Ok([
            (
                weight(&of.query),
                three.queries,
                gradient_address(gradients, &of.query.weight)?,
            ),
            (
                weight(&of.key),
                three.keys,
                gradient_address(gradients, &of.key.weight)?,
            ),
            (
                weight(&of.value),
                three.values,
                gradient_address(gradients, &of.value.weight)?,
            ),
        ])
    }
}

impl<const EMBED: usize, const KV: usize> Branch<EMBED> for Heads<EMBED, KV> {
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
        let (of, layout) = (&self.weights, &self.attention.layout);
        let joined = gpu.joined([
            (address(&of.query.weight), EMBED * EMBED),
            (address(&of.key.weight), KV * EMBED),
            (address(&of.value.weight), KV * EMBED),
        ])?;
        let heads = gpu.scratch(tokens * Self::STEP)?;
        let three = Self::three(&heads);
        gpu.apply(Self::as_one(&joined), tokens, normed, three.queries)?;
        let biases = [
            (address(&of.query.bias), EMBED),
            (address(&of.key.bias), KV),
            (address(&of.value.bias), KV),
        ];
        layout.add_biases(gpu, &heads, tokens, &biases)?;
        layout.map(gpu, three.queries, EMBED + KV, self.attention.places())?;
        let found = self.attention.attend(gpu, three)?;
        gpu.apply(
            weight(&of.proj),
            tokens,
            stream_of::<EMBED>(&found.out),
            out,
        )?;
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
        let (of, layout) = (&self.weights, &self.attention.layout);
        let proj = weight(&of.proj);
        let factors = (around.dout, stream_of::<EMBED>(&saved.found.out));
        let dweight = gradient_address(gradients, &of.proj.weight)?;
        gpu.back_to_weight(proj, tokens, factors, dweight)?;
        let dfound = gpu.scratch(tokens * EMBED)?;
        gpu.back(
            proj,
            tokens,
            around.dout,
            Into::Replaced,
            stream_of::<EMBED>(&dfound),
        )?;

        let dheads = gpu.scratch(tokens * Self::STEP)?;
        let (three, dthree) = (Self::three(&saved.heads), Self::three(&dheads));
        let on_the_way = (&saved.found, &dfound);
        self.attention.backward(gpu, three, on_the_way, dthree)?;
        let mapped = (dthree.queries, three.queries);
        layout.map_backward(gpu, mapped, EMBED + KV, self.attention.places())?;
        let dbiases = [
            (gradient_address(gradients, &of.query.bias)?, EMBED),
            (gradient_address(gradients, &of.key.bias)?, KV),
            (gradient_address(gradients, &of.value.bias)?, KV),
        ];
        let rows = Rows { gpu, width: EMBED };
        rows.add_column_sums(at(&dheads), tokens, &dbiases)?;

        for (weight, dy, dweight) in self.projections(dthree, gradients)? {
            gpu.back_to_weight(weight, tokens, (dy, around.normed), dweight)?;
        }
        let all = Self::as_one(&saved.joined);
        gpu.back(all, tokens, dthree.queries, Into::Replaced, around.dnormed)
    }
}
