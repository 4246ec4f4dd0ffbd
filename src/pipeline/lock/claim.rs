//! A claim file that names the holder of a folder: mutual exclusion without file locks.
//!
//! The file is created exclusively, names the holder, and has a counter that increases while the holder
//! lives. A process on this machine is looked up; one on another machine counts as dead once its counter
//! has not changed for some time, by the clock of the observer. Clocks of two machines are never compared.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::heartbeat::Heartbeat;
use super::holder::{Holder, Liveness};
use super::{Contender, Held, Rules};
use crate::files;
use crate::stop::TakenOver;

/// The claim file's name. The file is removed when the folder is released.
const CLAIM_FILE: &str = ".lock-holder";

/// A claim of this process, withdrawn when dropped.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    holder: Holder,
    pub(super) taken_over: TakenOver,
    /// Dropped to end the heartbeat thread.
    counting: Option<(Sender<()>, JoinHandle<()>)>,
}

/// The content of a file; `None` if there is no file.
fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// The process that wrote a claim.
fn held_by(text: &str, liveness: Liveness) -> Held {
    let name = Holder::of(text).map(|holder| holder.name());
    Held::by(name, liveness == Liveness::Alive)
}

/// Liveness of the process that wrote a claim, from the system or, if unknown there, from the heartbeat.
fn observe(heartbeat: &mut Heartbeat, text: &str, rules: Rules) -> Liveness {
    match Holder::of(text).map(|holder| holder.liveness()) {
        Some(known @ (Liveness::Alive | Liveness::Gone)) => known,
        Some(Liveness::Unknown) | None => heartbeat.observe(text, rules),
    }
}

/// Liveness of the process that has claimed a folder, without waiting; gone if there is none.
pub(super) fn holder(folder: &Path) -> Liveness {
    let Some(text) = read(&folder.join(CLAIM_FILE)).ok().flatten() else {
        return Liveness::Gone;
    };
    Holder::of(&text).map_or(Liveness::Unknown, |holder| holder.liveness())
}

impl Contender<'_> {
    /// Claims the folder, or says who holds it. The claim of a dead holder is taken over. The error is `NotFound` if the
    /// folder is gone.
    pub(super) fn claim(&mut self) -> Result<std::result::Result<Claim, Held>> {
        let path = self.folder.join(CLAIM_FILE);
        let own = Holder::new();
        let is_ours = match read(&path)? {
            None => files::create(&path, own.text(0).as_bytes())?,
            Some(found) => {
                let liveness = observe(&mut self.holder, &found, self.rules);
                if liveness != Liveness::Gone {
                    return Ok(Err(held_by(&found, liveness)));
                }
                // Only one of the processes that find the holder dead can create this file; it may replace the claim.
                let sum = &files::checksum(found.as_bytes())[..16];
                let succession = self.folder.join(format!("{CLAIM_FILE}-after-{sum}"));
                if !files::create(&succession, own.text(0).as_bytes())? {
                    let successor = read(&succession)?.unwrap_or_default();
                    let liveness = observe(&mut self.successor, &successor, self.rules);
                    if liveness == Liveness::Gone {
                        remove_stale(&succession, &successor, &own)?;
                    }
                    return Ok(Err(held_by(&successor, Liveness::Unknown)));
                }
                let succeeded = succeed(&path, &found, &succession, &own);
                if is_by(&own, &succession).unwrap_or(false) {
                    let _ = std::fs::remove_file(&succession);
                }
                succeeded?
            }
        };
        if is_ours {
            return Claim::begin(path, own, self.rules.beat).map(Ok);
        }
        // Another process was faster.
        let found = read(&path)?.unwrap_or_default();
        Ok(Err(held_by(&found, Liveness::Unknown)))
    }
}

/// Whether a file is there and names `holder`.
fn is_by(holder: &Holder, path: &Path) -> Result<bool> {
    let found = read(path)?.and_then(|text| Holder::of(&text));
    Ok(found.as_ref() == Some(holder))
}

/// Puts `own` claim in place of the one that was `found`; `false` if somebody else has one by now.
fn succeed(path: &Path, found: &str, succession: &Path, own: &Holder) -> Result<bool> {
    // If we are late, another process already has the claim, or the right to replace it.
    if read(path)?.as_deref() != Some(found) || !is_by(own, succession)? {
        return Ok(false);
    }
    files::replace(path, own.text(0).as_bytes())?;
    is_by(own, path)
}

/// Removes the succession file of a process that died while taking over. Several processes may try:
/// the file is renamed first, which only one of them can do, and compared with what was `stale`.
pub(super) fn remove_stale(succession: &Path, stale: &str, own: &Holder) -> Result<()> {
    let taken = succession.with_file_name(format!("{CLAIM_FILE}-stale-{:016x}", own.claim));
    match std::fs::rename(succession, &taken) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    let text = read(&taken)?.unwrap_or_default();
    if text != stale {
        // Another process has removed the stale file, and a third one has the turn now.
        files::create(succession, text.as_bytes())?;
    }
    std::fs::remove_file(&taken)
}

impl Claim {
    /// Starts the thread that writes heartbeats until the claim is dropped, or another process has it.
    fn begin(path: PathBuf, holder: Holder, beat: Duration) -> Result<Self> {
        let (alive, hung_up) = channel();
        let mut claim = Self {
            path: path.clone(),
            holder: holder.clone(),
            taken_over: TakenOver::default(),
            counting: None,
        };
        let taken_over = claim.taken_over.clone();
        let count = move || {
            let mut beats = 0;
            while hung_up.recv_timeout(beat) == Err(RecvTimeoutError::Timeout) {
                beats += 1;
                // A failed heartbeat is not fatal: the next one may succeed.
                if let Ok(Some(rival)) = holder.beat(&path, beats) {
                    return taken_over.note(rival.name());
                }
            }
        };
        let thread = std::thread::Builder::new().spawn(count).map_err(|cause| {
            // Dropping the claim withdraws it.
            Error::new(cause.kind(), format!("cannot start a thread: {cause}"))
        })?;
        claim.counting = Some((alive, thread));
        Ok(claim)
    }
}

impl Holder {
    /// Writes the next heartbeat, into a new file if somebody has removed it; returns the process that
    /// took this one for dead and has the claim now, if there is one.
    pub(super) fn beat(&self, path: &Path, beats: u64) -> Result<Option<Self>> {
        let mut file = match File::options().read(true).write(true).open(path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                // If another process was faster, the next beat finds it. If the folder is gone, there is
                // nothing left to claim.
                return files::create(path, self.text(beats).as_bytes()).map(|_| None);
            }
            file => file?,
        };
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        match Self::of(&text).ok_or(ErrorKind::InvalidData)? {
            holder if holder == *self => {}
            rival => return Ok(Some(rival)),
        }
        let first_line = self.first_line();
        file.seek(SeekFrom::Start(first_line.len() as u64))?;
        file.write_all(&self.text(beats).as_bytes()[first_line.len()..])?;
        Ok(None)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((alive, thread)) = self.counting.take() {
            drop(alive);
            let _ = thread.join();
        }
        if is_by(&self.holder, &self.path).unwrap_or(false) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
