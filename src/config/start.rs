//! Checks that the weights files that stages start from exist, before anything is run.

use std::io::ErrorKind::NotFound;
use std::path::Path;

use super::layers::{Fault, Suggestion};
use super::point::PointSettings;
use super::tree;

/// What is wrong with the files that the stages of a point of `experiment` start from.
pub(super) fn faults(settings: &PointSettings, experiment: &Path) -> Vec<Fault> {
    let files = settings.training().into_iter();
    let files = files.flat_map(|settings| settings.init_files());
    let fault = |(key, file): (&str, &Path)| {
        let what = unreadable(file)?;
        let message = format!("`{key}` = {:?} {what}", file.display().to_string());
        let fault = Fault::at_key(&tree::split(key), message);
        let beside = experiment.parent().map(|folder| folder.join(file));
        Some(match beside.filter(|beside| beside != file && beside.is_file()) {
            Some(beside) => {
                let beside = format!("{:?}", beside.display().to_string());
                fault.instead(Suggestion::Value(beside))
            }
            None => fault.help(
                "the path is relative to the working directory; `attnlab export RUN FILE` writes \
                 such a file",
            ),
        })
    };
    files.filter_map(fault).collect()
}

/// Why a file cannot be read, if it cannot.
fn unreadable(file: &Path) -> Option<String> {
    match std::fs::File::open(file) {
        _ if file.is_dir() => Some("is a folder".to_owned()),
        Ok(_) => None,
        Err(cause) if cause.kind() == NotFound => Some("does not exist".to_owned()),
        Err(cause) => Some(format!("cannot be read: {cause}")),
    }
}
