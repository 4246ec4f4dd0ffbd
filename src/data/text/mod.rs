//! The user's own text, and questions about it.
//!
//! In reading order: the keys, here; `tokens`, what a token is; `reading`, the files and the documents in them;
//! `packing`, text too large to be held in memory; and `questions`, tables of questions.

mod packing;
mod questions;
mod reading;
#[cfg(test)]
mod tests;
mod tokens;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::seq::SliceRandom as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::questions::{QuestionsSpec, Tables};
use self::reading::{SourceFiles, place};
use self::tokens::{ALLOWED, TokensSpec};
use super::documents::Documents;
use super::generator::generator;
use super::{Corpus, DataSource, Offers, ReadFile, Split};
use crate::config::sweep::SEED_LIMIT;
use crate::error::{Error, Result};
use crate::kinds::BrokenRule;

/// The keys of `kind = "text"`.
///
/// Files are looked for in the working directory, then in the data directory (`--data`); `~` is the home directory.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// A file of UTF-8 text, or a folder of such files, with everything below it in the order of the paths.
    pub documents: PathBuf,
    /// What a document is: a line, a paragraph (lines up to an empty one), a whole file, or all text as one stream, which is
    /// cut into windows of the context. Default: `"lines"` of a file, `"files"` of a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<DocumentsAre>,
    /// What a token is: `"characters"`, those of the text and the questions; `{ characters = FILE }`, those of a file;
    /// `"bytes"`; or `{ tokenizer = FILE }`, the pieces of a Hugging Face `tokenizer.json`. Default: `"characters"`.
    #[serde(default)]
    pub tokens: TokensSpec,
    /// Share of the documents, drawn by `seed`, or of the end of a stream, that is held out of training as the dev split
    /// (validation set).
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    #[serde(default)]
    pub held_out: f64,
    /// The same for the test split, in addition to the dev split.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    #[serde(default)]
    pub held_out_test: f64,
    /// Tables of questions with their answers, as TSV or CSV. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub questions: Option<QuestionsSpec>,
    /// Checksums that files must have, by SHA-256. Default: any content; what was read is recorded with each run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Checksums>,
    /// Seed of what is made up or drawn, independent of the seeds of training.
    #[schemars(extend("exclusiveMaximum" = SEED_LIMIT))]
    #[serde(default)]
    pub seed: u64,
}

/// See [`Text::split`].
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentsAre {
    /// Each line that is not empty.
    Lines,
    /// Lines up to an empty one, with the newlines between them.
    Paragraphs,
    /// A file each.
    Files,
    /// One document, of all files with a newline between them.
    Stream,
}

/// The pattern of a SHA-256 checksum, for editors; `Text::check` refuses another.
const SHA256: &str = "^[0-9a-fA-F]{64}$";

/// Checksums of 64 hexadecimal digits.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checksums {
    /// Of the text, if it is a single file. Default: any.
    #[schemars(regex(pattern = SHA256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documents: Option<String>,
    /// Of the training questions. Default: any.
    #[schemars(regex(pattern = SHA256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// Of the dev questions. Default: any.
    #[schemars(regex(pattern = SHA256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
    /// Of the test questions. Default: any.
    #[schemars(regex(pattern = SHA256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// Of the file of characters or of the tokenizer. Default: any.
    #[schemars(regex(pattern = SHA256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<String>,
}

/// What a file is to the experiment: its key in `data.sha256`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Documents,
    Questions(Split),
    Tokens,
}

impl Role {
    /// Its key in `data.sha256`.
    fn key(self) -> &'static str {
        match self {
            Self::Documents => "documents",
            Self::Questions(split) => split.name(),
            Self::Tokens => "tokens",
        }
    }
}

impl Checksums {
    /// Those that are given, by their keys.
    fn all(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let all = [
            ("documents", &self.documents),
            ("train", &self.train),
            ("dev", &self.dev),
            ("test", &self.test),
            ("tokens", &self.tokens),
        ];
        all.into_iter()
            .filter_map(|(key, sum)| Some((key, sum.as_ref()?)))
    }
}

impl DataSource for Text {
    const NAME: &'static str = "text";
    const ABOUT: &'static str =
        "your own text in files, with or without tables of questions about it";

    fn open(&self, directory: Option<&Path>) -> Result<Corpus> {
        let mut opener = Opener {
            spec: self,
            directory,
            files: vec![],
            checked: vec![],
        };
        let path = opener.place(&self.documents)?;
        let sources = SourceFiles::find(&path)?;
        for (file, sha256) in sources.checksums()? {
            let role = (!path.is_dir()).then_some(Role::Documents);
            opener.record(&file, sha256, role)?;
        }
        let default = if path.is_dir() {
            DocumentsAre::Files
        } else {
            DocumentsAre::Lines
        };
        let split = self.split.unwrap_or(default);
        let spec = self.questions.as_ref();
        let mut tables = spec.map_or(Ok(Tables::new()), |spec| spec.read(&mut opener))?;
        let tokens = self.tokens.read(&mut opener, &tables)?;
        let packed = packing::documents(&sources, split, &tokens, &opener)?;
        spec.map_or(Ok(()), |spec| spec.check(&tables, &packed.vocabulary))?;
        let parts = self.held_out_of(&packed.documents, split)?;
        let [documents, dev, test] = parts.map(Arc::new);
        let mut corpus = Corpus {
            documents,
            held_out: [dev, test],
            characters: packed.characters,
            notes: questions::notes(&tables),
            ..Corpus::new(packed.vocabulary)
        };
        let mut of = |split| tables.remove(&split).unwrap_or_default();
        (corpus.train, corpus.dev, corpus.test) =
            (of(Split::Train), of(Split::Dev), of(Split::Test));
        let mut sums = self.sha256.iter().flat_map(Checksums::all);
        if let Some((key, _)) = sums.find(|(key, _)| !opener.checked.contains(key)) {
            let message = format!(
                "`data.sha256.{key}` is the checksum of nothing that is read as a single file"
            );
            return Err(Error::config(message).help("remove it"));
        }
        corpus.files = opener.files;
        Ok(corpus)
    }

