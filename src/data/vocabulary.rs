//! Token ids: of the characters of a text, of bytes, of a tokenizer's pieces, or of a made task's symbols.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokenizers::{DecoderWrapper, Tokenizer};

use super::ragged::{MASK, PAD};
use crate::error::{Error, Result};

/// The character that represents [`PAD`] in text.
const PAD_CHARACTER: char = '\u{25A1}';

/// The character that represents [`MASK`] in text.
const MASK_CHARACTER: char = '\u{2047}';

/// Ids before those of text: [`PAD`] and [`MASK`].
const SPECIAL: u32 = 2;

/// The keys in a weights file's header that hold what [`Vocabulary::from_notes`] needs.
const CHARACTERS_NOTE: &str = "vocabulary";
const TOKENS_NOTE: &str = "tokens";
const TOKENIZER_NOTE: &str = "tokenizer";
const SYMBOLS_NOTE: &str = "symbols";

/// What the token ids stand for. Except in a made task, 0 is [`PAD`] and 1 is [`MASK`].
#[derive(Clone)]
pub enum Vocabulary {
    /// The distinct characters of a corpus, by code point: see [`Vocabulary::of`].
    Characters(Arc<[char]>),
    /// Byte `b` is id `b + 2`, so that every text can be encoded.
    Bytes,
    /// Piece `t` of a Hugging Face tokenizer is id `t + 2`.
    Tokenizer(Arc<Pieces>),
    /// The symbols of a made task. Id 0 is never a target, since [`PAD`] means *not scored*.
    Symbols(Arc<[String]>),
}

/// A tokenizer with the text of its file.
pub struct Pieces {
    tokenizer: Tokenizer,
    json: String,
    /// One more than its greatest id: ids may leave gaps.
    ids: usize,
}

impl Vocabulary {
    /// One id for each distinct character of a text, after padding and mask.
    ///
    /// Of the text `ba\n` the ids are `□` 0, `⁇` 1, newline 2, `a` 3, `b` 4.
    ///
    /// # Errors
    /// The text contains one of the two characters that stand for padding and mask.
    pub fn of(text: &str) -> Result<Self> {
        for (i, line) in text.split('\n').enumerate() {
            if let Some(error) = line.chars().find_map(|c| Self::check_character(c).err()) {
                let message = error.message();
                return Err(Error::data(format!(
                    "the corpus, line {}: {message}",
                    i + 1
                )));
            }
        }
        let mut characters: Vec<char> = text.chars().collect();
        characters.sort_unstable();
        characters.dedup();
        Ok(Self::Characters(characters.into()))
    }

    /// Refuses the two characters that stand for padding and mask.
    ///
    /// # Errors
    /// It is one of them.
    pub fn check_character(c: char) -> Result<()> {
        let role = match c {
            PAD_CHARACTER => "padding",
            MASK_CHARACTER => "the mask",
            _ => return Ok(()),
        };
        Err(Error::data(format!("{} stands for {role}", shown(c))))
    }

    /// The pieces of a `tokenizer.json`, given its text. Truncation and padding that the file asks for are not done, since
    /// documents are read whole.
    ///
    /// # Errors
    /// The text is not that of a tokenizer.
    pub fn of_tokenizer(json: String) -> Result<Self> {
        let refused = |cause| Error::data(format!("not a tokenizer: {cause}"));
        let mut tokenizer = json.parse::<Tokenizer>().map_err(refused)?;
        tokenizer.with_truncation(None).map_err(refused)?;
        tokenizer.with_padding(None);
        let greatest = tokenizer.get_vocab(true).into_values().max();
        Ok(Self::Tokenizer(Arc::new(Pieces {
            ids: greatest.map_or(0, |greatest| greatest as usize + 1),
            tokenizer,
            json,
        })))
    }

    /// Number of ids, including padding and mask.
    pub fn size(&self) -> usize {
        match self {
            Self::Characters(characters) => characters.len() + SPECIAL as usize,
            Self::Bytes => 256 + SPECIAL as usize,
            Self::Tokenizer(pieces) => pieces.ids + SPECIAL as usize,
            Self::Symbols(symbols) => symbols.len(),
        }
    }

