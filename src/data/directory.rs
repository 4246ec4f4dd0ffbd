//! The data directory: where fetched files are, and packed text.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::checksum::HELP;
use crate::config::home;
use crate::error::{Error, Result};

/// The environment variable that names the data directory.
const DIRECTORY_VARIABLE: &str = "ATTNLAB_DATA";

/// The data directory: `given`, else `$ATTNLAB_DATA`, else the user's cache directory.
pub fn data_directory(given: Option<&Path>) -> Result<PathBuf> {
    let cache = directories::ProjectDirs::from("", "", "attnlab");
    let cache = cache.map(|dirs| dirs.cache_dir().to_owned());
    first_set(given, std::env::var_os(DIRECTORY_VARIABLE), cache)
}

/// The first of the three that is set; an empty variable counts as unset.
fn first_set(
    given: Option<&Path>,
    variable: Option<OsString>,
    cache: Option<PathBuf>,
) -> Result<PathBuf> {
    let variable = variable.filter(|value| !value.is_empty());
    let variable = variable.map(|value| home::expand(Path::new(&value)));
    let variable = variable.transpose();
    let variable =
        variable.map_err(|cause| Error::data(format!("{DIRECTORY_VARIABLE}: {cause}")))?;
    let chosen = given.map(Path::to_owned).or(variable).or(cache);
    chosen.ok_or_else(|| Error::data("no home directory to look for data in").help(HELP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_wins_over_the_variable_and_this_over_the_cache() {
        let path = |name: &str| Some(PathBuf::from(name));
        let chosen = |given: Option<&str>, variable: Option<&str>, cache| {
            first_set(given.map(Path::new), variable.map(OsString::from), cache)
        };
        assert_eq!(chosen(Some("a"), Some("b"), path("c")).ok(), path("a"));
        assert_eq!(chosen(None, Some("b"), path("c")).ok(), path("b"));
        assert_eq!(chosen(None, Some(""), path("c")).ok(), path("c"));
        assert_eq!(chosen(None, None, path("c")).ok(), path("c"));
        let error = chosen(None, None, None).expect_err("nowhere").to_string();
        assert!(error.starts_with("error: no home directory to look for data in\n"));
    }
}
