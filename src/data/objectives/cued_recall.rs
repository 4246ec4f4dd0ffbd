//! Cued recall: a name that a document mentions, asked for by the document's title and some of the words before it.

use std::collections::HashSet;
use std::ops::Range;

use rand::Rng as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ObjectiveSettings;
use super::entities::{Finder, TextOfTokens};
use super::rewording::Excerpts;
use super::titles::{title_end, words};
use crate::data::generator::generator;
use crate::data::ragged::{MASK, PAD, Sequence};
use crate::data::vocabulary::Vocabulary;
use crate::data::{Corpus, Task};
use crate::error::Result;
use crate::metrics::rows::CorruptionRow;

/// The task of recalling the names of a document.
///
/// The document `Ada Moss. A painter from Peru, she was born in Lima in 1901.` becomes, with the name `Lima` and two of the
/// words before it:
///
/// ```text
/// tokens   Ada Moss. born in ⁇Lima
/// targets  □ … □             Lima⁇
/// ```
///
/// Name and number of words are drawn uniformly; no words, and all of them, are possible, up to the most that the settings
/// allow. So what is asked for depends on the title as much as in a question, and no context can take its place. With
/// [`TitlePlace::Anywhere`] the title stands anywhere among these words: `born Ada Moss. in ⁇Lima`.
///
/// The excerpt may be longer than the context, since it is not shown as a whole: then fewer words are.
///
/// A name is a run of capitalised words within the excerpt, behind the title, that is no part of it. A document without one
/// asks for its second half.
pub struct CuedRecall {
    excerpts: Excerpts,
    vocabulary: Vocabulary,
    settings: ObjectiveSettings,
    entities: Finder,
}

/// Words before the title, the title, words between it and the name, and the name.
type Parts = [Vec<u32>; 4];

/// Where the title of a document stands.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum TitlePlace {
    /// Before the words that are shown.
    #[default]
    First,
    /// Anywhere before, between or behind them, as in questions.
    Anywhere,
}

impl CuedRecall {
    pub fn new(corpus: &Corpus, settings: ObjectiveSettings) -> Self {
        Self {
            excerpts: settings.excerpts(corpus),
            vocabulary: corpus.vocabulary.clone(),
            settings,
            entities: Finder::new(corpus, settings.entities),
        }
    }

    fn parts(&self, epoch: u64, index: usize) -> Result<Parts> {
        let mut draws = generator(b"recall..", [self.settings.seed, epoch, index as u64]);
        let longest = self.settings.longest_excerpt;
        let excerpt = self.excerpts.first(epoch, index, longest)?;
        let text = TextOfTokens::new(&excerpt, &self.vocabulary);
        let title_bytes = title_end(&text.text);
        // What fits into the context beside the mask and the end, which is a target alone.
        let room = self.settings.context.saturating_sub(1);
        let title_end = text.tokens_before(title_bytes).min(room / 2);
        let title: HashSet<&str> = words(&text.text[..title_bytes]).collect();
        let is_name = |run: &Range<usize>| {
            run.start >= title_end && words(text.of(run)).any(|word| !title.contains(word))
        };
        let names = self.entities.find(&text, is_name);
        let mut name = match names.len() {
            0 => title_end.max(excerpt.len() / 2)..excerpt.len(),
            count => names[draws.gen_range(0..count as u32) as usize].clone(),
        };
        name.end = name.end.min(name.start + room - title_end);
        // Where words begin, the name's own start included.
        let starts = text
            .text
            .match_indices(' ')
            .map(|(at, _)| text.tokens_before(at + 1));
        let fits = |at: &usize| title_end + name.end - at <= room;
        let before_name = starts.filter(|at| (title_end..name.start).contains(at) && *at > 0);
        let before_name = before_name.filter(fits);
        let mut words: Vec<usize> = before_name.collect();
        words.push(name.start);
        words.dedup();
        let shown = words.len() - 1;
        words.drain(..shown.saturating_sub(self.settings.cue_words));
        let first = draws.gen_range(0..words.len() as u32) as usize;
        let shown = &words[first..];
        let title_at = match self.settings.title_place {
            TitlePlace::First => shown[0],
            TitlePlace::Anywhere => shown[draws.gen_range(0..shown.len() as u32) as usize],
        };
        let parts = [shown[0]..title_at, 0..title_end, title_at..name.start, name];
        Ok(parts.map(|range| excerpt[range].to_vec()))
    }

