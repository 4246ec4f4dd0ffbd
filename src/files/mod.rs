//! Atomic file writes: a reader never sees a partially written file.

use std::borrow::Cow;
use std::fs::Metadata;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use crate::error::{Error, Kind, Result};

/// Writes `bytes` beside `path`, syncs and renames into place; creates the folder where missing.
///
/// # Errors
/// The folder or file cannot be written; an existing file at `path` is then unchanged, unless only
/// the final sync of the folder failed.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = folder_of(path);
    let written = || {
        std::fs::create_dir_all(folder)?;
        let file = beside(path, bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync_folder(folder)
    };
    written().map_err(|cause| Error::io(Kind::Run, "write", path, cause))
}

/// The parent folder of `path`: for a bare file name, the current directory.
pub fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|one| !one.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// A temporary file with this content in the folder of `path`, which must exist.
fn beside(path: &Path, bytes: &[u8]) -> std::io::Result<NamedTempFile> {
    let mut file = temporary().tempfile_in(folder_of(path))?;
    file.write_all(bytes)?;
    Ok(file)
}

/// A file to be written piece by piece beside `path`, and persisted there; its folder is created.
pub fn begin(path: &Path) -> std::io::Result<NamedTempFile> {
    std::fs::create_dir_all(folder_of(path))?;
    temporary().tempfile_in(folder_of(path))
}

/// Syncs a file, which another process may have written, to disk before it gets its new name.
fn sync_file(path: &Path) -> std::io::Result<()> {
    // Windows syncs only what is open for writing.
    match cfg!(unix) {
        true => std::fs::File::open(path)?.sync_all(),
        false => Ok(()),
    }
}

/// Creates a file atomically, with its content; `false` if `path` already exists with other content. The
/// file is not synced, its folder must exist, and no other process may write the same `bytes`.
pub fn create(path: &Path, bytes: &[u8]) -> std::io::Result<bool> {
    create_by(|from, to| std::fs::hard_link(from, to), path, bytes)
}

fn create_by(
    link: impl Fn(&Path, &Path) -> std::io::Result<()>,
    path: &Path,
    bytes: &[u8],
) -> std::io::Result<bool> {
    use std::io::ErrorKind::{AlreadyExists, NotFound};
    let created = match link(beside(path, bytes)?.path(), path) {
        Err(cause) if !matches!(cause.kind(), AlreadyExists | NotFound) => {
            // The file system has no hard links: the file is briefly empty.
            std::fs::File::create_new(path).and_then(|mut file| file.write_all(bytes))
        }
        linked => linked,
    };
    match created {
        // It may be our own: a network file system whose reply was lost has already created the link.
        Err(cause) if cause.kind() == AlreadyExists => match std::fs::read(path) {
            Err(cause) if cause.kind() == NotFound => Ok(false),
            found => found.map(|found| found == bytes),
        },
        created => created.map(|()| true),
    }
}

/// Replaces a file atomically. The file is not synced, and its folder must exist.
pub fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    beside(path, bytes)?.persist(path)?;
    Ok(())
}

/// Syncs a folder, where that is possible, so that a rename survives a power loss.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    match sync_file(folder) {
        Err(cause) if !cannot_sync_folders(&cause) => Err(cause),
        _ => Ok(()),
    }
}

/// Whether an error says that folders cannot be synced here at all, as on CIFS, vboxsf and some FUSE
/// file systems. The file itself is synced and renamed by then, so there is nothing more to do.
/// A folder that may be written but not read cannot be opened to be synced either.
fn cannot_sync_folders(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidInput, IsADirectory, PermissionDenied, Unsupported};
    /// The same number on every Unix; Rust has no kind for it.
    const EBADF: i32 = 9;
    let kinds = [InvalidInput, Unsupported, PermissionDenied, IsADirectory];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(EBADF)
}

/// Whether two files have the same content; hard links to one file are not read.
pub fn are_alike(one: &Path, other: &Path) -> bool {
    let (Ok(a), Ok(b)) = (one.metadata(), other.metadata()) else {
        return false;
    };
    let alike = || matches!((std::fs::read(one), std::fs::read(other)), (Ok(a), Ok(b)) if a == b);
    a.len() == b.len() && (identity(&a).is_some() && identity(&a) == identity(&b) || alike())
}

/// Device and inode, which all hard links to one file share; `None` on systems other than Unix.
pub fn identity(file: &Metadata) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        Some((file.dev(), file.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        None
    }
}

