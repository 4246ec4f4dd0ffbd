//! Next-token prediction (causal language modelling) over whole documents, or over windows of those longer than the context.

use std::sync::Arc;

use rand::Rng as _;

use super::ObjectiveSettings;
use crate::data::documents::Documents;
use crate::data::generator::generator;
use crate::data::ragged::{MASK, PAD, Sequence};
use crate::data::{Corpus, ScoredSequence, Split, Task};
use crate::error::Result;

/// Language modelling over the documents of a corpus: each token is predicted from those before it.
///
/// The first token of a document is not predicted, since nothing precedes it. A document that the context can hold is one
/// sequence. A longer one is cut into windows of the context, as many as leave between one token and a whole window
/// unread: where the first begins is drawn uniformly in each epoch, and the others follow on. What is held out is scored in
/// full, by windows from the first token on.
///
/// No context carries over between windows: the first input token of a window is the last target of the one before.
pub struct LanguageModel {
    documents: Arc<Documents>,
    settings: ObjectiveSettings,
    /// Whether a prefix of each sequence is only read.
    has_prefix: bool,
    /// Sequences before each document, then those of all; empty where each document is one sequence.
    sequences_before: Vec<usize>,
}

impl LanguageModel {
    /// Builds the task. [`ObjectiveSettings::terminated`] appends a mask as end-of-document token and scores it, which
    /// teaches the model where
    /// documents end, except in a stream.
    pub fn new(corpus: &Corpus, settings: ObjectiveSettings, has_prefix: bool) -> Self {
        let documents = corpus.documents(settings.split);
        let mut task = Self {
            documents,
            settings,
            has_prefix,
            sequences_before: vec![],
        };
        let all = 0..task.documents.len();
        if all.clone().any(|document| task.sequences(document) != 1) {
            let mut count = 0;
            let through = all.map(|document| {
                count += task.sequences(document);
                count
            });
            task.sequences_before = std::iter::once(0).chain(through).collect();
        }
        task
    }

    fn is_terminated(&self) -> bool {
        self.settings.terminated && !self.documents.is_stream
    }

    /// Number of scored tokens of a document of so many.
    fn scored(&self, tokens: usize) -> usize {
        match (tokens, self.is_terminated()) {
            (0, _) => 0,
            (tokens, is_terminated) => tokens - 1 + usize::from(is_terminated),
        }
    }

    fn longest_scored(&self) -> usize {
        self.scored(self.documents.longest())
    }

    /// Number of sequences that a document makes: none if it has no token to predict.
    fn sequences(&self, document: usize) -> usize {
        let scored = self.scored(self.documents.tokens(document));
        let windows = scored.div_ceil(self.settings.context);
        match self.settings.split {
            Split::Train if windows > 1 => windows - 1,
            _ => windows,
        }
    }

    /// The document of a sequence, and which of its windows that is.
    fn place(&self, index: usize) -> (usize, usize) {
        if self.sequences_before.is_empty() {
            return (index, 0);
        }
        let document = self
            .sequences_before
            .partition_point(|&before| before <= index)
            - 1;
        (document, index - self.sequences_before[document])
    }
}

impl Task for LanguageModel {
    fn len(&self) -> usize {
        match self.sequences_before.last() {
            Some(&all) => all,
            None => self.documents.len(),
        }
    }

    fn sequence(&self, epoch: u64, index: usize) -> Result<Sequence> {
        let ObjectiveSettings { context, seed, .. } = self.settings;
        let (document, window) = self.place(index);
        let tokens = self.documents.tokens(document);
        let scored = self.scored(tokens);
        let begin = match self.settings.split {
            Split::Train if scored > context => {
                let most = scored - self.sequences(document) * context;
                let mut draws = generator(b"windows.", [seed, epoch, document as u64]);
                draws.gen_range(0..=most as u32) as usize
            }
            _ => 0,
        };
        let first = begin + window * context;
        let last = (first + context).min(scored);
        // Token `first` is read, token `last` is the last that is scored.
        let mut ids = self.documents.ids(document, first..last + 1)?;
        if last == tokens {
            ids.push(MASK);
        }
        let mut targets = ids[1..].to_vec();
        ids.pop();
        if self.has_prefix && targets.len() > 1 {
            let mut draws = generator(b"prefix..", [seed, epoch, index as u64]);
            let read_only = draws.gen_range(1..targets.len() as u32) as usize;
            targets[..read_only].fill(PAD);
        }
        Ok(Sequence {
            tokens: ids,
            targets,
        })
    }