    fn string(&self, [before, title, cue, name]: &Parts) -> Vec<u32> {
        let close: &[u32] = if self.settings.terminated {
            &[MASK]
        } else {
            &[]
        };
        [before, title, cue, &[MASK][..], name, close].concat()
    }
}

impl Task for CuedRecall {
    fn len(&self) -> usize {
        self.excerpts.documents().len()
    }

    fn sequence(&self, epoch: u64, index: usize) -> Result<Sequence> {
        let parts = self.parts(epoch, index)?;
        let mut targets = vec![PAD; parts[..3].iter().map(Vec::len).sum()];
        let mut tokens = self.string(&parts);
        targets.extend_from_slice(&tokens[targets.len() + 1..]);
        tokens.pop();
        Ok(Sequence { tokens, targets })
    }

    fn longest_sequence(&self) -> usize {
        let longest = self.excerpts.longest(self.settings.longest_excerpt);
        (longest + usize::from(self.settings.terminated)).min(self.settings.context)
    }

    fn example(&self, epoch: u64, index: usize) -> Result<Option<CorruptionRow>> {
        let parts = self.parts(epoch, index)?;
        let [before, title, cue, name] = &parts;
        let decode = |ids: &[u32]| self.vocabulary.decode(ids);
        Ok(Some(CorruptionRow {
            document: index + 1,
            epoch: epoch as usize,
            prefix: decode(&[&before[..], title, cue].concat()),
            masked: decode(name),
            suffix: String::new(),
            sequence: decode(&self.string(&parts)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Question;

    fn task(documents: &[&str], settings: ObjectiveSettings) -> CuedRecall {
        let all = format!("{} Where was born?", documents.join("\n"));
        let vocabulary = Vocabulary::of(&all).expect("a vocabulary");
        let documents: Vec<String> = documents.iter().map(|&one| one.to_owned()).collect();
        let mut corpus = Corpus::of_texts(&documents, vocabulary).expect("encoded");
        corpus.train.push(Question {
            text: "Where was Ada Moss born?".to_owned(),
            answer: Some("Isle of Wight".to_owned()),
        });
        CuedRecall::new(&corpus, settings)
    }

    /// What is read and what is asked for in some epochs, without repetitions.
    fn asked(document: &str, settings: ObjectiveSettings) -> Vec<(String, String)> {
        let task = task(&[document], settings);
        let row = |epoch| task.example(epoch, 0).expect("readable").expect("a row");
        let rows = (1..400).map(row).map(|row| (row.prefix, row.masked));
        let rows: std::collections::BTreeSet<_> = rows.collect();
        rows.into_iter().collect()
    }

    #[test]
    fn a_name_is_asked_for_by_the_title_and_any_number_of_the_words_before_it() {
        let all = asked("Ada Moss. She left Lima, for Ada Moss.", Default::default());
        let all: Vec<(&str, &str)> = all.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let expected = [
            ("Ada Moss. ", "Lima"),
            ("Ada Moss. ", "She"),
            ("Ada Moss. She left ", "Lima"),
            ("Ada Moss. left ", "Lima"),
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn no_more_words_are_shown_than_the_settings_allow() {
        let cues = |cue_words| {
            let settings = ObjectiveSettings {
                cue_words,
                ..Default::default()
            };
            let asked = asked("Ada Moss. born far from Lima, in 1901.", settings);
            Vec::from_iter(asked.into_iter().map(|(prefix, _)| prefix))
        };
        assert_eq!(cues(0), ["Ada Moss. "]);
        assert_eq!(cues(1), ["Ada Moss. ", "Ada Moss. from "]);
        assert_eq!(cues(9).len(), 4);
    }

    #[test]
    fn the_title_may_stand_anywhere_among_the_words() {
        let settings = ObjectiveSettings {
            title_place: TitlePlace::Anywhere,
            ..Default::default()
        };
        let asked = asked("Ada Moss. born in Lima.", settings);
        let prefixes = Vec::from_iter(asked.iter().map(|(prefix, _)| prefix.as_str()));
        let expected = [
            "Ada Moss. ",
            "Ada Moss. born in ",
            "Ada Moss. in ",
            "born Ada Moss. in ",
            "born in Ada Moss. ",
            "in Ada Moss. ",
        ];
        assert_eq!(prefixes, expected);
    }

    #[test]
    fn a_document_longer_than_the_context_is_asked_about_to_its_end() {
        let document = format!(
            "Ada Moss. {}to Lima, far away.",
            "she went on and on ".repeat(9)
        );
        for context in [1, 2, 5, 24, 60] {
            let settings = ObjectiveSettings {
                longest_excerpt: 500,
                context,
                ..Default::default()
            };
            let task = task(&[&document], settings);
            let lengths = (1..50).map(|epoch| {
                let sequence = task.sequence(epoch, 0).expect("readable");
                assert!(sequence.tokens.len() <= task.longest_sequence());
                sequence.tokens.len()
            });
            assert!(lengths.max() <= Some(context), "{context}");
        }
        let settings = ObjectiveSettings {
            longest_excerpt: 500,
            context: 24,
            ..Default::default()
        };
        let asked = asked(&document, settings);
        assert!(
            asked.contains(&("Ada Moss. to ".to_owned(), "Lima".to_owned())),
            "{asked:?}"
        );
    }

    #[test]
    fn only_the_name_and_its_end_are_scored() {
        let task = task(&["Ada Moss. in Lima."], ObjectiveSettings::default());
        let shown = |epoch| task.sequence(epoch, 0).expect("readable");
        let sequence = (1..99).map(shown).find(|one| one.tokens.len() == 18);
        let Sequence { tokens, targets } = sequence.expect("both words are shown");
        assert_eq!(task.vocabulary.decode(&tokens), "Ada Moss. in ⁇Lima");
        let scored = format!("{}Lima⁇", "□".repeat(13));
        assert_eq!(task.vocabulary.decode(&targets), scored);
        assert!(tokens.len() <= task.longest_sequence());
    }

    #[test]
    fn answers_to_training_questions_may_be_asked_for_alone() {
        let settings = ObjectiveSettings {
            entities: super::super::Entities::Answers,
            ..ObjectiveSettings::default()
        };
        let document = "Ada Moss. Of the Isle of Wight, near Dover.";
        let names = |document| {
            let names = asked(document, settings).into_iter().map(|(_, name)| name);
            std::collections::BTreeSet::from_iter(names)
        };
        assert_eq!(Vec::from_iter(names(document)), ["Isle of Wight"]);
        // Where none is mentioned, every name counts.
        let document = "Ada Moss. Of the Isle of Wighty, near Dover.";
        assert_eq!(
            Vec::from_iter(names(document)),
            ["Dover", "Isle", "Of", "Wighty"]
        );
    }

    #[test]
    fn by_bytes_the_same_is_asked() {
        let document = "Élodie. Near Évry, in Nîmes.";
        let rows = |vocabulary| {
            let documents = [document.to_owned()];
            let corpus = Corpus::of_texts(&documents, vocabulary).expect("encoded");
            let task = CuedRecall::new(&corpus, ObjectiveSettings::default());
            let row = |epoch| task.example(epoch, 0).expect("readable").expect("a row");
            (1..50).map(row).map(|row| row.sequence).collect::<Vec<_>>()
        };
        let characters = Vocabulary::of(document).expect("a vocabulary");
        assert_eq!(rows(Vocabulary::Bytes), rows(characters));
    }

    #[test]
    fn a_document_without_a_name_asks_for_its_second_half() {
        let rows = asked(
            "Ada Moss. she left it all behind",
            ObjectiveSettings::default(),
        );
        assert!(
            rows.iter().all(|(_, asked)| asked == "ft it all behind"),
            "{rows:?}"
        );
        for document in ["", "Ada", "Ada. "] {
            let task = task(
                &[document, "Ada Moss. in Lima."],
                ObjectiveSettings::default(),
            );
            for epoch in 1..20 {
                let sequence = task.sequence(epoch, 0).expect("readable");
                assert!(sequence.scored() > 0, "{document}");
            }
        }
    }
}
