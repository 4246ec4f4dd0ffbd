//! Heads over ragged documents, by the kernels of `heads.cu`.
#![allow(unsafe_code)]

use std::rc::Rc;

use cudarc::driver::{CudaFunction, CudaSlice, DeviceRepr, LaunchAsync};
use dfdx::tensor::CudaError;

use super::products::Matrix;
use super::rows::{THREADS, WARPS};
use super::{Address, Buffer, DeviceDropout, Gpu, NOWHERE, Source, at};
use crate::ops::attention::{AttentionDropout, Places, Scoring, Weights};
use crate::ops::dropout::Dropout;

static HEADS: Source = Source {
    name: "heads",
    text: include_str!("heads.cu"),
    kernels: &[
        "attend",
        "attend_backward_queries",
        "attend_backward_keys",
        "add_biases",
        "rotate",
        "features",
        "features_backward",
        "remember",
        "look_back",
    ],
};

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
    fn count(&self) -> usize {
        self.starts.len() - 1
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
        let places = lengths().flat_map(|length| 0..length as u32).collect();
        let documents = Rc::new(Documents {
            starts: starts.to_vec(),
            longest: lengths().max().unwrap_or(0),
            on_device: self.upload(starts.iter().map(|&start| start as u32).collect())?,
            places: self.upload(places)?,
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
struct Arguments {
    queries: Address,
    keys: Address,
    values: Address,
    query_starts: Address,
    key_starts: Address,
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

    fn arguments(
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

    fn kernel(&self, gpu: &Gpu, name: &str) -> Result<CudaFunction, CudaError> {
        gpu.kernel(&HEADS, ("HEAD_DIM", self.head_dim), name)
    }

    /// A kernel with a thread an element.
    fn over<A>(&self, gpu: &Gpu, name: &str, count: usize, arguments: A) -> Result<(), CudaError>
    where
        CudaFunction: LaunchAsync<A>,
    {
        let blocks = (count.div_ceil(THREADS), 1, 1);
        gpu.launch(self.kernel(gpu, name)?, blocks, THREADS, arguments)
    }

    /// Adds biases to the rows of matrices that lie side by side, `[rows, all of them]`.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn add_biases(
        &self,
        gpu: &Gpu,
        heads: &Buffer,
        rows: usize,
        biases: &[(Address, usize)],
    ) -> Result<(), CudaError> {
        let bias = |i: usize| biases.get(i).copied().unwrap_or((NOWHERE, 0));
        let [a, b, c] = [bias(0), bias(1), bias(2)];
        let arguments = (
            at(heads),
            a.0,
            a.1 as u32,
            b.0,
            b.1 as u32,
            c.0,
            c.1 as u32,
            rows as u32,
        );
        self.over(gpu, "add_biases", rows * (a.1 + b.1 + c.1), arguments)
    }

    /// What [`Scoring`] does with queries and keys before they meet: the first `columns` of each row, whose
    /// token stands at `places[row]`.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn map(
        &self,
        gpu: &Gpu,
        heads: Matrix,
        columns: usize,
        (places, rows): (Address, usize),
    ) -> Result<(), CudaError> {
        let size = (heads.start, heads.step as u32, columns as u32);
        if self.scoring.places == Places::Rotated {
            let arguments = (size.0, size.1, size.2, places, rows as u32, 1f32);
            return self.over(gpu, "rotate", rows * columns / 2, arguments);
        }
        if self.scoring.weights == Weights::Features {
            let arguments = (size.0, size.1, size.2, rows as u32);
            return self.over(gpu, "features", rows * columns, arguments);
        }
        Ok(())
    }

    /// Backward of [`Self::map`], in place; `heads` are the mapped ones, laid out as their gradients.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn map_backward(
        &self,
        gpu: &Gpu,
        (gradients, heads): (Matrix, Matrix),
        columns: usize,
        (places, rows): (Address, usize),
    ) -> Result<(), CudaError> {
        let (step, columns_of_row) = (gradients.step as u32, columns as u32);
        if self.scoring.places == Places::Rotated {
            let arguments = (
                gradients.start,
                step,
                columns_of_row,
                places,
                rows as u32,
                -1f32,
            );
            return self.over(gpu, "rotate", rows * columns / 2, arguments);
        }
        if self.scoring.weights == Weights::Features {
            let arguments = (
                gradients.start,
                heads.start,
                step,
                columns_of_row,
                rows as u32,
            );
            return self.over(gpu, "features_backward", rows * columns, arguments);
        }
        Ok(())
    }

    /// Copies keys and values of tokens, side by side in `news`, to where rows remember them: entry i is
    /// token `sources[i]`, and goes to row `slots[i]` of `memory`.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn remember(
        &self,
        gpu: &Gpu,
        news: Matrix,
        (sources, slots): (&CudaSlice<u32>, &CudaSlice<u32>),
        memory: [&Buffer; 2],
        count: usize,
    ) -> Result<(), CudaError> {
        let width = self.key_heads * self.head_dim;
        let arguments = (
            news.start,
            news.step as u32,
            width as u32,
            at(sources),
            at(slots),
            at(memory[0]),
            at(memory[1]),
            count as u32,
        );
        self.over(gpu, "remember", count * width, arguments)
    }

    /// What queries find in what their rows remember, `[queries, heads * head_dim]`: query i belongs to row
    /// `rows[i]` and sees that row's first `counts[i]` keys. A row has room for `capacity`.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn look_back(
        &self,
        gpu: &Gpu,
        queries: Matrix,
        memory: [&Buffer; 2],
        capacity: usize,
        (rows, counts): (&CudaSlice<u32>, &CudaSlice<u32>),
    ) -> Result<Buffer, CudaError> {
        let count = cudarc::driver::DeviceSlice::len(rows);
        let out = gpu.scratch(count * self.heads * self.head_dim)?;
        let width = self.key_heads * self.head_dim;
        let [keys, values] = memory.map(|memory| Matrix::new(at(memory), width));
        let three = Three {
            queries,
            keys,
            values,
        };
        let arguments = self.arguments(three, [at(rows), NOWHERE], (Dropout::NONE, capacity));
        let blocks = ((count * self.heads).div_ceil(WARPS), 1, 1);
        gpu.launch(
            self.kernel(gpu, "look_back")?,
            blocks,
            THREADS,
            (arguments, at(counts), at(&out), count as u32),
        )?;
        Ok(out)
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
        (tiles, heads, self.queries.count())
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
            self.layout.kernel(gpu, "attend")?,
            self.blocks(&self.queries, heads),
            THREADS,
            (self.arguments(three), at(&out), at(&statistics)),
        )?;
        Ok(Found { out, statistics })
    }

    /// Writes the gradients of queries, keys and values; the last two lie as far apart.
    ///
    /// # Errors
    /// The device's.
    pub(in crate::ops) fn backward(
        &self,
        gpu: &Gpu,
        three: Three,
        (found, dout): (&Found, &Buffer),
        gradients: Three,
    ) -> Result<(), CudaError> {
        let (heads, arguments) = (self.layout.heads, self.arguments(three));
        let along = gpu.scratch(self.queries.tokens() * heads)?;
        gpu.launch(
            self.layout.kernel(gpu, "attend_backward_queries")?,
            self.blocks(&self.queries, heads),
            THREADS,
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
            self.layout.kernel(gpu, "attend_backward_keys")?,
            self.blocks(&self.keys, self.layout.key_heads),
            THREADS,
            (
                arguments,
                at(dout),
                at(&found.statistics),
                at(&along),
                gradients.keys.start,
                gradients.values.start,
                gradients.keys.step as u32,
            ),
        )
    }
}
