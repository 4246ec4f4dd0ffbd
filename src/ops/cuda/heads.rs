//! Attention heads over ragged documents, by the kernels of `heads.cu`.
#![allow(unsafe_code)]

use std::rc::Rc;

use cudarc::driver::{CudaSlice, DeviceRepr};
use dfdx::tensor::{Cuda, CudaError, Gradients};

use super::kernels::{Kernel, Source, WARPS};
use super::products::Matrix;
use super::{Address, Buffer, DeviceDropout, Gpu, NULL, at};
use crate::ops::attention::{
    AttentionDropout, AttentionWeights, Bias, HeadKind, Layout, Scoring, Similarity,
};
use crate::ops::bridge::cuda::address;
use crate::ops::dropout::Dropout;

pub(super) static HEADS: Source = source(
    "heads",
    concat!(
        "#define POSITION_BIAS 0\n",
        include_str!("heads.cuh"),
        include_str!("heads.cu")
    ),
);

/// The same with a position bias.
pub(super) static HEADS_WITH_POSITION_BIAS: Source = source(
    "heads_with_position_bias",
    concat!(
        "#define POSITION_BIAS 1\n",
        include_str!("heads.cuh"),
        include_str!("heads.cu")
    ),
);

const fn source(name: &'static str, text: &'static str) -> Source {
    Source {
        name,
        text,
        constant: "HEAD_DIM",
        kernels: &["attend", "attend_backward_queries", "attend_backward_keys"],
    }
}

/// The widest head whose tiles fit into a block's shared memory; wider ones use the reference.
pub const WIDEST: usize = 128;

/// The documents of a batch, on the device.
pub struct Documents {
    starts: Vec<usize>,
    longest: usize,
    on_device: CudaSlice<u32>,
    /// Position of every token in its document.
    positions: CudaSlice<u32>,
}

impl Documents {
    /// Number of documents.
    pub fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of tokens of the longest document.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Address of the documents' starts.
    pub fn starts(&self) -> Address {
        at(&self.on_device)
    }

    /// Number of tokens of all documents.
    pub fn tokens(&self) -> usize {
        self.starts[self.count()]
    }
}

impl Gpu {
    /// Documents with the given starts and end, on the device. A model asks for the same ones layer after
    /// layer, and a Perceiver for two in turn: the last four are cached.
    pub fn documents(&self, starts: &[usize]) -> Result<Rc<Documents>, CudaError> {
        let mut known = self.documents.borrow_mut();
        if let Some(found) = known.iter().find(|documents| documents.starts == starts) {
            return Ok(found.clone());
        }
        let lengths = || starts.windows(2).map(|w| w[1] - w[0]);
        let documents = Rc::new(Documents {
            starts: starts.to_vec(),
            longest: lengths().max().unwrap_or(0),
            on_device: self.upload_indices(starts.iter().copied())?,
            positions: self.upload_indices(lengths().flat_map(|length| 0..length))?,
        });
        known.truncate(3);
        known.insert(0, documents.clone());
        Ok(documents)
    }
}

/// The layout of heads, and how they compute scores.
#[derive(Clone, Copy)]
pub struct HeadLayout {
    pub of: Layout,
    /// Added to the score of a key by its position; may be null.
    pub position_bias: Address,
    /// The score of each head's sink; null if there are none, or if they are 0.
    pub sinks: Address,
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
}

/// The result of attention, as backward needs it.
pub struct AttentionOutput {
    /// `[queries, heads * head_dim]`.
    pub out: Buffer,
    /// `[queries, heads]`: see heads.cu.
    pub statistics: Buffer,
}

/// `struct Heads` of heads.cu.
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
    query_step: u32,
    key_step: u32,
    heads: u32,
    group: u32,
    window: u32,
    similarity: u32,
    distance: u32,
    sink: u32,
    scale: f32,
    softcap: f32,
    dropout: DeviceDropout,
    context: u32,
}

// SAFETY: the same fields in the same order as `struct Heads`, by the same rules of alignment.
unsafe impl DeviceRepr for Arguments {}

impl HeadLayout {
    /// Without a position bias and learned sinks. To the kernels a head is one map of queries and keys: heads with two
    /// call them once for each, and heads without keys lay them out.
    pub fn new(layout: Layout) -> Self {
        let head = HeadKind::Standard;
        Self {
            of: Layout { head, ..layout },
            position_bias: NULL,
            sinks: NULL,
        }
    }

    /// Of a sublayer with these weights.
    pub fn of<const EMBED: usize>(weights: &AttentionWeights<EMBED, f32, Cuda>) -> Self {
        Self {
            sinks: weights.sinks.as_ref().map_or(NULL, address),
            ..Self::new(weights.layout)
        }
    }

