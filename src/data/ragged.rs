//! A ragged batch: documents of any lengths, concatenated without padding.

/// Token id of padding (`□`, U+25A1); as a target it means *not scored*.
pub const PAD: u32 = 0;

/// Token id of the mask (`⁇`, U+2047), which also separates a question from its answer.
pub const MASK: u32 = 1;

/// One document's inputs and next-token targets, of equal length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    pub tokens: Vec<u32>,
    /// The token that follows each input; [`PAD`] where it does not enter the loss.
    pub targets: Vec<u32>,
}

impl Sequence {
    /// Number of targets that enter the loss.
    pub fn scored(&self) -> usize {
        self.targets.iter().filter(|&&target| target != PAD).count()
    }
}

/// Concatenated documents, and where each starts.
///
/// With documents `ab` and `cde`: `tokens = [a, b, c, d, e]`, `starts = [0, 2, 5]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ragged {
    /// Token ids of all documents, `[tokens]`.
    pub tokens: Vec<u32>,
    /// Next-token targets, `[tokens]`; [`PAD`] is not scored.
    pub targets: Vec<u32>,
    /// Index of each document's first token, then the number of tokens: `[documents + 1]`.
    pub starts: Vec<usize>,
}

impl Ragged {
    /// Concatenates sequences, skipping empty ones.
    pub fn from_sequences<'a>(sequences: impl IntoIterator<Item = &'a Sequence>) -> Self {
        let mut batch = Self {
            tokens: vec![],
            targets: vec![],
            starts: vec![0],
        };
        for sequence in sequences.into_iter().filter(|s| !s.tokens.is_empty()) {
            debug_assert_eq!(sequence.tokens.len(), sequence.targets.len());
            batch.tokens.extend_from_slice(&sequence.tokens);
            batch.targets.extend_from_slice(&sequence.targets);
            batch.starts.push(batch.tokens.len());
        }
        batch
    }

    /// Documents of which only the lengths matter, given where each starts, then the number of tokens.
    pub fn of_starts(starts: Vec<usize>) -> Self {
        let count = starts[starts.len() - 1];
        Self {
            tokens: vec![PAD; count],
            targets: vec![PAD; count],
            starts,
        }
    }

    pub fn documents(&self) -> usize {
        self.starts.len() - 1
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Number of targets that enter the loss.
    pub fn scored(&self) -> usize {
        self.targets.iter().filter(|&&target| target != PAD).count()
    }

    /// Number of tokens of every document.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        self.starts.windows(2).map(|w| w[1] - w[0])
    }

    /// Position of every token in its document, from 0.
    pub fn positions(&self) -> Vec<usize> {
        self.lengths().flat_map(|length| 0..length).collect()
    }

    /// Length of the longest document.
    pub fn longest(&self) -> usize {
        self.lengths().max().unwrap_or(0)
    }
}
