//! Reading and writing rows as CSV (RFC 4180) or TSV. The only file that uses the `csv` crate.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_aux::serde_introspection::serde_introspect;

use crate::error::{Error, Kind, Result};
use crate::files;

/// Serialises a table: a header, then one line per row; floats round-trip exactly.
pub fn to_bytes<'a, R: Serialize + Deserialize<'a>>(rows: &[R], delimiter: u8) -> Result<Vec<u8>> {
    let mut writer = writer(vec![], delimiter);
    // Written first, so that even a table without rows has its columns.
    let header = writer.write_record(serde_introspect::<R>());
    let rows = header.and_then(|()| rows.iter().try_for_each(|row| writer.serialize(row)));
    rows.map_err(|e| Error::run(format!("cannot write a table row: {e}")))?;
    let bytes = writer.into_inner();
    bytes.map_err(|e| Error::run(format!("cannot write a table: {e}")))
}

fn writer<W: Write>(into: W, delimiter: u8) -> csv::Writer<W> {
    let mut builder = csv::WriterBuilder::new();
    let builder = builder.delimiter(delimiter).has_headers(false);
    builder.from_writer(into)
}

/// Writes a table atomically; the extension decides: tabs in a `.tsv`, commas in any other.
pub fn write<'a, R: Serialize + Deserialize<'a>>(path: &Path, rows: &[R]) -> Result<()> {
    files::write(path, &to_bytes(rows, delimiter(path))?)
}

/// Writes a table whose columns are only known at run time; every row has a cell for each.
pub fn write_cells(path: &Path, header: &[String], rows: &[Vec<String>]) -> Result<()> {
    let mut writer = writer(vec![], delimiter(path));
    let fail = |cause: &dyn std::fmt::Display| {
        Error::run(format!("cannot write {}: {cause}", path.display()))
    };
    for row in [header].into_iter().chain(rows.iter().map(Vec::as_slice)) {
        writer.write_record(row).map_err(|cause| fail(&cause))?;
    }
    let bytes = writer.into_inner().map_err(|cause| fail(&cause))?;
    files::write(path, &bytes)
}

/// A table written row by row; each row is flushed to the file.
#[derive(Debug)]
pub struct Appender {
    path: PathBuf,
    writer: csv::Writer<File>,
}

impl Appender {
    /// Creates a table with only its header, replacing any existing file.
    pub fn create<'a, R: Serialize + Deserialize<'a>>(path: &Path) -> Result<Self> {
        write::<R>(path, &[])?;
        Self::resume(path, u64::MAX)
    }

    /// Resumes a table, truncated to its first `bytes`.
    pub fn resume(path: &Path, bytes: u64) -> Result<Self> {
        let fail = |cause| Error::io(Kind::Run, "write", path, cause);
        let file = File::options().append(true).open(path).map_err(fail)?;
        let there = file.metadata().map_err(fail)?.len();
        file.set_len(bytes.min(there)).map_err(fail)?;
        Ok(Self {
            path: path.to_owned(),
            writer: writer(file, delimiter(path)),
        })
    }

    /// Syncs all rows to disk, so that they survive a loss of power, and returns the file's length.
    pub fn sync(&mut self) -> Result<u64> {
        let file = self.writer.get_ref();
        let synced = file.sync_data().and_then(|()| file.metadata());
        let synced = synced.map_err(|e| Error::io(Kind::Run, "write", &self.path, e))?;
        Ok(synced.len())
    }

    /// Appends a row of the type that the table was created for.
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
/// The file cannot be read, or a line is not a `Row`; the message names file and line.
pub fn read<R: DeserializeOwned>(path: &Path) -> Result<Vec<R>> {
    from_text(&files::read_text(Kind::Data, path)?, path)
}

/// As [`read`], from the text of the file at `path`, whose extension decides the delimiter.
pub fn from_text<R: DeserializeOwned>(text: &str, path: &Path) -> Result<Vec<R>> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter(path))
        .from_reader(text.as_bytes());
    let rows: Result<Vec<R>, csv::Error> = reader.deserialize().collect();
    rows.map_err(|cause| {
        let what = resaved(text, delimiter(path)).unwrap_or_else(|| explain(&cause));
        Error::io(Kind::Data, "read", path, what).help(MEND)
    })
}

/// The help line for a table that cannot be read.
const MEND: &str =
    "`attnlab run EXPERIMENT` restores the files of finished runs; with --again it repeats them";

