use std::cell::Cell;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::claim::remove_stale;
use super::holder::{Holder, Process, look_up_in};
use super::*;

const BEAT: Duration = Duration::from_millis(20);

thread_local! {
    /// What the clock shows to those who watch a holder; it stands still by itself.
    static CLOCK: Cell<Instant> = Cell::new(Instant::now());
}

fn pass(time: Duration) {
    CLOCK.set(CLOCK.get() + time);
}

/// A file system whose locks always succeed.
const NO_LOCKS: Rules = Rules {
    flock: |_| Ok(()),
    beat: BEAT,
    still: Duration::from_millis(400),
    now: || CLOCK.get(),
};

/// A file system without locks.
const LOCKS_FAIL: Rules = Rules {
    flock: |_| Err(TryLockError::Error(std::io::ErrorKind::Unsupported.into())),
    ..NO_LOCKS
};

fn try_to_take(folder: &Path, rules: Rules) -> Result<Lock, Held> {
    let mut contender = Contender::new(folder, rules);
    contender.try_once().expect("a file")
}

/// The claim on a folder as the file has it.
fn claim_of(folder: &Path) -> std::path::PathBuf {
    folder.join(".lock-holder")
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a text file")
}

#[test]
fn a_folder_has_one_owner_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("not there yet");
    assert!(!is_held(&inner));
    let lock = take(&inner).expect("a file").expect("free");
    assert!(is_held(&inner));
    let held = take(&inner).expect("a file").expect_err("held");
    let start = format!("process {} on ", std::process::id());
    assert!(held.holder.starts_with(&start), "{}", held.holder);
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

#[test]
fn a_folder_has_one_owner_where_locks_fail_or_hold_nobody() {
    for rules in [NO_LOCKS, LOCKS_FAIL] {
        let folder = tempfile::tempdir().expect("a folder");
        let owners: Vec<_> = std::thread::scope(|scope| {
            let take = || scope.spawn(|| try_to_take(folder.path(), rules));
            let threads: Vec<_> = (0..8).map(|_| take()).collect();
            let ended = threads.into_iter().map(|one| one.join().expect("ended"));
            ended.collect()
        });
        assert_eq!(owners.iter().filter(|one| one.is_ok()).count(), 1);
        let late = try_to_take(folder.path(), rules).expect_err("held");
        assert!(late.is_alive, "{late:?}");
        drop(owners);
        assert!(!claim_of(folder.path()).exists(), "the claim goes with it");
        try_to_take(folder.path(), rules).expect("free");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_holder_on_this_machine_holds_while_its_process_lives_and_not_a_moment_longer() {
    let folder = tempfile::tempdir().expect("a folder");
    let lock = try_to_take(folder.path(), NO_LOCKS).expect("free");
    let ours = text(&claim_of(folder.path()));
    drop(lock);
    let mut other = Command::new("sleep").arg("60").spawn().expect("a process");
    let stat = text(Path::new(&format!("/proc/{}/stat", other.id())));
    let ticks = |stat: &str| stat.split(' ').nth(21).expect("a number").to_owned();
    let own_ticks = ticks(&text(Path::new("/proc/self/stat")));
    let theirs = |started: &str| {
        let process = |id: u32| format!("\"process\":{id},\"started\":");
        ours.replace(
            &format!("{}{own_ticks}", process(std::process::id())),
            &format!("{}{started}", process(other.id())),
        )
    };
    for rules in [NO_LOCKS, LOCKS_FAIL] {
        std::fs::write(claim_of(folder.path()), theirs(&ticks(&stat))).expect("written");
        let held = try_to_take(folder.path(), rules).expect_err("held");
        assert!(held.is_alive, "{held:?}");
        assert_eq!(holder(folder.path(), rules), Liveness::Alive);
        // The number is that of a process, but not of the one that claimed the folder.
        std::fs::write(claim_of(folder.path()), theirs("1")).expect("written");
        assert_eq!(holder(folder.path(), rules), Liveness::Gone);
        try_to_take(folder.path(), rules).expect("free");
    }
    let claim = theirs(&ticks(&stat));
    other.kill().expect("a process");
    // Not waited for, it is a zombie.
    let stat = format!("/proc/{}/stat", other.id());
    until(|| text(Path::new(&stat)).contains(") Z "));
    for _ in 0..2 {
        std::fs::write(claim_of(folder.path()), &claim).expect("written");
        try_to_take(folder.path(), LOCKS_FAIL).expect("free at once");
        other.wait().expect("a process");
    }
}

/// A claim as a process on another machine would have written it.
fn from_elsewhere(folder: &Path) -> String {
    drop(try_to_take(folder, NO_LOCKS).expect("free"));
    r#"{"host":"elsewhere","system":"other","namespace":"","process":7,"started":1,"claim":2}"#
        .to_owned()
}

/// Looks at every beat until the contender has the folder; also how long that took by its clock.
fn watch_until_free(contender: &mut Contender) -> (Lock, Duration) {
    let start = CLOCK.get();
    loop {
        if let Ok(lock) = contender.try_once().expect("a file") {
            return (lock, CLOCK.get() - start);
        }
        pass(BEAT);
    }
}

#[test]
fn a_holder_on_another_machine_is_replaced_after_the_timeout() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first_line, claim) = (from_elsewhere(folder.path()), claim_of(folder.path()));
    for rules in [NO_LOCKS, LOCKS_FAIL] {
        let mut contender = Contender::new(folder.path(), rules);
        let mut look = |beats: u32| {
            std::fs::write(&claim, format!("{first_line}\n{beats:020}\n")).expect("written");
            contender.try_once().expect("a file").expect_err("held")
        };
        let held = look(0);
        assert_eq!(held.holder, "process 7 on elsewhere");
        assert!(!held.is_alive, "it may be gone");
        assert_eq!(holder(folder.path(), rules), Liveness::Unknown);
        pass(BEAT);
        assert!(look(1).is_alive, "it has counted on");
        let (lock, time) = watch_until_free(&mut contender);
        assert_eq!(time, rules.still);
        assert!(!text(&claim).contains("elsewhere"));
        let late = try_to_take(folder.path(), rules).expect_err("held");
        assert!(late.is_alive);
        drop(lock);
        assert_eq!(files_in(folder.path()), 1, "nothing but the lock file");
    }
}