    /// Encodes a text. Mask and padding are not text; add them as ids.
    ///
    /// # Errors
    /// A character does not occur in the corpus; the message has its position, from 1.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match self {
            Self::Characters(characters) => {
                let id = |(i, c): (usize, char)| match characters.binary_search(&c) {
                    Ok(index) => Ok(index as u32 + SPECIAL),
                    Err(_) => Err(Error::data(format!(
                        "character {} at position {} does not occur in the corpus",
                        shown(c),
                        i + 1
                    ))),
                };
                text.chars().enumerate().map(id).collect()
            }
            Self::Bytes => Ok(text.bytes().map(|byte| u32::from(byte) + SPECIAL).collect()),
            Self::Tokenizer(pieces) => {
                let encoding = pieces.tokenizer.encode_fast(text, false);
                let encoding = encoding.map_err(|cause| {
                    Error::data(format!("the tokenizer refuses '{text}': {cause}"))
                })?;
                Ok(encoding.get_ids().iter().map(|id| id + SPECIAL).collect())
            }
            Self::Symbols(_) => Err(Error::data("a made task reads no text")),
        }
    }

    /// Decodes ids, with `□` and `⁇` for padding and mask, and `\u{FFFD}` for an id above the vocabulary, which
    /// a model with more ids may output, and for bytes that are not UTF-8.
    pub fn decode(&self, ids: &[u32]) -> String {
        if let Self::Symbols(symbols) = self {
            let symbol = |&id: &u32| symbols.get(id as usize).map_or("\u{FFFD}", String::as_str);
            return ids.iter().map(symbol).collect::<Vec<_>>().join(" ");
        }
        let is_special = |id: &u32| *id < SPECIAL;
        let runs = ids.chunk_by(|a, b| is_special(a) == is_special(b));
        runs.map(|run| match is_special(&run[0]) {
            true => run.iter().map(|&id| special(id)).collect(),
            false => self.decode_text(run),
        })
        .collect()
    }

    /// The text of one token as bytes, which need not be UTF-8; empty for padding, mask and symbols.
    pub fn bytes(&self, id: u32) -> Vec<u8> {
        match self {
            Self::Symbols(_) => vec![],
            _ if id < SPECIAL => vec![],
            Self::Bytes => u8::try_from(id - SPECIAL).into_iter().collect(),
            Self::Tokenizer(pieces) => pieces.bytes(id - SPECIAL),
            Self::Characters(_) => self.decode(&[id]).into_bytes(),
        }
    }

    /// Decodes ids of text.
    fn decode_text(&self, ids: &[u32]) -> String {
        let own = ids.iter().map(|id| id - SPECIAL);
        match self {
            Self::Characters(characters) => {
                let character = |id: u32| characters.get(id as usize).copied();
                own.map(|id| character(id).unwrap_or(char::REPLACEMENT_CHARACTER))
                    .collect()
            }
            Self::Bytes => {
                let bytes: Vec<u8> = own.map(|id| u8::try_from(id).unwrap_or(0xff)).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Self::Tokenizer(pieces) => {
                let own: Vec<u32> = own.collect();
                let text = pieces.tokenizer.decode(&own, false);
                text.unwrap_or_else(|_| char::REPLACEMENT_CHARACTER.into())
            }
            Self::Symbols(_) => unreachable!("symbols are decoded as they are"),
        }
    }

    /// What stands for the vocabulary where a stage's inputs are hashed.
    pub fn identity(&self) -> String {
        match self {
            Self::Characters(characters) => characters.iter().collect(),
            Self::Bytes => "all bytes".to_owned(),
            Self::Tokenizer(pieces) => pieces.json.clone(),
            Self::Symbols(symbols) => symbols.join("\n"),
        }
    }

    /// What a weights file keeps of it, so that a model can be used without its data.
    pub fn notes(&self) -> BTreeMap<String, String> {
        let (key, value) = match self {
            Self::Characters(_) => (CHARACTERS_NOTE, self.identity()),
            Self::Bytes => (TOKENS_NOTE, "bytes".to_owned()),
            Self::Tokenizer(_) => (TOKENIZER_NOTE, self.identity()),
            Self::Symbols(_) => (SYMBOLS_NOTE, self.identity()),
        };
        BTreeMap::from([(key.to_owned(), value)])
    }

    /// The vocabulary of these [`notes`](Self::notes); `None` if they have none.
    ///
    /// # Errors
    /// They are damaged.
    pub fn from_notes(notes: &BTreeMap<String, String>) -> Result<Option<Self>> {
        let note = |key| notes.get(key);
        if let Some(characters) = note(CHARACTERS_NOTE) {
            return Self::of(characters).map(Some);
        }
        if let Some(json) = note(TOKENIZER_NOTE) {
            return Self::of_tokenizer(json.clone()).map(Some);
        }
        if let Some(symbols) = note(SYMBOLS_NOTE) {
            let symbols: Vec<String> = symbols.split('\n').map(str::to_owned).collect();
            return Ok(Some(Self::Symbols(symbols.into())));
        }
        Ok(note(TOKENS_NOTE).map(|_| Self::Bytes))
    }
}

impl Pieces {
    /// The text of a piece. A piece of a byte-level tokenizer stands for bytes, of which some are part of a character.
    fn bytes(&self, piece: u32) -> Vec<u8> {
        let text = self.tokenizer.id_to_token(piece).unwrap_or_default();
        if self.tokenizer.get_decoder().is_some_and(is_byte_level) {
            return text.chars().filter_map(byte_of).collect();
        }
        // What byte fallback writes for a byte that no piece has.
        let byte = text
            .strip_prefix("<0x")
            .and_then(|rest| rest.strip_suffix('>'));
        if let Some(byte) = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            return vec![byte];
        }
        let text = text
            .strip_prefix("##")
            .filter(|rest| !rest.is_empty())
            .unwrap_or(&text);
        // What SentencePiece writes for a space.
        text.replace('\u{2581}', " ").into_bytes()
    }
}

/// Whether pieces stand for bytes.
fn is_byte_level(decoder: &DecoderWrapper) -> bool {
    match decoder {
        DecoderWrapper::ByteLevel(_) => true,
        DecoderWrapper::Sequence(several) => several.get_decoders().iter().any(is_byte_level),
        _ => false,
    }
}

impl PartialEq for Vocabulary {
    fn eq(&self, other: &Self) -> bool {
        self.notes() == other.notes()
    }
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vocabulary of {} ids", self.size())
    }
}

/// The byte that a character of a byte-level piece stands for: printable bytes stand for themselves, and those that are not
/// are the characters from 256 on, in order (Radford et al. 2019, GPT-2's `bytes_to_unicode`).
fn byte_of(c: char) -> Option<u8> {
    let is_printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(c) {
        code @ 0..=0xff => u8::try_from(code).ok(),
        code => (0..=0xff)
            .filter(|byte| !is_printable(byte))
            .nth(code as usize - 256),
    }
}

/// The character that stands for a special id.
fn special(id: u32) -> char {
    if id == PAD {
        PAD_CHARACTER
    } else {
        MASK_CHARACTER
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
            "error: the corpus, line 2: '⁇' (U+2047) stands for the mask"
        );
        assert_eq!(
            message(Vocabulary::of("□")),
            "error: the corpus, line 1: '□' (U+25A1) stands for padding"
        );
    }
}
