//! Span corruption: a masked span is moved to the end of the sequence, where the model learns to predict it.

use rand::Rng as _;

use super::ObjectiveSettings;
use super::entities::{Finder, TextOfTokens};
use super::rewording::Excerpts;
use crate::data::generator::generator;
use crate::data::ragged::{MASK, Sequence};
use crate::data::vocabulary::Vocabulary;
use crate::data::{Corpus, Task};
use crate::error::{Error, Result};
use crate::metrics::rows::CorruptionRow;

/// Shortest excerpt, in characters, unless it is given.
pub const SHORTEST_EXCERPT: usize = 4;

/// The span-corruption task over the documents of a corpus.
///
/// The document `Ada Moss was born in Lima.` with `t = 26` characters shown, the span's length
/// `m = 4` and its start `s = 21` becomes, without and with the third mask:
///
/// ```text
/// Ada Moss was born in ⁇.⁇Lima      Ada Moss was born in ⁇.⁇Lima⁇
/// ```
///
/// The model reads all but the last token and predicts all but the first: prefix, suffix and span
/// alike. The numbers are drawn uniformly, ends included:
/// `t` in `shortest_excerpt ..= longest_excerpt`, `m` in `t/8 ..= 3t/8` (rounded down), `s` in `1 ..= t-m-1`.
///
/// `t` is *not* clamped to the length of the document, so that in a short one the span may lie
/// partly or wholly past its end. `Ada lived.` (10 characters) with `t = 16`, `m = 4`, `s = 8`:
/// prefix `Ada live`, span `d.`, suffix empty: `Ada live⁇⁇d.⁇`. With `s = 11` it is
/// `Ada lived.⁇⁇⁇`; an empty document is always `⁇⁇⁇`. Clamping would draw other spans for a third
/// of the assignment's documents, and its reported numbers were made without.
///
/// Source: Raffel et al. 2020 (T5), §3.1.4, in the one-sequence form of CS224N's assignment 5.
pub struct SpanCorruption {
    excerpts: Excerpts,
    vocabulary: Vocabulary,
    settings: ObjectiveSettings,
    /// What finds the masked span; without it, length and start are drawn.
    entities: Option<Finder>,
}

/// How the masked span of an excerpt is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spans {
    /// Length and start drawn uniformly.
    Uniform,
    /// A run of capitalised words, if the excerpt has one; otherwise as above.
    Entities,
}

/// Prefix, masked span and suffix of a corrupted document.
type Parts = [Vec<u32>; 3];

impl SpanCorruption {
    /// Builds the task. [`ObjectiveSettings::terminated`] appends the third mask, which teaches the model where an
    /// answer ends; the assignment's handout has none.
    ///
    /// # Errors
    /// `longest_excerpt` below 4.
    pub fn new(corpus: &Corpus, settings: ObjectiveSettings, spans: Spans) -> Result<Self> {
        let longest_excerpt = settings.longest_excerpt;
        if longest_excerpt < SHORTEST_EXCERPT || u32::try_from(longest_excerpt).is_err() {
            let rule = format!("must be at least {SHORTEST_EXCERPT} and fit in 32 bits");
            return Err(Error::config(format!(
                "pretrain.longest_excerpt = {longest_excerpt} {rule}"
            )));
        }
        Ok(Self {
            excerpts: settings.excerpts(corpus),
            vocabulary: corpus.vocabulary.clone(),
            settings,
            entities: (spans == Spans::Entities).then(|| Finder::new(corpus, settings.entities)),
        })
    }

    /// Draws the parts, which depend only on seed, epoch and document.
    fn parts(&self, epoch: u64, index: usize) -> Result<Parts> {
        let mut generator = generator(b"corrupt.", [self.settings.seed, epoch, index as u64]);
        let ObjectiveSettings {
            shortest_excerpt,
            longest_excerpt,
            ..
        } = self.settings;
        let t = generator.gen_range(shortest_excerpt as u32..=longest_excerpt as u32);
        // In u64, since 3t may exceed 32 bits.
        let m = generator.gen_range(t / 8..=(u64::from(t) * 3 / 8) as u32);
        let s = generator.gen_range(1..=t - m - 1);

        let excerpt = self.excerpts.first(epoch, index, t as usize)?;
        let (mut first, mut last) = (s as usize, (s + m) as usize);
        if let Some(entities) = &self.entities {
            let text = TextOfTokens::new(&excerpt, &self.vocabulary);
            let runs = entities.find(&text, |_| true);
            if !runs.is_empty() {
                let chosen = generator.gen_range(0..runs.len() as u32);
                (first, last) = (runs[chosen as usize].start, runs[chosen as usize].end);
            }
        }
        let within = |position: usize| excerpt.len().min(position);
        let (prefix, rest) = excerpt.split_at(within(first));
        let (masked, suffix) = rest.split_at(within(last) - within(first));
        Ok([prefix, masked, suffix].map(<[u32]>::to_vec))
    }

