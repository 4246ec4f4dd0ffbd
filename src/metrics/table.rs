//! Reading and writing rows as CSV (RFC 4180) or TSV. The only file that knows the `csv` crate.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_aux::serde_introspection::serde_introspect;

use crate::error::{Error, Kind, Result};
use crate::files;

/// The bytes of a table: a header, then one line a row; floats print so that they read back exactly.
///
/// # Errors
/// A row that is not flat.
pub fn to_bytes<'a, R: Serialize + Deserialize<'a>>(rows: &[R], delimiter: u8) -> Result<Vec<u8>> {
    let mut writer = writer::<R, _>(vec![], delimiter)?;
    for row in rows {
        writer
            .serialize(row)
            .map_err(|e| Error::run(format!("cannot write a table row: {e}")))?;
    }
    writer
        .into_inner()
        .map_err(|e| Error::run(format!("cannot write a table: {e}")))
}

/// A writer that has written the header: a table without rows still says what its columns are.
fn writer<'a, R: Deserialize<'a>, W: Write>(into: W, delimiter: u8) -> Result<csv::Writer<W>> {
    let mut builder = csv::WriterBuilder::new();
    let mut writer = builder
        .delimiter(delimiter)
        .has_headers(false)
        .from_writer(into);
    let header = serde_introspect::<R>();
    writer
        .write_record(header)
        .map_err(|e| Error::run(format!("cannot write a header: {e}")))?;
    Ok(writer)
}

/// Writes a table; the extension decides: `.tsv` by tabs, anything else by commas.
///
/// # Errors
/// See [`files::write`].
pub fn write<'a, R: Serialize + Deserialize<'a>>(path: &Path, rows: &[R]) -> Result<()> {
    files::write(path, &to_bytes(rows, delimiter(path))?)
}

/// Writes a table whose columns are known only when it is made; every row has a cell for each.
///
/// # Errors
/// See [`files::write`].
pub fn write_cells(path: &Path, header: &[String], rows: &[Vec<String>]) -> Result<()> {
    let mut builder = csv::WriterBuilder::new();
    let mut writer = builder.delimiter(delimiter(path)).from_writer(vec![]);
    let fail = |cause: &dyn std::fmt::Display| {
        Error::run(format!("cannot write {}: {cause}", path.display()))
    };
    for row in [header].into_iter().chain(rows.iter().map(Vec::as_slice)) {
        writer.write_record(row).map_err(|cause| fail(&cause))?;
    }
    let bytes = writer.into_inner().map_err(|cause| fail(&cause))?;
    files::write(path, &bytes)
}

/// A table that grows row by row; each row is in the file before the next is made.
#[derive(Debug)]
pub struct Appender {
    path: PathBuf,
    writer: csv::Writer<File>,
}

impl Appender {
    /// Starts a table with nothing but its header, in place of any that was there.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create<'a, R: Deserialize<'a>>(path: &Path) -> Result<Self> {
        files::write(path, b"")?;
        let file = File::options().append(true).open(path);
        let file = file.map_err(|e| Error::io(Kind::Run, "write", path, e))?;
        let mut writer = writer::<R, _>(file, delimiter(path))?;
        writer
            .flush()
            .map_err(|e| Error::io(Kind::Run, "write", path, e))?;
        Ok(Self {
            path: path.to_owned(),
            writer,
        })
    }

    /// Goes on with a table as it was when it had `bytes`; what came later is cut off.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn resume(path: &Path, bytes: u64) -> Result<Self> {
        let fail = |cause| Error::io(Kind::Run, "write", path, cause);
        let file = File::options().append(true).open(path).map_err(fail)?;
        let there = file.metadata().map_err(fail)?.len();
        file.set_len(bytes.min(there)).map_err(fail)?;
        let mut builder = csv::WriterBuilder::new();
        let writer = builder
            .delimiter(delimiter(path))
            .has_headers(false)
            .from_writer(file);
        Ok(Self {
            path: path.to_owned(),
            writer,
        })
    }

    /// Makes all rows so far last through a loss of power, and returns how many bytes they take.
    ///
    /// # Errors
    /// As [`Appender::add`].
    pub fn sync(&mut self) -> Result<u64> {
        let file = self.writer.get_ref();
        let synced = file.sync_data().and_then(|()| file.metadata());
        let synced = synced.map_err(|e| Error::io(Kind::Run, "write", &self.path, e))?;
        Ok(synced.len())
    }

    /// Adds a row, of the type that the table was created for.
    ///
    /// # Errors
    /// The disk is full, or the file is gone.
    pub fn add<R: Serialize>(&mut self, row: &R) -> Result<()> {
        let fail = |cause: csv::Error| Error::io(Kind::Run, "write", &self.path, cause);
        self.writer.serialize(row).map_err(fail)?;
        self.writer
            .flush()
            .map_err(|e| Error::io(Kind::Run, "write", &self.path, e))
    }
}

/// Reads a table written by [`write()`].
///
/// # Errors
/// Missing or unreadable, or a line that is not a `Row`: the message names file and line.
pub fn read<R: DeserializeOwned>(path: &Path) -> Result<Vec<R>> {
    from_text(&files::read_text(Kind::Data, path)?, path)
}

/// As [`read`], from the text of the file at `path`, which decides the delimiter.
///
/// # Errors
/// A line that is not a `Row`: the message names file and line.
pub fn from_text<R: DeserializeOwned>(text: &str, path: &Path) -> Result<Vec<R>> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter(path))
        .from_reader(text.as_bytes());
    let rows: Result<Vec<R>, csv::Error> = reader.deserialize().collect();
    rows.map_err(|e| Error::io(Kind::Data, "read", path, e))
}

fn delimiter(path: &Path) -> u8 {
    if path.extension().is_some_and(|e| e == "tsv") {
        b'\t'
    } else {
        b','
    }
}