    /// Rows of one side per block: `TILE` of heads.cu.
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
            query_step: qkv.queries.step as u32,
            key_step: qkv.keys.step as u32,
            heads: self.of.heads as u32,
            group: self.of.group() as u32,
            // At most 2^30, longer than any document, with room for the kernel's additions in u32.
            window: window.map_or(1 << 30, |window| window.min(1 << 30)) as u32,
            similarity: code(similarity),
            distance: u32::from(bias == Some(Bias::Alibi)),
            sink: u32::from(sink.is_some()),
            scale: self.of.scale() as f32,
            softcap: softcap.unwrap_or(0.0) as f32,
            dropout: dropout.into(),
            context: context as u32,
        }
    }

    fn kernel(&self, name: &'static str) -> Kernel {
        match self.position_bias {
            NULL => HEADS.kernel(self.of.head_dim, name),
            _ => HEADS_WITH_POSITION_BIAS.kernel(self.of.head_dim, name),
        }
    }
}

/// The number of a similarity in heads.cuh.
fn code(similarity: Similarity) -> u32 {
    match similarity {
        Similarity::Softmax => 0,
        Similarity::FeatureMap => 1,
        Similarity::Taylor => 2,
        Similarity::Sigmoid => 3,
        Similarity::StickBreaking | Similarity::Product => panic!("{similarity:?} has no kernel"),
    }
}

impl Attention {
    fn arguments(&self, qkv: Qkv) -> Arguments {
        let starts = [&self.queries, &self.keys].map(|side| at(&side.on_device));
        let dropout = (self.dropout.weights, self.dropout.context);
        self.layout.arguments(qkv, starts, dropout)
    }

    /// Positions of the query tokens.
    pub fn positions(&self) -> (Address, usize) {
        (at(&self.queries.positions), self.queries.tokens())
    }

    fn blocks(&self, side: &Documents, heads: usize) -> (usize, usize, usize) {
        let tiles = side.longest.div_ceil(self.layout.tile());
        // Only the first dimension of a grid may exceed 65,535.
        (self.queries.count(), heads, tiles)
    }

    /// Causal multi-head attention.
    pub fn attend(&self, gpu: &Gpu, qkv: Qkv) -> Result<AttentionOutput, CudaError> {
        let (tokens, heads) = (self.queries.tokens(), self.layout.of.heads);
        let out = gpu.scratch(tokens * self.layout.of.width())?;
        let statistics = gpu.scratch(tokens * heads)?;
        gpu.launch(
            self.layout.kernel("attend"),
            self.blocks(&self.queries, heads),
            (self.arguments(qkv), at(&out), at(&statistics)),
        )?;
        Ok(AttentionOutput { out, statistics })
    }

    /// Writes the gradients of queries, keys and values (keys and values must have the same row stride),
    /// and of the position bias of each key, `[keys, key heads]`, unless `daddends` is null. Returns the term
    /// of the softmax gradient that all keys of a query share, `[queries, heads]`.
    pub fn backward(
        &self,
        gpu: &Gpu,
        qkv: Qkv,
        (output, dout): (&AttentionOutput, &Buffer),
        (gradients, daddends): (Qkv, Address),
    ) -> Result<Buffer, CudaError> {
        let (heads, arguments) = (self.layout.of.heads, self.arguments(qkv));
        let along = gpu.scratch(self.queries.tokens() * heads)?;
        gpu.launch(
            self.layout.kernel("attend_backward_queries"),
            self.blocks(&self.queries, heads),
            (
                arguments,
                at(&output.out),
                at(dout),
                at(&output.statistics),
                at(&along),
                gradients.queries.start,
                gradients.queries.step as u32,
            ),
        )?;
        gpu.launch(
            self.layout.kernel("attend_backward_keys"),
            self.blocks(&self.keys, self.layout.of.kv_heads),
            (
                arguments,
                at(dout),
                at(&output.statistics),
                at(&along),
                gradients.keys.start,
                gradients.values.start,
                gradients.keys.step as u32,
                daddends,
            ),
        )?;
        Ok(along)
    }
}

/// What heads compute from queries, keys and values.
pub trait GpuHeadAttention: 'static {
    /// What backward needs.
    type Saved: 'static;

    /// The heads' outputs, and what backward needs.
    fn attend(&self, gpu: &Gpu, attention: &Attention, qkv: Qkv) -> Result<Self::Saved, CudaError>;

    /// The heads' outputs: `[queries, heads * head_dim]`.
    fn output(saved: &Self::Saved) -> &Buffer;

    /// Backward of [`Self::attend`], given the inputs and the saved state of `forward`. The last argument
    /// but one has the gradient of the output, and where to write the gradients of queries, keys and
    /// values. Accumulates the gradients of learned parameters.
    fn attend_backward(
        &self,
        gpu: &Gpu,
        attention: &Attention,
        forward: (Qkv, &Self::Saved),
        gradients_of: (&Buffer, Qkv),
        gradients: &mut Gradients<f32, Cuda>,
    ) -> Result<(), CudaError>;
}
