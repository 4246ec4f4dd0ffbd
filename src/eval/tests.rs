//! A model whose output is not finite produces no results.

use super::*;
use crate::config;
use crate::model::weights::Weight;
use crate::model::{Start, registry};

/// The quickstart's model with some weights changed, and its vocabulary.
fn model(change: impl Fn(&Vocabulary, &mut Weight)) -> (Box<dyn Trainable>, Vocabulary) {
    let file = crate::sources().join("experiments/quickstart.toml");
    let set = ["data.people=48".to_owned()];
    let experiment = config::load(&file, &set).expect("valid");
    let settings = experiment.points[0].settings.training();
    let settings = settings.expect("it trains");
    let start = Start {
        seed: 1,
        deviation: 0.1,
    };
    let model = registry::instantiate(&settings.model, settings.placement(), start);
    let mut model = model.expect("compiled in");
    let corpus = settings.data.open(None).expect("synthetic");
    let mut weights = model.weights();
    weights
        .iter_mut()
        .for_each(|weight| change(&corpus.vocabulary, weight));
    model.load_weights(&weights).expect("the same layout");
    (model, corpus.vocabulary)
}

/// The embedding of the token `b` is NaN.
fn nan_at_b(vocabulary: &Vocabulary, weight: &mut Weight) {
    if weight.name == "tok_emb.weight" {
        let id = vocabulary.encode("b").expect("in the corpus")[0] as usize;
        weight.values[id * weight.shape[1]] = f32::NAN;
    }
}

fn questions(texts: &[&str]) -> Vec<Question> {
    let question = |text: &&str| Question {
        text: (*text).to_owned(),
        answer: None,
    };
    texts.iter().map(question).collect()
}

#[test]
fn logits_that_are_not_finite_stop_at_their_question_or_line() {
    let (model, vocabulary) = model(nan_at_b);
    let model = model.as_ref();
    let ask = |texts: &[&str]| {
        let asked = questions(texts);
        let rows = ask_model(model, &vocabulary, &asked, 1, &mut |_| Ok(()));
        rows.map_err(|error| error.message())
    };
    let rows = ask(&["a", "aa"]).expect("no b is read");
    assert!(
        rows.iter()
            .all(|row| row.log_probability.is_some_and(f64::is_finite))
    );
    let at = |what: &str| format!("the model's output is not finite at {what}");
    assert_eq!(ask(&["a", "ab", "b"]), Err(at("question 2 (ab)")));

    let score = |text| {
        let rows = score::lines(model, &vocabulary, 8, text);
        rows.map_err(|error| error.message())
    };
    assert_eq!(score("aa\nab").expect("b is not read").len(), 2);
    assert_eq!(score("aa\naba\nb"), Err(at("line 2 (aba)")));

    let look = |texts: &[&str]| {
        let asked = questions(texts);
        let rows = attention::attention_maps(model, &vocabulary, &asked, 1, &mut |_| Ok(()));
        rows.map_err(|error| error.message())
    };
    assert!(look(&["a"]).is_ok());
    assert_eq!(look(&["a", "ab"]), Err(at("question 2 (ab)")));
}

#[test]
fn finite_weights_whose_logits_overflow_give_no_answer() {
    for large in [3e38, -3e38] {
        let (model, vocabulary) = model(|_, weight| {
            if weight.name == "head.weight" {
                weight.values.fill(large);
            }
        });
        let asked = questions(&["a"]);
        let rows = ask_model(model.as_ref(), &vocabulary, &asked, 1, &mut |_| Ok(()));
        let message = rows.expect_err("no number").message();
        assert!(
            message.ends_with("not finite at question 1 (a)"),
            "{message}"
        );
    }
}

#[test]
fn a_long_text_is_shortened_in_a_message() {
    let message = not_finite("line", 3, &"\u{e9}".repeat(200)).message();
    assert!(
        message.ends_with(&format!("({}\u{2026})", "\u{e9}".repeat(80))),
        "{message}"
    );
    assert!(
        not_finite("line", 3, "short")
            .message()
            .ends_with("(short)")
    );
}
