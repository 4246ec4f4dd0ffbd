//! Heads over ragged documents, by the kernels of `heads.cu`.
#![allow(unsafe_code)]

use std::rc::Rc;

use cudarc::driver::{CudaSlice, DeviceRepr};
use dfdx::tensor::CudaError;

use super::kernels::{Kernel, Source, WARPS};
use super::products::Matrix;
use super::{Address, Buffer, DeviceDropout, Gpu, NOWHERE, at};
use crate::ops::attention::{AttentionDropout, Places, Scoring, Weights};
use crate::ops::dropout::Dropout;

pub(super) static HEADS: Source = source(
    "heads",
    concat!(
        "#define OF_PLACES 0\n",
        include_str!("heads.cuh"),
        include_str!("heads.cu")
    ),
);

/// The same where something is added to scores by place.
pub(super) static HEADS_OF_PLACES: Source = source(
    "heads_of_places",
    concat!(
        "#define OF_PLACES 1\n",
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

/// The widest head whose tiles fit a block's shared memory; wider ones run the reference.
pub(in crate::ops) const WIDEST: usize = 128;

/// Where the documents of a batch lie, on the device.
pub(in crate::ops) struct Documents {
    starts: Vec<usize>,
    longest: usize,
    on_device: CudaSlice<u32>,
    /// Place of every token in its document.
    places: CudaSlice<u32>,
}

impl Documents {
    /// How many there are.
    pub(in crate::ops) fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of tokens of the longest.
    pub(in crate::ops) fn longest(&self) -> usize {
        self.longest
    }

    /// Where on the device the list of their starts is.
    pub(in crate::ops) fn starts(&self) -> Address {
        at(&self.on_device)
    }

    /// Number of tokens.
    pub(in crate::ops) fn tokens(&self) -> usize {
        self.starts[self.count()]
    }
}

impl Gpu {
    /// Documents that start there, and where the last one ends. A model asks for the same ones layer
    /// after layer, and perceivers for two in turn: the last four stay.
    ///
    /// # Errors
    /// Memory.
    pub(in crate::ops) fn documents(&self, starts: &[usize]) -> Result<Rc<Documents>, CudaError> {
        let mut known = self.documents.borrow_mut();
        if let Some(found) = known.iter().find(|documents| documents.starts == starts) {
            return Ok(found.clone());
        }
        let lengths = || starts.windows(2).map(|w| w[1] - w[0]);
        let documents = Rc::new(Documents {
            starts: starts.to_vec(),
            longest: lengths().max().unwrap_or(0),
            on_device: self.upload_places(starts.iter().copied())?,
            places: self.upload_places(lengths().flat_map(|length| 0..length))?,
        });
        known.truncate(3);
        known.insert(0, documents.clone());
        Ok(documents)
    }
}

/// How heads are cut and weigh each other.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Layout {
    pub(in crate::ops) head_dim: usize,
    /// Of queries.
    pub(in crate::ops) heads: usize,
    /// Of keys and values.
    pub(in crate::ops) key_heads: usize,
    pub(in crate::ops) scoring: Scoring,
    /// What is added to the score of a key by its place, if that is somewhere.
    pub(in crate::ops) of_places: Address,
}

/// Heads that attend: queries of some documents to keys and values of as many.
#[derive(Clone)]
pub(in crate::ops) struct Attention {
    pub(in crate::ops) layout: Layout,
    pub(in crate::ops) dropout: AttentionDropout,
    pub(in crate::ops) queries: Rc<Documents>,
    pub(in crate::ops) keys: Rc<Documents>,
}

/// Queries, keys and values, or their gradients.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Three {
    pub(in crate::ops) queries: Matrix,
    /// Its rows lie as far apart as those of the values.
    pub(in crate::ops) keys: Matrix,
    pub(in crate::ops) values: Matrix,
}

/// What heads have found.
pub(in crate::ops) struct Found {
    /// `[queries, heads * head_dim]`.
    pub(in crate::ops) out: Buffer,
    statistics: Buffer,
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
    of_places: Address,
    query_step: u32,
    key_step: u32,
    heads: u32,
    group: u32,
    window: u32,
    features: u32,
    distance: u32,
    scale: f32,
    dropout: DeviceDropout,
    context: u32,
}

