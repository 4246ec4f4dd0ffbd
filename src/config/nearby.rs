//! "Did you mean" for files: existing ones whose name or place is close to one that does not exist.

use std::path::{Path, PathBuf};

use super::wording;

/// How many levels of subfolders to search: a folder of results may be deep and large.
const DEPTH: usize = 3;

/// The most entries of folders that are searched: a mistyped path must not search a whole disk.
const ENTRIES: usize = 5_000;

/// The most files that are suggested.
const MOST: usize = 3;

/// Where experiments are, relative to where most commands are run.
const EXPERIMENTS: &str = "experiments";

/// `did you mean experiments/quickstart.toml?`, if a TOML file near a path has a similar name.
pub(super) fn suggestion(missing: &Path) -> Option<String> {
    let near = nearest(missing);
    let names: Vec<String> = near.iter().map(|path| path.display().to_string()).collect();
    (!names.is_empty()).then(|| format!("did you mean {}?", names.join(" or ")))
}

/// The first few files with this name at or below the deepest existing folder of the path, or else with the
/// most similar name.
fn nearest(missing: &Path) -> Vec<PathBuf> {
    let Some(meant) = stem(missing) else {
        return vec![];
    };
    let there = missing.ancestors().skip(1).find(|folder| folder.is_dir());
    let (mut files, mut left) = (vec![], ENTRIES);
    match there {
        Some(folder) => {
            let depth = if holds_everything(folder) { 0 } else { DEPTH };
            collect(folder, depth, &mut left, &mut files);
        }
        // A relative path, none of whose folders is there.
        None => {
            collect(Path::new("."), 0, &mut left, &mut files);
            collect(Path::new(EXPERIMENTS), DEPTH, &mut left, &mut files);
        }
    }
    files.sort();
    let names: Vec<String> = files.iter().filter_map(|file| stem(file)).collect();
    let Some(name) = wording::nearest(&meant, &names) else {
        return vec![];
    };
    files.retain(|file| stem(file).as_deref() == Some(name));
    files.truncate(MOST);
    files
}

/// The name without `.toml`, in small letters.
fn stem(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    Some(name.trim_end_matches(".toml").to_owned())
}

/// Whether a folder holds far more than experiments: the root, or the user's home.
fn holds_everything(folder: &Path) -> bool {
    let home = std::env::home_dir().and_then(|home| home.canonicalize().ok());
    let folder = folder.canonicalize().ok();
    folder.is_some_and(|folder| folder.parent().is_none() || Some(folder) == home)
}

/// Collects the TOML files in a folder and its subfolders down to a depth, reading at most `left` entries.
/// Links to folders are not followed.
fn collect(folder: &Path, depth: usize, left: &mut usize, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if depth > 0 {
                collect(&path, depth - 1, left, found);
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            found.push(
                path.strip_prefix(".")
                    .map_or_else(|_| path.clone(), Path::to_owned),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_nearly_right_finds_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [
            "a/quickstart.toml",
            "a/b/vanilla.toml",
            "a/base/vanilla.toml",
            "a/notes.md",
        ] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, "").expect("written");
        }
        let near = |name: &str| -> Vec<String> {
            let near = nearest(&folder.path().join(name)).into_iter();
            let below = |path: PathBuf| {
                let path = path
                    .strip_prefix(folder.path())
                    .expect("below it")
                    .to_owned();
                path.display().to_string()
            };
            near.map(below).collect()
        };
        assert_eq!(near("a/quickstrat.toml"), ["a/quickstart.toml"]);
        assert_eq!(near("a/quickstart"), ["a/quickstart.toml"]);
        assert_eq!(near("A/Quickstart.toml"), ["a/quickstart.toml"]);
        assert_eq!(near("a/b/c/vanila.toml"), ["a/b/vanilla.toml"]);
        assert_eq!(
            near("vanilla.toml"),
            ["a/b/vanilla.toml", "a/base/vanilla.toml"]
        );
        assert_eq!(near("a/something_else.toml"), [""; 0]);
    }

    #[test]
    fn a_search_reads_a_limited_number_of_entries() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("a/b");
        std::fs::create_dir_all(&below).expect("made");
        std::fs::write(below.join("c.toml"), "").expect("written");
        let found = |left: usize| {
            let (mut left, mut found) = (left, vec![]);
            collect(folder.path(), DEPTH, &mut left, &mut found);
            found.len()
        };
        assert_eq!([2, 3].map(found), [0, 1]);

        #[cfg(unix)]
        {
            let linked = tempfile::tempdir().expect("a folder");
            std::os::unix::fs::symlink(&below, linked.path().join("link")).expect("linked");
            assert!(nearest(&linked.path().join("c.toml")).is_empty());
        }
        assert!(holds_everything(Path::new("/")) && !holds_everything(folder.path()));
    }
}
