//! Writing files so that a reader never sees half of one.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, Result};

/// Writes `bytes` beside `path`, syncs and renames into place; creates the folder where missing.
///
/// # Errors
/// The folder or file cannot be written; what stood at `path` before is then untouched, unless only
/// the last sync of the folder failed.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |cause: std::io::Error| Error::io(Kind::Run, "write", path, cause);
    let folder = folder_of(path);
    std::fs::create_dir_all(folder).map_err(fail)?;
    let mut file = temporary().tempfile_in(folder).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    sync_folder(folder).map_err(fail)
}

/// The folder that holds `path`: for a bare file name, the current one.
pub fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|one| !one.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Syncs a file, which another process may have written, to disk before it gets its new name.
fn sync_file(path: &Path) -> std::io::Result<()> {
    // Windows syncs only what is open for writing.
    match cfg!(unix) {
        true => std::fs::File::open(path)?.sync_all(),
        false => Ok(()),
    }
}

/// Creates a file atomically, with its content; `false` if there is one at `path` already. The file is not
/// synced, and its folder must exist.
///
/// # Errors
/// The file cannot be written.
pub fn create(path: &Path, bytes: &[u8]) -> std::io::Result<bool> {
    use std::io::ErrorKind::{AlreadyExists, NotFound};
    let mut file = temporary().tempfile_in(folder_of(path))?;
    file.write_all(bytes)?;
    let created = match std::fs::hard_link(file.path(), path) {
        Err(cause) if !matches!(cause.kind(), AlreadyExists | NotFound) => {
            // The file system has no hard links: then it is empty for a moment.
            std::fs::File::create_new(path).and_then(|mut file| file.write_all(bytes))
        }
        linked => linked,
    };
    match created {
        Err(cause) if cause.kind() == AlreadyExists => Ok(false),
        created => created.map(|()| true),
    }
}

/// Replaces a file atomically. The file is not synced, and its folder must exist.
///
/// # Errors
/// The file cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = temporary().tempfile_in(folder_of(path))?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// Makes a rename last through a loss of power, where folders can be synced.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
        return synced.or_else(|error| match cannot_sync_folders(&error) {
            true => Ok(()),
            false => Err(error),
        });
    }
    Ok(())
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

/// Whether two files hold the same bytes; hard links to one file are not read.
pub fn are_alike(one: &Path, other: &Path) -> bool {
    let sizes = [one, other].map(|path| std::fs::metadata(path).map(|file| file.len()).ok());
    let [Some(size), Some(same)] = sizes else {
        return false;
    };
    let alike = || matches!((std::fs::read(one), std::fs::read(other)), (Ok(a), Ok(b)) if a == b);
    size == same && (is_one_file(one, other) || alike())
}

/// Whether two paths are hard links to one file, as far as the system tells.
fn is_one_file(one: &Path, other: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let identity = |path| std::fs::metadata(path).map(|file| (file.dev(), file.ino()));
        matches!((identity(one), identity(other)), (Ok(a), Ok(b)) if a == b)
    }
    #[cfg(not(unix))]
    {
        let _ = (one, other);
        false
    }
}

/// Puts the content of `from` at `to` as well: by a hard link where the file system has them, by a
/// copy elsewhere. As with [`write()`], `to` is the old file or the new one at any moment.
///
/// # Errors
/// `from` cannot be read or `to` not be written.
pub fn share(from: &Path, to: &Path) -> Result<()> {
    let fail = |cause: std::io::Error| Error::io(Kind::Run, "write", to, cause);
    let folder = folder_of(to);
    std::fs::create_dir_all(folder).map_err(fail)?;
    match temporary().make_in(folder, |path| std::fs::hard_link(from, path)) {
        Ok(link) => {
            let name = link.path().to_owned();
            link.persist(to).map_err(|e| fail(e.error))?;
            // Where `to` was the same file already, the system renames nothing.
            let _ = std::fs::remove_file(name);
            sync_file(to).map_err(fail)?;
        }
        Err(_) => {
            let bytes = std::fs::read(from).map_err(|e| Error::io(Kind::Run, "read", from, e))?;
            return write(to, &bytes);
        }
    }
    sync_folder(folder).map_err(fail)
}

/// Removes what a killed process was writing in `folder` when it died. Whoever calls it holds the
/// lock under which such files are written.
pub fn remove_unfinished_here(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            // What cannot be removed is in nobody's way.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The same for `folder` and all folders below it.
pub fn remove_unfinished(folder: &Path) {
    remove_unfinished_here(folder);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_unfinished(&entry.path());
        }
    }
}

/// The paths that [`remove_unfinished`] would remove, in the folders that are `free` to be cleaned.
pub fn unfinished(folder: &Path, free: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = vec![];
    // Folders within one that somebody works in are his too.
    if !free(folder) {
        return found;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(unfinished(&entry.path(), free));
        } else if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// The paths in a folder, sorted; none if there is no such folder.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Removes a file or folder; one that is not there is removed already.
///
/// # Errors
/// It is there and cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    let is_folder = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let removed = if is_folder {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    match removed {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(Kind::Run, "remove", path, cause))
        }
        _ => Ok(()),
    }
}

