//! A claim file that names the holder of a folder: mutual exclusion without file locks.
//!
//! The file is created exclusively, names the holder, and counts upwards while the holder lives. A
//! process of this machine is looked up; one of another machine counts as dead once its count has not
//! changed for some time, by the clock of the observer. Clocks of two machines are never compared.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Rules;
use crate::error::Error;
use crate::files;

/// The file. It goes when the folder is released.
const CLAIM_FILE: &str = ".lock-holder";

/// A process and its claim: the first line of the file, as JSON. The second is the count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    host: String,
    /// The boot id of the system: a new one after every boot, and in every virtual machine.
    system: String,
    /// The PID namespace: containers of one system number their own processes.
    namespace: String,
    process: u32,
    /// When the process started, so that a later one with the same PID is not mistaken for it.
    started: Option<u64>,
    /// Drawn at random.
    claim: u64,
}

/// What is known of a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Alive,
    Gone,
    /// It runs on another machine, or did.
    Unknown,
}

/// A folder that another process has claimed.
#[derive(Debug)]
pub(super) struct Rival {
    /// `process 4711 on node7`.
    pub(super) name: String,
    pub(super) standing: Standing,
}

/// A claim of this process, withdrawn when dropped.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    holder: Holder,
    /// Dropped to end the heartbeat thread.
    counting: Option<(Sender<()>, JoinHandle<()>)>,
}

/// What a contender has seen so far of the holder and of a process that is taking over from it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    holder: Sight,
    successor: Sight,
}

/// The content of a file, and since when it has been the same; whether it ever changed.
#[derive(Debug, Default)]
struct Sight {
    seen: Option<(String, Instant)>,
    has_changed: bool,
}

/// This process.
static SELF: LazyLock<Holder> = LazyLock::new(|| {
    let host = sysinfo::System::host_name().unwrap_or_else(|_| "this machine".to_owned());
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    Holder {
        system: boot.map_or_else(|_| host.clone(), |id| id.trim().to_owned()),
        host,
        namespace: namespace.display().to_string(),
        process: std::process::id(),
        started: started(std::process::id()),
        claim: 0,
    }
});

/// `process 4711 on node7`, of this process.
pub(super) fn own_name() -> String {
    SELF.name()
}

/// When a process started, in the ticks or seconds of its system; `None` if it has ended.
fn started(process: u32) -> Option<u64> {
    if !Path::new("/proc/self/stat").exists() {
        let id = sysinfo::Pid::from_u32(process);
        let mut system = sysinfo::System::new().ok()?;
        system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[id]), true);
        return system.process(id).map(sysinfo::Process::start_time);
    }
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program, in brackets, may hold anything; its state follows, and 18 numbers later
    // the ticks after the boot.
    let (_, after) = stat.rsplit_once(") ")?;
    let mut fields = after.split(' ');
    let is_running = !matches!(fields.next()?, "Z" | "X");
    let ticks = fields.nth(18)?.parse().ok()?;
    is_running.then_some(ticks)
}

impl Holder {
    fn new() -> Self {
        Self {
            claim: rand::random(),
            ..SELF.clone()
        }
    }

    /// The one that a file names; `None` where it is not written yet.
    fn of(text: &str) -> Option<Self> {
        serde_json::from_str(text.lines().next()?).ok()
    }

    fn name(&self) -> String {
        format!("process {} on {}", self.process, self.host)
    }

    fn first_line(&self) -> String {
        let text = serde_json::to_string(self);
        text.expect("names and numbers are JSON") + "\n"
    }

    /// The file after so many beats, always of one length.
    fn text(&self, beats: u64) -> String {
        format!("{}{beats:020}\n", self.first_line())
    }

    /// What this system knows of the process. `locks_hold` if the lock of the file system was granted:
    /// it holds among the processes of one system, whatever numbers they have.
    fn standing(&self, locks_hold: bool) -> Standing {
        if self.system != SELF.system {
            return Standing::Unknown;
        }
        let is_same_count = self.namespace == SELF.namespace && SELF.started.is_some();
        match (is_same_count, locks_hold) {
            (true, _) if started(self.process) == self.started => Standing::Alive,
            (true, _) | (false, true) => Standing::Gone,
            (false, false) => Standing::Unknown,
        }
    }
}

impl Sight {
    /// What the content of the file, as it is now, says of its writer.
    fn look(&mut self, text: &str, locks_hold: bool, still: Duration) -> Standing {
        let known = Holder::of(text).map(|holder| holder.standing(locks_hold));
        if let Some(known @ (Standing::Alive | Standing::Gone)) = known {
            return known;
        }
        match &self.seen {
            Some((before, since)) if before == text => match since.elapsed() >= still {
                true => Standing::Gone,
                false if self.has_changed => Standing::Alive,
                false => Standing::Unknown,
            },
            before => {
                self.has_changed = before.is_some();
                self.seen = Some((text.to_owned(), Instant::now()));
                match self.has_changed {
                    true => Standing::Alive,
                    false => Standing::Unknown,
                }
            }
        }
    }
}