/// Makes the content of `from` available at `to` too: by a hard link where the file system supports them,
/// otherwise by a copy. As with [`write()`], `to` is replaced atomically.
pub fn share(from: &Path, to: &Path) -> Result<()> {
    let fail = |cause: std::io::Error| Error::io(Kind::Run, "write", to, cause);
    let folder = folder_of(to);
    std::fs::create_dir_all(folder).map_err(fail)?;
    let Ok(link) = temporary().make_in(folder, |path| std::fs::hard_link(from, path)) else {
        return write(to, &read(Kind::Run, from)?);
    };
    let name = link.path().to_owned();
    link.persist(to).map_err(|e| fail(e.error))?;
    // If `to` already was the same file, the rename does nothing.
    let _ = std::fs::remove_file(name);
    sync_file(to)
        .and_then(|()| sync_folder(folder))
        .map_err(fail)
}

/// Removes the temporary files that a killed process left in `folder` and below, except in folders that are not `free`.
/// The caller must hold the lock under which such files are written.
pub fn remove_unfinished(folder: &Path, free: impl Fn(&Path) -> bool) {
    for path in unfinished(folder, &free) {
        // A file that cannot be removed does no harm.
        let _ = std::fs::remove_file(path);
    }
}

/// The paths that [`remove_unfinished`] would remove.
pub fn unfinished(folder: &Path, free: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    // The subfolders of a folder in use may be in use too.
    if !free(folder) {
        return vec![];
    }
    let below = |path: PathBuf| match is_folder(&path) {
        true => unfinished(&path, free),
        false if name_of(&path).starts_with(UNFINISHED) => vec![path],
        false => vec![],
    };
    entries(folder).into_iter().flat_map(below).collect()
}

/// The paths in a folder, sorted; none if it cannot be listed.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    listed(folder).unwrap_or_default()
}

/// The same, with an error for a folder that cannot be listed.
pub fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |cause| Error::io(Kind::Run, "list", folder, cause);
    let entries = std::fs::read_dir(folder).map_err(fail)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<std::io::Result<Vec<_>>>().map_err(fail)?;
    paths.sort();
    Ok(paths)
}

/// The last part of a path; empty if there is none.
pub fn name_of(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// Whether `path` is a folder, and not a symbolic link to one.
pub fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

/// Removes a file or folder, if it exists.
pub fn remove(path: &Path) -> Result<()> {
    let removed = match is_folder(path) {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    };
    match removed {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(Kind::Run, "remove", path, cause))
        }
        _ => Ok(()),
    }
}

/// Writes a value as pretty-printed JSON.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).expect("plain tables are JSON");
    text.push(b'\n');
    write(path, &text)
}

/// Reads a value that [`write_json`] has written; `None` if the file is missing or invalid.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Name prefix of a file while it is being written.
const UNFINISHED: &str = ".writing-";

/// A hidden temporary file with the permissions that any new file gets, not the private default.
fn temporary() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

/// The byte-order mark that Windows programs put before UTF-8 text; it is not part of the text.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads a file; an error has this `kind` and names the file.
pub fn read(kind: Kind, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|cause| Error::io(kind, "read", path, cause))
}

/// The BLAKE3 checksum of some bytes, in hexadecimal.
pub fn checksum(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Reads a UTF-8 text file, without the byte-order mark that it may begin with; an error names the
/// file and says what is wrong with it.
///
/// # Errors
/// Missing, unreadable, or not UTF-8 text (with the offset of the first bad byte), as `kind`.
pub fn read_text(kind: Kind, path: &Path) -> Result<String> {
    text_of(kind, path, read(kind, path)?)
}

/// As [`read_text`], from the bytes of the file at `path`.
///
/// # Errors
/// They are not UTF-8 text.
pub fn text_of(kind: Kind, path: &Path, bytes: Vec<u8>) -> Result<String> {
    let fail = |cause: String| Error::io(kind, "read", path, cause);
    if is_utf16(&bytes) {
        return Err(fail("UTF-16 text, not UTF-8".to_owned()).help("save it as UTF-8"));
    }
    let mut text = String::from_utf8(bytes).map_err(|e| {
        let offset = e.utf8_error().valid_up_to();
        fail(format!("not UTF-8 text (byte {offset})"))
    })?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    Ok(text)
}

/// Whether bytes start with a UTF-16 byte-order mark, as PowerShell and Notepad write it.
pub fn is_utf16(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff")
}

#[cfg(test)]
mod tests;
