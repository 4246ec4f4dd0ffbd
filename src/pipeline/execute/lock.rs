//! One process a run: a lock that the system releases when its holder dies, however it dies.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::stop::Stop;

/// The file in a folder that is locked; it stays, since removing it would free the name while
/// somebody holds the lock.
pub(in crate::pipeline) const LOCK_FILE: &str = ".lock";

/// Between two looks at a lock that another process holds.
const WAIT: Duration = Duration::from_millis(100);

/// So many looks make a second.
const PATIENCE: usize = 10;

/// A folder that is this process's own until the value is dropped or the process dies.
#[derive(Debug)]
pub(in crate::pipeline) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Nobody is there any more; a process that is killed leaves its name, but not the lock.
        let _ = self.file.set_len(0);
    }
}

/// Who holds a lock, as it said itself: `process 4711 on host`.
#[derive(Debug)]
pub(in crate::pipeline) struct Held(pub(super) String);

/// Takes the lock of `folder`, which is created where missing, or says who has it.
///
/// Where the file system knows no locks, everybody gets one: better than to run nothing there.
///
/// # Errors
/// The lock file cannot be made.
pub(in crate::pipeline) fn take(folder: &Path) -> Result<Result<Lock, Held>> {
    let path = folder.join(LOCK_FILE);
    let fail = |cause: std::io::Error| Error::io(Kind::Run, "write", &path, cause);
    let mut options = File::options();
    let options = options.create(true).truncate(false).read(true).write(true);
    let (mut file, locked) = loop {
        std::fs::create_dir_all(folder).map_err(fail)?;
        let file = options.open(&path).map_err(fail)?;
        let locked = file.try_lock();
        // Between opening and locking, `attnlab clean` may have removed the folder.
        if locked.is_err() || is_at(&file, &path) {
            break (file, locked);
        }
    };
    match locked {
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Who it is may not be written yet; that somebody is there is known.
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            let holder = if holder.is_empty() {
                "another process"
            } else {
                holder
            };
            Ok(Err(Held(holder.to_owned())))
        }
        Ok(()) | Err(TryLockError::Error(_)) => {
            let host = sysinfo::System::host_name().unwrap_or_else(|_| "this machine".to_owned());
            let holder = format!("process {} on {host}\n", std::process::id());
            // A courtesy to others; the lock holds without it.
            let _ = file
                .set_len(0)
                .and_then(|()| file.write_all(holder.as_bytes()));
            Ok(Ok(Lock { file }))
        }
    }
}

/// Whether the file that is open is still the one at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let place = |found: std::fs::Metadata| (found.dev(), found.ino());
        let (open, there) = (
            file.metadata().map(place),
            std::fs::metadata(path).map(place),
        );
        open.ok() == there.ok()
    }
    // Elsewhere a file that is open cannot be removed.
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Takes the lock of `folder` as [`take`], but gives whoever only writes a status there, or looks, a
/// second to go.
///
/// # Errors
/// As [`take`]; the wish to stop.
pub(in crate::pipeline) fn take_soon(folder: &Path, stop: &Stop) -> Result<Result<Lock, Held>> {
    for _ in 0..PATIENCE {
        if let Ok(lock) = take(folder)? {
            return Ok(Ok(lock));
        }
        stop.check(|| "before it began".to_owned())?;
        std::thread::sleep(WAIT);
    }
    take(folder)
}

/// Takes the lock of `folder`, waiting for whoever has it; `waiting` hears once who that is.
///
/// # Errors
/// As [`take`]; the wish to stop.
pub(in crate::pipeline) fn wait(
    folder: &Path,
    stop: &Stop,
    waiting: impl FnOnce(&str),
) -> Result<Lock> {
    let mut waiting = Some(waiting);
    loop {
        match take(folder)? {
            Ok(lock) => return Ok(lock),
            Err(Held(holder)) => {
                if let Some(waiting) = waiting.take() {
                    waiting(&holder);
                }
                stop.check(|| format!("while waiting for {holder}"))?;
                std::thread::sleep(WAIT);
            }
        }
    }
}

/// Whether some process holds the lock of `folder`. Nothing is created.
pub(in crate::pipeline) fn is_held(folder: &Path) -> bool {
    let path: PathBuf = folder.join(LOCK_FILE);
    let Ok(file) = File::open(path) else {
        return false;
    };
    matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("not there yet");
        assert!(!is_held(&inner));
        let lock = take(&inner).expect("a file").expect("free");
        assert!(is_held(&inner));
        let held = take(&inner).expect("a file").expect_err("held");
        let start = format!("process {} on ", std::process::id());
        assert!(held.0.starts_with(&start), "{}", held.0);
        drop(lock);
        assert!(!is_held(&inner));
        assert!(take(&inner).expect("a file").is_ok());
    }

    #[test]
    fn waiting_ends_when_the_owner_goes_or_the_user_wants_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let lock = take(folder.path()).expect("a file").expect("free");
        let stop = Stop::default();
        stop.after_failure();
        let mut heard = 0;
        assert!(wait(folder.path(), &stop, |_| heard += 1).is_err());
        assert_eq!(heard, 1);
        let later = std::thread::spawn(move || {
            std::thread::sleep(WAIT);
            drop(lock);
        });
        wait(folder.path(), &Stop::default(), |_| heard += 1).expect("free at last");
        assert_eq!(heard, 2);
        later.join().expect("ended");
    }

    #[cfg(unix)]
    #[test]
    fn the_lock_of_a_folder_that_was_removed_and_made_again_is_a_new_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("inner");
        let old = take(&inner).expect("a file").expect("free");
        std::fs::remove_dir_all(&inner).expect("removed");
        let new = take(&inner).expect("a file").expect("free");
        assert!(is_held(&inner));
        drop(old);
        assert!(is_held(&inner), "the old one is nobody's");
        drop(new);
        assert!(!is_held(&inner));
    }
}