/// The message for a table whose header uses a different delimiter from the one it was written with.
fn resaved(text: &str, delimiter: u8) -> Option<String> {
    let header = text.lines().next()?;
    let (written, others) = (char::from(delimiter), [';', '\t', ',']);
    let found = others.into_iter().find(|&other| header.contains(other));
    let found = found.filter(|_| !header.contains(written))?;
    let named = |separator| match separator {
        '\t' => "tabs".to_owned(),
        other => format!("`{other}`"),
    };
    Some(format!(
        "its cells are separated by {}, not {}; a spreadsheet may have saved it again",
        named(found),
        named(written)
    ))
}

/// Describes where and how a table is malformed.
fn explain(cause: &csv::Error) -> String {
    use csv::ErrorKind::{Deserialize, UnequalLengths};
    let line = |position: &Option<csv::Position>| {
        let line = position.as_ref().map(csv::Position::line);
        line.map_or(String::new(), |line| format!("line {line}: "))
    };
    match cause.kind() {
        Deserialize { pos, err } => {
            let column = err.field().map(|field| format!("column {}: ", field + 1));
            let column = column.unwrap_or_default();
            format!("{}{column}{}", line(pos), err.kind())
        }
        UnequalLengths {
            pos,
            expected_len,
            len,
        } => format!(
            "{}{len} cells, where the header has {expected_len}",
            line(pos)
        ),
        _ => cause.to_string(),
    }
}

fn delimiter(path: &Path) -> u8 {
    match path.extension().is_some_and(|e| e == "tsv") {
        true => b'\t',
        false => b',',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::rows::{PredictionRow, StepRow};

    fn message<R: DeserializeOwned + std::fmt::Debug>(text: &str, name: &str) -> String {
        let rows = from_text::<R>(text, Path::new(name));
        rows.expect_err("refused").message()
    }

    const STEPS: &str = "stage,epoch,step,documents,tokens,loss_nats,learning_rate,gradient_norm\n";

    #[test]
    fn a_number_that_is_not_finite_is_neither_read_nor_written() {
        for strange in ["NaN", "inf", "-inf", "1e999"] {
            let steps = format!("{STEPS}pretrain,1,1,2,30,{strange},0.1,1.5\n");
            let says = message::<StepRow>(&steps, "m.csv");
            let start = "cannot read m.csv: line 2: ";
            assert!(
                says.starts_with(start) && says.ends_with("is not a finite number"),
                "{says}"
            );
            let answers = "question\tgold\tpredicted\tcorrect\tlog_probability\n";
            let answers = format!("{answers}Who?\tRome\tinf\tfalse\t{strange}\n");
            let says = message::<PredictionRow>(&answers, "p.tsv");
            assert!(says.ends_with("is not a finite number"), "{says}");
        }
        let row = |loss_nats| StepRow {
            stage: "pretrain".to_owned(),
            epoch: 1,
            step: 1,
            documents: 2,
            tokens: 30,
            loss_nats,
            learning_rate: 0.1,
            gradient_norm: 1.5,
        };
        assert!(to_bytes(&[row(1.0)], b',').is_ok());
        assert!(to_bytes(&[row(f64::NAN)], b',').is_err());
    }

    #[test]
    fn a_table_that_a_spreadsheet_saved_again_says_so() {
        let german = format!("{STEPS}pretrain,1,1,2,30,0.5,0.1,1.5\n").replace(',', ";");
        let german = german.replace('.', ",");
        assert_eq!(
            message::<StepRow>(&german, "m.csv"),
            "cannot read m.csv: its cells are separated by `;`, not `,`; a spreadsheet may have saved it again"
        );
        let marked = format!("\u{feff}{STEPS}pretrain,1,1,2,30,0.5,0.1,1.5\r\n");
        assert_eq!(
            from_text::<StepRow>(&marked, Path::new("m.csv"))
                .expect("rows")
                .len(),
            1
        );
        let short = format!("{STEPS}pretrain,1,1\n");
        let says = "cannot read m.csv: line 2: 3 cells, where the header has 8";
        assert_eq!(message::<StepRow>(&short, "m.csv"), says);
        let word = format!("{STEPS}pretrain,1,one,2,30,0.5,0.1,1.5\n");
        let says = "cannot read m.csv: line 2: column 3: invalid digit found in string";
        assert_eq!(message::<StepRow>(&word, "m.csv"), says);
    }
}
