//! Documents in several wordings: another one each time they are shown.

use std::sync::Arc;

use rand::Rng as _;
use rand::seq::SliceRandom as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::titles::{ends_initial, title_end};
use crate::data::documents::Documents;
use crate::data::generator::generator;
use crate::data::ragged::{MASK, Sequence};
use crate::data::vocabulary::Vocabulary;
use crate::data::{Corpus, Split, Task};
use crate::error::Result;
use crate::metrics::rows::CorruptionRow;

/// How documents are reworded in training; by default they are shown as they are.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Rewording {
    /// Probability that a document has its title in place of every "He" and "She" that begins a sentence (Allen-Zhu and Li 2023,
    /// *Physics of language models* 3.1, §3: "fullname"). Default: 0.
    #[schemars(range(min = 0, max = 1))]
    pub full_names: f64,
    /// Probability that the sentences behind a document's title are put into another order (ibid.: "permute"). Default: 0.
    #[schemars(range(min = 0, max = 1))]
    pub sentence_order: f64,
    /// Share of the tokens of a sequence, besides masks, that the model reads another token of the sequence in place of; what is
    /// scored stays as it is (Saito et al. 2024, 2402.12170). Default: 0.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub noise: f64,
}

impl Rewording {
    /// Whether it changes the text of documents.
    pub fn changes_text(self) -> bool {
        self.full_names > 0.0 || self.sentence_order > 0.0
    }

    /// A text in another wording.
    fn reword(self, text: &str, draws: &mut impl rand::Rng) -> String {
        let (title, rest) = text.split_at(title_end(text));
        let mut sentences = sentences(rest);
        if draws.gen_bool(self.full_names) && !title.trim().is_empty() {
            let name = title.trim_end().trim_end_matches(['.', ',']);
            for sentence in &mut sentences {
                let pronoun = ["He ", "She "].into_iter();
                if let Some(rest) = pronoun.filter_map(|one| sentence.strip_prefix(one)).next() {
                    *sentence = format!("{name} {rest}");
                }
            }
        }
        if draws.gen_bool(self.sentence_order) {
            sentences.shuffle(draws);
        }
        format!("{title}{}", sentences.join(" "))
    }
}

/// The sentences of a text, without the spaces between them.
fn sentences(text: &str) -> Vec<String> {
    let ends = text.match_indices(". ").map(|(at, _)| at);
    let ends = ends.filter(|&at| !ends_initial(text, at)).map(|at| at + 1);
    let mut start = 0;
    let mut all = vec![];
    for end in ends.chain([text.len()]) {
        all.push(text[start..end].trim().to_owned());
        start = end;
    }
    all.retain(|sentence| !sentence.is_empty());
    all
}

/// The documents of a split, as objectives show them.
pub(super) struct Excerpts {
    documents: Arc<Documents>,
    vocabulary: Vocabulary,
    rewording: Rewording,
    seed: u64,
}

impl Excerpts {
    pub(super) fn new(corpus: &Corpus, split: Split, rewording: Rewording, seed: u64) -> Self {
        Self {
            documents: corpus.documents(split),
            vocabulary: corpus.vocabulary.clone(),
            rewording,
            seed,
        }
    }

    pub(super) fn documents(&self) -> &Documents {
        &self.documents
    }

    /// The first tokens of a document, at most so many, in the wording of an epoch.
    ///
    /// # Errors
    /// The packed file cannot be read.
    pub(super) fn first(&self, epoch: u64, index: usize, most: usize) -> Result<Vec<u32>> {
        if !self.rewording.changes_text() {
            return self.documents.ids(index, 0..most);
        }
        let text = self
            .vocabulary
            .decode(&self.documents.ids(index, 0..usize::MAX)?);
        let mut draws = generator(b"reword..", [self.seed, epoch, index as u64]);
        let mut ids = self
            .vocabulary
            .encode(&self.rewording.reword(&text, &mut draws))?;
        ids.truncate(most);
        Ok(ids)
    }

    /// Length of the longest first tokens, at most so many.
    pub(super) fn longest(&self, most: usize) -> usize {
        match self.rewording.full_names > 0.0 {
            // A title may be longer than a pronoun.
            true => most,
            false => self.documents.longest().min(most),
        }
    }
}

/// A task of which the model reads other tokens here and there.
pub(super) struct Noised {
    task: Box<dyn Task>,
    share: f64,
    seed: u64,
}

impl Noised {
    pub(super) fn new(task: Box<dyn Task>, share: f64, seed: u64) -> Self {
        Self { task, share, seed }
    }
}

