//! The files of a text, and the documents in them, read piece by piece.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use super::DocumentsAre;
use crate::config::home;
use crate::data::checksum::{sha256, sha256_of};
use crate::data::directory::data_directory;
use crate::error::{Error, Kind, Result};
use crate::files::{self, BYTE_ORDER_MARK};

/// Where a file or folder is: at its path or, if there is nothing, at the same path in the data directory.
///
/// # Errors
/// It is in neither place.
pub(super) fn place(given: &Path, directory: Option<&Path>) -> Result<PathBuf> {
    let path = home::expand(given).map_err(Error::config)?;
    if path.exists() {
        return Ok(path);
    }
    let of_data = data_directory(directory).map(|data| data.join(&path)).ok();
    if let Some(found) = of_data.as_ref().filter(|path| path.exists()) {
        return Ok(found.clone());
    }
    let places = of_data.filter(|of_data| *of_data != path);
    let places = places.map_or(String::new(), |other| {
        format!(", nor at {}", other.display())
    });
    let message = format!("no file or folder at {}{places}", path.display());
    Err(Error::data(message).help("name a file or folder from the working directory, or from the data directory (`--data FOLDER`)"))
}

/// A text file that fits in memory, with its checksum.
///
/// # Errors
/// It is empty, unreadable or not UTF-8.
pub(super) fn text_of(path: &Path) -> Result<(String, String)> {
    let bytes = files::read(Kind::Data, path)?;
    let sum = sha256(&bytes);
    let text = files::text_of(Kind::Data, path, bytes)?;
    if text.trim().is_empty() {
        return Err(Error::data(format!("{} is empty", path.display())));
    }
    Ok((text, sum))
}

/// The files that hold the text.
pub(super) struct SourceFiles {
    /// At least one, in the order in which they are read.
    pub(super) paths: Vec<PathBuf>,
    /// Their size, in bytes.
    pub(super) bytes: u64,
}

impl SourceFiles {
    /// A file, or everything below a folder except what is hidden.
    ///
    /// # Errors
    /// There is nothing to read.
    pub(super) fn find(path: &Path) -> Result<Self> {
        let mut paths = vec![];
        gather(path, &mut paths)?;
        paths.sort();
        let size = |path: &PathBuf| path.metadata().map_or(0, |file| file.len());
        let bytes = paths.iter().map(size).sum();
        if bytes == 0 {
            let what = if path.is_dir() {
                "holds no text"
            } else {
                "is empty"
            };
            return Err(Error::data(format!("{} {what}", path.display())));
        }
        Ok(Self { paths, bytes })
    }

    /// The SHA-256 checksum of each file.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn checksums(&self) -> Result<Vec<(PathBuf, String)>> {
        let sums = self.paths.iter().map(|path| {
            let sum = File::open(path).and_then(sha256_of);
            let sum = sum.map_err(|cause| Error::io(Kind::Data, "read", path, cause))?;
            Ok((path.clone(), sum))
        });
        sums.collect()
    }

    /// Calls `add` with each document, in order; with [`DocumentsAre::Stream`], with each line of the stream and the newline
    /// that ends it. Empty documents are left out. Lines end in LF or CRLF, which counts as LF.
    ///
    /// # Errors
    /// A file cannot be read or is not UTF-8 text, which the message tells by file and line; or `add` fails.
    pub(super) fn each(
        &self,
        split: DocumentsAre,
        add: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        for (number, path) in self.paths.iter().enumerate() {
            // The document so far, and the line where it begins.
            let (mut document, mut first): (Option<String>, usize) = (None, 1);
            let is_last_file = number + 1 == self.paths.len();
            let mut add_at = |line: usize, text: &str| {
                let at = |error: Error| {
                    Error::data(format!("{}:{line}: {}", path.display(), error.message()))
                };
                add(text).map_err(at)
            };
            each_line(path, &mut |line, text, is_ended| match split {
                DocumentsAre::Lines if text.is_empty() => Ok(()),
                DocumentsAre::Lines => add_at(line, text),
                // A newline lies between files, too.
                DocumentsAre::Stream if is_ended || !is_last_file => {
                    add_at(line, &format!("{text}\n"))
                }
                DocumentsAre::Stream => add_at(line, text),
                DocumentsAre::Paragraphs if text.trim().is_empty() => {
                    let whole = document.take();
                    whole.map_or(Ok(()), |whole| add_at(first, &whole))
                }
                DocumentsAre::Paragraphs | DocumentsAre::Files => {
                    match &mut document {
                        Some(document) => {
                            document.push('\n');
                            document.push_str(text);
                        }
                        None => (document, first) = (Some(text.to_owned()), line),
                    }
                    Ok(())
                }
            })?;
            if let Some(whole) = document.filter(|whole| !whole.trim().is_empty()) {
                add_at(first, &whole)?;
            }
        }
        Ok(())
    }
}

/// Adds the files at or below a path.
fn gather(path: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    for entry in files::listed(path)? {
        if !files::name_of(&entry).starts_with('.') {
            gather(&entry, found)?;
        }
    }
    Ok(())
}

/// Calls `add` with the number of each line of a file, from 1, the line without its end, and whether it has one.
fn each_line(path: &Path, add: &mut dyn FnMut(usize, &str, bool) -> Result<()>) -> Result<()> {
    let fail = |cause: std::io::Error| Error::io(Kind::Data, "read", path, cause);
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(fail)?);
    let mut bytes = vec![];
    for number in 1.. {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes).map_err(fail)? == 0 {
            break;
        }
        if number == 1 && files::is_utf16(&bytes) {
            return Err(
                fail(std::io::Error::other("UTF-16 text, not UTF-8")).help("save it as UTF-8")
            );
        }
        let line = std::str::from_utf8(&bytes).map_err(|cause| {
            let (place, byte) = (path.display(), cause.valid_up_to() + 1);
            Error::data(format!(
                "{place}:{number}: not UTF-8 text (byte {byte} of the line)"
            ))
            .help("save it as UTF-8; Latin-1 and Windows-1252 are not")
        })?;
        let line = if number == 1 {
            line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
        } else {
            line
        };
        let whole = line.strip_suffix('\n');
        let text = whole.map_or(line, |whole| whole.strip_suffix('\r').unwrap_or(whole));
        add(number, text, whole.is_some())?;
    }
    Ok(())
}
