//! What heads compute from queries, keys and values on the GPU, by the kernels of `ops/cuda`.

use dfdx::tensor::{Cuda, CudaError, Gradients};

use crate::ops::attention::{AttentionWeights, BUCKETS};
use crate::ops::bridge::cuda::gradient_address;
use crate::ops::cuda::heads::{Attention, AttentionOutput, HeadLayout, Qkv};
use crate::ops::cuda::kv_cache::{GpuKvCache, VisibleKeys};
use crate::ops::cuda::parts::OUTPUT_NORM;
use crate::ops::cuda::products::Matrix;
use crate::ops::cuda::rows::Rows;
use crate::ops::cuda::talking::{self, TalkingMaps};
use crate::ops::cuda::{Buffer, Gpu, NULL, at};

/// What backward needs.
pub struct KeptHeads {
    /// The outputs of the maps, before their difference or norm.
    attended: AttentionOutput,
    /// After it, if there is one: `[queries, width]`.
    normed: Option<Buffer>,
    /// Of talking heads.
    talking: Option<TalkingMaps>,
}

impl KeptHeads {
    /// The heads' outputs: `[queries, width]`.
    pub fn output(&self) -> &Buffer {
        self.normed.as_ref().unwrap_or(&self.attended.out)
    }
}

impl<const EMBED: usize> AttentionWeights<EMBED, f32, Cuda> {
    /// Queries, keys and values as the maps have them, and what owns the queries of each map if a head has two.
    fn by_map(
        &self,
        gpu: &Gpu,
        layout: &HeadLayout,
        (qkv, queries): (Qkv, usize),
    ) -> Result<(Qkv, Option<Buffer>), CudaError> {
        let Some(difference) = &self.difference else {
            return Ok((qkv, None));
        };
        let spread = difference.spread(gpu, layout, (qkv.queries, queries))?;
        let queries = Matrix::new(at(&spread), layout.output_width());
        Ok((Qkv { queries, ..qkv }, Some(spread)))
    }

    /// From the outputs of maps to those of heads: the former as they were, and the latter if they differ.
    fn norm(
        &self,
        gpu: &Gpu,
        layout: &HeadLayout,
        (out, tokens): (Buffer, usize),
    ) -> Result<(Buffer, Option<Buffer>), CudaError> {
        match &self.difference {
            Some(of) => {
                let heads = of.difference(gpu, &out, tokens * layout.of.heads)?;
                Ok((out, Some(heads)))
            }
            None if layout.of.head_norm => {
                let before = gpu.scratch(tokens * layout.of.width())?;
                layout.normalise(gpu, OUTPUT_NORM, layout.outputs(&out, tokens), at(&before))?;
                Ok((before, Some(out)))
            }
            None => Ok((out, None)),
        }
    }

