//! A decoder with a KV cache: each token is processed once.
//!
//! Prompts with a common prefix form a tree, if the network supports it: shared prefixes are processed
//! once.

use std::ops::Range;

use rayon::prelude::*;

use super::decoder::{Decoder, DecoderInput, check_rows, log_softmax};
use super::network::{IncrementalNetwork, Network, check_fits, device_error};
use crate::error::Result;
use crate::ops::LabDevice;
use crate::ops::decoding::NewTokens;
use crate::ops::precision::Precision;

/// Sequences that a model has processed in part.
pub(super) struct CachingDecoder<'a, M, D: LabDevice<f32>> {
    model: &'a M,
    precision: Precision,
    network: IncrementalNetwork<'a, D>,
    /// Number of tokens processed of each sequence.
    lengths: Vec<usize>,
}

impl<'a, M: Network<D>, D: LabDevice<f32>> CachingDecoder<'a, M, D> {
    pub(super) fn new((model, precision): (&'a M, Precision), rows: usize) -> Self {
        Self {
            model,
            precision,
            network: precision.run(|| model.incremental(rows)),
            lengths: vec![0; rows],
        }
    }
}

impl<M: Network<D>, D: LabDevice<f32>> Decoder for CachingDecoder<'_, M, D> {
    fn decode(&mut self, inputs: &[DecoderInput]) -> Result<Vec<Vec<f32>>> {
        check_rows(inputs)?;
        let lengths = inputs.iter().map(|u| self.lengths[u.row] + u.tokens.len());
        let tokens = inputs.iter().flat_map(|u| &u.tokens);
        check_fits(self.model, lengths.max().unwrap_or(0), tokens)?;

        // Prefixes are only shared among fresh sequences: earlier calls are not compared.
        let share = M::SHARES_PREFIXES && inputs.iter().all(|u| self.lengths[u.row] == 0);
        let mut order: Vec<usize> = (0..inputs.len()).collect();
        if share {
            order.sort_by_key(|&i| &inputs[i].tokens);
        }
        let prompts: Vec<&[u32]> = order.iter().map(|&i| &inputs[i].tokens[..]).collect();
        let tree = PrefixTree::of(&prompts, share);
        let sequences: Vec<usize> = order.iter().map(|&i| inputs[i].row).collect();
        let mut positions = vec![];
        for ((&sequence, prompt), own) in sequences.iter().zip(&prompts).zip(tree.starts.windows(2))
        {
            let end = self.lengths[sequence] + prompt.len();
            positions.extend(end - (own[1] - own[0])..end);
            self.lengths[sequence] = end;
        }
        let new = NewTokens {
            sequences: &sequences,
            queries: &tree.starts,
            positions: &positions,
            keys: &tree.starts,
            prefixes: &tree.prefixes,
        };
        let logits = (self.precision).run(|| (self.network)(&tree.ids, &new));
        let logits = logits.map_err(device_error)?;
        let mut distributions = vec![vec![]; inputs.len()];
        for (&i, log_probabilities) in order.iter().zip(log_softmaxes(&logits, M::VOCAB)) {
            distributions[i] = log_probabilities;
        }
        Ok(distributions)
    }
}

/// Log-probabilities from rows of logits, by all threads.
fn log_softmaxes(logits: &[f32], vocabulary: usize) -> Vec<Vec<f32>> {
    let rows = logits.par_chunks_exact(vocabulary);
    rows.map(log_softmax).collect()
}

/// Prompts as a prefix tree: each lists only the tokens that it does not share with the one before it.
struct PrefixTree {
    /// Own tokens of all prompts, concatenated.
    ids: Vec<u32>,
    /// Where each prompt's own tokens start in `ids`, and where the last one's end.
    starts: Vec<usize>,
    /// Where in `ids` each prompt's prefix is.
    prefixes: Vec<Vec<Range<usize>>>,
}

impl PrefixTree {
    /// The prompts must be sorted if they `share` prefixes.
    fn of(prompts: &[&[u32]], share: bool) -> Self {
        let mut tree = Self {
            ids: vec![],
            starts: vec![0],
            prefixes: vec![],
        };
        // Where the tokens of the previous prompt are.
        let (mut above, mut path): (&[u32], Vec<Range<usize>>) = (&[], vec![]);
        for &prompt in prompts {
            let shared = |(a, b): &(&u32, &u32)| share && a == b;
            let shared = above.iter().zip(prompt).take_while(shared).count();
            // The last token is always processed: its output is what the caller asks for.
            let shared = shared.min(prompt.len() - 1);
            path = first_tokens(&path, shared);
            tree.prefixes.push(path.clone());
            tree.ids.extend(&prompt[shared..]);
            let start = tree.starts[tree.starts.len() - 1];
            path.push(start..tree.ids.len());
            tree.starts.push(tree.ids.len());
            above = prompt;
        }
        tree
    }
}

/// The first `count` positions of some ranges.
fn first_tokens(ranges: &[Range<usize>], count: usize) -> Vec<Range<usize>> {
    let (mut first, mut missing) = (vec![], count);
    for range in ranges {
        let end = range.end.min(range.start + missing);
        if range.start < end {
            missing -= end - range.start;
            first.push(range.start..end);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_shared_by_prompts_is_listed_once() {
        let tree = PrefixTree::of(
            &[&[1], &[1], &[1, 2, 3, 4], &[1, 2, 5], &[1, 3], &[4]],
            true,
        );
        assert_eq!(tree.ids, [1, 1, 2, 3, 4, 5, 3, 4]);
        assert_eq!(tree.starts, [0, 1, 2, 5, 6, 7, 8]);
        let prefixes: Vec<Vec<u32>> = (tree.prefixes.iter())
            .map(|b| {
                b.iter()
                    .flat_map(|r| &tree.ids[r.clone()])
                    .copied()
                    .collect()
            })
            .collect();
        assert_eq!(
            prefixes,
            [vec![], vec![], vec![1], vec![1, 2], vec![1], vec![]]
        );
        let apart = PrefixTree::of(&[&[1, 2], &[1, 2]], false);
        assert_eq!((apart.ids, apart.starts), (vec![1, 2, 1, 2], vec![0, 2, 4]));
        assert!(apart.prefixes.iter().all(Vec::is_empty));
    }
}
