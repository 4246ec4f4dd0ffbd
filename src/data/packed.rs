//! Token ids in a file: written once from front to back, read in pieces, never held in memory as a whole.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::files;

/// Ids per piece while a file is checked or written.
const PIECE: usize = 1 << 20;

/// A file of token ids, 2 or 4 bytes each, little-endian.
pub struct PackedIds {
    file: File,
    path: PathBuf,
    /// Bytes per id.
    width: usize,
    /// BLAKE3 sum of the file.
    checksum: String,
}

/// Bytes per id in a vocabulary of so many ids.
pub fn width(vocabulary: usize) -> usize {
    if vocabulary <= 1 << 16 { 2 } else { 4 }
}

impl PackedIds {
    /// Opens a file that was written by an [`IdWriter`]; `None` unless it is to the byte what was written.
    pub fn open(path: &Path, width: usize, checksum: &str) -> Option<Self> {
        let found = checksum_of(path).ok()?;
        let file = File::open(path).ok()?;
        (found == checksum).then(|| Self {
            file,
            path: path.to_owned(),
            width,
            checksum: found,
        })
    }

    pub fn checksum(&self) -> &str {
        &self.checksum
    }

    /// The ids in a range.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u32>> {
        let mut bytes = vec![0; (range.end - range.start) as usize * self.width];
        read_at(&self.file, &mut bytes, range.start * self.width as u64)
            .map_err(|cause| Error::io(Kind::Data, "read", &self.path, cause))?;
        let id = |bytes: &[u8]| {
            let mut all = [0; 4];
            all[..bytes.len()].copy_from_slice(bytes);
            u32::from_le_bytes(all)
        };
        Ok(bytes.chunks_exact(self.width).map(id).collect())
    }
}

/// Reads exactly `bytes.len()` bytes from a place in a file; several threads may do so at once.
#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, bytes, offset)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[read..];
        offset += read as u64;
    }
    Ok(())
}

/// The BLAKE3 sum of a file, read piece by piece.
fn checksum_of(path: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Writes a file of token ids, beside its place until it is whole.
pub struct IdWriter {
    file: BufWriter<tempfile::NamedTempFile>,
    path: PathBuf,
    width: usize,
    hasher: blake3::Hasher,
}

impl IdWriter {
    /// Begins a file; its folder is created.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(path: &Path, width: usize) -> Result<Self> {
        let file = files::begin(path).map_err(|cause| Self::failed(path, cause))?;
        Ok(Self {
            file: BufWriter::with_capacity(PIECE, file),
            path: path.to_owned(),
            width,
            hasher: blake3::Hasher::new(),
        })
    }

    fn failed(path: &Path, cause: std::io::Error) -> Error {
        Error::io(Kind::Data, "write", path, cause)
    }

    /// Appends ids.
    ///
    /// # Errors
    /// The disk is full.
    pub fn add(&mut self, ids: &[u32]) -> Result<()> {
        let width = self.width;
        let bytes = ids
            .iter()
            .flat_map(|id| id.to_le_bytes().into_iter().take(width));
        let bytes: Vec<u8> = bytes.collect();
        self.hasher.update(&bytes);
        let written = self.file.write_all(&bytes);
        written.map_err(|cause| Self::failed(&self.path, cause))
    }

    /// Puts the file in its place, and returns its BLAKE3 sum.
    ///
    /// # Errors
    /// The disk is full.
    pub fn finish(self) -> Result<String> {
        let Self {
            file, path, hasher, ..
        } = self;
        let placed = || {
            let file = file
                .into_inner()
                .map_err(std::io::IntoInnerError::into_error)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        placed().map_err(|cause: std::io::Error| Self::failed(&path, cause))?;
        Ok(hasher.finalize().to_hex().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_were_written_and_a_changed_file_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        for (vocabulary, ids) in [(300, [1, 299, 7]), (1 << 17, [1, 100_000, 7])] {
            let (path, width) = (folder.path().join("ids"), width(vocabulary));
            let mut writer = IdWriter::create(&path, width).expect("begun");
            writer.add(&ids[..1]).expect("written");
            writer.add(&ids[1..]).expect("written");
            assert!(!path.exists(), "it is written beside its place");
            let sum = writer.finish().expect("placed");
            let packed = PackedIds::open(&path, width, &sum).expect("whole");
            assert_eq!(packed.read(1..3).expect("readable"), ids[1..]);
            assert!(packed.read(1..4).is_err(), "past its end");
            let mut bytes = std::fs::read(&path).expect("there");
            bytes[0] ^= 1;
            std::fs::write(&path, bytes).expect("changed");
            assert!(PackedIds::open(&path, width, &sum).is_none());
            std::fs::remove_file(&path).expect("removed");
        }
    }
}
