//! Synthetic biographies: data with known properties and nothing to download.
//!
//! Each person has a name, a birth place, places of work and death, a birth year and a
//! profession, and appears in a few one-sentence documents of different wording. Two fifths of the
//! people are asked about in training; answering for the others requires having learned their biographies,
//! or a guess. Sentences are short so that a small model memorises them within a minute.

use std::path::Path;

use rand::Rng as _;
use rand::seq::SliceRandom as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::generator::generator;
use super::invented::{Known, NameParts};
use super::names::{FAMILY_ENDINGS, FAMILY_STEMS, GIVEN, PLACES, PROFESSIONS};
use super::vocabulary::Vocabulary;
use super::{Corpus, DataSource, Question};
use crate::config::sweep::SEED_LIMIT;
use crate::error::Result;

/// Every character that a biography or question may have: 62, so that the vocabulary has 64 ids
/// whatever the seed. The capitals without a name (Q, U, X, Y, Z) are left out.
pub const ALPHABET: &str = "\n ,.?0123456789ABCDEFGHIJKLMNOPRSTVWabcdefghijklmnopqrstuvwxyz";

const TEMPLATES: usize = 8;

/// The keys of `kind = "synthetic"`; equal settings give the same bytes.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Biographies {
    /// Number of people with a biography.
    #[schemars(range(min = 8, max = 1500))]
    pub people: usize,
    /// Number of different birth places; their frequencies are proportional to 1/rank in every split, and London is the
    /// most frequent.
    #[schemars(range(min = 2, max = PLACES.len()))]
    pub places: usize,
    /// Differently worded biographies of each person.
    #[schemars(range(min = 1, max = TEMPLATES))]
    pub biographies_per_person: usize,
    /// Seed of what is made up or drawn, independent of the seeds of training.
    #[schemars(extend("exclusiveMaximum" = SEED_LIMIT))]
    pub seed: u64,
}

impl Default for Biographies {
    fn default() -> Self {
        Self {
            people: 100,
            places: 10,
            biographies_per_person: 8,
            seed: 0,
        }
    }
}

impl DataSource for Biographies {
    const NAME: &'static str = "synthetic";
    const ABOUT: &'static str = "biographies that the program makes up: nothing to download";

    /// Two fifths of the people are train, two fifths dev, the rest test.
    fn open(&self, _: Option<&Path>) -> Result<Corpus> {
        let people = self.people();
        let documents = self.documents(&people);
        let [for_train, for_dev, _] = split_sizes(self.people);
        let (train, held_out) = people.split_at(for_train);
        let (dev, test) = held_out.split_at(for_dev);
        let unanswered = |person: &Person| Question::unanswered(person.question().text);
        Ok(Corpus {
            train: train.iter().map(Person::question).collect(),
            dev: dev.iter().map(Person::question).collect(),
            test: test.iter().map(unanswered).collect(),
            ..Corpus::of_texts(&documents, Vocabulary::of(ALPHABET)?)?
        })
    }

    /// Family names that nobody in the documents has.
    fn invented_name_parts(known: &Known<'_>) -> NameParts {
        let unused = |name: &String| !known.words.contains(name.as_str());
        let given = GIVEN.iter().map(|&name| name.to_owned()).collect();
        (given, family_names().filter(unused).collect())
    }
}

/// The facts that all biographies of a person share.
struct Person {
    name: String,
    born: &'static str,
    worked: &'static str,
    died: &'static str,
    year: u32,
    profession: &'static str,
}

