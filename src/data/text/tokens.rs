//! What a token of the user's text is.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::questions::{Tables, characters};
use super::reading::SourceFiles;
use super::{DocumentsAre, Opener, Role};
use crate::data::vocabulary::Vocabulary;
use crate::error::{Error, Result};

/// What a token is, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokensSpec {
    /// The distinct characters of the text and of the questions.
    #[default]
    #[serde(rename = "characters")]
    Characters,
    #[serde(rename = "bytes")]
    Bytes,
    /// The distinct characters of a file.
    #[serde(untagged)]
    Alphabet { characters: PathBuf },
    /// The pieces of a tokenizer.
    #[serde(untagged)]
    Tokenizer { tokenizer: PathBuf },
    /// Something else, which is refused with the other broken rules.
    #[serde(untagged)]
    Unknown(String),
}

/// What may be written.
pub(super) const ALLOWED: &str =
    "\"characters\", \"bytes\", { characters = FILE } or { tokenizer = FILE }";

/// What tokens are, before the text is read.
pub(super) enum Tokens {
    /// Characters that the text has, which are known once it is read, and these, which questions and answers have.
    OfText(String),
    Known(Vocabulary),
}

impl Tokens {
    /// The vocabulary by which text is encoded; characters of the text are found by reading it.
    ///
    /// # Errors
    /// The text cannot be read, or has a character that stands for padding or the mask.
    pub(super) fn vocabulary(
        &self,
        sources: &SourceFiles,
        split: DocumentsAre,
    ) -> Result<Vocabulary> {
        let asked = match self {
            Self::Known(vocabulary) => return Ok(vocabulary.clone()),
            Self::OfText(asked) => asked,
        };
        let mut found: BTreeSet<char> = asked.chars().collect();
        let mut is_known = [false; 128];
        sources.each(split, &mut |text| {
            for c in text.chars() {
                match is_known.get_mut(c as usize) {
                    Some(true) => {}
                    known => {
                        Vocabulary::check_character(c)?;
                        found.insert(c);
                        known.into_iter().for_each(|known| *known = true);
                    }
                }
            }
            Ok(())
        })?;
        Vocabulary::of(&String::from_iter(found))
    }
}

impl TokensSpec {
    /// Reads the file that it names, if any.
    ///
    /// # Errors
    /// The file cannot be read, or is not what it should be.
    pub(super) fn read(&self, opener: &mut Opener<'_>, tables: &Tables) -> Result<Tokens> {
        Ok(Tokens::Known(match self {
            Self::Characters => return Ok(Tokens::OfText(characters(tables))),
            Self::Bytes => Vocabulary::Bytes,
            Self::Alphabet { characters } => {
                let text = opener.read(characters, Role::Tokens)?;
                Vocabulary::of(text.trim_end_matches(['\r', '\n']))?
            }
            Self::Unknown(written) => {
                let message = format!("`data.tokens` is {written}, not {ALLOWED}");
                return Err(Error::config(message));
            }
            Self::Tokenizer { tokenizer } => {
                let json = opener.read(tokenizer, Role::Tokens)?;
                Vocabulary::of_tokenizer(json).map_err(|error| error.in_file(tokenizer))?
            }
        }))
    }
}

/// By hand, since what serde derives for such an enum cannot say what is allowed.
impl<'de> Deserialize<'de> for TokensSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl<'de> Visitor<'de> for Written {
            type Value = TokensSpec;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(ALLOWED)
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<TokensSpec, E> {
                match word {
                    "characters" => Ok(TokensSpec::Characters),
                    "bytes" => Ok(TokensSpec::Bytes),
                    _ => Ok(TokensSpec::Unknown(format!("{word:?}"))),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<TokensSpec, A::Error> {
                let keys: BTreeMap<String, PathBuf> =
                    BTreeMap::deserialize(MapAccessDeserializer::new(table))?;
                let mut keys = keys.into_iter();
                match (keys.next(), keys.next()) {
                    (Some((key, characters)), None) if key == "characters" => {
                        Ok(TokensSpec::Alphabet { characters })
                    }
                    (Some((key, tokenizer)), None) if key == "tokenizer" => {
                        Ok(TokensSpec::Tokenizer { tokenizer })
                    }
                    _ => Ok(TokensSpec::Unknown("a table of other keys".to_owned())),
                }
            }
        }

        deserializer.deserialize_any(Written)
    }
}

impl JsonSchema for TokensSpec {
    fn schema_name() -> Cow<'static, str> {
        "Tokens".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "object"],
            "properties": {
                "characters": { "type": "string", "description": "A file of the characters that are tokens." },
                "tokenizer": { "type": "string", "description": "A Hugging Face `tokenizer.json`." }
            },
            "additionalProperties": false
        })
    }
}
