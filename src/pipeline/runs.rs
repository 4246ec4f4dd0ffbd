//! The runs below a folder of results, and how they are.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::directory::{RunDirectory, State, Status, all_below};
use super::lock;
use super::summary;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunRow {
    /// Its folder.
    pub folder: PathBuf,
    /// `queued`, `running`, `done`, `failed` or `interrupted`; `killed` if it says that it is running
    /// and nobody runs it.
    pub state: &'static str,
    /// Why it failed or was interrupted.
    pub reason: Option<String>,
    /// Whether its folder holds the results of an earlier run that was done, which stay until this one is.
    pub holds_earlier_results: bool,
    /// Questions that were answered right, by the model or, where none is asked, by the constant answer;
    /// empty if nothing was asked.
    pub correct: Option<usize>,
    /// Questions that were asked.
    pub questions: Option<usize>,
    /// When it was started, RFC 3339.
    pub started: Option<String>,
    /// When it ended, RFC 3339.
    pub ended: Option<String>,
}

/// All runs below `results`, by folder. A run whose files cannot be read is there with what can.
pub fn list(results: &Path) -> Vec<RunRow> {
    all_below(results).iter().map(row).collect()
}

fn row(run: &RunDirectory) -> RunRow {
    let status = run.status().ok();
    let state = match status.as_ref().map(|status| status.state) {
        Some(State::Running) if !lock::is_held(run.path()) => "killed",
        Some(state) => state.name(),
        None => "unknown",
    };
    let has_results = status.as_ref().is_some_and(Status::has_results);
    let holds_earlier_results = has_results && state != State::Done.name();
    let counted = has_results.then(|| {
        let splits = ["dev", "test", "train"].into_iter();
        splits
            .filter_map(|split| {
                let count = |subject| summary::count(run, split, subject).ok().flatten();
                // Where no model is asked, the constant answer is the run.
                count("model").or_else(|| count("constant"))
            })
            .next()
    });
    let counted = counted.flatten();
    let (reason, started, ended) = status
        .map(|status| (status.reason, status.started, status.ended))
        .unwrap_or_default();
    RunRow {
        folder: run.path().to_owned(),
        state,
        reason,
        holds_earlier_results,
        correct: counted.map(|(correct, _)| correct),
        questions: counted.map(|(_, questions)| questions),
        started,
        ended,
    }
}
