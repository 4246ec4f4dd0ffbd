//! Questions about invented people, whose names a model cannot have seen in training.
//!
//! For synthetic data, a given name from the list is combined with a family name that nobody in the corpus
//! has. For real data both parts are real: the given names of one person in the questions and the family name
//! of another, so that the name looks ordinary and the model has seen both parts, but no such person.
//!
//! The two parts appear next to each other in no document or question, and nobody asked about has the same
//! first and last name with others in between.

use std::collections::HashSet;

use rand::Rng as _;

use super::generator::generator;
use super::{Corpus, Question};
use crate::error::{Error, Result};

/// The text before and after the name in a question.
const AROUND: (&str, &str) = ("Where was ", " born?");

/// Attempts per requested name before giving up.
const DRAWS_PER_NAME: usize = 200;

/// Given names and family names, with repetitions.
pub type NameParts = (Vec<String>, Vec<String>);

/// Questions about `wanted` invented people, all with different names and without answers.
///
/// They depend only on the corpus, the number of names and the seed; asking for more names keeps the first
/// ones. `parts` selects what names are made of.
///
/// # Errors
/// The names in the corpus cannot be combined into enough new ones (kind `Config`).
pub fn questions(
    corpus: &Corpus,
    parts: fn(&Known<'_>) -> NameParts,
    wanted: usize,
    seed: u64,
) -> Result<Vec<Question>> {
    let documents = corpus.documents.texts(&corpus.vocabulary);
    let documents: Vec<String> = documents.collect::<Result<_>>()?;
    let known = Known::of(corpus, &documents);
    let names = draw(&parts(&known), &known, wanted, seed);
    if names.len() < wanted {
        let found = names.len();
        return Err(Error::config(format!(
            "`evaluate.invented.names` = {wanted}, but the names in the data make only {found} new ones"
        ))
        .help(format!("set `evaluate.invented.names` to {found} or less")));
    }
    let names = names.into_iter();
    let texts = names.map(|name| format!("{}{name}{}", AROUND.0, AROUND.1));
    Ok(texts.map(Question::unanswered).collect())
}

/// Combines given and family names at random until there are enough new ones.
fn draw((given, family): &NameParts, known: &Known<'_>, wanted: usize, seed: u64) -> Vec<String> {
    let (mut names, mut taken) = (vec![], HashSet::new());
    if given.is_empty() || family.is_empty() {
        return names;
    }
    let mut draws = generator(b"invented", [seed, 0, 0]);
    let mut one_of = |list: &[String]| list[draws.gen_range(0..list.len() as u32) as usize].clone();
    for _ in 0..DRAWS_PER_NAME * wanted {
        if names.len() == wanted {
            break;
        }
        let (given, family) = (one_of(given), one_of(family));
        let name = format!("{given} {family}");
        if !known.has(&given, &family) && taken.insert(name.clone()) {
            names.push(name);
        }
    }
    names
}

/// The names that occur in a corpus's documents and questions.
pub struct Known<'a> {
    pub words: HashSet<&'a str>,
    /// Every pair of consecutive words, whatever separates them.
    neighbours: HashSet<(&'a str, &'a str)>,
    /// First and last word of every name in a question.
    ends: HashSet<(&'a str, &'a str)>,
    /// The names in the questions, in the order train, validate, dev, test.
    asked: Vec<&'a str>,
}

impl<'a> Known<'a> {
    fn of(corpus: &'a Corpus, documents: &'a [String]) -> Self {
        let questions = [&corpus.train, &corpus.validate, &corpus.dev, &corpus.test].into_iter();
        let asked = questions.flatten().map(|question| &question.text);
        let documents = documents.iter();
        let texts = documents.clone().chain(asked.clone());
        let neighbours = texts.flat_map(|text| words(text).zip(words(text).skip(1)));
        let names = asked.filter_map(|text| text.strip_prefix(AROUND.0)?.strip_suffix(AROUND.1));
        let ends = |name: &'a str| Some((words(name).next()?, words(name).last()?));
        Self {
            words: documents.flat_map(|text| words(text)).collect(),
            neighbours: neighbours.collect(),
            ends: names.clone().filter_map(ends).collect(),
            asked: names.collect(),
        }
    }

    /// Given names and family names of the people in the questions.
    pub fn parts(&self) -> NameParts {
        let whole = |name: &&&str| words(name).all(|word| self.words.contains(word));
        let names = self.asked.iter().filter(whole);
        let both = names.filter_map(|name| split(name));
        both.map(|(given, family)| (given.to_owned(), family.to_owned()))
            .unzip()
    }

    /// Whether anybody has, or may have, this name.
    fn has(&self, given: &str, family: &str) -> bool {
        let [mut of_given, mut of_family] = [words(given), words(family)];
        let (first, start) = (of_given.next().unwrap_or_default(), of_family.next());
        let last_given = of_given.last().unwrap_or(first);
        let start = start.unwrap_or_default();
        let last = of_family.last().unwrap_or(start);
        self.neighbours.contains(&(last_given, start)) || self.ends.contains(&(first, last))
    }
}

/// Runs of letters and digits.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
}

