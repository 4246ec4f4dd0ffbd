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
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(fail)?;
    let mut file = temporary().tempfile_in(folder).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    sync_folder(folder).map_err(fail)
}

/// Makes a rename last through a loss of power, where folders can be synced.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Puts the content of `from` at `to` as well: by a hard link where the file system has them, by a
/// copy elsewhere. As with [`write()`], `to` is the old file or the new one at any moment.
///
/// # Errors
/// `from` cannot be read or `to` not be written.
pub fn share(from: &Path, to: &Path) -> Result<()> {
    let fail = |cause: std::io::Error| Error::io(Kind::Run, "write", to, cause);
    let folder = to.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(fail)?;
    match temporary().make_in(folder, |path| std::fs::hard_link(from, path)) {
        Ok(link) => {
            let name = link.path().to_owned();
            link.persist(to).map_err(|e| fail(e.error))?;
            // Where `to` was the same file already, the system renames nothing.
            let _ = std::fs::remove_file(name);
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

/// Reads a UTF-8 text file; an error names the file and says what is wrong with it.
///
/// # Errors
/// Missing, unreadable, or not UTF-8 text (with the offset of the first bad byte), as `kind`.
pub fn read_text(kind: Kind, path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(kind, "read", path, e))?;
    String::from_utf8(bytes).map_err(|e| {
        let offset = e.utf8_error().valid_up_to();
        Error::io(
            kind,
            "read",
            path,
            format!("not UTF-8 text (byte {offset})"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
