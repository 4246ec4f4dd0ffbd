//! Tests of the made biographies.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn made(biographies: Biographies) -> Corpus {
    biographies.corpus().expect("numbers in their ranges")
}

fn with_seed(seed: u64) -> Corpus {
    made(Biographies {
        seed,
        ..Biographies::default()
    })
}

/// The full name in a document's title.
fn title(document: &str) -> &str {
    document.split_once(". ").expect("a title").0
}

#[test]
fn the_alphabet_has_64_ids_and_covers_everything() {
    let largest = Biographies {
        people: 4000,
        places: 40,
        biographies_per_person: 8,
        seed: 7,
    };
    for corpus in [made(largest), with_seed(0), with_seed(1)] {
        assert_eq!(corpus.vocabulary.size(), 64);
        assert_eq!(corpus.vocabulary, with_seed(2).vocabulary);
        let questions = corpus.train.iter().chain(&corpus.dev).chain(&corpus.test);
        let texts = questions
            .flat_map(|q| [Some(q.text.clone()), q.place.clone()])
            .flatten();
        for text in corpus.documents.iter().cloned().chain(texts) {
            corpus
                .vocabulary
                .encode(&text)
                .unwrap_or_else(|e| panic!("{text}: {e}"));
        }
    }
    for name in [GIVEN, FAMILY, PLACES, PROFESSIONS].concat() {
        assert!(name.chars().all(|c| ALPHABET.contains(c)), "{name}");
    }
}

#[test]
fn the_same_seed_makes_the_same_bytes() {
    assert_eq!(with_seed(5), with_seed(5));
    assert_ne!(with_seed(5).documents, with_seed(6).documents);
    assert_ne!(with_seed(5).train, with_seed(6).train);
}

#[test]
fn the_bytes_are_those_of_every_version() {
    let corpus = with_seed(0);
    assert_eq!(
        corpus.documents[0],
        "Sophie Harper. A poet who lived in Lisbon, Sophie Harper was born in Berlin in 1823."
    );
    let bytes = corpus.documents.join("\n");
    assert_eq!(
        crate::data::checksum::sha256(bytes.as_bytes())[..16],
        *"b018616aac0a7672"
    );
}

#[test]
fn one_more_biography_changes_none_of_the_others() {
    let documents = |biographies_per_person| -> BTreeSet<String> {
        let corpus = made(Biographies {
            biographies_per_person,
            ..Biographies::default()
        });
        corpus.documents.into_iter().collect()
    };
    assert!(documents(2).is_subset(&documents(3)));
    assert_eq!(documents(8).len(), 3200);
}

#[test]
fn every_wording_is_short_and_names_the_birth_place_early() {
    let longest = |list: &[&'static str]| list.iter().copied().max_by_key(|n| n.len());
    let person = Person {
        given: longest(GIVEN).expect("names"),
        family: longest(FAMILY).expect("names"),
        born: "BIRTHPLACE",
        worked: longest(PLACES).expect("places"),
        died: longest(PLACES).expect("places"),
        year: 1900,
        profession: longest(PROFESSIONS).expect("professions"),
    };
    assert!(PLACES.iter().all(|place| place.len() <= person.born.len()));
    let texts: BTreeSet<String> = (0..TEMPLATES).map(|t| person.biography(t)).collect();
    assert_eq!(texts.len(), TEMPLATES);
    for text in texts {
        assert!(
            text.starts_with(&format!("{} {}. ", person.given, person.family)),
            "{text}"
        );
        assert!(text.len() <= 126, "{} characters: {text}", text.len());
        let end = text.find(person.born).expect("the birth place") + person.born.len();
        assert!(end <= 100, "{end}: {text}");
        assert!(
            text.contains(person.worked) || text.contains(person.died),
            "{text}"
        );
    }
}

#[test]
fn every_person_has_their_biographies_and_one_question() {
    let corpus = with_seed(3);
    assert_eq!(corpus.documents.len(), 1600);
    assert_eq!(
        (corpus.train.len(), corpus.dev.len(), corpus.test.len()),
        (200, 100, 100)
    );
    assert_eq!(
        corpus.characters,
        corpus.documents.join("\n").chars().count()
    );
    assert!(corpus.test.iter().all(|q| q.place.is_none()));

    let mut documents: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for document in &corpus.documents {
        documents
            .entry(title(document))
            .or_default()
            .insert(document);
    }
    assert_eq!(documents.len(), 400);
    assert!(documents.values().all(|texts| texts.len() == 4));
    let mut asked = BTreeSet::new();
    for question in corpus.train.iter().chain(&corpus.dev).chain(&corpus.test) {
        let name = question
            .text
            .strip_prefix("Where was ")
            .and_then(|t| t.strip_suffix(" born?"));
        let name = name.expect("the form of a question");
        assert!(asked.insert(name), "{name} is asked about twice");
        if let Some(place) = &question.place {
            assert!(
                documents[name]
                    .iter()
                    .all(|text| text.contains(place.as_str())),
                "{name}"
            );
        }
    }
    assert_eq!(asked.len(), 400);
}

#[test]
fn names_are_distinct_and_shared_in_part() {
    for people in [8, 9, 50, 400, 1225, 4000] {
        let names = full_names(people, 1);
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), people);
        let given: BTreeSet<_> = names.iter().map(|name| name.0).collect();
        let family: BTreeSet<_> = names.iter().map(|name| name.1).collect();
        assert!(given.len() < people && family.len() < people, "{people}");
    }
    let names = full_names(400, 1);
    let alone = |name: &&Name| {
        let same = |part: fn(&Name) -> &'static str| {
            names
                .iter()
                .filter(|other| part(other) == part(name))
                .count()
                == 1
        };
        same(|n| n.0) || same(|n| n.1)
    };
    assert!(names.iter().filter(alone).count() < 4);
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
    for people in (8..200).chain([4000]) {
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
            .filter(|q| q.place.as_deref() == Some("London"))
            .count()
    };
    for seed in 0..5 {
        let corpus = with_seed(seed);
        // A share of 1 / 3.103 of 200 and of 100.
        assert_eq!((london(&corpus.train), london(&corpus.dev)), (65, 32));
    }
}

#[test]
fn the_birth_place_is_no_distractor_of_its_own() {
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

#[test]
fn numbers_out_of_range_are_named() {
    let refusal = |settings: Biographies| {
        let error = settings.corpus().expect_err("refused");
        assert_eq!(error.exit_code(), 3);
        error.to_string()
    };
    let usual = Biographies::default();
    assert_eq!(
        refusal(Biographies { people: 7, ..usual }),
        "error: data.people = 7 is not in 8 to 4000"
    );
    assert_eq!(
        refusal(Biographies {
            people: 4001,
            ..usual
        }),
        "error: data.people = 4001 is not in 8 to 4000"
    );
    assert_eq!(
        refusal(Biographies { places: 1, ..usual }),
        "error: data.places = 1 is not in 2 to 40"
    );
    assert_eq!(
        refusal(Biographies {
            biographies_per_person: 9,
            ..usual
        }),
        "error: data.biographies_per_person = 9 is not in 1 to 8"
    );
    for (people, places, biographies_per_person) in [(8, 2, 1), (8, 40, 8), (4000, 2, 1)] {
        made(Biographies {
            people,
            places,
            biographies_per_person,
            seed: u64::MAX,
        });
    }
}
