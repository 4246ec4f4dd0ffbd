//! Expands `~` at the start of a path where no shell does.

use std::path::{Component, Path, PathBuf};

/// `~` and `~/x` with the user's home directory in place of `~`; any other path as it is.
///
/// # Errors
/// `~ada` names another user's home directory, or the user has none: what to write instead.
pub(crate) fn expand(path: &Path) -> Result<PathBuf, String> {
    let mut parts = path.components();
    let Some(Component::Normal(first)) = parts.next() else {
        return Ok(path.to_owned());
    };
    if !first.as_encoded_bytes().starts_with(b"~") {
        return Ok(path.to_owned());
    }
    if first != "~" {
        let first = first.display();
        return Err(format!(
            "`{first}` is not expanded: write that home directory in full, or ./{first} if a file \
             has this name"
        ));
    }
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let home = home.ok_or("`~` stands for your home directory, but HOME is not set")?;
    Ok(home.components().chain(parts).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_alone_is_the_home_directory_and_nothing_else_is_touched() {
        let home = std::env::home_dir().expect("a home directory");
        let expanded = |path: &str| expand(Path::new(path));
        assert_eq!(expanded("~"), Ok(home.clone()));
        assert_eq!(expanded("~/"), Ok(home.clone()));
        assert_eq!(expanded("~/a/../b"), Ok(home.join("a/../b")));
        for other in ["", "a", "a/~", "./~", "/~/x", "a~", "..", "/"] {
            assert_eq!(expanded(other), Ok(PathBuf::from(other)));
        }
        let refused = expanded("~ada/x").expect_err("another user");
        assert!(refused.contains("./~ada"), "{refused}");
    }
}