    /// The windows of a document are one item; those of a stream are items of their own.
    fn held_out(&self, index: usize) -> Result<ScoredSequence> {
        let sequence = self.sequence(0, index)?;
        let (document, _) = self.place(index);
        let (item, length) = match self.documents.is_stream {
            true => (index, sequence.tokens.len()),
            false => (document, self.documents.tokens(document)),
        };
        Ok(ScoredSequence {
            sequence,
            item,
            length,
            distances: vec![],
        })
    }

    fn longest_sequence(&self) -> usize {
        self.longest_scored().min(self.settings.context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::vocabulary::Vocabulary;

    const TEXT: &str = "abcdefghijklmnopqrstuvwxyz";

    /// The alphabet and shorter documents, in a context of ten tokens.
    fn task(documents: &[&str], split: Split, terminated: bool) -> (LanguageModel, Vocabulary) {
        let vocabulary = Vocabulary::of(TEXT).expect("a vocabulary");
        let documents = Documents::of_texts(documents.iter().copied(), &vocabulary);
        let documents = Arc::new(documents.expect("encoded"));
        let mut corpus = Corpus::new(vocabulary.clone());
        match split {
            Split::Train => corpus.documents = documents,
            _ => corpus.held_out[0] = documents,
        }
        let settings = ObjectiveSettings {
            terminated,
            context: 10,
            split,
            ..ObjectiveSettings::default()
        };
        (LanguageModel::new(&corpus, settings, false), vocabulary)
    }

    fn shown(task: &LanguageModel, vocabulary: &Vocabulary, epoch: u64) -> Vec<[String; 2]> {
        let sequence = |index| task.sequence(epoch, index).expect("in memory");
        let sequences = (0..task.len()).map(sequence);
        let both = |one: Sequence| [&one.tokens, &one.targets].map(|ids| vocabulary.decode(ids));
        sequences.map(both).collect()
    }

    #[test]
    fn what_the_context_holds_is_one_sequence_and_ends_with_a_mask() {
        let (task, vocabulary) = task(&["abc", "", "z"], Split::Train, true);
        let expected = [["abc", "bc\u{2047}"], ["z", "\u{2047}"]];
        for epoch in 1..4 {
            assert_eq!(shown(&task, &vocabulary, epoch), expected);
        }
    }

    #[test]
    fn without_a_mask_the_last_token_is_only_a_target() {
        let (task, vocabulary) = task(&["abc", "", "z"], Split::Train, false);
        assert_eq!(shown(&task, &vocabulary, 1), [["ab", "bc"]]);
    }

    #[test]
    fn held_out_documents_are_scored_in_full_by_windows() {
        let (task, vocabulary) = task(&[TEXT, "ab"], Split::Dev, false);
        let expected = [
            ["abcdefghij", "bcdefghijk"],
            ["klmnopqrst", "lmnopqrstu"],
            ["uvwxy", "vwxyz"],
            ["a", "b"],
        ];
        assert_eq!(shown(&task, &vocabulary, 0), expected);
    }

    #[test]
    fn windows_are_whole_follow_on_and_begin_elsewhere_in_each_epoch() {
        let (task, vocabulary) = task(&["ab", TEXT], Split::Train, true);
        assert_eq!((task.len(), task.longest_sequence()), (3, 10));
        let mut begins = std::collections::BTreeSet::new();
        for epoch in 1..100 {
            let windows = shown(&task, &vocabulary, epoch);
            let joined = format!("{}{}", windows[1][0], windows[2][0]);
            assert!(TEXT.contains(&joined), "{windows:?}");
            assert_eq!(joined.len(), 20);
            begins.insert(joined.as_bytes()[0]);
        }
        // 26 tokens are predicted, so that six are left over.
        assert_eq!(begins, (b'a'..=b'g').collect());
    }

    #[test]
    fn a_prefix_is_read_but_not_scored() {
        let (mut task, vocabulary) = task(&[&TEXT[..9]], Split::Train, true);
        task.has_prefix = true;
        let mut lengths = std::collections::BTreeSet::new();
        for epoch in 1..100 {
            let [tokens, targets] = &shown(&task, &vocabulary, epoch)[0];
            assert_eq!(tokens, &TEXT[..9]);
            let scored = targets.trim_start_matches('\u{25A1}');
            assert!(format!("{}\u{2047}", &TEXT[..9]).ends_with(scored) && !scored.is_empty());
            lengths.insert(scored.chars().count());
        }
        assert_eq!(lengths, (1..=8).collect());
    }
}
