//! One process per folder, enforced by a file lock and by a claim file that works without locks.
//!
//! The system releases the lock when its holder dies, however it dies. Where the file system has no locks,
//! or locks that work within one machine only, the [`claim`] keeps others out.

mod claim;
mod heartbeat;
mod holder;

use std::fs::{File, Metadata, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use self::claim::Claim;
use self::heartbeat::Heartbeat;
use self::holder::{Liveness, SELF};
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::stop::{Stop, TakenOver};

/// The file in a folder that is locked; it stays, since removing it would free the name while
/// somebody holds the lock. Names of other files of this module begin with it.
const LOCK_FILE: &str = ".lock";

/// Polling interval for a lock that another process holds.
const WAIT: Duration = Duration::from_millis(100);

/// Polls per second.
const PATIENCE: usize = 10;

/// Timing and kind of locking; tests use their own.
#[derive(Clone, Copy)]
struct Rules {
    flock: fn(&File) -> std::result::Result<(), TryLockError>,
    /// Interval between two heartbeats of a holder.
    beat: Duration,
    /// A holder on another machine without a heartbeat for this long counts as dead.
    still: Duration,
    now: fn() -> Instant,
}

/// Network file systems show what another machine has written a few seconds late, hence the factor
/// between the two.
const RULES: Rules = Rules {
    flock: File::try_lock,
    beat: Duration::from_secs(3),
    still: Duration::from_secs(60),
    now: Instant::now,
};

/// A folder locked by this process until the value is dropped or the process dies.
#[derive(Debug)]
pub struct Lock {
    /// Withdrawn before the file is unlocked.
    claim: Claim,
    file: File,
}

impl Lock {
    /// Whether another process has taken the folder over: this one was suspended, or cut off from the
    /// file system, for so long that it was taken for dead. Nothing may be written there any more.
    pub fn taken_over(&self) -> &TakenOver {
        &self.claim.taken_over
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The holder is gone; a killed process leaves its name behind, but not the lock.
        if self.taken_over().check().is_ok() {
            let _ = self.file.set_len(0);
        }
    }
}

/// The process that holds a folder.
#[derive(Debug)]
pub struct Held {
    /// Its name: `process 4711 on node7`.
    pub holder: String,
    /// Whether it is known to be alive; a process on another machine may be gone.
    is_alive: bool,
}

impl Held {
    /// Held by the process of this name; `None` if it has not written its name yet.
    fn by(name: Option<String>, is_alive: bool) -> Self {
        let holder = name.unwrap_or_else(|| "another process".to_owned());
        Self { holder, is_alive }
    }
}

/// Whether a file with this name is one of the lock files.
pub fn is_lock_file(name: &str) -> bool {
    name.starts_with(LOCK_FILE)
}

/// A process that wants a folder, with the last heartbeats it has seen of the holder and of a process that is taking
/// over from it.
struct Contender<'a> {
    folder: &'a Path,
    rules: Rules,
    holder: Heartbeat,
    successor: Heartbeat,
}

impl<'a> Contender<'a> {
    fn new(folder: &'a Path, rules: Rules) -> Self {
        Self {
            folder,
            rules,
            holder: Heartbeat::default(),
            successor: Heartbeat::default(),
        }
    }

    /// Takes the lock of the folder, which is created where missing, or says who has it.
    fn try_once(&mut self) -> Result<Result<Lock, Held>> {
        let path = self.folder.join(LOCK_FILE);
        let fail = |cause: std::io::Error| Error::io(Kind::Run, "write", &path, cause);
        let mut options = File::options();
        let options = options.create(true).truncate(false).read(true).write(true);
        loop {
            std::fs::create_dir_all(self.folder).map_err(fail)?;
            let mut file = options.open(&path).map_err(fail)?;
            let locked = (self.rules.flock)(&file);
            if let Err(TryLockError::WouldBlock) = locked {
                return Ok(Err(Held::by(written_in(&mut file), true)));
            }
            let claimed = match self.claim() {
                // Between opening and locking, `attnlab clean` may have removed the folder.
                Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => continue,
                Ok(_) if locked.is_ok() && !is_at(&file, &path) => continue,
                claimed => claimed.map_err(fail)?,
            };
            return Ok(claimed.map(|claim| {
                // Only informs others; the lock works without it.
                let emptied = file.set_len(0);
                let _ = emptied.and_then(|()| writeln!(file, "{}", SELF.name()));
                Lock { claim, file }
            }));
        }
    }
}

/// The name that the holder of a lock has written into its file.
fn written_in(file: &mut File) -> Option<String> {
    let mut name = String::new();
    let _ = file.read_to_string(&mut name);
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Whether the open file is still the one at `path`. On systems without file identities, an open file cannot be
/// removed.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |found: std::io::Result<Metadata>| found.ok().map(|one| files::identity(&one));
    identity(file.metadata()) == identity(path.metadata())
}

/// Takes the lock of `folder`, which is created where missing, or says who has it.
pub fn take(folder: &Path) -> Result<Result<Lock, Held>> {
    Contender::new(folder, RULES).try_once()
}

/// Takes the lock of `folder` as [`take`], but waits a second for a process that only writes a status or
/// checks the lock. A holder on another machine is watched until its next heartbeat or for a minute without
/// one; `waiting` is called with its name. Fails if `stop` asks to stop.
pub fn take_soon(
    folder: &Path,
    stop: &Stop,
    waiting: impl FnOnce(&str),
) -> Result<Result<Lock, Held>> {
    let (mut contender, mut waiting) = (Contender::new(folder, RULES), Some(waiting));
    let mut looks = 0;
    loop {
        looks += 1;
        let is_late = looks > PATIENCE;
        match contender.try_once()? {
            Err(held) if !is_late || !held.is_alive => {
                if let Some(waiting) = waiting.take_if(|_| is_late) {
                    waiting(&held.holder);
                }
            }
            taken => return Ok(taken),
        }
        stop.check(|| "before it began".to_owned())?;
        std::thread::sleep(WAIT);
    }
}

/// Takes the lock of `folder`, waiting for its holder; `waiting` is called once with the holder's name. Fails if
/// `stop` asks to stop.
pub fn wait(folder: &Path, stop: &Stop, waiting: impl FnOnce(&str)) -> Result<Lock> {
    let (mut contender, mut waiting) = (Contender::new(folder, RULES), Some(waiting));
    loop {
        let holder = match contender.try_once()? {
            Ok(lock) => return Ok(lock),
            Err(held) => held.holder,
        };
        if let Some(waiting) = waiting.take() {
            waiting(&holder);
        }
        stop.check(|| format!("while waiting for {holder}"))?;
        std::thread::sleep(WAIT);
    }
}

/// Whether some process holds the lock of `folder`, or may hold it on another machine. Nothing is created.
pub fn is_held(folder: &Path) -> bool {
    holder(folder, RULES) != Liveness::Gone
}

/// Whether some process is known to hold the lock of `folder`. Nothing is created.
pub fn is_surely_held(folder: &Path) -> bool {
    holder(folder, RULES) == Liveness::Alive
}

/// Liveness of a folder's holder, without waiting; gone if there is none.
fn holder(folder: &Path, rules: Rules) -> Liveness {
    let Ok(file) = File::open(folder.join(LOCK_FILE)) else {
        return Liveness::Gone;
    };
    match (rules.flock)(&file) {
        Err(TryLockError::WouldBlock) => Liveness::Alive,
        _ => claim::holder(folder),
    }
}

#[cfg(test)]
mod tests;