/// While the file system is away neither does the holder count nor anybody see it.
#[test]
fn a_holder_is_not_gone_because_nobody_could_look() {
    let folder = tempfile::tempdir().expect("a folder");
    let first_line = from_elsewhere(folder.path());
    std::fs::write(claim_of(folder.path()), first_line + "\n0\n").expect("written");
    let mut contender = Contender::new(folder.path(), NO_LOCKS);
    for _ in 0..3 {
        let held = contender.try_once().expect("a file").expect_err("held");
        assert!(!held.is_alive);
        pass(100 * NO_LOCKS.still);
    }
    let (_lock, time) = watch_until_free(&mut contender);
    assert_eq!(time, NO_LOCKS.still, "watched anew");
}

#[test]
fn a_successor_that_died_is_succeeded_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let first_line = from_elsewhere(folder.path());
    let claim = claim_of(folder.path());
    let found = format!("{first_line}\n0\n");
    std::fs::write(&claim, &found).expect("written");
    let sum = blake3::hash(found.as_bytes()).to_hex();
    let succession = folder
        .path()
        .join(format!(".lock-holder-after-{}", &sum[..16]));
    std::fs::write(&succession, found.replace("7", "8")).expect("written");
    let mut contender = Contender::new(folder.path(), NO_LOCKS);
    let (lock, time) = watch_until_free(&mut contender);
    assert!(time >= 2 * NO_LOCKS.still, "{time:?}");
    drop(lock);
    assert_eq!(files_in(folder.path()), 1, "nothing but the lock file");
}

/// Two have seen the stale file; before the second removes it a third has created its own.
#[test]
fn only_the_stale_succession_is_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let succession = folder.path().join(".lock-holder-after-x");
    let remove = |stale| remove_stale(&succession, stale, &Holder::new()).expect("removed");
    std::fs::write(&succession, "the third's").expect("written");
    remove("stale");
    assert_eq!(text(&succession), "the third's");
    assert_eq!(files_in(folder.path()), 1, "nothing is left beside it");
    remove("the third's");
    assert_eq!(files_in(folder.path()), 0);
    remove("the third's");
}

fn files_in(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("a folder").count()
}

/// A holder with that line changed: `change` is a pair of text to find and to put there.
fn holder_with(change: (&str, &str)) -> Holder {
    let line = r#"{"host":"node","machine":"m","system":"s","namespace":"n","process":7,"started":5,"claim":1}"#;
    assert!(line.contains(change.0));
    Holder::of(&line.replace(change.0, change.1)).expect("a holder")
}

#[test]
fn a_process_is_looked_up_where_it_can_be_seen() {
    use Liveness::{Alive, Gone, Unknown};
    use Process::{Ended, Hidden, RunningSince};
    let here = holder_with(("", ""));
    let liveness = |change, process| holder_with(change).seen_from(&here, |_| process);
    let same = ("", "");
    assert_eq!(liveness(same, RunningSince(5)), Alive);
    assert_eq!(liveness(same, RunningSince(6)), Gone, "a later process");
    assert_eq!(liveness(same, Ended), Gone);
    assert_eq!(liveness(same, Hidden), Unknown);
    let no_start = ("\"started\":5", "\"started\":null");
    assert_eq!(liveness(no_start, RunningSince(5)), Unknown);
    assert_eq!(liveness(no_start, Hidden), Unknown);
    let container = ("\"n\"", "\"another\"");
    assert_eq!(liveness(container, Ended), Unknown);
}

