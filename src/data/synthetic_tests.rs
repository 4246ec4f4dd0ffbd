//! Tests of the synthetic biographies.

use std::collections::BTreeSet;

use super::*;

fn made(biographies: Biographies) -> Corpus {
    biographies.open(None).expect("numbers in their ranges")
}

/// The documents, one a line.
fn text(corpus: &Corpus) -> String {
    let texts = corpus.documents.texts(&corpus.vocabulary);
    let texts: Vec<String> = texts.collect::<Result<_>>().expect("in memory");
    texts.join("\n")
}

fn with_seed(seed: u64) -> Corpus {
    made(Biographies {
        seed,
        ..Biographies::default()
    })
}

/// The full names of everybody who is asked about.
fn names(corpus: &Corpus) -> Vec<String> {
    let questions = corpus.train.iter().chain(&corpus.dev).chain(&corpus.test);
    let name = |question: &Question| {
        let name = question
            .text
            .strip_prefix("Where was ")
            .and_then(|t| t.strip_suffix(" born?"));
        name.expect("the form of a question").to_owned()
    };
    questions.map(name).collect()
}

#[test]
fn the_alphabet_has_64_ids_and_covers_everything() {
    let largest = Biographies {
        people: 1500,
        places: 40,
        biographies_per_person: 8,
        seed: 7,
    };
    for corpus in [made(largest), with_seed(0), with_seed(1)] {
        assert_eq!(corpus.vocabulary.size(), 64);
        assert_eq!(corpus.vocabulary, with_seed(2).vocabulary);
        let questions = corpus.train.iter().chain(&corpus.dev).chain(&corpus.test);
        let texts = questions
            .flat_map(|q| [Some(q.text.clone()), q.answer.clone()])
            .flatten();
        for text in text(&corpus).lines().map(str::to_owned).chain(texts) {
            corpus
                .vocabulary
                .encode(&text)
                .unwrap_or_else(|e| panic!("{text}: {e}"));
        }
    }
    for name in [GIVEN, FAMILY_STEMS, FAMILY_ENDINGS, PLACES, PROFESSIONS].concat() {
        assert!(name.chars().all(|c| ALPHABET.contains(c)), "{name}");
    }
}

#[test]
fn the_same_seed_makes_the_same_bytes() {
    let all = |corpus: Corpus| (text(&corpus), corpus.train, corpus.dev, corpus.test);
    assert_eq!(all(with_seed(5)), all(with_seed(5)));
    assert_ne!(text(&with_seed(5)), text(&with_seed(6)));
    assert_ne!(with_seed(5).train, with_seed(6).train);
}

#[test]
fn the_bytes_are_the_same_in_every_version() {
    let corpus = with_seed(0);
    let bytes = text(&corpus);
    assert_eq!(
        bytes.lines().next(),
        Some("The pianist Clara Beckstone was born in Paris.")
    );
    assert_eq!(
        crate::data::checksum::sha256(bytes.as_bytes())[..16],
        *"f92613e6ff3014bf"
    );
}

#[test]
fn one_more_biography_changes_none_of_the_others() {
    let documents = |biographies_per_person| -> BTreeSet<String> {
        let corpus = made(Biographies {
            biographies_per_person,
            ..Biographies::default()
        });
        text(&corpus).lines().map(str::to_owned).collect()
    };
    assert!(documents(2).is_subset(&documents(3)));
    assert_eq!(documents(8).len(), 800);
}