impl Biographies {
    fn people(&self) -> Vec<Person> {
        let names = full_names(self.people, self.seed);
        // Each split has the same shares, so that a constant answer scores alike in all of them.
        let mut draws = generator(b"birth...", [self.seed, 0, 0]);
        let split = |people| {
            let mut places = birth_places(people, self.places);
            places.shuffle(&mut draws);
            places
        };
        let born = split_sizes(self.people).into_iter().flat_map(split);
        let person = |(i, (name, born)): (usize, (String, &'static str))| {
            let mut facts = generator(b"facts...", [self.seed, i as u64, 0]);
            let places = PLACES[..self.places].iter().copied();
            let elsewhere: Vec<_> = places.filter(|&place| place != born).collect();
            let mut one_of =
                |list: &[&'static str]| list[facts.gen_range(0..list.len() as u32) as usize];
            let (worked, died) = (one_of(&elsewhere), one_of(&elsewhere));
            let profession = one_of(PROFESSIONS);
            Person {
                name,
                born,
                worked,
                died,
                profession,
                year: facts.gen_range(1820..=1979),
            }
        };
        let facts = names.into_iter().zip(born).enumerate();
        facts.map(person).collect()
    }

    /// All documents, shuffled. A person's wordings are a prefix of a fixed permutation, so one more
    /// biography per person changes none of the others.
    fn documents(&self, people: &[Person]) -> Vec<String> {
        let mut documents = Vec::with_capacity(people.len() * self.biographies_per_person);
        for (i, person) in people.iter().enumerate() {
            let mut templates: Vec<usize> = (0..TEMPLATES).collect();
            templates.shuffle(&mut generator(b"wording.", [self.seed, i as u64, 0]));
            templates.truncate(self.biographies_per_person);
            let templates = templates.into_iter();
            documents.extend(templates.map(|template| person.biography(template)));
        }
        documents.shuffle(&mut generator(b"order...", [self.seed, 0, 0]));
        documents
    }
}

impl Person {
    fn question(&self) -> Question {
        Question {
            text: format!("Where was {} born?", self.name),
            answer: Some(self.born.to_owned()),
        }
    }

    /// The biography in one of the wordings.
    fn biography(&self, template: usize) -> String {
        let Self {
            name,
            born,
            worked,
            died,
            year,
            profession,
        } = self;
        match template {
            0 => format!("{name} was born in {born}."),
            1 => format!("Born in {born}, {name} died in {died}."),
            2 => format!("{name}, a {profession}, was born in {born}."),
            3 => format!("{name} worked in {worked} but was born in {born}."),
            4 => format!("In {year} {name} was born in {born}."),
            5 => format!("{name} of {born} became a {profession}."),
            6 => format!("{name} was born in {born} and died in {died}."),
            _ => format!("The {profession} {name} was born in {born}."),
        }
    }
}

/// People asked about in train, dev and test.
fn split_sizes(people: usize) -> [usize; 3] {
    let (train, dev) = (people * 2 / 5, people * 2 / 5);
    [train, dev, people - train - dev]
}

/// Names of people: family names are unique, given names are shared.
fn full_names(people: usize, seed: u64) -> Vec<String> {
    let mut generator = generator(b"names...", [seed, 0, 0]);
    let mut families: Vec<String> = family_names().collect();
    families.shuffle(&mut generator);
    families.truncate(people);
    let mut given = || GIVEN[generator.gen_range(0..GIVEN.len() as u32) as usize];
    let families = families.into_iter();
    let names = families.map(|family| format!("{} {family}", given()));
    names.collect()
}

fn family_names() -> impl Iterator<Item = String> {
    FAMILY_STEMS
        .iter()
        .flat_map(|stem| FAMILY_ENDINGS.iter().map(move |end| format!("{stem}{end}")))
}

/// A birth place for each person, London first: shares proportional to 1/rank, rounded by largest remainder.
fn birth_places(people: usize, places: usize) -> Vec<&'static str> {
    let harmonic: f64 = (1..=places).map(|rank| 1.0 / rank as f64).sum();
    let share = |rank: usize| people as f64 / (rank as f64 * harmonic);
    let mut counts: Vec<usize> = (1..=places).map(|rank| share(rank) as usize).collect();
    let mut by_remainder: Vec<usize> = (0..places).collect();
    by_remainder.sort_by(|&a, &b| share(b + 1).fract().total_cmp(&share(a + 1).fract()));
    let missing = people - counts.iter().sum::<usize>();
    let extra = by_remainder.iter().take(missing);
    extra.for_each(|&place| counts[place] += 1);
    let repeat = |(&place, &count)| std::iter::repeat_n(place, count);
    PLACES.iter().zip(&counts).flat_map(repeat).collect()
}

#[cfg(test)]
#[path = "synthetic_tests.rs"]
mod tests;
