//! The questions for which attention maps are recorded.

use super::{Corpus, Question};
use crate::config::schema::Settings;
use crate::error::{Error, Result};

/// The questions that an experiment's settings name, in order.
///
/// # Errors
/// A number is larger than the split has questions (kind `Config`).
pub fn of_settings(settings: &Settings, corpus: &Corpus) -> Result<Vec<Question>> {
    let evaluate = settings.evaluate.as_ref();
    let Some((evaluate, spec)) = evaluate.and_then(|one| Some((one, one.attention_maps.as_ref()?)))
    else {
        return Ok(vec![]);
    };
    let split = corpus.questions(evaluate.split);
    let in_words = spec.questions.iter().map(|text| {
        Ok(Question {
            text: text.clone(),
            place: None,
        })
    });
    let by_number = spec.numbers.iter().map(|&number| {
        let found = number.checked_sub(1).and_then(|index| split.get(index));
        found.cloned().ok_or_else(|| {
            let (name, count) = (evaluate.split.name(), split.len());
            let message = format!(
                "`evaluate.attention_maps.numbers` has {number}, but {name} has {count} questions"
            );
            Error::config(message).help(format!("numbers go from 1 to {count}"))
        })
    });
    in_words.chain(by_number).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::config::schema::{AttentionMapsSpec, EvaluateSpec};
    use crate::data::open;

    #[test]
    fn questions_come_in_words_and_by_number() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/quickstart.toml");
        let experiment = config::load(&file, &[]).expect("valid");
        let settings = experiment.points[0].settings.training();
        let mut settings = settings.expect("it trains").clone();
        let corpus = open(&settings.data, None).expect("synthetic");
        let mut of = |spec: Option<AttentionMapsSpec>| {
            let evaluate = settings.evaluate.as_ref().expect("it evaluates");
            settings.evaluate = Some(EvaluateSpec {
                attention_maps: spec,
                ..evaluate.clone()
            });
            of_settings(&settings, &corpus)
        };
        assert_eq!(of(None).expect("none"), []);
        let spec = AttentionMapsSpec {
            questions: vec!["Where was Ada born?".to_owned()],
            numbers: vec![2, corpus.dev.len()],
        };
        let asked = of(Some(spec)).expect("there are so many");
        assert_eq!(asked[0].text, "Where was Ada born?");
        assert_eq!(asked[0].place, None);
        assert_eq!(asked[1..], [corpus.dev[1].clone(), corpus.dev[59].clone()]);
        let numbers = vec![61];
        let beyond = of(Some(AttentionMapsSpec {
            questions: vec![],
            numbers,
        }));
        assert_eq!(
            beyond.expect_err("there are 60").to_string(),
            "error: `evaluate.attention_maps.numbers` has 61, but dev has 60 questions\n  \
             help: numbers go from 1 to 60"
        );
    }
}
