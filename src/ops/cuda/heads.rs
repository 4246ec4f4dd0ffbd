//! Attention heads over ragged documents, by the kernels of `heads.cu`.
#![allow(unsafe_code)]

use std::rc::Rc;

use cudarc::driver::DeviceRepr;
use dfdx::tensor::{Cuda, CudaError};

use super::documents::Documents;
use super::kernels::{Kernel, Source, WARPS};
use super::products::Matrix;
use super::{Address, Buffer, Gpu, NULL, at};
use crate::ops::attention::{
    AttentionDropout, AttentionWeights, Bias, HeadKind, Layout, Scoring, Similarity,
};
use crate::ops::bridge::cuda::address;
use crate::ops::dropout::Dropout;

/// The source of the kernels, by whether there is a position bias, whether a bias may be learned or depend on the tokens
/// (beside a position bias or sticks it always may), and whether sticks are broken.
macro_rules! heads {
    ($name:literal, $position_bias:literal, $learned_bias:literal, $sticks:literal) => {
        Source {
            name: $name,
            text: concat!(
                concat!("#define POSITION_BIAS ", $position_bias, "\n"),
                concat!("#define LEARNED_BIAS ", $learned_bias, "\n"),
                concat!("#define STICKS ", $sticks, "\n"),
                include_str!("heads.cuh"),
                include_str!("tiles.cuh"),
                include_str!("heads.cu")
            ),
            constant: "HEAD_DIM",
        }
    };
}

pub(super) static HEADS: Source = heads!("heads", 0, 0, 0);
pub(super) static HEADS_WITH_POSITION_BIAS: Source = heads!("heads_with_position_bias", 1, 1, 0);
pub(super) static HEADS_WITH_LEARNED_BIAS: Source = heads!("heads_with_learned_bias", 0, 1, 0);
pub(super) static HEADS_WITH_STICKS: Source = heads!("heads_with_sticks", 0, 1, 1);

/// The widest head whose tiles fit into a block's shared memory; wider ones use the reference.
pub const WIDEST: usize = 512;

/// The layout of heads, and how they compute scores.
#[derive(Clone, Copy)]
pub struct HeadLayout {
    pub of: Layout,
    /// Added to the product of a query and a key by the key's position; may be null.
    pub position_bias: Address,
    /// The score of the sink of each map; null if there are none, or if they are 0.
    pub sinks: Address,
    /// What each bucket of distances adds to scores, `[32, heads]`; null if there are none.
    pub relative: Address,
}

/// Attention of the queries of some documents to the keys and values of as many.
#[derive(Clone)]
pub struct Attention {
    pub layout: HeadLayout,
    pub dropout: AttentionDropout,
    pub queries: Rc<Documents>,
    pub keys: Rc<Documents>,
}

/// Queries, keys and values, or their gradients.
#[derive(Clone, Copy)]
pub struct Qkv {
    pub queries: Matrix,
    /// With the same row stride as the values.
    pub keys: Matrix,
    pub values: Matrix,
    /// The cumulative sums of forget gates, `[keys, heads]`, in a KV cache followed in each row by β of the delta rule. From
    /// the kernels the gradients of what is added to scores, without gaps: of these sums, `[keys, maps]`, or each query's
    /// share of those of the relative positions, `[queries, 32, maps]`.
    pub addends: Matrix,
}

/// The result of attention, as backward needs it.
pub struct AttentionOutput {
    /// `[queries, maps * head_dim]`.
    pub out: Buffer,
    /// `[queries, maps]`: see heads.cu.
    pub statistics: Buffer,
}

/// `struct Heads` of heads.cuh.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Arguments {
    queries: Address,
    keys: Address,
    values: Address,
    query_starts: Address,
    key_starts: Address,
    position_bias: Address,
    sinks: Address,
    addends: Address,
    query_step: u32,
    key_step: u32,
    addend_step: u32,
    maps: u32,
    group: u32,
    maps_of_head: u32,
    window: u32,
    similarity: u32,
    bias: u32,
    sink: u32,
    hidden: u32,
    scale: f32,
    softcap: f32,
    dropout: Dropout,
    context: u32,
}

