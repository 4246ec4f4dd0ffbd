//! Answering questions, or what a made task asks: the objective of finetuning.

use crate::data::made::Answers;
use crate::data::questions::{encode, prompt};
use crate::data::ragged::{MASK, PAD, Sequence};
use crate::data::vocabulary::Vocabulary;
use crate::data::{Corpus, Question, Split, Task};
use crate::error::{Error, Result};

/// The task of answering: the training questions, or the training examples of a made task.
///
/// # Errors
/// A question has no answer, or a character that the documents do not have.
pub fn answers(corpus: &Corpus) -> Result<Box<dyn Task>> {
    let split = Split::Train;
    Ok(match corpus.examples.clone() {
        Some(examples) => Box::new(Answers { examples, split }),
        None => Box::new(Answering::new(&corpus.train, &corpus.vocabulary)?),
    })
}

/// Questions with their answers as training sequences.
///
/// A question, a mask, its answer, a mask; only the second half is scored:
///
/// ```text
/// tokens   W h e … n ? ⁇ L i m a
/// targets  □ □ □ … □ ⁇ L i m a ⁇
/// ```
pub struct Answering {
    sequences: Vec<Sequence>,
}

impl Answering {
    /// Encodes the questions.
    pub fn new(questions: &[Question], vocabulary: &Vocabulary) -> Result<Self> {
        let sequences = questions.iter().map(|q| sequence(q, vocabulary));
        let sequences = sequences.collect::<Result<_>>()?;
        Ok(Self { sequences })
    }
}

impl Task for Answering {
    fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Does not depend on the epoch.
    fn sequence(&self, _epoch: u64, index: usize) -> Result<Sequence> {
        Ok(self.sequences[index].clone())
    }

    fn longest_sequence(&self) -> usize {
        let lengths = self.sequences.iter().map(|s| s.tokens.len());
        lengths.max().unwrap_or(0)
    }
}

fn sequence(question: &Question, vocabulary: &Vocabulary) -> Result<Sequence> {
    let Some(answer) = &question.answer else {
        let text = &question.text;
        let message = format!("question '{text}' has no answer to learn");
        return Err(Error::data(message));
    };
    let mut tokens = prompt(question, vocabulary)?;
    let asked = tokens.len() - 1;
    tokens.extend(encode(answer, question, vocabulary)?);

    let mut targets = vec![PAD; asked - 1];
    targets.extend_from_slice(&tokens[asked..]);
    targets.push(MASK);
    Ok(Sequence { tokens, targets })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> Vocabulary {
        Vocabulary::of("Where was Ada Moss born? Lima").expect("a vocabulary")
    }

    fn asked(text: &str, answer: Option<&str>) -> Question {
        Question {
            text: text.to_owned(),
            answer: answer.map(str::to_owned),
        }
    }

    #[test]
    fn no_question_is_no_sequence() {
        let task = Answering::new(&[], &vocabulary()).expect("empty");
        assert_eq!((task.len(), task.longest_sequence()), (0, 0));
    }

    #[test]
    fn mask_place_and_mask_are_scored() {
        let question = asked("Where was Ada Moss born?", Some("Lima"));
        let task = Answering::new(&[question], &vocabulary()).expect("a task");
        let sequence = task.sequence(1, 0).expect("in memory");
        assert_eq!(task.len(), 1);
        assert_eq!(sequence, task.sequence(2, 0).expect("in memory"));
        assert_eq!(
            vocabulary().decode(&sequence.tokens),
            "Where was Ada Moss born?⁇Lima"
        );
        let targets = format!("{}⁇Lima⁇", "□".repeat(23));
        assert_eq!(vocabulary().decode(&sequence.targets), targets);
        assert_eq!(sequence.tokens.len(), sequence.targets.len());
        assert_eq!(task.longest_sequence(), 24 + 1 + 4);
    }

    #[test]
    fn one_character_each_is_enough() {
        let task = Answering::new(&[asked("a", Some("b"))], &vocabulary()).expect("a task");
        let sequence = task.sequence(1, 0).expect("in memory");
        assert_eq!(vocabulary().decode(&sequence.tokens), "a⁇b");
        assert_eq!(vocabulary().decode(&sequence.targets), "⁇b⁇");
    }

    #[test]
    fn invalid_questions_are_named() {
        let message = |question: Question| {
            let error = Answering::new(&[question], &vocabulary())
                .err()
                .expect("refused");
            assert_eq!(error.exit_code(), 5);
            error.to_string()
        };
        assert_eq!(
            message(asked("Where?", None)),
            "error: question 'Where?' has no answer to learn"
        );
        assert_eq!(
            message(asked("", Some("Lima"))),
            "error: a question is empty"
        );
        assert_eq!(
            message(asked("Where?", Some("LimX"))),
            "error: the answer to question 'Where?': character 'X' (U+0058) at position 4 does not occur in the corpus"
        );
        assert_eq!(
            message(asked("Zhere?", Some("Lima"))),
            "error: question 'Zhere?': character 'Z' (U+005A) at position 1 does not occur in the corpus"
        );
    }
}
