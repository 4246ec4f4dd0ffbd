//! The character vocabulary.

use super::ragged::{MASK, PAD};
use crate::error::{Error, Result};

/// The character that represents [`PAD`] in text.
const PAD_CHARACTER: char = '\u{25A1}';

/// The character that represents [`MASK`] in text.
const MASK_CHARACTER: char = '\u{2047}';

/// One id for each character of a corpus: 0 [`PAD`], 1 [`MASK`], then its characters by code point.
///
/// Of the corpus `ba\n` the ids are `□` 0, `⁇` 1, newline 2, `a` 3, `b` 4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// Character of each id; sorted from id 2 on.
    characters: Vec<char>,
}

impl Vocabulary {
    /// The distinct characters of a text, after padding and mask.
    ///
    /// # Errors
    /// The text contains one of the two characters that stand for padding and mask.
    pub fn of(text: &str) -> Result<Self> {
        for (i, line) in text.split('\n').enumerate() {
            if let Some(at) = line.find([PAD_CHARACTER, MASK_CHARACTER]) {
                let (c, role) = match line[at..].starts_with(PAD_CHARACTER) {
                    true => (PAD_CHARACTER, "padding"),
                    false => (MASK_CHARACTER, "the mask"),
                };
                let place = format!("the corpus contains {} in line {}", shown(c), i + 1);
                return Err(Error::data(format!("{place}, which stands for {role}")));
            }
        }
        let mut characters: Vec<char> = text.chars().collect();
        characters.sort_unstable();
        characters.dedup();
        characters.splice(0..0, [PAD_CHARACTER, MASK_CHARACTER]);
        Ok(Self { characters })
    }

    /// Number of ids, including padding and mask.
    pub fn size(&self) -> usize {
        self.characters.len()
    }

    /// The characters of all ids from 2 on, in order; [`Vocabulary::of`] rebuilds the vocabulary from them.
    pub fn characters(&self) -> String {
        self.characters[2..].iter().collect()
    }

    /// Encodes a text. Mask and padding are not text; add them as ids.
    ///
    /// # Errors
    /// A character does not occur in the corpus; the message has its position, from 1.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let id = |(i, c): (usize, char)| match self.characters[2..].binary_search(&c) {
            Ok(index) => Ok(index as u32 + 2),
            Err(_) => Err(Error::data(format!(
                "character {} at position {} does not occur in the corpus",
                shown(c),
                i + 1
            ))),
        };
        text.chars().enumerate().map(id).collect()
    }

    /// Decodes ids, with `□` and `⁇` for padding and mask, and `\u{FFFD}` for an id above the vocabulary, which
    /// a model with more ids may output.
    pub fn decode(&self, ids: &[u32]) -> String {
        let character = |&id: &u32| self.characters.get(id as usize).copied();
        let ids = ids.iter().map(character);
        ids.map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    }
}

/// `'é' (U+00E9)`, escaped if it is not printable.
fn shown(character: char) -> String {
    let quoted = match character.is_control() {
        true => format!("{character:?}"),
        false => format!("'{character}'"),
    };
    format!("{quoted} (U+{:04X})", u32::from(character))
}

const _: () = assert!(PAD == 0 && MASK == 1);

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.expect_err("an error").to_string()
    }

    #[test]
    fn ids_are_pad_mask_then_code_points() {
        let vocabulary = Vocabulary::of("ba\nc é").expect("a vocabulary");
        assert_eq!(vocabulary.size(), 8);
        assert_eq!(
            vocabulary.encode("\n abcé").expect("known"),
            [2, 3, 4, 5, 6, 7]
        );
        assert_eq!(vocabulary.decode(&[4, 1, 0, 7, 8]), "a⁇□é\u{FFFD}");
        assert!(vocabulary.encode("").expect("nothing").is_empty());
    }

    #[test]
    fn an_empty_corpus_has_two_ids() {
        let vocabulary = Vocabulary::of("").expect("a vocabulary");
        assert_eq!(vocabulary.size(), 2);
        assert!(vocabulary.encode("a").is_err());
    }

    #[test]
    fn an_unknown_character_is_named_with_its_position() {
        let vocabulary = Vocabulary::of("ab é").expect("a vocabulary");
        assert_eq!(
            message(vocabulary.encode("éé b\u{7}")),
            "error: character '\\u{7}' (U+0007) at position 5 does not occur in the corpus"
        );
        assert_eq!(
            message(vocabulary.encode("ab⁇")),
            "error: character '⁇' (U+2047) at position 3 does not occur in the corpus"
        );
    }

    #[test]
    fn a_corpus_with_a_special_character_is_refused() {
        assert_eq!(
            message(Vocabulary::of("a\nb⁇c")),
            "error: the corpus contains '⁇' (U+2047) in line 2, which stands for the mask"
        );
        assert_eq!(
            message(Vocabulary::of("□")),
            "error: the corpus contains '□' (U+25A1) in line 1, which stands for padding"
        );
    }
}