#[test]
fn a_reboot_ends_the_processes_of_that_machine_only() {
    use Liveness::{Gone, Unknown};
    let here = holder_with(("", ""));
    let boot = ("\"s\"", "\"t\"");
    let before = |change: &str, to: &str| {
        let line = holder_with(boot).first_line().replace(change, to);
        let holder = Holder::of(&line).expect("a holder");
        holder.seen_from(&here, |_| Process::RunningSince(5))
    };
    assert_eq!(before("", ""), Gone);
    assert_eq!(before("\"node\"", "\"other\""), Unknown);
    assert_eq!(before("\"m\"", "\"other\""), Unknown);
    assert_eq!(before("\"n\"", "\"container\""), Unknown);
    // Two machines without an identity are not one.
    let nameless = holder_with(("\"m\"", "null"));
    let rebooted = nameless.first_line().replace("\"s\"", "\"t\"");
    let rebooted = Holder::of(&rebooted).expect("a holder");
    let liveness = rebooted.seen_from(&nameless, |_| Process::Ended);
    assert_eq!(liveness, Unknown);
}

#[test]
fn a_process_has_ended_only_if_others_can_be_seen() {
    let proc = tempfile::tempdir().expect("a folder");
    let write = |process: u32, stat: &str| {
        let folder = proc.path().join(process.to_string());
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("stat"), stat).expect("written");
    };
    let numbers = (1..30).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    write(8, &format!("8 (a) name) S {numbers}\n"));
    write(9, &format!("9 (a zombie) Z {numbers}\n"));
    let look_up = |process| look_up_in(proc.path(), process);
    assert_eq!(look_up(7), Process::Hidden, "as is process 1");
    write(1, &format!("1 (init) S {numbers}\n"));
    assert_eq!(look_up(7), Process::Ended);
    assert_eq!(look_up(8), Process::RunningSince(19));
    assert_eq!(look_up(9), Process::Ended);
}

#[test]
fn only_one_of_many_contenders_replaces_a_dead_holder() {
    let folder = tempfile::tempdir().expect("a folder");
    let first_line = from_elsewhere(folder.path());
    std::fs::write(claim_of(folder.path()), format!("{first_line}\n0\n")).expect("written");
    let succeeded = AtomicBool::new(false);
    let try_on = || {
        let mut contender = Contender::new(folder.path(), NO_LOCKS);
        // All go on for a while after the first has succeeded.
        let mut looks_after = 0;
        while looks_after < 50 {
            if let Ok(lock) = contender.try_once().expect("a file") {
                succeeded.store(true, Ordering::Relaxed);
                return Some(lock);
            }
            looks_after += usize::from(succeeded.load(Ordering::Relaxed));
            pass(BEAT);
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    };
    let owners: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(try_on)).collect();
        let ended = threads.into_iter().map(|one| one.join().expect("ended"));
        ended.collect()
    });
    assert_eq!(owners.iter().flatten().count(), 1);
}

/// Waits for what another thread or process does.
fn until(is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(20), "never");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_holder_gives_signs_of_life() {
    let folder = tempfile::tempdir().expect("a folder");
    let _lock = try_to_take(folder.path(), NO_LOCKS).expect("free");
    let first = text(&claim_of(folder.path()));
    until(|| text(&claim_of(folder.path())) != first);
    let later = text(&claim_of(folder.path()));
    assert_eq!(first.lines().next(), later.lines().next());
    assert_eq!(first.len(), later.len(), "it is written over in place");
}

#[test]
fn a_claim_that_was_removed_is_made_again_and_one_of_another_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let theirs = from_elsewhere(folder.path()) + "\n0\n";
    let lock = try_to_take(folder.path(), NO_LOCKS).expect("free");
    let claim = claim_of(folder.path());
    std::fs::remove_file(&claim).expect("removed");
    until(|| claim.exists());
    assert!(lock.taken_over().check().is_ok());
    crate::files::replace(&claim, theirs.as_bytes()).expect("written");
    until(|| lock.taken_over().check().is_err());
    drop(lock);
    assert_eq!(text(&claim), theirs);

    let own = Holder::new();
    let path = folder.path().join("own");
    assert_eq!(own.beat(&path, 1).expect("written"), None);
    assert_eq!(text(&path), own.text(1));
    std::fs::write(&path, "{\"host\":").expect("written");
    own.beat(&path, 2)
        .expect_err("unreadable, to be tried again");
    std::fs::write(&path, own.text(1)).expect("written");
    assert_eq!(own.beat(&path, 3).expect("written"), None);
    assert_eq!(text(&path), own.text(3));
    std::fs::write(&path, &theirs).expect("written");
    assert_eq!(own.beat(&path, 4).expect("read"), Holder::of(&theirs));
    assert_eq!(text(&path), theirs);
}
