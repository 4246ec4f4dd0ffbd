//! Writing files so that a reader never sees half of one.

use std::io::Write as _;
use std::path::Path;

use crate::error::{Error, Kind, Result};

/// Writes `bytes` beside `path`, syncs and renames into place; creates the folder where missing.
///
/// # Errors
/// The folder or file cannot be written; what stood at `path` before is then untouched.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |cause: std::io::Error| Error::io(Kind::Run, "write", path, cause);
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(fail)?;
    let mut file = temporary().tempfile_in(folder).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}

/// A hidden temporary file with the permissions that any new file gets, not the private default.
fn temporary() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writing-");
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