/// `Jan Peter van Ispelen` is `Jan Peter` and `van Ispelen`: a family name is the last word and the
/// lower-case words before it. Names with titles or generations, and single words, are skipped.
fn split(name: &str) -> Option<(&str, &str)> {
    let plain = |c: char| c.is_alphabetic() || " .'-".contains(c);
    let particle = name
        .match_indices(' ')
        .find(|(space, _)| name[space + 1..].starts_with(char::is_lowercase));
    let space = particle.map(|(space, _)| space).or(name.rfind(' '))?;
    let (given, family) = (&name[..space], &name[space + 1..]);
    let is_name = family.chars().any(char::is_lowercase)
        && family.chars().last().is_some_and(char::is_alphabetic)
        && given.starts_with(char::is_uppercase);
    (name.chars().all(plain) && is_name).then_some((given, family))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DataSource as _;
    use crate::data::names::GIVEN;
    use crate::data::synthetic::Biographies;
    use crate::data::vocabulary::Vocabulary;

    fn synthetic(people: usize) -> Corpus {
        let biographies = Biographies {
            people,
            ..Biographies::default()
        };
        biographies.open(None).expect("synthetic")
    }

    /// A corpus of the people in `names`, each with a document.
    fn corpus(names: &[&str]) -> Corpus {
        let document = |name: &&str| format!("{name}. {name} was born in Lima .");
        let question = |name: &&str| Question {
            text: format!("Where was {name} born?"),
            answer: Some("Lima".to_owned()),
        };
        let documents: Vec<String> = names.iter().map(document).collect();
        let vocabulary = Vocabulary::of(&documents.join("\n")).expect("a vocabulary");
        Corpus {
            train: names.iter().map(question).collect(),
            ..Corpus::of_texts(&documents, vocabulary).expect("encoded")
        }
    }

    fn text(corpus: &Corpus) -> String {
        let texts = corpus.documents.texts(&corpus.vocabulary);
        let texts: Vec<String> = texts.collect::<Result<_>>().expect("in memory");
        texts.join("\n")
    }

    fn asked(questions: &[Question]) -> Vec<&str> {
        assert!(questions.iter().all(|question| question.answer.is_none()));
        questions
            .iter()
            .map(|q| {
                q.text
                    .trim_start_matches(AROUND.0)
                    .trim_end_matches(AROUND.1)
            })
            .collect()
    }

    #[test]
    fn synthetic_people_have_family_names_that_nobody_has() {
        let corpus = synthetic(150);
        let parts = Biographies::invented_name_parts;
        let invented = questions(&corpus, parts, 300, 0).expect("enough");
        let text = text(&corpus);
        let names = asked(&invented);
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), 300);
        for name in names {
            let (given, family) = name.split_once(' ').expect("two parts");
            assert!(GIVEN.contains(&given), "{name}");
            assert!(!words(&text).any(|word| word == family), "{name}");
            corpus.vocabulary.encode(name).expect("known characters");
        }
    }

    #[test]
    fn fewer_names_are_a_prefix_of_more_and_the_seed_changes_them() {
        let corpus = synthetic(100);
        let parts = Biographies::invented_name_parts;
        let made = |names, seed| questions(&corpus, parts, names, seed).expect("enough");
        let more = made(50, 1);
        assert_eq!(made(20, 1), more[..20]);
        assert_ne!(made(50, 2), more);
    }

    #[test]
    fn names_are_combined_from_parts_of_real_ones() {
        let people = [
            "Ada Maria Moss",
            "Jan van Ispelen",
            "Otto Kern",
            "Rosa Lind",
        ];
        let corpus = corpus(&people);
        let invented = questions(&corpus, |known| known.parts(), 12, 0).expect("4 times 3");
        let names = asked(&invented);
        assert!(names.contains(&"Ada Maria van Ispelen"), "{names:?}");
        let text = text(&corpus);
        assert!(names.iter().all(|name| !text.contains(name)), "{names:?}");
        let error = questions(&corpus, |known| known.parts(), 13, 0).expect_err("no more");
        assert_eq!(
            error.to_string(),
            "error: `evaluate.invented.names` = 13, but the names in the data make only 12 new ones\n  \
             help: set `evaluate.invented.names` to 12 or less"
        );
    }

    #[test]
    fn a_known_name_is_found_without_its_middle_or_in_a_document() {
        let corpus = corpus(&["Ada Maria Moss", "Ada Kern", "Otto Lind"]);
        let documents = ["His wife Otto-Kern and Ada Lind's son".to_owned()];
        let known = Known::of(&corpus, &documents);
        for (given, family) in [
            ("Ada", "Moss"),
            ("Otto", "Kern"),
            ("Ada", "Lind"),
            ("Ada", "Kern"),
        ] {
            assert!(known.has(given, family), "{given} {family}");
        }
        assert!(!known.has("Otto", "Moss"));
    }

    #[test]
    fn only_plain_names_have_parts() {
        assert_eq!(split("Ada Moss"), Some(("Ada", "Moss")));
        assert_eq!(split("Paul J. O'Hara-Li"), Some(("Paul J.", "O'Hara-Li")));
        assert_eq!(split("Fina de la Cruz"), Some(("Fina", "de la Cruz")));
        for name in [
            "Marvano",
            "Asa Yancey, Sr.",
            "Asa Yancey Jr.",
            "Carl Berg III",
            "Elfie W%C3",
            "van Moss",
        ] {
            assert_eq!(split(name), None, "{name}");
        }
    }
}