/// What a file holds; `None` if there is none.
fn read(path: &Path) -> std::io::Result<Option<String>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

fn rival(text: &str, standing: Standing) -> Rival {
    let name = Holder::of(text).map(|holder| holder.name());
    let name = name.unwrap_or_else(|| "another process".to_owned());
    Rival { name, standing }
}

/// What a look at a folder, without waiting, says of whoever has claimed it; gone if nobody has.
pub(super) fn holder(folder: &Path, locks_hold: bool) -> Standing {
    let Some(text) = read(&folder.join(CLAIM_FILE)).ok().flatten() else {
        return Standing::Gone;
    };
    let holder = Holder::of(&text);
    holder.map_or(Standing::Unknown, |holder| holder.standing(locks_hold))
}

/// Claims a folder, or says who holds it. The claim of a dead holder is taken over.
///
/// # Errors
/// The file cannot be read or written; `NotFound` if the folder is gone.
pub(super) fn claim(
    folder: &Path,
    watch: &mut Watch,
    locks_hold: bool,
    rules: Rules,
) -> std::io::Result<Result<Claim, Rival>> {
    let path = folder.join(CLAIM_FILE);
    let own = Holder::new();
    let Some(found) = read(&path)? else {
        if files::create(&path, own.text(0).as_bytes())? {
            return Ok(Ok(Claim::begin(path, own, rules.beat)));
        }
        // Somebody was faster.
        let found = read(&path)?.unwrap_or_default();
        return Ok(Err(rival(&found, Standing::Unknown)));
    };
    let standing = watch.holder.look(&found, locks_hold, rules.still);
    if standing != Standing::Gone {
        return Ok(Err(rival(&found, standing)));
    }
    // Only one of the processes that find the holder dead can create this file; it may replace the claim.
    let sum = blake3::hash(found.as_bytes()).to_hex();
    let succession = folder.join(format!("{CLAIM_FILE}-after-{}", &sum[..16]));
    if !files::create(&succession, own.text(0).as_bytes())? {
        let successor = read(&succession)?.unwrap_or_default();
        let standing = watch.successor.look(&successor, locks_hold, rules.still);
        if standing == Standing::Gone {
            let _ = std::fs::remove_file(&succession);
        }
        return Ok(Err(rival(&successor, Standing::Unknown)));
    }
    // A late one finds that another process has the claim by now.
    let is_still_gone = read(&path)?.is_some_and(|text| text == found);
    let replaced = match is_still_gone {
        true => files::replace(&path, own.text(0).as_bytes()).map(Some),
        false => Ok(None),
    };
    let _ = std::fs::remove_file(&succession);
    Ok(match replaced? {
        Some(()) => Ok(Claim::begin(path, own, rules.beat)),
        None => Err(rival("", Standing::Unknown)),
    })
}

impl Claim {
    /// Starts the heartbeat thread. If it cannot be created, the claim works on this machine only.
    fn begin(path: PathBuf, holder: Holder, beat: Duration) -> Self {
        let (alive, hung_up) = channel();
        let counted = (path.clone(), holder.clone());
        let count = move || {
            let (path, holder) = counted;
            let mut beats = 0;
            while hung_up.recv_timeout(beat) == Err(RecvTimeoutError::Timeout) {
                beats += 1;
                if let Ok(false) = holder.beat(&path, beats) {
                    leave(&path);
                }
            }
        };
        let thread = std::thread::Builder::new().spawn(count).ok();
        Self {
            path,
            holder,
            counting: thread.map(|thread| (alive, thread)),
        }
    }
}

impl Holder {
    /// Writes the next heartbeat; `false` if another process took this one for dead and has the claim now.
    fn beat(&self, path: &Path, beats: u64) -> std::io::Result<bool> {
        let mut file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            // With its folder gone there is nothing to dispute.
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                return Ok(!path.parent().is_some_and(Path::is_dir));
            }
            Err(cause) => return Err(cause),
        };
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        if Self::of(&text).as_ref() != Some(self) {
            return Ok(false);
        }
        let first_line = self.first_line();
        file.seek(SeekFrom::Start(first_line.len() as u64))?;
        file.write_all(&self.text(beats).as_bytes()[first_line.len()..])?;
        Ok(true)
    }
}

/// Ends the program before it writes into a folder that another process has taken over, because this one
/// was suspended for so long that it was taken for dead.
fn leave(path: &Path) {
    let folder = path.parent().unwrap_or(path).display();
    let by = read(path).ok().flatten().unwrap_or_default();
    let error = Error::run(format!(
        "{} has taken over {folder}, because this process was suspended for a long time",
        rival(&by, Standing::Alive).name
    ));
    let error = error.help("run again once the other process has ended");
    let _ = writeln!(std::io::stderr(), "{error}");
    std::process::exit(i32::from(error.exit_code()));
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((alive, thread)) = self.counting.take() {
            drop(alive);
            let _ = thread.join();
        }
        let found = read(&self.path).ok().flatten();
        if found.and_then(|text| Holder::of(&text)).as_ref() == Some(&self.holder) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
