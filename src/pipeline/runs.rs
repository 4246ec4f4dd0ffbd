//! The runs below a results folder, and their states.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::directory::{RunDirectory, State, Status, all_below};
use super::lock;
use super::summary;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunRow {
    pub folder: PathBuf,
    /// What its point is called, and its seed: `pretrained, seed 1`.
    pub name: Option<String>,
    /// `queued`, `running`, `done`, `failed` or `interrupted`; `killed` if its status is running but
    /// no process runs it, `not started` if it is queued and no process runs its experiment.
    pub state: &'static str,
    pub reason: Option<String>,
    /// Whether its folder holds the results of an earlier run that was done, which stay until this one is.
    pub holds_earlier_results: bool,
    /// Questions answered correctly by the model or, if no model is asked, by the constant answer;
    /// empty without results or evaluation, or if no right answer is known.
    pub correct: Option<usize>,
    pub questions: Option<usize>,
    /// When it was started, RFC 3339.
    pub started: Option<String>,
    pub ended: Option<String>,
}

/// All runs below `results`, by folder. A run with unreadable files is listed with what can be read.
pub fn list(results: &Path) -> Vec<RunRow> {
    let mut rows: Vec<RunRow> = all_below(results).iter().map(row).collect();
    let experiment = |row: &RunRow| row.folder.ancestors().nth(2).map(Path::to_owned);
    let running = rows.iter().filter(|row| row.state == State::Running.name());
    let under_way: BTreeSet<Option<PathBuf>> = running.map(experiment).collect();
    for row in &mut rows {
        if row.state == State::Queued.name() && !under_way.contains(&experiment(row)) {
            row.state = "not started";
        }
    }
    rows
}

fn row(run: &RunDirectory) -> RunRow {
    let status = run.status();
    let state = match status.as_ref().map(|status| status.state) {
        Some(State::Running) if !lock::is_held(run.path()) => "killed",
        Some(state) => state.name(),
        None => "unknown",
    };
    let has_results = status.as_ref().is_some_and(Status::has_results);
    let holds_earlier_results = has_results && state != State::Done.name();
    let counted = has_results.then(|| summary::counted(run));
    let counted = counted.flatten();
    let seed = run.path().file_name().and_then(|name| name.to_str());
    let seed = seed.map_or(String::new(), |seed| seed.replace('-', " "));
    let (label, reason, started, ended) = status
        .map(|status| (status.label, status.reason, status.started, status.ended))
        .unwrap_or_default();
    RunRow {
        folder: run.path().to_owned(),
        name: label.map(|label| format!("{label}, {seed}")),
        state,
        reason,
        holds_earlier_results,
        correct: counted.as_ref().map(|one| one.right),
        questions: counted.as_ref().map(|one| one.count),
        started,
        ended,
    }
}
