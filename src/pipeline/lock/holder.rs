//! Which process has claimed a folder, and whether it still lives, as far as this system can tell.

use std::io::ErrorKind::NotFound;
use std::path::Path;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// A process and its claim: the first line of the claim file, as JSON. The second is the count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    host: String,
    /// The machine id, which outlives reboots; `None` where there is none.
    #[serde(default)]
    machine: Option<String>,
    /// The boot id of the system: a new one after every boot, and in every virtual machine.
    system: String,
    /// The PID namespace: containers of one system number their own processes.
    namespace: String,
    process: u32,
    /// When the process started, so that a later one with the same PID is not mistaken for it.
    started: Option<u64>,
    /// Drawn at random.
    pub(super) claim: u64,
}

/// What is known of a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Liveness {
    Alive,
    Gone,
    /// Its processes cannot be seen from here; its heartbeat decides.
    Unknown,
}

/// What the system shows of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// Start time, in clock ticks or seconds of its system.
    RunningSince(u64),
    Ended,
    Hidden,
}

/// This process.
pub(super) static SELF: LazyLock<Holder> = LazyLock::new(|| {
    let host = sysinfo::System::host_name().unwrap_or_else(|_| "this machine".to_owned());
    let line = |path: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned()).filter(|line| !line.is_empty())
    };
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    Holder {
        machine: line("/etc/machine-id"),
        system: line("/proc/sys/kernel/random/boot_id").unwrap_or_else(|| host.clone()),
        host,
        namespace: namespace.display().to_string(),
        process: std::process::id(),
        started: match look_up(std::process::id()) {
            Process::RunningSince(started) => Some(started),
            Process::Ended | Process::Hidden => None,
        },
        claim: 0,
    }
});

/// Looks a process of this system up by its PID.
fn look_up(process: u32) -> Process {
    let proc = Path::new("/proc");
    if proc.join("self/stat").exists() {
        return look_up_in(proc, process);
    }
    let Ok(mut system) = sysinfo::System::new() else {
        return Process::Hidden;
    };
    let id = sysinfo::Pid::from_u32(process);
    system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[id]), true);
    let found = system.process(id).map(sysinfo::Process::start_time);
    found.map_or(Process::Ended, Process::RunningSince)
}

/// The same where the processes are files below `proc`.
pub(super) fn look_up_in(proc: &Path, process: u32) -> Process {
    let stat = |process: u32| std::fs::read_to_string(proc.join(format!("{process}/stat")));
    match stat(process) {
        Ok(stat) => parse_stat(&stat).unwrap_or(Process::Hidden),
        // Mounted with `hidepid`, /proc hides processes of other users, among them PID 1.
        Err(cause) if cause.kind() == NotFound && stat(1).is_ok() => Process::Ended,
        Err(_) => Process::Hidden,
    }
}

/// Reads `/proc/PID/stat`. The name of the program, in brackets, may contain anything; its state follows,
/// and 18 numbers later the ticks after the boot.
fn parse_stat(stat: &str) -> Option<Process> {
    let (_, after) = stat.rsplit_once(") ")?;
    let mut fields = after.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return Some(Process::Ended);
    }
    let ticks = fields.nth(18)?.parse().ok()?;
    Some(Process::RunningSince(ticks))
}

impl Holder {
    pub(super) fn new() -> Self {
        Self {
            claim: rand::random(),
            ..SELF.clone()
        }
    }

    /// The holder that a claim file names; `None` if it is not written yet.
    pub(super) fn of(text: &str) -> Option<Self> {
        serde_json::from_str(text.lines().next()?).ok()
    }

    /// `process 4711 on node7`.
    pub(super) fn name(&self) -> String {
        format!("process {} on {}", self.process, self.host)
    }

    pub(super) fn first_line(&self) -> String {
        let text = serde_json::to_string(self);
        text.expect("names and numbers are JSON") + "\n"
    }

    /// The file's content after `beats` beats; its length never changes.
    pub(super) fn text(&self, beats: u64) -> String {
        format!("{}{beats:020}\n", self.first_line())
    }

    /// What this system knows of the process.
    pub(super) fn liveness(&self) -> Liveness {
        self.seen_from(&SELF, look_up)
    }

    /// The same as `here` knows it, where processes are looked up by `look_up`.
    pub(super) fn seen_from(&self, here: &Self, look_up: impl Fn(u32) -> Process) -> Liveness {
        if self.namespace != here.namespace {
            return Liveness::Unknown;
        }
        if self.system != here.system {
            return match self.is_on_machine_of(here) {
                // It was booted again since, and no process outlives that.
                true => Liveness::Gone,
                false => Liveness::Unknown,
            };
        }
        match (self.started, look_up(self.process)) {
            (_, Process::Ended) => Liveness::Gone,
            (Some(started), Process::RunningSince(since)) if since == started => Liveness::Alive,
            (Some(_), Process::RunningSince(_)) => Liveness::Gone,
            (None, Process::RunningSince(_)) | (_, Process::Hidden) => Liveness::Unknown,
        }
    }

    /// Machines installed from one image may share one of the two.
    fn is_on_machine_of(&self, other: &Self) -> bool {
        self.host == other.host && self.machine.is_some() && self.machine == other.machine
    }
}