impl Task for Noised {
    fn len(&self) -> usize {
        self.task.len()
    }

    fn sequence(&self, epoch: u64, index: usize) -> Result<Sequence> {
        let Sequence { tokens, targets } = self.task.sequence(epoch, index)?;
        let mut draws = generator(b"noise...", [self.seed, epoch, index as u64]);
        let mut read = |&token: &u32| {
            let other = tokens[draws.gen_range(0..tokens.len() as u32) as usize];
            let is_replaced = draws.r#gen::<f64>() < self.share;
            match is_replaced && token != MASK && other != MASK {
                true => other,
                false => token,
            }
        };
        let tokens = tokens.iter().map(&mut read).collect();
        Ok(Sequence { tokens, targets })
    }

    fn longest_sequence(&self) -> usize {
        self.task.longest_sequence()
    }

    fn example(&self, epoch: u64, index: usize) -> Result<Option<CorruptionRow>> {
        self.task.example(epoch, index)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn wordings(rewording: Rewording, text: &str) -> BTreeSet<String> {
        let wording = |epoch| rewording.reword(text, &mut generator(b"reword..", [1, epoch, 0]));
        (0..50).map(wording).collect()
    }

    const TEXT: &str = "Ada P. Moss. Born in Lima, she paints. She lives in Oslo. He is J. Roe.";

    #[test]
    fn full_names_take_the_place_of_pronouns_at_the_start_of_sentences() {
        let rewording = Rewording {
            full_names: 0.5,
            ..Rewording::default()
        };
        let named = "Ada P. Moss. Born in Lima, she paints. Ada P. Moss lives in Oslo. Ada P. Moss is J. Roe.";
        let expected = BTreeSet::from([TEXT.to_owned(), named.to_owned()]);
        assert_eq!(wordings(rewording, TEXT), expected);
    }

    #[test]
    fn sentences_change_places_behind_the_title() {
        let rewording = Rewording {
            sentence_order: 1.0,
            ..Rewording::default()
        };
        let all = wordings(rewording, TEXT);
        assert_eq!(all.len(), 6, "{all:?}");
        for text in &all {
            assert!(text.starts_with("Ada P. Moss. "), "{text}");
            assert_eq!(text.len(), TEXT.len(), "{text}");
        }
        for text in ["", "Ada", "Ada. ", "nothing here"] {
            assert_eq!(wordings(rewording, text), BTreeSet::from([text.to_owned()]));
        }
    }

    #[test]
    fn without_rewording_documents_are_shown_as_they_are() {
        let texts = [TEXT.to_owned(), "Bo. She left.".to_owned()];
        let corpus = Corpus::of_texts(&texts, Vocabulary::Bytes).expect("encoded");
        let shown = |rewording, index| {
            let excerpts = Excerpts::new(&corpus, Split::Train, rewording, 1);
            let ids = excerpts.first(1, index, 16).expect("read");
            (corpus.vocabulary.decode(&ids), excerpts.longest(99))
        };
        let plain = Rewording::default();
        assert_eq!(shown(plain, 0), (TEXT[..16].to_owned(), TEXT.len()));
        let named = Rewording {
            full_names: 1.0,
            ..plain
        };
        assert_eq!(shown(named, 1), ("Bo. Bo left.".to_owned(), 99));
    }

    #[test]
    fn noise_changes_what_is_read_and_not_what_is_scored() {
        struct One;
        impl Task for One {
            fn len(&self) -> usize {
                1
            }
            fn longest_sequence(&self) -> usize {
                400
            }
            fn sequence(&self, _: u64, _: usize) -> Result<Sequence> {
                let tokens: Vec<u32> = (0..400)
                    .map(|i| if i % 4 == 0 { MASK } else { i + 9 })
                    .collect();
                let targets = tokens.clone();
                Ok(Sequence { tokens, targets })
            }
        }
        let clean = One.sequence(1, 0).expect("made");
        let noised = Noised::new(Box::new(One), 0.5, 3);
        let shown = noised.sequence(1, 0).expect("made");
        assert_eq!(shown.targets, clean.targets);
        let changed = clean
            .tokens
            .iter()
            .zip(&shown.tokens)
            .filter(|(a, b)| a != b);
        let changed: Vec<_> = changed.collect();
        // Half of 300, and of the drawn tokens a quarter are masks, which replace nothing.
        assert!((85..140).contains(&changed.len()), "{}", changed.len());
        assert!(changed.iter().all(|(a, b)| **a != MASK && **b != MASK));
        assert_ne!(noised.sequence(2, 0).expect("made").tokens, shown.tokens);
    }
}