    /// Backward of [`Self::norm`], given the outputs of maps: the gradient of these, if it is not in `dout`, where that of
    /// the heads was.
    fn norm_backward(
        &self,
        gpu: &Gpu,
        layout: &HeadLayout,
        (out, dout, tokens): (&Buffer, &Buffer, usize),
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<Option<Buffer>, CudaError> {
        if let Some(of) = &self.difference {
            let rows = tokens * layout.of.heads;
            let dmaps = of.difference_backward(gpu, (out, dout), rows, gradients)?;
            return Ok(Some(dmaps));
        }
        if layout.of.head_norm {
            let back = (layout.outputs(dout, tokens), out);
            layout.normalise_backward(gpu, OUTPUT_NORM, back, gradients)?;
        }
        Ok(None)
    }

    /// The heads' outputs, and what backward needs.
    pub(super) fn attend(
        &self,
        gpu: &Gpu,
        attention: &Attention,
        qkv: Qkv,
    ) -> Result<KeptHeads, CudaError> {
        let (layout, tokens) = (&attention.layout, attention.queries.tokens());
        let (qkv, _spread) = self.by_map(gpu, layout, (qkv, tokens))?;
        let (mut attended, talking) = match &self.talking {
            None => (attention.attend(gpu, qkv)?, None),
            Some(of) => {
                let (attended, maps) = talking::attend(gpu, attention, qkv, of)?;
                (attended, Some(maps))
            }
        };
        let normed;
        (attended.out, normed) = self.norm(gpu, layout, (attended.out, tokens))?;
        Ok(KeptHeads {
            attended,
            normed,
            talking,
        })
    }

    /// The heads' outputs for some queries, `[queries, width]` each.
    pub(super) fn attend_to_cache(
        &self,
        gpu: &Gpu,
        cache: &GpuKvCache,
        queries: Buffer,
        visible: &VisibleKeys,
    ) -> Result<Buffer, CudaError> {
        let (layout, count) = (&cache.layout, visible.queries);
        let rows = Matrix::new(at(&queries), layout.of.width());
        let spread = (self.difference.as_ref()).map(|of| of.spread(gpu, layout, (rows, count)));
        let queries = spread.transpose()?.unwrap_or(queries);
        let out = match &self.talking {
            None => cache.attend_to_cache(gpu, &queries, visible)?,
            Some(of) => talking::attend_to_cache(gpu, cache, &queries, (visible, of))?,
        };
        let (out, normed) = self.norm(gpu, layout, (out, count))?;
        Ok(normed.unwrap_or(out))
    }

    /// Backward of [`Self::attend`]: writes the gradients of queries, keys, values and running sums of forget gates, and
    /// accumulates those of what is learned. Returns those of the position bias of each key, `[keys, heads]`, if there is
    /// one. The gradient of the outputs is used up.
    pub(super) fn attend_backward(
        &self,
        gpu: &Gpu,
        attention: &Attention,
        (qkv, kept): (Qkv, &KeptHeads),
        (dout, dqkv): (&Buffer, Qkv),
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<Option<Buffer>, CudaError> {
        let (layout, attended) = (&attention.layout, &kept.attended);
        let [queries, keys] = [&attention.queries, &attention.keys].map(|of| of.tokens());
        let back = (&attended.out, dout, queries);
        let dmaps = self.norm_backward(gpu, layout, back, gradients)?;
        let dout = dmaps.as_ref().unwrap_or(dout);
        let (qkv, _spread) = self.by_map(gpu, layout, (qkv, queries))?;

        // Gradients of what each map has of its own, and shares of those of the biases.
        let (difference, maps) = (self.difference.as_ref(), layout.of.all_maps());
        let (width, are_two) = (layout.output_width(), difference.is_some());
        let dqueries = gpu.scratch_if(are_two, queries * width)?;
        let dsums = gpu.scratch_if(are_two && layout.of.forgets(), keys * maps)?;
        let shares = gpu.scratch_if(self.relative.is_some(), queries * BUCKETS * maps)?;
        let dposition = gpu.scratch_if(layout.position_bias != NULL, keys * maps)?;
        let matrix_or = |of: Option<&Buffer>, step: usize, otherwise: Matrix| {
            of.map_or(otherwise, |of| Matrix::new(at(of), step))
        };
        let to = Qkv {
            queries: matrix_or(dqueries.as_ref(), width, dqkv.queries),
            addends: matrix_or(dsums.as_ref().or(shares.as_ref()), maps, dqkv.addends),
            ..dqkv
        };
        let to = (to, at(&dposition));
        let along = match self.talking.as_ref().zip(kept.talking.as_ref()) {
            None => attention.backward(gpu, qkv, (attended, dout), to)?,
            Some((of, maps)) => {
                talking::backward(gpu, (attention, qkv), (maps, of), dout, to, gradients)?
            }
        };
        if let Some((of, dqueries)) = difference.zip(dqueries) {
            of.gather(gpu, layout, (&dqueries, queries), dqkv.queries)?;
        }
        if let Some((of, dsums)) = difference.zip(dsums) {
            of.sum(gpu, &dsums, dqkv.addends.start, keys * layout.of.heads)?;
        }
        if let Some(shares) = shares {
            self.relative_backward(gpu, layout, (shares, queries), gradients)?;
        }
        if let Some(sinks) = &self.sinks {
            let dsinks = gradient_address(gradients, sinks)?;
            layout.sink_backward(gpu, [&attended.statistics, &along], dsinks, queries)?;
        }
        Ok(dposition)
    }

    /// Accumulates the gradients of relative positions, given the share of each query, `[queries, 32, maps]`.
    fn relative_backward(
        &self,
        gpu: &Gpu,
        layout: &HeadLayout,
        (shares, queries): (Buffer, usize),
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError> {
        let table = self.relative.as_ref().expect("shares are those of a table");
        let width = BUCKETS * layout.of.heads;
        let shares = match &self.difference {
            None => shares,
            Some(of) => {
                let of_heads = gpu.scratch(queries * width)?;
                of.sum(gpu, &shares, at(&of_heads), queries * width)?;
                of_heads
            }
        };
        let to = [(gradient_address(gradients, table)?, width)];
        // The kernel does not depend on the width it is compiled for.
        Rows::of(gpu, EMBED).add_column_sums(Matrix::new(at(&shares), width), queries, &to)
    }
}
