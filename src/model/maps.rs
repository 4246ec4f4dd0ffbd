//! Attention maps of a model over a text: the weights of every head in every layer.

use crate::ops::maps::HeadMap;

/// The attention maps of one layer over one text.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerMaps {
    /// The rows of the maps.
    pub queries: MapAxis,
    /// The columns of the maps.
    pub keys: MapAxis,
    /// One map per head, all of the same size.
    pub heads: Vec<HeadMap>,
}

/// What the rows or columns of a map are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapAxis {
    /// The tokens of the text, in order.
    Tokens,
    /// The latents of a Perceiver; latent i attends to the tokens 0 to i.
    Latents,
}

impl LayerMaps {
    pub(super) fn new([queries, keys]: [MapAxis; 2], heads: Vec<HeadMap>) -> Self {
        Self {
            queries,
            keys,
            heads,
        }
    }

    /// For self-attention between tokens.
    pub(super) fn of_tokens(heads: Vec<HeadMap>) -> Self {
        Self::new([MapAxis::Tokens; 2], heads)
    }
}