#[test]
fn every_wording_is_short_and_names_person_and_birth_place() {
    let longest =
        |list: &[&'static str]| list.iter().copied().max_by_key(|n| n.len()).expect("words");
    let person = Person {
        name: [
            longest(GIVEN),
            " ",
            longest(FAMILY_STEMS),
            longest(FAMILY_ENDINGS),
        ]
        .concat(),
        born: "BIRTHPLACE",
        worked: longest(PLACES),
        died: longest(PLACES),
        year: 1900,
        profession: longest(PROFESSIONS),
    };
    assert!(PLACES.iter().all(|place| place.len() <= person.born.len()));
    let texts: BTreeSet<String> = (0..TEMPLATES).map(|t| person.biography(t)).collect();
    assert_eq!(texts.len(), TEMPLATES);
    for text in &texts {
        assert!(text.len() <= 80, "{} characters: {text}", text.len());
        assert!(
            text.contains(&person.name) && text.contains(person.born),
            "{text}"
        );
    }
    let distracts = |text: &&String| text.contains(person.worked) || text.contains(person.died);
    assert!(
        texts.iter().filter(distracts).count() >= 3,
        "places of other kinds belong to the task"
    );
}

#[test]
fn every_person_has_their_biographies_and_one_question() {
    let corpus = with_seed(3);
    assert_eq!(corpus.documents.len(), 800);
    let counts = (corpus.train.len(), corpus.dev.len(), corpus.test.len());
    assert_eq!(counts, (40, 40, 20));
    assert_eq!(corpus.characters as usize, text(&corpus).chars().count());
    assert!(corpus.test.iter().all(|q| q.answer.is_none()));
    let (names, text) = (names(&corpus), text(&corpus));
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 100);
    for (i, name) in names.iter().enumerate() {
        let about: BTreeSet<_> = text.lines().filter(|line| line.contains(name)).collect();
        assert_eq!(about.len(), 8, "{name}");
        let question = corpus.train.iter().chain(&corpus.dev).nth(i);
        if let Some(place) = question.and_then(|q| q.answer.as_ref()) {
            assert!(
                about.iter().all(|text| text.contains(place.as_str())),
                "{name}"
            );
        }
    }
}

#[test]
fn family_names_are_unique_and_given_names_are_shared() {
    for people in [8, 100, 1500] {
        let names = full_names(people, 1);
        assert_eq!(names.len(), people);
        let family = |name: &String| name.split(' ').next_back().map(str::to_owned);
        let family: BTreeSet<_> = names.iter().map(family).collect();
        assert_eq!(family.len(), people);
    }
    let names = full_names(400, 1);
    let given: BTreeSet<_> = names.iter().map(|name| name.split(' ').next()).collect();
    assert!(
        given.len() <= GIVEN.len() && given.len() > 40,
        "{}",
        given.len()
    );
}

#[test]
fn birth_places_fall_as_one_over_rank() {
    let count = |places: &[&str], name: &str| places.iter().filter(|&&place| place == name).count();
    let places = birth_places(400, 12);
    // Shares of 400 / H(12) = 400 / 3.103 = 128.9, halved, a third, ...
    let counts: Vec<usize> = PLACES[..12]
        .iter()
        .map(|name| count(&places, name))
        .collect();
    assert_eq!(counts, [129, 64, 43, 32, 26, 22, 18, 16, 14, 13, 12, 11]);
    for people in (8..200).chain([1500]) {
        for number in 2..=40 {
            let places = birth_places(people, number);
            assert_eq!(places.len(), people);
            let london = count(&places, "London");
            assert!(PLACES[1..].iter().all(|name| count(&places, name) < london));
        }
    }
}

#[test]
fn a_constant_answer_is_as_good_in_dev_as_in_train() {
    let london = |questions: &[Question]| {
        questions
            .iter()
            .filter(|q| q.answer.as_deref() == Some("London"))
            .count()
    };
    for seed in 0..5 {
        let corpus = with_seed(seed);
        // A share of 1 / 2.929 of 40 and of 40.
        assert_eq!((london(&corpus.train), london(&corpus.dev)), (14, 14));
    }
}

#[test]
fn the_birth_place_differs_from_places_of_work_and_death() {
    for places in [2, 12] {
        let settings = Biographies {
            places,
            ..Biographies::default()
        };
        for person in settings.people() {
            assert!(person.born != person.worked && person.born != person.died);
        }
    }
}
