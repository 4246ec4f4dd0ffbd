//! What every language model can do, whatever its shape and kind of attention.

use std::fmt::Display;

use dfdx::shapes::{HasShape, Rank0};
use dfdx::tensor::{HasErr, Tape, Tensor};
use dfdx::tensor_ops::GatherTo;

use super::maps::LayerMaps;
use super::parts::PartOfStep;
use super::{Start, initialise, visit};
use crate::config::schema::ModelSpec;
use crate::data::ragged::Ragged;
use crate::error::{Error, Result};
use crate::ops::decoding::NewTokens;
use crate::ops::dropout::Dropout;
use crate::ops::parameters::{Weights, set_values};
use crate::ops::{LabDevice, Stream};

/// A language model on device `D`: what training, decoding and attention maps need of it.
pub(super) trait Network<D: LabDevice<f32>>: Weights<f32, D> + Sized + 'static {
    /// Token ids are below this.
    const VOCAB: usize;
    /// Whether sequences with a common prefix can share cached keys and values.
    const SHARES_PREFIXES: bool;

    /// A model with all weights zero; its widths, vocabulary and context must be those of `spec`.
    fn zeros(device: &D, spec: &ModelSpec) -> Result<Self, D::Err>;

    /// Maximum document length, in tokens.
    fn longest_document(&self) -> usize;

    /// Mean cross-entropy of the scored targets, in nats; gradients are recorded on `tape`.
    fn loss<T: Tape<f32, D>>(
        &self,
        batch: &Ragged,
        dropout: Dropout,
        tape: T,
    ) -> Result<Tensor<Rank0, f32, D, T>, D::Err>;

    /// Logits for the token after each of `rows`: `[rows, VOCAB]`, row-major.
    fn logits(&self, batch: &Ragged, rows: &[usize]) -> Result<Vec<f32>, D::Err>;

    /// Attention maps of every head, layer by layer from the input, for `document`, a batch of one.
    fn maps(&self, document: &Ragged) -> Result<Vec<LayerMaps>, D::Err>;

    /// The same model for incremental decoding of `rows` sequences.
    fn incremental(&self, rows: usize) -> IncrementalNetwork<'_, D>;

    /// The parts of a step from the embedding to the head, on activations that the preceding parts computed;
    /// a block stands for all that are like it.
    fn parts<'a>(
        &self,
        batch: &'a Ragged,
        dropout: Dropout,
    ) -> Result<Vec<PartOfStep<'a, Self, D>>, D::Err>;
}

/// A model with initial weights drawn from `start`.
pub(super) fn fresh<M: Network<D>, D: LabDevice<f32>>(
    device: &D,
    spec: &ModelSpec,
    start: Start,
) -> Result<M, D::Err> {
    let mut model = M::zeros(device, spec)?;
    let values = initialise::draw(&visit::layout(&model), start);
    set_values(&mut model, &values);
    Ok(model)
}

/// A model during incremental decoding: logits for the token after the last own token of each sequence,
/// `[sequences, VOCAB]`, given the ids of the new tokens. Every new token is a query and a key: `queries` and `keys` are
/// the same starts. After a failure of the device it cannot be used any more.
pub(super) type IncrementalNetwork<'a, D> =
    Box<dyn FnMut(&[u32], &NewTokens<'_>) -> Result<Vec<f32>, <D as HasErr>::Err> + 'a>;

/// The last new token of each sequence as its only query.
pub(super) struct LastTokens {
    tokens: Vec<usize>,
    positions: Vec<usize>,
    starts: Vec<usize>,
}

impl LastTokens {
    pub(super) fn of(new: &NewTokens<'_>) -> Self {
        new.check();
        let tokens: Vec<usize> = new.queries[1..].iter().map(|end| end - 1).collect();
        Self {
            positions: tokens.iter().map(|&token| new.positions[token]).collect(),
            starts: (0..=tokens.len()).collect(),
            tokens,
        }
    }

    /// Their rows of the stream of all new tokens.
    pub(super) fn rows<const EMBED: usize, D: LabDevice<f32>>(
        &self,
        x: &Stream<EMBED, f32, D>,
    ) -> Result<Stream<EMBED, f32, D>, D::Err> {
        match self.tokens.len() == x.shape().0 {
            true => Ok(x.clone()),
            false => rows_of(x, self.tokens.clone()),
        }
    }

    /// `new` with only these tokens as queries.
    pub(super) fn queries<'a>(&'a self, new: &NewTokens<'a>) -> NewTokens<'a> {
        NewTokens {
            queries: &self.starts,
            positions: &self.positions,
            ..*new
        }
    }
}

/// Some rows of a stream: `[rows, EMBED]`.
pub(super) fn rows_of<const EMBED: usize, D: LabDevice<f32>>(
    x: &Stream<EMBED, f32, D>,
    rows: Vec<usize>,
) -> Result<Stream<EMBED, f32, D>, D::Err> {
    let count = rows.len();
    let rows = x.device().try_tensor_from_vec(rows, (count,))?;
    x.clone().try_gather(rows)
}

/// Rejects documents and token ids that violate the assumptions of the ops.
pub(super) fn check_fits<'a, M: Network<D>, D: LabDevice<f32>>(
    model: &M,
    longest: usize,
    ids: impl Iterator<Item = &'a u32>,
) -> Result<()> {
    if longest > model.longest_document() {
        return Err(Error::run(format!(
            "a document of {longest} tokens is longer than the {} that the model reads",
            model.longest_document()
        ))
        .help("raise `model.context` or shorten the text"));
    }
    match ids.max() {
        None => Err(Error::run("a batch without any token")),
        Some(&id) if id as usize >= M::VOCAB => Err(Error::run(format!(
            "token id {id} is not below the model's vocabulary of {}",
            M::VOCAB
        ))
        .help("raise `model.vocabulary`")),
        Some(_) => Ok(()),
    }
}

/// A failure of the device, with what the user can do about it.
pub(super) fn device_error(cause: impl Display) -> Error {
    Error::run(format!("the device failed: {cause}"))
        .help("if it is out of memory, lower `batch_documents`, or set `device = \"cpu\"`")
}
