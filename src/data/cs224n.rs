//! The corpus of Stanford's CS224N assignment 5: Wikipedia sentences about people, and questions about their
//! birth places.
//!
//! The text is CC BY-SA and not part of this program: users fetch it, and the checksums here verify it.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::checksum::{HELP, SourceFile};
use super::directory::data_directory;
use super::questions::{Rows, parse};
use super::vocabulary::Vocabulary;
use super::{Corpus, DataSource, Question};
use crate::error::{Error, Kind as ErrorKind, Result};

/// Name of the folder that contains the files.
pub const FOLDER: &str = "cs224n";

/// Sentences, one document per line.
pub const TEXT: SourceFile = SourceFile {
    name: "wiki.txt",
    sha256: "823bb536fca77c8b5a15b34b0dead6355d0cf1f806e822464bca28806c2fd055",
};

/// Training questions.
const TRAIN: SourceFile = SourceFile {
    name: "birth_places_train.tsv",
    sha256: "02364dfca78e23d2583a19f03a2d8cddd90ee3e1a3795ddec7f0addadea30b0d",
};

/// Held-out questions with answers.
const DEV: SourceFile = SourceFile {
    name: "birth_dev.tsv",
    sha256: "101a56073eba0db9aad5e2aaf1aa9bf8bdae966ae3aaed8fc8cda5edfa7856da",
};

/// Held-out questions without answers.
const TEST: SourceFile = SourceFile {
    name: "birth_test_inputs.tsv",
    sha256: "5ccd3b2a1682e0daf90d59488aef8805ef21b9d35795cc3bdabdea79d293aa1f",
};

pub const FILES: [SourceFile; 4] = [TEXT, TRAIN, DEV, TEST];

/// `kind = "cs224n"` has no keys of its own.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cs224n {}

impl DataSource for Cs224n {
    const NAME: &'static str = "cs224n";
    const ABOUT: &'static str = "the corpus of Stanford's CS224N assignment 5, Wikipedia sentences about people: `attnlab data fetch` gets it";
    const FILES: &'static [SourceFile] = &FILES;

    fn open(&self, directory: Option<&Path>) -> Result<Corpus> {
        let folder = locate(directory)?;
        let text = read(&folder, &TEXT)?;
        let rows = |file: SourceFile, kind| -> Result<Vec<Question>> {
            let mut text = read(&folder, &file)?;
            // Only training drops what is not ASCII; a dev question is asked verbatim.
            if file == TRAIN {
                text.retain(|c| c.is_ascii());
            }
            parse(&text, &folder.join(file.name), kind)
        };
        let documents: Vec<String> = text.split('\n').map(str::to_owned).collect();
        Ok(Corpus {
            train: rows(TRAIN, Rows::Answered)?,
            dev: rows(DEV, Rows::Answered)?,
            test: rows(TEST, Rows::Unanswered)?,
            ..Corpus::of_texts(&documents, Vocabulary::of(&text)?)?
        })
    }
}

/// The folder with the files: the data directory itself, or `cs224n/` in it.
pub fn locate(directory: Option<&Path>) -> Result<PathBuf> {
    folder_in(&data_directory(directory)?)
}

/// `cs224n` in `directory`, or else `directory` itself if it contains one of the files.
pub(super) fn folder_in(directory: &Path) -> Result<PathBuf> {
    let inner = directory.join(FOLDER);
    if inner.is_dir() {
        return Ok(inner);
    }
    if FILES.iter().any(|file| directory.join(file.name).is_file()) {
        return Ok(directory.to_owned());
    }
    let (name, directory) = (TEXT.name, directory.display());
    let message = format!("no corpus in {directory}: it has neither {name} nor {FOLDER}/{name}");
    Err(Error::data(message).help(HELP))
}

/// Reads and verifies one file of a folder.
pub(super) fn read(folder: &Path, file: &SourceFile) -> Result<String> {
    let path = folder.join(file.name);
    let bytes = std::fs::read(&path).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::NotFound => {
            Error::data(format!("{} is missing", path.display())).help(HELP)
        }
        _ => Error::io(ErrorKind::Data, "read", &path, cause).help(HELP),
    })?;
    let (text, _) = file.verify(&path.display().to_string(), bytes)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A folder of four made-up files, none of them right.
    fn wrong_files() -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a folder");
        for file in FILES {
            fs::write(directory.path().join(file.name), "Where?\tHere\n").expect("written");
        }
        directory
    }

    fn message(directory: &Path) -> String {
        let error = Cs224n {}.open(Some(directory)).err().expect("refused");
        assert_eq!(error.exit_code(), 5);
        let text = error.to_string();
        let (message, help) = text.split_once('\n').expect("a help line");
        assert_eq!(help, format!("  help: {HELP}"));
        message
            .replace(&directory.display().to_string(), "DIR")
            .replace('\\', "/")
    }

    #[test]
    fn each_defect_gives_one_line_and_changes_nothing() {
        let directory = wrong_files();
        let text = directory.path().join(TEXT.name);
        assert_eq!(
            message(directory.path()),
            "error: DIR/wiki.txt has the wrong SHA-256 checksum: expected 823bb536fca7, found d6784f36a315"
        );
        fs::write(&text, "").expect("written");
        assert_eq!(message(directory.path()), "error: DIR/wiki.txt is empty");
        fs::write(&text, b"\x7fELF\0\0").expect("written");
        assert_eq!(
            message(directory.path()),
            "error: DIR/wiki.txt is not text but binary (zero byte at 4)"
        );
        fs::write(&text, b"caf\xe9").expect("written");
        assert_eq!(
            message(directory.path()),
            "error: DIR/wiki.txt is not UTF-8 text (bad byte at 3)"
        );
        fs::remove_file(&text).expect("removed");
        assert_eq!(message(directory.path()), "error: DIR/wiki.txt is missing");
        fs::create_dir(&text).expect("made");
        assert!(message(directory.path()).starts_with("error: cannot read DIR/wiki.txt: "));
        assert_eq!(fs::read_dir(directory.path()).expect("there").count(), 4);
    }

    #[test]
    fn a_directory_without_files_names_what_is_missing() {
        let directory = tempfile::tempdir().expect("a folder");
        let none = "error: no corpus in DIR: it has neither wiki.txt nor cs224n/wiki.txt";
        assert_eq!(message(directory.path()), none);
        let gone = directory.path().join("gone");
        assert_eq!(message(&gone), none);
        assert!(!gone.exists());
        fs::create_dir(directory.path().join(FOLDER)).expect("made");
        let incomplete = "error: DIR/cs224n/wiki.txt is missing";
        assert_eq!(message(directory.path()), incomplete);
    }

    #[test]
    fn the_folder_or_its_parent_may_be_given() {
        let directory = wrong_files();
        let found = || folder_in(directory.path()).expect("there");
        assert_eq!(found(), directory.path());
        let inner = directory.path().join(FOLDER);
        fs::create_dir(&inner).expect("made");
        assert_eq!(found(), inner);
    }
}