// SAFETY: the same fields in the same order as `struct Heads`, by the same rules of alignment.
unsafe impl DeviceRepr for Arguments {}

impl Arguments {
    /// Of attention of keys to those before them, which is subtracted: without a scale, and without dropout.
    pub(super) fn of_retrieval(self) -> Self {
        Self {
            queries: self.keys,
            query_step: self.key_step,
            hidden: 1,
            scale: -1.0,
            dropout: Dropout::NONE,
            ..self
        }
    }
}

impl HeadLayout {
    /// Of a sublayer with these weights.
    pub fn of<const EMBED: usize>(weights: &AttentionWeights<EMBED, f32, Cuda>) -> Self {
        let positions = weights.positions.as_ref();
        Self {
            of: weights.layout,
            position_bias: positions.map_or(NULL, |of| address(&of.b2)),
            sinks: weights.sinks.as_ref().map_or(NULL, address),
            relative: weights.relative.as_ref().map_or(NULL, address),
        }
    }

    /// Each map as a head of its own, of the channels that it compares: so norms and rotations see it.
    pub fn by_map(&self) -> Self {
        let of = self.of;
        let maps = Layout {
            heads: of.all_maps(),
            kv_heads: of.kv_heads * of.maps(),
            head_dim: of.compared(),
            head: match of.head {
                HeadKind::Differential => HeadKind::Standard,
                HeadKind::Standard | HeadKind::Synthesizer { .. } => of.head,
            },
            ..of
        };
        Self { of: maps, ..*self }
    }

    /// Width of the outputs of all maps of a token.
    pub fn output_width(&self) -> usize {
        self.of.all_maps() * self.of.head_dim
    }

    /// Rows of one side per block: `TILE` of tiles.cuh.
    fn tile(&self) -> usize {
        match self.of.head_dim {
            0..=64 => 4 * WARPS,
            65..=96 => 2 * WARPS,
            _ => WARPS,
        }
    }

    /// The arguments of a kernel.
    pub(super) fn arguments(
        &self,
        qkv: Qkv,
        [query_starts, key_starts]: [Address; 2],
        (dropout, context): (Dropout, usize),
    ) -> Arguments {
        let addends = match self.of.forgets() {
            true => qkv.addends,
            false => Matrix::new(self.relative, 0),
        };
        // A rotation has been applied before: see `transform`.
        let Scoring {
            rotary: _,
            bias,
            window,
            similarity,
            softcap,
            sink,
        } = self.of.scoring;
        Arguments {
            queries: qkv.queries.start,
            keys: qkv.keys.start,
            values: qkv.values.start,
            query_starts,
            key_starts,
            position_bias: self.position_bias,
            sinks: self.sinks,
            addends: addends.start,
            query_step: qkv.queries.step,
            key_step: qkv.keys.step,
            addend_step: addends.step,
            maps: self.of.all_maps() as u32,
            group: (self.of.group() * self.of.maps()) as u32,
            maps_of_head: self.of.maps() as u32,
            // At most 2^30, longer than any document, with room for the kernel's additions in u32.
            window: window.map_or(1 << 30, |window| window.min(1 << 30)) as u32,
            similarity: similarity as u32,
            bias: code_of_bias(bias),
            sink: u32::from(sink.is_some()),
            hidden: self.of.scoring.hidden_keys() as u32,
            scale: self.of.scale() as f32,
            softcap: softcap.unwrap_or(0.0) as f32,
            dropout,
            context: context as u32,
        }
    }

    fn kernel(&self, name: &'static str) -> Kernel {
        let Scoring {
            bias, similarity, ..
        } = self.of.scoring;
        let source = match bias {
            _ if similarity == Similarity::StickBreaking => &HEADS_WITH_STICKS,
            _ if self.position_bias != NULL => &HEADS_WITH_POSITION_BIAS,
            Some(Bias::Relative | Bias::Forget { .. }) => &HEADS_WITH_LEARNED_BIAS,
            Some(Bias::Alibi | Bias::Decay) | None => &HEADS,
        };
        source.kernel(self.of.head_dim, name)
    }
}

