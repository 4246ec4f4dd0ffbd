use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;

const SOON: Duration = Duration::from_millis(400);

/// A file system whose locks always succeed.
const NO_LOCKS: Rules = Rules {
    flock: |_| Ok(()),
    beat: Duration::from_millis(20),
    still: SOON,
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
        assert!(is_held(folder.path()));
        // The number is that of a process, but not of the one that claimed the folder.
        std::fs::write(claim_of(folder.path()), theirs("1")).expect("written");
        assert!(!is_held(folder.path()));
        try_to_take(folder.path(), rules).expect("free");
    }
    let claim = theirs(&ticks(&stat));
    other.kill().expect("a process");
    // Not waited for, it is a zombie.
    std::thread::sleep(Duration::from_millis(50));
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

#[test]
fn a_holder_elsewhere_is_succeeded_once_it_has_been_still() {
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
        std::thread::sleep(SOON / 2);
        assert!(look(1).is_alive, "it has counted on");
        let started = Instant::now();
        let lock = loop {
            match contender.try_once().expect("a file") {
                Ok(lock) => break lock,
                Err(_) => std::thread::sleep(SOON / 20),
            }
        };
        assert!(started.elapsed() >= SOON - SOON / 20, "too early");
        assert!(!text(&claim).contains("elsewhere"));
        let late = try_to_take(folder.path(), rules).expect_err("held");
        assert!(late.is_alive);
        drop(lock);
        let left = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 1, "nothing but the lock file is left");
    }
}

#[test]
fn of_many_who_find_the_holder_gone_one_succeeds() {
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

#[test]
fn a_holder_gives_signs_of_life() {
    let folder = tempfile::tempdir().expect("a folder");
    let _lock = try_to_take(folder.path(), NO_LOCKS).expect("free");
    let (started, first) = (Instant::now(), text(&claim_of(folder.path())));
    while text(&claim_of(folder.path())) == first {
        assert!(started.elapsed() < Duration::from_secs(20), "it is still");
        std::thread::sleep(Duration::from_millis(5));
    }
    let later = text(&claim_of(folder.path()));
    assert_eq!(first.lines().next(), later.lines().next());
    assert_eq!(first.len(), later.len(), "it is written over in place");
}
