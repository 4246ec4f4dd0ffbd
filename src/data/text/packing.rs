//! Text as token ids: held in memory if it is small, otherwise packed once into files below the data directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::reading::SourceFiles;
use super::tokens::Tokens;
use super::{DocumentsAre, Opener};
use crate::data::checksum::of_texts;
use crate::data::directory::data_directory;
use crate::data::documents::Documents;
use crate::data::packed::{IdWriter, PackedIds, width};
use crate::data::vocabulary::Vocabulary;
use crate::error::{Error, Result};
use crate::files;
use crate::progress::{Progress, Verbosity};

/// Larger texts, in bytes, are packed.
const LARGEST_IN_MEMORY: u64 = 32 << 20;

/// Bump it whenever the packed format changes.
const VERSION: &str = "2";

/// Bytes per length of a document.
const LENGTH_WIDTH: usize = 4;

/// Encoded text.
pub(super) struct Encoded {
    pub(super) vocabulary: Vocabulary,
    /// A stream is several documents here: the lines that it was read by.
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
    let folder = data_directory(opener.directory)?
        .join("packed")
        .join(key(sources, split, tokens, opener));
    if let Some(found) = open(&folder)? {
        return Ok(found);
    }
    let size = format!("{:.1} GB", sources.bytes as f64 / 1e9);
    let place = folder.display();
    let note = format!("tokenizing {size} of text into {place} (done once)");
    Progress::new(Verbosity::Normal).note(&note);
    pack(sources, split, tokens, (&folder, opener))?;
    open(&folder)?.ok_or_else(|| {
        let message = format!("{place} changed while it was being written");
        Error::data(message).help("run again")
    })
}

/// Encodes text that is small.
pub(super) fn in_memory(
    sources: &SourceFiles,
    split: DocumentsAre,
    tokens: &Tokens,
) -> Result<Encoded> {
    let vocabulary = tokens.vocabulary(sources, split)?;
    let (mut ids, mut lengths, mut characters) = (vec![], vec![], Characters::new(split));
    sources.each(split, &mut |text| {
        let own = vocabulary.encode(text)?;
        lengths.push(own.len() as u32);
        ids.extend(own);
        characters.add(text);
        Ok(())
    })?;
    Ok(Encoded {
        documents: Documents::of_ids(ids, lengths),
        characters: characters.count,
        vocabulary,
    })
}

/// Counts the characters of documents, and a newline between two of them that are not pieces of a stream.
struct Characters {
    is_stream: bool,
    count: u64,
    documents: u64,
}

impl Characters {
    fn new(split: DocumentsAre) -> Self {
        Self {
            is_stream: split == DocumentsAre::Stream,
            count: 0,
            documents: 0,
        }
    }

    fn add(&mut self, text: &str) {
        self.count += text.chars().count() as u64;
        self.count += u64::from(self.documents > 0 && !self.is_stream);
        self.documents += 1;
    }
}

/// What distinguishes packed text: its files by their content, and how it is cut and encoded.
fn key(sources: &SourceFiles, split: DocumentsAre, tokens: &Tokens, opener: &Opener<'_>) -> String {
    let vocabulary = match tokens {
        Tokens::OfText(asked) => format!("characters of the text and of {asked}"),
        Tokens::Known(vocabulary) => vocabulary.identity(),
    };
    let split = format!("{split:?}");
    let files = opener.files[..sources.paths.len()].iter();
    let files = files.map(|file| file.sha256.clone());
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

/// Encodes the text into files.
fn pack(
    sources: &SourceFiles,
    split: DocumentsAre,
    tokens: &Tokens,
    (folder, opener): (&Path, &Opener<'_>),
) -> Result<()> {
    let vocabulary = tokens.vocabulary(sources, split)?;
    let [ids_path, lengths_path, record_path] = paths(folder);
    let mut ids = IdWriter::create(&ids_path, width(vocabulary.size()))?;
    let mut lengths = IdWriter::create(&lengths_path, LENGTH_WIDTH)?;
    let mut characters = Characters::new(split);
    sources.each(split, &mut |text| {
        let own = vocabulary.encode(text)?;
        characters.add(text);
        ids.add(&own)?;
        lengths.add(&[own.len() as u32])
    })?;
    // What is packed under a checksum must be what has that checksum.
    let sums = sources.checksums()?.into_iter().map(|(_, sum)| sum);
    if !sums.eq(opener.files[..sources.paths.len()]
        .iter()
        .map(|file| file.sha256.clone()))
    {
        let message = "the text changed while it was being tokenized";
        return Err(Error::data(message).help("run again"));
    }
    let record = Record {
        vocabulary: vocabulary.notes(),
        characters: characters.count,
        documents: characters.documents,
        ids: ids.finish()?,
        lengths: lengths.finish()?,
    };
    files::write_json(&record_path, &record)
}