/// The number of a bias in heads.cuh.
fn code_of_bias(bias: Option<Bias>) -> u32 {
    match bias {
        None => 0,
        Some(Bias::Alibi) => 1,
        Some(Bias::Decay) => 2,
        Some(Bias::Relative) => 3,
        Some(Bias::Forget { .. }) => 4,
    }
}

impl Attention {
    pub(super) fn arguments(&self, qkv: Qkv) -> Arguments {
        let starts = [&self.queries, &self.keys].map(|side| side.starts());
        let dropout = (self.dropout.weights, self.dropout.context);
        self.layout.arguments(qkv, starts, dropout)
    }

    fn blocks(&self, side: &Documents, columns: usize) -> (usize, usize, usize) {
        let tiles = side.longest.div_ceil(self.layout.tile());
        // Only the first dimension of a grid may exceed 65,535.
        (self.queries.count(), columns, tiles)
    }

    /// Causal attention of each map, given its queries, `[queries, maps * head_dim]`.
    pub fn attend(&self, gpu: &Gpu, qkv: Qkv) -> Result<AttentionOutput, CudaError> {
        let (tokens, maps) = (self.queries.tokens(), self.layout.of.all_maps());
        let out = gpu.scratch(tokens * self.layout.output_width())?;
        let statistics = gpu.scratch(tokens * maps)?;
        let arguments = (self.arguments(qkv), at(&out), at(&statistics));
        let blocks = self.blocks(&self.queries, maps);
        gpu.launch(self.layout.kernel("attend"), blocks, arguments)?;
        Ok(AttentionOutput { out, statistics })
    }

    /// Writes the gradients of queries, keys, values and addends, and of the position bias of each key, `[keys, maps]`, if
    /// there is one. Returns the term of the softmax gradient that all keys of a query share, `[queries, maps]`.
    pub fn backward(
        &self,
        gpu: &Gpu,
        qkv: Qkv,
        (output, dout): (&AttentionOutput, &Buffer),
        gradients: (Qkv, Address),
    ) -> Result<Buffer, CudaError> {
        let dout = Matrix::new(at(dout), self.layout.output_width());
        let output = [&output.out, &output.statistics].map(at);
        self.backward_of(gpu, self.arguments(qkv), (output, dout), gradients)
    }

    /// The same for these arguments of the kernels. The addresses of the output and its statistics may be null where
    /// weights are not divided by their sum.
    pub(super) fn backward_of(
        &self,
        gpu: &Gpu,
        arguments: Arguments,
        ([out, statistics], dout): ([Address; 2], Matrix),
        (gradients, dposition): (Qkv, Address),
    ) -> Result<Buffer, CudaError> {
        let maps = self.layout.of.all_maps();
        let along = gpu.scratch(self.queries.tokens() * maps)?;
        let daddends = gradients.addends.start;
        let carries = self.carries(gpu)?;
        let of_queries = (
            arguments,
            out,
            dout,
            statistics,
            at(&along),
            gradients.queries,
            daddends,
            at(&carries),
        );
        let blocks = self.blocks(&self.queries, maps);
        gpu.launch(
            self.layout.kernel("attend_backward_queries"),
            blocks,
            of_queries,
        )?;
        let of_keys = (
            arguments,
            dout.start,
            dout.step,
            statistics,
            at(&along),
            gradients.keys,
            gradients.values,
            daddends,
            dposition,
            at(&carries),
        );
        let blocks = self.blocks(&self.keys, self.layout.of.kv_heads);
        gpu.launch(self.layout.kernel("attend_backward_keys"), blocks, of_keys)?;
        Ok(along)
    }

    /// For what is left of each query's stick before each tile of keys, and for a sum: `[queries, maps, tiles, 2]`.
    fn carries(&self, gpu: &Gpu) -> Result<Option<Buffer>, CudaError> {
        let tiles = self.keys.longest.div_ceil(self.layout.tile());
        let count = self.queries.tokens() * self.layout.of.all_maps() * tiles * 2;
        let are_sticks = self.layout.of.scoring.similarity == Similarity::StickBreaking;
        gpu.scratch_if(are_sticks, count)
    }
}