/// Writes a value as JSON that people can read.
///
/// # Errors
/// See [`write()`].
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).expect("plain tables are JSON");
    text.push(b'\n');
    write(path, &text)
}

/// Reads a value that [`write_json`] has written; `None` if the file is missing or not what it should be.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// How the name of a file begins while it is written.
const UNFINISHED: &str = ".writing-";

/// A hidden temporary file with the permissions that any new file gets, not the private default.
fn temporary() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

/// The byte-order mark that Windows programs put before UTF-8 text; it is no part of the text.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads a UTF-8 text file, without the byte-order mark that it may begin with; an error names the
/// file and says what is wrong with it.
///
/// # Errors
/// Missing, unreadable, or not UTF-8 text (with the offset of the first bad byte), as `kind`.
pub fn read_text(kind: Kind, path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(kind, "read", path, e))?;
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
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_lies_in_the_current_folder() {
        let folder = |path| folder_of(Path::new(path)).to_str().expect("text");
        assert_eq!(
            ["a.csv", "./a.csv", "b/a.csv", "/a.csv"].map(folder),
            [".", ".", "b", "/"]
        );
        // The tests run in the root of the package, where nothing else has this name.
        let name = Path::new("written-by-a-bare-name.tmp");
        let written = write(name, b"whole").and_then(|()| write(name, b"again"));
        let shared = share(name, Path::new("shared-by-a-bare-name.tmp"));
        let found = std::fs::read("shared-by-a-bare-name.tmp");
        for name in ["written-by-a-bare-name.tmp", "shared-by-a-bare-name.tmp"] {
            remove(Path::new(name)).expect("removed");
        }
        written.and(shared).expect("written and shared");
        assert_eq!(found.expect("shared"), b"again");
    }

    #[test]
    #[cfg(unix)]
    fn a_folder_that_cannot_be_synced_is_no_error_and_a_failing_disk_is() {
        // EBADF, EACCES, EISDIR, EINVAL; EIO, ENOENT, EMFILE, ENOSPC.
        let ignored = |code| cannot_sync_folders(&std::io::Error::from_raw_os_error(code));
        assert_eq!([9, 13, 21, 22].map(ignored), [true; 4]);
        assert_eq!([5, 2, 24, 28].map(ignored), [false; 4]);
        let unsupported = std::io::Error::from(std::io::ErrorKind::Unsupported);
        assert!(cannot_sync_folders(&unsupported));
        #[cfg(target_os = "linux")]
        // ENOSYS, EOPNOTSUPP.
        assert_eq!([38, 95].map(ignored), [true; 2]);
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_text() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.txt");
        let read = |bytes: &[u8]| {
            write(&path, bytes).expect("written");
            read_text(Kind::Data, &path).map_err(|error| error.message())
        };
        assert_eq!(
            read(b"\xef\xbb\xbfa\xef\xbb\xbf").expect("text"),
            "a\u{feff}"
        );
        let refused = read(b"\xff\xfea\0").expect_err("not UTF-8");
        assert!(
            refused.ends_with("t.txt: UTF-16 text, not UTF-8"),
            "{refused}"
        );
    }

    #[test]
    fn files_are_alike_when_their_bytes_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for (name, content) in [("a", "1,2"), ("b", "1,2"), ("c", "1;2")] {
            write(&path(name), content.as_bytes()).expect("written");
        }
        share(&path("a"), &path("link")).expect("shared");
        let alike = |other| are_alike(&path("a"), &path(other));
        assert_eq!(
            ["link", "b", "c", "gone"].map(alike),
            [true, true, false, false]
        );
    }

    #[test]
    fn sharing_twice_leaves_one_name_and_replaces_what_was_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        write(&path("from"), b"one").expect("written");
        write(&path("in/to"), b"old").expect("written");
        for _ in 0..2 {
            share(&path("from"), &path("in/to")).expect("shared");
            assert_eq!(std::fs::read(path("in/to")).expect("a file"), b"one");
            let names = std::fs::read_dir(path("in")).expect("a folder").count();
            assert_eq!(names, 1, "nothing is left beside it");
        }
        write(&path("from"), b"two").expect("written");
        assert_eq!(std::fs::read(path("in/to")).expect("a file"), b"one");
    }

    #[test]
    fn unfinished_files_are_found_and_removed_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for name in [
            "kept",
            "a/.writing-x",
            "a/kept",
            "a/b/.writing-y",
            "a/b/c/.writing-z",
        ] {
            write(&path(name), b"").expect("written");
        }
        let found = unfinished(folder.path(), &|folder| !folder.ends_with("b"));
        assert_eq!(found, [path("a/.writing-x")]);
        remove_unfinished(folder.path());
        assert_eq!(
            unfinished(folder.path(), &|_| true),
            [""; 0].map(PathBuf::from)
        );
        assert!(path("kept").is_file() && path("a/kept").is_file());
    }
}
