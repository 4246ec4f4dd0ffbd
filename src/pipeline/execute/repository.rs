//! The git repository that holds an experiment file, or why its state is unknown.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use crate::pipeline::provenance::Git;

/// The state of the repository around `folder`; `None` outside of any repository. If there is one, but git is missing
/// or refuses to read it, the error says why, in one line.
pub(super) fn state(folder: &Path) -> Result<Option<Git>, String> {
    match read(folder) {
        Err(_) if !is_in_repository(folder) => Ok(None),
        git => git.map(Some),
    }
}

fn read(folder: &Path) -> Result<Git, String> {
    let no_commit = |reason: String| match reason.is_empty() {
        true => "the repository has no commit yet".to_owned(),
        false => reason,
    };
    let changed = |status: String| status.lines().map(str::to_owned).collect();
    Ok(Git {
        commit: ask(folder, &["rev-parse", "--verify", "--quiet", "HEAD"]).map_err(no_commit)?,
        branch: ask(folder, &["symbolic-ref", "--short", "HEAD"]).ok(),
        changed: ask(folder, &["status", "--porcelain"]).map(changed)?,
    })
}

/// The output of git; on failure the reason, which may be empty.
fn ask(folder: &Path, words: &[&str]) -> Result<String, String> {
    let mut git = Command::new("git");
    // The error message is recorded, so git is asked for English.
    git.env("LC_ALL", "C").arg("-C").arg(folder).args(words);
    let said = git.output().map_err(|cause| match cause.kind() {
        ErrorKind::NotFound => "git is not on the PATH".to_owned(),
        _ => format!("git cannot be started: {cause}"),
    })?;
    if said.status.success() {
        return Ok(String::from_utf8_lossy(&said.stdout).trim_end().to_owned());
    }
    Err(reason(&String::from_utf8_lossy(&said.stderr)).to_owned())
}

/// Why git failed: the first error in its output, which warnings and hints may precede.
fn reason(complaint: &str) -> &str {
    let error = |line| {
        ["fatal: ", "error: "]
            .iter()
            .find_map(|&mark| str::strip_prefix(line, mark))
    };
    let mut lines = complaint.lines();
    let first = lines.clone().next().unwrap_or_default();
    lines.find_map(error).unwrap_or(first)
}

/// Whether `GIT_DIR` is set, or the folder or one above it is a repository. Git is not asked, since it
/// reports a repository that it cannot read as none.
fn is_in_repository(folder: &Path) -> bool {
    let holds_one = |folder: &Path| folder.join(".git").exists();
    std::env::var_os("GIT_DIR").is_some()
        || (folder.canonicalize()).is_ok_and(|folder| folder.ancestors().any(holds_one))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &Path, words: &[&str]) {
        ask(folder, words).unwrap_or_else(|reason| panic!("git {words:?}: {reason}"));
    }

    #[test]
    fn the_reason_is_the_error_among_warnings() {
        let complaint = "warning: unable to access '/root/.config/git/config'\n\
                         error: bad signature\nfatal: index file corrupt\n";
        assert_eq!(reason(complaint), "bad signature");
        assert_eq!(reason("warning: odd\nhint: more\n"), "warning: odd");
        assert_eq!(reason(""), "");
    }

    #[test]
    fn a_folder_without_a_repository_is_not_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(state(folder.path()), Ok(None));
    }

    #[test]
    fn a_repository_is_read_or_the_reason_is_reported() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        git(folder, &["init", "--quiet", "--initial-branch=trunk"]);
        let none_yet = "the repository has no commit yet".to_owned();
        assert_eq!(state(folder), Err(none_yet));

        let commit = ["commit", "--quiet", "--allow-empty", "--message=first"];
        let author = ["-c", "user.name=a", "-c", "user.email=a@b"];
        git(folder, &[&author[..], &commit].concat());
        std::fs::write(folder.join("new.toml"), "").expect("written");
        let known = state(folder).expect("readable").expect("a repository");
        assert_eq!(known.commit.len(), 40);
        assert_eq!(known.branch.as_deref(), Some("trunk"));
        assert_eq!(known.changed, ["?? new.toml"]);

        // A folder below it belongs to it, readable or not.
        let below = folder.join("experiments");
        std::fs::create_dir(&below).expect("created");
        std::fs::remove_file(folder.join(".git/HEAD")).expect("removed");
        let reason = state(&below).expect_err("unreadable");
        assert!(reason.starts_with("not a git repository"), "{reason}");
    }
}
