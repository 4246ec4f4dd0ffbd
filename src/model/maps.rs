//! Where a model looks while it reads a text: how every head of every layer weighs what it sees.

use crate::ops::maps::HeadMap;

/// The maps of one layer over one text.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerMaps {
    /// What asks: the rows of the maps.
    pub queries: Side,
    /// What is asked: the columns.
    pub keys: Side,
    /// One map for each head; all of them have as many rows and columns.
    pub heads: Vec<HeadMap>,
}

/// What stands in the rows or columns of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The tokens of the text, in their order.
    Tokens,
    /// The latents of a Perceiver: the one at place i has seen the tokens 0 to i.
    Latents,
}

impl LayerMaps {
    pub(super) fn new([queries, keys]: [Side; 2], heads: Vec<HeadMap>) -> Self {
        Self {
            queries,
            keys,
            heads,
        }
    }

    /// Of a layer in which tokens ask tokens.
    pub(super) fn of_tokens(heads: Vec<HeadMap>) -> Self {
        Self::new([Side::Tokens; 2], heads)
    }
}