    fn string(&self, [prefix, masked, suffix]: &Parts) -> Vec<u32> {
        let close: &[u32] = if self.settings.terminated {
            &[MASK]
        } else {
            &[]
        };
        [prefix, &[MASK][..], suffix, &[MASK], masked, close].concat()
    }
}

impl Task for SpanCorruption {
    fn len(&self) -> usize {
        self.excerpts.documents().len()
    }

    fn sequence(&self, epoch: u64, index: usize) -> Result<Sequence> {
        let mut tokens = self.string(&self.parts(epoch, index)?);
        let targets = tokens[1..].to_vec();
        tokens.pop();
        Ok(Sequence { tokens, targets })
    }

    fn longest_sequence(&self) -> usize {
        // Two or three masks; the very last token is only a target.
        let longest = self.excerpts.longest(self.settings.longest_excerpt);
        longest + 1 + usize::from(self.settings.terminated)
    }

    fn example(&self, epoch: u64, index: usize) -> Result<Option<CorruptionRow>> {
        let parts = self.parts(epoch, index)?;
        let [prefix, masked, suffix] = parts.each_ref().map(|part| self.vocabulary.decode(part));
        Ok(Some(CorruptionRow {
            document: index + 1,
            epoch: epoch as usize,
            prefix,
            masked,
            suffix,
            sequence: self.vocabulary.decode(&self.string(&parts)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A corpus of made-up lines, without questions.
    fn corpus(documents: &[&str]) -> Corpus {
        let vocabulary = Vocabulary::of(&documents.join("\n")).expect("a vocabulary");
        let documents: Vec<String> = documents.iter().map(|&d| d.to_owned()).collect();
        Corpus::of_texts(&documents, vocabulary).expect("encoded")
    }

    fn row(task: &SpanCorruption, epoch: u64, index: usize) -> CorruptionRow {
        let example = task.example(epoch, index).expect("readable");
        example.expect("a row")
    }

    fn task(documents: &[&str], terminated: bool, seed: u64) -> SpanCorruption {
        let shown = settings(112, terminated, seed);
        SpanCorruption::new(&corpus(documents), shown, Spans::Uniform).expect("a task")
    }

    fn settings(longest_excerpt: usize, terminated: bool, seed: u64) -> ObjectiveSettings {
        ObjectiveSettings {
            longest_excerpt,
            terminated,
            seed,
            ..ObjectiveSettings::default()
        }
    }

    fn sequence(task: &SpanCorruption, epoch: u64, index: usize) -> Sequence {
        task.sequence(epoch, index).expect("readable")
    }

    #[test]
    fn numbers_are_drawn_in_their_bounds_and_reach_both_ends() {
        let long: String = ('a'..='z').cycle().take(200).collect();
        let task = task(&[&long], true, 3);
        let (mut shortest, mut longest, mut total) = (usize::MAX, 0, 0);
        let (mut least, mut most) = (false, false);
        const DRAWS: usize = 20_000;
        for epoch in 1..=DRAWS as u64 {
            let row = row(&task, epoch, 0);
            let t = row.prefix.len() + row.masked.len() + row.suffix.len();
            let m = row.masked.len();
            assert_eq!(
                format!("{}{}{}", row.prefix, row.masked, row.suffix),
                long[..t]
            );
            assert!((t / 8..=3 * t / 8).contains(&m), "t {t} m {m}");
            assert!(!row.prefix.is_empty() && !row.suffix.is_empty());
            (shortest, longest, total) = (shortest.min(t), longest.max(t), total + t);
            (least, most) = (least | (m == t / 8), most | (m == 3 * t / 8));
        }
        assert_eq!((shortest, longest), (4, 112));
        assert!(least && most);
        // Uniform on 4..=112: mean 58, standard error 31.5 / sqrt(20,000) = 0.22.
        let mean = total as f64 / DRAWS as f64;
        assert!((mean - 58.0).abs() < 0.9, "{mean}");
    }

    #[test]
    fn a_sequence_is_the_string_shifted_by_one() {
        for terminated in [false, true] {
            let task = task(
                &["Ada Moss was born in Lima, far from here."],
                terminated,
                1,
            );
            for epoch in 1..100 {
                let row = row(&task, epoch, 0);
                let close = if terminated { "⁇" } else { "" };
                let whole = format!("{}⁇{}⁇{}{close}", row.prefix, row.suffix, row.masked);
                assert_eq!(row.sequence, whole);
                assert_eq!((row.document, row.epoch), (1, epoch as usize));
                let ids = sequence(&task, epoch, 0);
                let last = whole.chars().last().expect("a mask at least");
                let first = whole.chars().next().expect("a mask at least");
                assert_eq!(
                    format!("{}{last}", task.vocabulary.decode(&ids.tokens)),
                    whole
                );
                assert_eq!(
                    format!("{first}{}", task.vocabulary.decode(&ids.targets)),
                    whole
                );
                assert!(ids.tokens.len() <= task.longest_sequence());
            }
        }
    }

    #[test]
    fn the_two_forms_differ_by_the_third_mask_alone() {
        let documents = ["Ada Moss was born in Lima, far from here.", "Bo", ""];
        let (with, without) = (task(&documents, true, 9), task(&documents, false, 9));
        for (epoch, index) in (1..50).flat_map(|e| (0..3).map(move |i| (e, i))) {
            let (a, b) = (row(&with, epoch, index), row(&without, epoch, index));
            assert_eq!(a.sequence, format!("{}⁇", b.sequence));
        }
    }

    #[test]
    fn an_empty_document_is_masks_alone() {
        let (with, without) = (task(&["a", ""], true, 0), task(&["a", ""], false, 0));
        for epoch in 1..20 {
            assert_eq!(row(&with, epoch, 1).sequence, "⁇⁇⁇");
            let (tokens, targets) = (vec![MASK; 2], vec![MASK; 2]);
            assert_eq!(sequence(&with, epoch, 1), Sequence { tokens, targets });
            let (tokens, targets) = (vec![MASK], vec![MASK]);
            assert_eq!(sequence(&without, epoch, 1), Sequence { tokens, targets });
        }
    }

    #[test]
    fn in_a_short_document_the_span_may_be_cut_or_gone() {
        let task = task(&["Ada lived."], true, 0);
        let rows: Vec<CorruptionRow> = (1..500).map(|epoch| row(&task, epoch, 0)).collect();
        let whole = |r: &CorruptionRow| r.prefix.len() + r.masked.len() + r.suffix.len();
        assert!(rows.iter().any(|r| r.sequence == "Ada lived.⁇⁇⁇"));
        let cut = |r: &&CorruptionRow| whole(r) == 10 && !r.masked.is_empty();
        assert!(rows.iter().filter(cut).any(|r| r.suffix.is_empty()));
        assert!(rows.iter().filter(cut).any(|r| !r.suffix.is_empty()));
        assert!(rows.iter().any(|r| whole(r) < 10));
    }

    #[test]
    fn a_draw_depends_on_seed_epoch_and_document_alone() {
        let line = "Ada Moss was born in Lima, far from here, and lived in Oslo for many years.";
        let both = task(&[line, line], true, 4);
        let backwards: Vec<_> = (0..2).rev().map(|i| sequence(&both, 5, i)).collect();
        assert_eq!(sequence(&both, 5, 0), backwards[1]);
        assert_eq!(sequence(&both, 5, 1), backwards[0]);
        assert_eq!(
            sequence(&task(&[line, ""], true, 4), 5, 0),
            sequence(&both, 5, 0)
        );
        assert_ne!(sequence(&both, 5, 0), sequence(&both, 5, 1));
        assert_ne!(sequence(&both, 5, 0), sequence(&both, 6, 0));
        assert_ne!(
            sequence(&both, 5, 0),
            sequence(&task(&[line, ""], true, 3), 5, 0)
        );
    }

    #[test]
    fn a_draw_is_the_same_on_every_machine_and_in_every_version() {
        let line = "Ada Moss was born in Lima, far from here, and lived in Oslo for many years.";
        let task = task(&[line], true, 1);
        assert_eq!(row(&task, 1, 0).sequence, "Ada Moss was b⁇n ⁇or⁇");
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        let task = task(&["éééééééééé"], true, 0);
        assert_eq!(task.longest_sequence(), 12);
        let rows = (1..200).map(|epoch| row(&task, epoch, 0));
        assert!(
            rows.map(|r| r.sequence.chars().count())
                .all(|n| (7..=13).contains(&n))
        );
    }

    #[test]
    fn an_excerpt_needs_four_characters() {
        let of = |longest_excerpt| {
            let shown = settings(longest_excerpt, true, 0);
            SpanCorruption::new(&corpus(&["abc"]), shown, Spans::Uniform).err()
        };
        let error = of(3).expect("refused");
        assert_eq!(
            error.to_string(),
            "error: pretrain.longest_excerpt = 3 must be at least 4 and fit in 32 bits"
        );
        assert_eq!(error.exit_code(), 3);
        assert!(of(4).is_none());
    }
}