    fn offers(&self) -> Offers {
        Offers {
            documents: true,
            held_out: self.held_out + self.held_out_test > 0.0,
            questions: self.questions.is_some(),
            examples: false,
        }
    }

    fn check(&self) -> Vec<BrokenRule> {
        let mut broken = vec![];
        let share = self.held_out + self.held_out_test;
        if share >= 1.0 {
            broken.push(BrokenRule {
                reads: &["held_out"],
                ..BrokenRule::new(
                    "held_out_test",
                    format!(
                        "and `data.held_out` are {share} together, which leaves nothing to train on"
                    ),
                )
            });
        }
        if let TokensSpec::Unknown(written) = &self.tokens {
            let message = format!("is {written}, which is not {ALLOWED}");
            broken.push(BrokenRule::new("tokens", message));
        }
        let sums = self.sha256.iter().flat_map(Checksums::all);
        for (role, sum) in sums {
            if sum.len() != 64 || !sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                let message = format!(
                    "has {sum:?} for {role}, which is not a SHA-256 checksum: 64 hexadecimal digits"
                );
                broken.push(BrokenRule::new("sha256", message));
            }
        }
        broken
    }
}

impl Text {
    /// The documents to train on, and those of the splits dev and test.
    fn held_out_of(&self, all: &Documents, split: DocumentsAre) -> Result<[Documents; 3]> {
        let shares = [
            ("held_out", self.held_out),
            ("held_out_test", self.held_out_test),
        ];
        if split == DocumentsAre::Stream {
            let tokens = all.total_tokens();
            if u32::try_from(tokens).is_err() {
                let message = format!("a stream of {tokens} tokens is longer than {}", u32::MAX);
                let help = "set `data.split` to \"files\" or \"lines\"";
                return Err(Error::data(message).help(help));
            }
            let part = |share: f64| (share * tokens as f64).round() as u64;
            for (key, share) in shares {
                if share > 0.0 && part(share) < 2 {
                    let message = format!(
                        "`data.{key}` = {share} of {tokens} tokens leaves nothing to predict"
                    );
                    return Err(Error::config(message).help("raise it"));
                }
            }
            let [dev, test] = shares.map(|(_, share)| part(share));
            let (first, second) = (tokens - dev - test, tokens - test);
            let stretch = |range: std::ops::Range<u64>| match range.is_empty() {
                true => Documents::default(),
                false => all.stretch(range),
            };
            return Ok([0..first, first..second, second..tokens].map(stretch));
        }
        if shares.iter().all(|(_, share)| *share == 0.0) {
            let none = Documents::default;
            return Ok([all.clone(), none(), none()]);
        }
        let mut order: Vec<u32> = (0..all.len() as u32).collect();
        order.shuffle(&mut generator(b"held.out", [self.seed, 0, 0]));
        let mut part_of = vec![0u8; all.len()];
        let mut drawn = order.into_iter();
        for (part, (key, share)) in (1..).zip(shares) {
            let count = (share * all.len() as f64).round() as usize;
            if share > 0.0 && count == 0 {
                let message = format!(
                    "`data.{key}` = {share} of {} documents rounds to zero",
                    all.len()
                );
                return Err(Error::config(message)
                    .help("raise it, or split the text into smaller documents"));
            }
            drawn
                .by_ref()
                .take(count)
                .for_each(|one| part_of[one as usize] = part);
        }
        Ok([0, 1, 2].map(|part| all.only(|document| part_of[document] == part)))
    }
}

/// Finds and records the files that are read.
pub(super) struct Opener<'a> {
    spec: &'a Text,
    directory: Option<&'a Path>,
    files: Vec<ReadFile>,
    /// The keys of `data.sha256` that were looked at.
    checked: Vec<&'static str>,
}

impl Opener<'_> {
    /// Where a file or folder of the experiment file is.
    fn place(&self, given: &Path) -> Result<PathBuf> {
        place(given, self.directory)
    }

    /// The text of a file that fits in memory.
    ///
    /// # Errors
    /// It is missing, empty, not UTF-8 text, or has another checksum than `data.sha256` says.
    fn read(&mut self, given: &Path, role: Role) -> Result<String> {
        let path = self.place(given)?;
        let (text, sha256) = reading::text_of(&path)?;
        self.record(&path, sha256, Some(role))?;
        Ok(text)
    }

    fn record(&mut self, path: &Path, sha256: String, role: Option<Role>) -> Result<()> {
        let mut sums = self.spec.sha256.iter().flat_map(Checksums::all);
        let expected = sums.find(|(key, _)| role.is_some_and(|role| role.key() == *key));
        self.checked.extend(role.map(Role::key));
        if let Some((_, expected)) = expected
            && !expected.eq_ignore_ascii_case(&sha256)
        {
            let (expected, found) = (&expected[..12], &sha256[..12]);
            let message = format!(
                "{} has the wrong SHA-256 checksum: expected {expected}, found {found}",
                path.display()
            );
            return Err(Error::data(message).help("restore the file, or correct `data.sha256`"));
        }
        let file = path.display().to_string();
        self.files.push(ReadFile { file, sha256 });
        Ok(())
    }
}
