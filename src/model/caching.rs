//! A decoder that reads each token once: every sublayer remembers what later tokens need.
//!
//! Prompts that begin alike are read as a tree, where the network can: what they share is read once.

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::decoder::{Decoder, Unread, check_rows};
use super::gpt::{Network, NetworkReader};
use super::session::{Session, check_fits, device_error, log_softmax};
use crate::error::Result;
use crate::ops::LabDevice;
use crate::ops::reading::NewTokens;

/// Rows that a model has read in part.
pub(super) struct Caching<'a, M, D: LabDevice<f32>> {
    model: PhantomData<M>,
    reader: Box<dyn NetworkReader<D> + 'a>,
    /// Number of tokens that each row has read.
    lengths: Vec<usize>,
}

impl<'a, M: Network<D>, D: LabDevice<f32>> Caching<'a, M, D> {
    pub(super) fn new(session: &'a Session<M, D>, rows: usize) -> Self {
        Self {
            model: PhantomData,
            reader: session.model.reader(rows),
            lengths: vec![0; rows],
        }
    }
}

impl<M: Network<D>, D: LabDevice<f32>> Decoder for Caching<'_, M, D> {
    fn read(&mut self, unread: &[Unread]) -> Result<Vec<Vec<f32>>> {
        check_rows(unread)?;
        let lengths = unread.iter().map(|u| self.lengths[u.row] + u.tokens.len());
        let tokens = unread.iter().flat_map(|u| &u.tokens);
        check_fits::<M, D>(lengths.max().unwrap_or(0), tokens)?;

        // Rows that have read something differ already, for all that is known here.
        let share = M::SHARES_PROMPTS && unread.iter().all(|u| self.lengths[u.row] == 0);
        let mut order: Vec<usize> = (0..unread.len()).collect();
        if share {
            order.sort_by_key(|&i| &unread[i].tokens);
        }
        let prompts: Vec<&[u32]> = order.iter().map(|&i| &unread[i].tokens[..]).collect();
        let tree = Tree::of(&prompts, share);
        let rows: Vec<usize> = order.iter().map(|&i| unread[i].row).collect();
        let mut places = vec![];
        for ((&row, prompt), own) in rows.iter().zip(&prompts).zip(tree.starts.windows(2)) {
            let end = self.lengths[row] + prompt.len();
            places.extend(end - (own[1] - own[0])..end);
            self.lengths[row] = end;
        }
        let new = NewTokens {
            rows: &rows,
            starts: &tree.starts,
            places: &places,
            before: &tree.before,
        };
        let logits = self
            .reader
            .try_read(&tree.ids, &new)
            .map_err(device_error)?;
        let mut distributions = vec![vec![]; unread.len()];
        let said = logits.par_chunks_exact(M::VOCAB).map(log_softmax);
        for (&i, said) in order.iter().zip(said.collect::<Vec<_>>()) {
            distributions[i] = said;
        }
        Ok(distributions)
    }
}

/// Prompts, each with the tokens that the ones above it do not have.
struct Tree {
    /// Own tokens of all prompts, one prompt after another.
    ids: Vec<u32>,
    /// Where each prompt's own tokens start in `ids`, and where the last one's end.
    starts: Vec<usize>,
    /// Where in `ids` the tokens before them are.
    before: Vec<Vec<Range<usize>>>,
}

impl Tree {
    /// Of prompts, which are sorted if what they `share` with the one above is to be left out.
    fn of(prompts: &[&[u32]], share: bool) -> Self {
        let mut tree = Self {
            ids: vec![],
            starts: vec![0],
            before: vec![],
        };
        // Where the tokens of the prompt above are.
        let (mut above, mut path): (&[u32], Vec<Range<usize>>) = (&[], vec![]);
        for &prompt in prompts {
            let alike = |(a, b): &(&u32, &u32)| share && a == b;
            let alike = above.iter().zip(prompt).take_while(alike).count();
            // The last token is read: it is what is asked about.
            let alike = alike.min(prompt.len() - 1);
            path = first_of(&path, alike);
            tree.before.push(path.clone());
            tree.ids.extend(&prompt[alike..]);
            let start = tree.starts[tree.starts.len() - 1];
            path.push(start..tree.ids.len());
            tree.starts.push(tree.ids.len());
            above = prompt;
        }
        tree
    }
}

/// The first `count` places of some ranges.
fn first_of(ranges: &[Range<usize>], count: usize) -> Vec<Range<usize>> {
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
    fn what_prompts_begin_with_alike_is_there_once() {
        let tree = Tree::of(
            &[&[1], &[1], &[1, 2, 3, 4], &[1, 2, 5], &[1, 3], &[4]],
            true,
        );
        assert_eq!(tree.ids, [1, 1, 2, 3, 4, 5, 3, 4]);
        assert_eq!(tree.starts, [0, 1, 2, 5, 6, 7, 8]);
        let before: Vec<Vec<u32>> = (tree.before.iter())
            .map(|b| {
                b.iter()
                    .flat_map(|r| &tree.ids[r.clone()])
                    .copied()
                    .collect()
            })
            .collect();
        assert_eq!(
            before,
            [vec![], vec![], vec![1], vec![1, 2], vec![1], vec![]]
        );
        let apart = Tree::of(&[&[1, 2], &[1, 2]], false);
        assert_eq!((apart.ids, apart.starts), (vec![1, 2, 1, 2], vec![0, 2, 4]));
        assert!(apart.before.iter().all(Vec::is_empty));
    }
}
