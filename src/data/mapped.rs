//! The questions for which attention maps are recorded.

use super::{Corpus, Question, Split};
use crate::error::{Error, Result};

/// The questions whose texts are `words`, then those of the split with these `numbers`, counted from 1.
///
/// # Errors
/// A number is larger than the split has questions (kind `Config`).
pub fn questions(
    corpus: &Corpus,
    split: Split,
    words: &[String],
    numbers: &[usize],
) -> Result<Vec<Question>> {
    let asked = corpus.questions(split);
    let in_words = words.iter().map(|text| Ok(Question::unanswered(text)));
    let by_number = numbers.iter().map(|&number| {
        let found = number.checked_sub(1).and_then(|index| asked.get(index));
        found.cloned().ok_or_else(|| {
            let (name, count) = (split.name(), asked.len());
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
    use super::*;
    use crate::data::DataSource as _;
    use crate::data::synthetic::Biographies;

    #[test]
    fn questions_are_given_by_text_and_by_number() {
        let biographies = Biographies {
            people: 150,
            ..Biographies::default()
        };
        let corpus = biographies.open(None).expect("synthetic");
        let of = |words: &[&str], numbers: &[usize]| {
            let words: Vec<String> = words.iter().map(|text| (*text).to_owned()).collect();
            questions(&corpus, Split::Dev, &words, numbers)
        };
        assert_eq!(of(&[], &[]).expect("none"), []);
        let asked = of(&["Where was Ada born?"], &[2, 60]).expect("there are so many");
        assert_eq!(asked[0].text, "Where was Ada born?");
        assert_eq!(asked[0].answer, None);
        assert_eq!(asked[1..], [corpus.dev[1].clone(), corpus.dev[59].clone()]);
        assert_eq!(
            of(&[], &[61]).expect_err("there are 60").to_string(),
            "error: `evaluate.attention_maps.numbers` has 61, but dev has 60 questions\n  \
             help: numbers go from 1 to 60"
        );
    }
}
