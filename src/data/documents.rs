//! Documents as token ids: in memory, or packed in a file that is read piece by piece.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::checksum;
use super::packed::PackedIds;
use super::vocabulary::Vocabulary;
use crate::error::Result;

/// The documents that a model reads.
#[derive(Clone, Default)]
pub struct Documents {
    ids: Arc<Ids>,
    /// Where each document begins among the ids.
    starts: Vec<u64>,
    /// Number of tokens of each document.
    lengths: Vec<u32>,
    /// Whether they are pieces of one running text: none of them ends where a thought does.
    pub is_stream: bool,
    /// See [`Self::identity`], once it is known.
    identity: OnceLock<String>,
}

enum Ids {
    Memory(Vec<u32>),
    File(PackedIds),
}

impl Default for Ids {
    fn default() -> Self {
        Self::Memory(vec![])
    }
}

impl Documents {
    /// Encodes texts that fit in memory.
    ///
    /// # Errors
    /// A character is not in the vocabulary.
    pub fn of_texts<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        vocabulary: &Vocabulary,
    ) -> Result<Self> {
        let (mut ids, mut lengths) = (vec![], vec![]);
        for text in texts {
            let own = vocabulary.encode(text)?;
            lengths.push(own.len() as u32);
            ids.extend(own);
        }
        Ok(Self::of_ids(ids, lengths))
    }

    /// Documents of these lengths that lie one after another.
    pub fn of_ids(ids: Vec<u32>, lengths: Vec<u32>) -> Self {
        Self::new(Ids::Memory(ids), lengths)
    }

    /// The same in a packed file.
    pub fn packed(ids: PackedIds, lengths: Vec<u32>) -> Self {
        Self::new(Ids::File(ids), lengths)
    }

    fn new(ids: Ids, lengths: Vec<u32>) -> Self {
        let mut end = 0;
        let start = |&length: &u32| {
            end += u64::from(length);
            end - u64::from(length)
        };
        Self {
            ids: Arc::new(ids),
            starts: lengths.iter().map(start).collect(),
            lengths,
            is_stream: false,
            identity: OnceLock::new(),
        }
    }

    /// Those documents whose indices, from 0, are wanted.
    pub fn only(&self, mut is_wanted: impl FnMut(usize) -> bool) -> Self {
        let wanted = (0..self.len()).filter(|&one| is_wanted(one));
        let wanted: Vec<u32> = wanted.map(|one| one as u32).collect();
        Self {
            ids: self.ids.clone(),
            starts: wanted
                .iter()
                .map(|&one| self.starts[one as usize])
                .collect(),
            lengths: wanted
                .iter()
                .map(|&one| self.lengths[one as usize])
                .collect(),
            is_stream: self.is_stream,
            identity: OnceLock::new(),
        }
    }

    /// A stretch of their tokens, from the first document to the last, as one document of a stream.
    pub fn stretch(&self, range: Range<u64>) -> Self {
        Self {
            ids: self.ids.clone(),
            starts: vec![range.start],
            lengths: vec![(range.end - range.start) as u32],
            is_stream: true,
            identity: OnceLock::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Number of tokens of all documents.
    pub fn total_tokens(&self) -> u64 {
        self.lengths.iter().map(|&length| u64::from(length)).sum()
    }

    /// Number of tokens of a document.
    ///
    /// # Panics
    /// There is no such document.
    pub fn tokens(&self, document: usize) -> usize {
        self.lengths[document] as usize
    }

    /// Length of the longest document, in tokens; 0 without documents.
    pub fn longest(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0) as usize
    }

    /// Those token ids of a document that lie within a range; what is past its end is left out.
    ///
    /// # Errors
    /// The packed file cannot be read.
    ///
    /// # Panics
    /// There is no such document.
    pub fn ids(&self, document: usize, range: Range<usize>) -> Result<Vec<u32>> {
        let within = |at: usize| self.starts[document] + at.min(self.tokens(document)) as u64;
        let range = within(range.start)..within(range.end);
        match &*self.ids {
            Ids::Memory(ids) => Ok(ids[range.start as usize..range.end as usize].to_vec()),
            Ids::File(file) => file.read(range),
        }
    }

    /// All token ids of a document.
    ///
    /// # Errors
    /// The packed file cannot be read.
    pub fn whole(&self, document: usize) -> Result<Vec<u32>> {
        self.ids(document, 0..self.tokens(document))
    }

    /// The documents as text, in order.
    pub fn texts<'a>(
        &'a self,
        vocabulary: &'a Vocabulary,
    ) -> impl Iterator<Item = Result<String>> + 'a {
        (0..self.len()).map(|document| Ok(vocabulary.decode(&self.whole(document)?)))
    }

    /// What stands for them where a stage's inputs are hashed.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn identity(&self, vocabulary: &Vocabulary) -> Result<String> {
        if let Some(known) = self.identity.get() {
            return Ok(known.clone());
        }
        let found = self.find_identity(vocabulary)?;
        Ok(self.identity.get_or_init(|| found).clone())
    }

    fn find_identity(&self, vocabulary: &Vocabulary) -> Result<String> {
        match &*self.ids {
            Ids::File(file) => {
                let places = self.starts.iter().zip(&self.lengths);
                let places = places.map(|(start, length)| format!("{start} {length}"));
                let content = [vocabulary.identity(), file.checksum().to_owned()];
                Ok(checksum::of_texts(content.into_iter().chain(places)))
            }
            Ids::Memory(_) => {
                let mut all = vec![vocabulary.identity()];
                for text in self.texts(vocabulary) {
                    all.push(text?);
                }
                Ok(checksum::of_texts(all))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> (Documents, Vocabulary) {
        let vocabulary = Vocabulary::of("abcé").expect("a vocabulary");
        let documents = Documents::of_texts(["abc", "", "éa"], &vocabulary);
        (documents.expect("encoded"), vocabulary)
    }

    fn texts(documents: &Documents, vocabulary: &Vocabulary) -> Vec<String> {
        let texts = documents.texts(vocabulary);
        texts.collect::<Result<_>>().expect("readable")
    }

    #[test]
    fn documents_are_read_whole_and_in_part() {
        let (documents, vocabulary) = three();
        assert_eq!(texts(&documents, &vocabulary), ["abc", "", "éa"]);
        assert_eq!((documents.len(), documents.longest()), (3, 3));
        assert_eq!(documents.total_tokens(), 5);
        assert_eq!(documents.ids(0, 1..9).expect("there"), [3, 4]);
        assert_eq!(documents.ids(2, 2..9).expect("there"), [0u32; 0]);
    }

    #[test]
    fn parts_share_the_ids_and_have_identities_of_their_own() {
        let (documents, vocabulary) = three();
        let ends = documents.only(|index| index != 1);
        assert_eq!(texts(&ends, &vocabulary), ["abc", "éa"]);
        let tail = documents.stretch(2..5);
        assert_eq!(texts(&tail, &vocabulary), ["céa"]);
        assert!(tail.is_stream);
        let identity = |one: &Documents| one.identity(&vocabulary).expect("readable");
        assert_ne!(identity(&documents), identity(&ends));
        let again = Documents::of_texts(["abc", "éa"], &vocabulary).expect("encoded");
        assert_eq!(identity(&again), identity(&ends));
    }
}