// SAFETY: the same fields in the same order as `struct Heads`, by the same rules of alignment.
unsafe impl DeviceRepr for Arguments {}

impl Layout {
    /// Rows of one side that a block takes: `TILE` of heads.cu.
    fn tile(&self) -> usize {
        match self.head_dim {
            0..=64 => 4 * WARPS,
            65..=96 => 2 * WARPS,
            _ => WARPS,
        }
    }

    /// What a kernel is told of the heads.
    pub(super) fn arguments(
        &self,
        three: Three,
        [query_starts, key_starts]: [Address; 2],
        (dropout, context): (Dropout, usize),
    ) -> Arguments {
        Arguments {
            queries: three.queries.start,
            keys: three.keys.start,
            values: three.values.start,
            query_starts,
            key_starts,
            of_places: self.of_places,
            query_step: three.queries.step as u32,
            key_step: three.keys.step as u32,
            heads: self.heads as u32,
            group: (self.heads / self.key_heads) as u32,
            // Beyond any document; one more must still be a u32.
            window: self.scoring.window.unwrap_or(1 << 30) as u32,
            features: u32::from(self.scoring.weights == Weights::Features),
            distance: u32::from(self.scoring.places == Places::Distance),
            scale: self.scoring.scale(self.head_dim) as f32,
            dropout: dropout.into(),
            context: context as u32,
        }
    }

    fn kernel(&self, name: &'static str) -> Kernel {
        match self.of_places {
            NOWHERE => HEADS.kernel(self.head_dim, name),
            _ => HEADS_OF_PLACES.kernel(self.head_dim, name),
        }
    }
}

impl Attention {
    fn arguments(&self, three: Three) -> Arguments {
        let starts = [&self.queries, &self.keys].map(|side| at(&side.on_device));
        let dropout = (self.dropout.weights, self.dropout.context);
        self.layout.arguments(three, starts, dropout)
    }

    /// Where the queries' tokens stand.
    pub(in crate::ops) fn places(&self) -> (Address, usize) {
        (at(&self.queries.places), self.queries.tokens())
    }

    fn blocks(&self, side: &Documents, heads: usize) -> (usize, usize, usize) {
        let tiles = side.longest.div_ceil(self.layout.tile());
        // Only the first may be above 65,535.
        (self.queries.count(), heads, tiles)
    }

    /// What the heads find.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn attend(&self, gpu: &Gpu, three: Three) -> Result<Found, CudaError> {
        let (tokens, heads) = (self.queries.tokens(), self.layout.heads);
        let out = gpu.scratch(tokens * heads * self.layout.head_dim)?;
        let statistics = gpu.scratch(tokens * heads)?;
        gpu.launch(
            self.layout.kernel("attend"),
            self.blocks(&self.queries, heads),
            (self.arguments(three), at(&out), at(&statistics)),
        )?;
        Ok(Found { out, statistics })
    }

    /// Writes the gradients of queries, keys and values, the last two of which lie as far apart; and of what is
    /// added to the scores of each key, `[keys, key heads]`, if `daddends` is somewhere.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn backward(
        &self,
        gpu: &Gpu,
        three: Three,
        (found, dout): (&Found, &Buffer),
        (gradients, daddends): (Three, Address),
    ) -> Result<(), CudaError> {
        let (heads, arguments) = (self.layout.heads, self.arguments(three));
        let along = gpu.scratch(self.queries.tokens() * heads)?;
        gpu.launch(
            self.layout.kernel("attend_backward_queries"),
            self.blocks(&self.queries, heads),
            (
                arguments,
                at(&found.out),
                at(dout),
                at(&found.statistics),
                at(&along),
                gradients.queries.start,
                gradients.queries.step as u32,
            ),
        )?;
        gpu.launch(
            self.layout.kernel("attend_backward_keys"),
            self.blocks(&self.keys, self.layout.key_heads),
            (
                arguments,
                at(dout),
                at(&found.statistics),
                at(&along),
                gradients.keys.start,
                gradients.values.start,
                gradients.keys.step as u32,
                daddends,
            ),
        )
    }
}
