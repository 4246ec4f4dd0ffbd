//! Text as token ids: held in memory if it is small, otherwise packed once into files below the data directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::reading::SourceFiles;
use super::tokens::Tokens;
use super::{DocumentsAre, Opener};
use crate::data::checksum::of_texts;
use crate::data::cs224n::destination;
use crate::data::documents::Documents;
use crate::data::packed::{IdWriter, PackedIds, width};
use crate::data::vocabulary::Vocabulary;
use crate::error::{Error, Result};
use crate::files;
use crate::progress::{Progress, Verbosity};

/// Larger texts, in bytes, are packed.
const LARGEST_IN_MEMORY: u64 = 32 << 20;

/// Bump it whenever the packed format changes.
const VERSION: &str = "1";

/// Bytes per length of a document.
const LENGTH_WIDTH: usize = 4;

/// Encoded text.
pub(super) struct Encoded {
    pub(super) vocabulary: Vocabulary,
    pub(super) documents: Documents,
    /// Characters of the documents, counting a newline between two of them.
    pub(super) characters: u64,
}

/// `packed.json`, written last: what the files beside it hold.
#[derive(Serialize, Deserialize)]
struct Record {
    /// [`Vocabulary::notes`].
    vocabulary: BTreeMap<String, String>,
    characters: u64,
    documents: u64,
    /// BLAKE3 sums of the ids and of the documents' lengths.
    ids: String,
    lengths: String,
}

/// The documents of the files, encoded.
///
/// # Errors
/// A file is not UTF-8 text, has a character that is not among the tokens, or there is no room for the packed ids.
pub(super) fn documents(
    sources: &SourceFiles,
    split: DocumentsAre,
    tokens: &Tokens,
    opener: &Opener<'_>,
) -> Result<Encoded> {
    match sources.bytes <= LARGEST_IN_MEMORY {
        true => in_memory(sources, split, tokens),
        false => packed(sources, split, tokens, opener),
    }
}

/// Encodes text into files, unless that has been done before.
pub(super) fn packed(
    sources: &SourceFiles,
    split: DocumentsAre,
    tokens: &Tokens,
    opener: &Opener<'_>,
) -> Result<Encoded> {
    let folder = destination(opener.directory)?
        .join("packed")
        .join(key(split, tokens, opener));
    if let Some(found) = open(&folder)? {
        return Ok(found);
    }
    pack(sources, split, tokens, &folder)?;
    open(&folder)?.ok_or_else(|| {
        let message = format!("{} changed while it was being written", folder.display());
        Error::data(message).help("run again")
    })
}

/// Encodes text that is small.
pub(super) fn in_memory(
    sources: &SourceFiles,
    split: DocumentsAre,
    tokens: &Tokens,
) -> Result<Encoded> {
    let mut texts: Vec<String> = vec![];
    sources.each(split, &mut |text| {
        match texts.last_mut().filter(|_| split == DocumentsAre::Stream) {
            Some(stream) => stream.push_str(text),
            None => texts.push(text.to_owned()),
        }
        Ok(())
    })?;
    let newlines = texts.len().saturating_sub(1) as u64;
    let characters = texts.iter().map(|text| text.chars().count() as u64);
    let vocabulary = match tokens {
        Tokens::Known(vocabulary) => vocabulary.clone(),
        Tokens::OfText => Vocabulary::of(&texts.join("\n"))?,
    };
    Ok(Encoded {
        documents: Documents::of_texts(texts.iter().map(String::as_str), &vocabulary)?,
        characters: characters.sum::<u64>() + newlines,
        vocabulary,
    })
}

/// What distinguishes packed text: its files by their content, and how it is cut and encoded.
fn key(split: DocumentsAre, tokens: &Tokens, opener: &Opener<'_>) -> String {
    let vocabulary = match tokens {
        Tokens::OfText => "characters of the text".to_owned(),
        Tokens::Known(vocabulary) => vocabulary.identity(),
    };
    let split = format!("{split:?}");
    let files = opener.files.iter().map(|file| file.sha256.clone());
    let sum = of_texts(
        [VERSION.to_owned(), split, vocabulary]
            .into_iter()
            .chain(files),
    );
    sum.replace(' ', "-")
}

/// Where the ids, the lengths and the record of packed text are.
fn paths(folder: &Path) -> [PathBuf; 3] {
    ["ids", "lengths", "packed.json"].map(|name| folder.join(name))
}

/// What was packed before; `None` unless all of it is there, to the byte.
fn open(folder: &Path) -> Result<Option<Encoded>> {
    let [ids, lengths, record] = paths(folder);
    let Some(record) = files::read_json::<Record>(&record) else {
        return Ok(None);
    };
    let Some(vocabulary) = Vocabulary::from_notes(&record.vocabulary)? else {
        return Ok(None);
    };
    let ids = PackedIds::open(&ids, width(vocabulary.size()), &record.ids);
    let lengths = PackedIds::open(&lengths, LENGTH_WIDTH, &record.lengths);
    let (Some(ids), Some(lengths)) = (ids, lengths) else {
        return Ok(None);
    };
    Ok(Some(Encoded {
        documents: Documents::packed(ids, lengths.read(0..record.documents)?),
        vocabulary,
        characters: record.characters,
    }))
}

/// Encodes the text into files, in one pass, or in two where its characters have to be found first.
fn pack(sources: &SourceFiles, split: DocumentsAre, tokens: &Tokens, folder: &Path) -> Result<()> {
    let size = format!("{:.1} GB", sources.bytes as f64 / 1e9);
    let note = format!(
        "tokenizing {size} of text into {} (done once)",
        folder.display()
    );
    Progress::new(Verbosity::Normal).note(&note);
    let vocabulary = match tokens {
        Tokens::Known(vocabulary) => vocabulary.clone(),
        Tokens::OfText => {
            let mut found = BTreeSet::from(['\n']);
            let mut is_known = [false; 128];
            sources.each(split, &mut |text| {
                for c in text.chars() {
                    match is_known.get_mut(c as usize) {
                        Some(true) => {}
                        known => {
                            found.insert(c);
                            known.into_iter().for_each(|known| *known = true);
                        }
                    }
                }
                Ok(())
            })?;
            Vocabulary::of(&String::from_iter(found))?
        }
    };
    let [ids_path, lengths_path, record_path] = paths(folder);
    let mut ids = IdWriter::create(&ids_path, width(vocabulary.size()))?;
    let mut lengths = IdWriter::create(&lengths_path, LENGTH_WIDTH)?;
    let (mut documents, mut characters, mut stream) = (0, 0, 0u64);
    sources.each(split, &mut |text| {
        let own = vocabulary.encode(text)?;
        ids.add(&own)?;
        characters += text.chars().count() as u64;
        if split == DocumentsAre::Stream {
            stream += own.len() as u64;
            return Ok(());
        }
        documents += 1;
        lengths.add(&[own.len() as u32])
    })?;
    if split == DocumentsAre::Stream {
        let length = u32::try_from(stream).map_err(|_| {
            let message = format!("a stream of {stream} tokens is longer than {}", u32::MAX);
            Error::data(message).help("set `data.split` = \"files\"")
        })?;
        documents = 1;
        lengths.add(&[length])?;
    }
    let record = Record {
        vocabulary: vocabulary.notes(),
        characters: characters + documents - 1,
        documents,
        ids: ids.finish()?,
        lengths: lengths.finish()?,
    };
    files::write_json(&record_path, &record)
}
