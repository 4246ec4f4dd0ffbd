//! A decoder that reads each token once: every block keeps what later tokens need of earlier ones.

use super::decoder::{Decoder, Unread, check_rows};
use super::gpt::Network;
use super::session::{Session, check_fits, device_error, log_softmax};
use crate::error::Result;
use crate::ops::LabDevice;
use crate::ops::cached_attention::Cache;

/// Rows that a model has read in part. What all prompts begin with is read once for all.
pub(super) struct Caching<'a, M, D: LabDevice<f32>> {
    session: &'a Session<M, D>,
    /// Number of tokens that each row has read.
    lengths: Vec<usize>,
    /// One a block.
    caches: Vec<Cache<f32>>,
}

impl<'a, M: Network<D>, D: LabDevice<f32>> Caching<'a, M, D> {
    pub(super) fn new(session: &'a Session<M, D>, rows: usize) -> Self {
        Self {
            session,
            lengths: vec![0; rows],
            caches: vec![Cache::new(rows); M::LAYERS],
        }
    }

    /// Reads what all rows begin with, but leaves each a token of its own; says how much that is.
    fn read_shared(&mut self, unread: &[Unread]) -> Result<usize> {
        let rows = self.lengths.len();
        let nothing_read = self.lengths.iter().all(|&length| length == 0);
        let length = common_beginning(unread);
        if !nothing_read || unread.len() < rows || rows < 2 || length == 0 {
            return Ok(0);
        }
        let mut once = Self::new(self.session, 1);
        once.read_on(&[0], &[&unread[0].tokens[..length]])?;
        let shared = |cache: Cache<f32>| cache.shared_by(rows);
        self.caches = once.caches.into_iter().map(shared).collect();
        self.lengths.fill(length);
        Ok(length)
    }

    /// Logits after the last token of each row, `rows × VOCAB`.
    fn read_on(&mut self, rows: &[usize], news: &[&[u32]]) -> Result<Vec<f32>> {
        let (mut places, mut starts) = (vec![], vec![0]);
        for (&row, new) in rows.iter().zip(news) {
            let end = self.lengths[row] + new.len();
            places.extend(self.lengths[row]..end);
            starts.push(places.len());
            self.lengths[row] = end;
        }
        let (ids, model) = (news.concat(), &self.session.model);
        model
            .cached_logits((&ids, &places), (rows, &starts), &mut self.caches)
            .map_err(device_error)
    }
}

impl<M: Network<D>, D: LabDevice<f32>> Decoder for Caching<'_, M, D> {
    fn read(&mut self, unread: &[Unread]) -> Result<Vec<Vec<f32>>> {
        check_rows(unread)?;
        let lengths = unread.iter().map(|u| self.lengths[u.row] + u.tokens.len());
        let tokens = unread.iter().flat_map(|u| &u.tokens);
        check_fits::<M, D>(lengths.max().unwrap_or(0), tokens)?;
        let shared = self.read_shared(unread)?;
        let rows: Vec<usize> = unread.iter().map(|u| u.row).collect();
        let news: Vec<&[u32]> = unread.iter().map(|u| &u.tokens[shared..]).collect();
        let logits = self.read_on(&rows, &news)?;
        Ok(logits.chunks_exact(M::VOCAB).map(log_softmax).collect())
    }
}

/// Number of tokens that all rows begin with, the last of the shortest left out.
fn common_beginning(unread: &[Unread]) -> usize {
    let Some((first, others)) = unread.split_first() else {
        return 0;
    };
    let shortest = unread.iter().map(|u| u.tokens.len()).min().unwrap_or(0);
    let same = |&place: &usize| {
        others
            .iter()
            .all(|u| u.tokens[place] == first.tokens[place])
    };
    (0..shortest.saturating_sub(1)).take_while(same).count()
}
