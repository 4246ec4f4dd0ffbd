//! Status and provenance of the runs.

use std::collections::BTreeSet;
use std::path::Path;

use super::results::{Results, Run};
use super::table::{Cell, Field, Table, seed, words};
use crate::config::shell_word;
use crate::pipeline::provenance::{Git, Provenance};
use crate::progress::thousands;

/// The status of every run.
pub(super) fn runs(results: &Results) -> Table {
    let fields: [Field<'_, &Run>; 5] = [
        ("Point", &|run| words(&run.label)),
        ("Seed", &|run| seed(run.seed)),
        ("State", &|run| words(run.row.state)),
        ("Started", &|run| when(run.row.started.as_deref())),
        ("Ended", &|run| when(run.row.ended.as_deref())),
    ];
    Table::of("runs", "Runs.", &results.runs, &fields).without_empty_columns()
}

/// RFC 3339 in UTC as `2026-11-24 13:42:05 UTC`; anything else unchanged.
fn when(time: Option<&str>) -> Cell {
    let time = time.unwrap_or_default();
    words(
        match time.strip_suffix('Z').and_then(|time| time.split_once('T')) {
            Some((day, clock)) => {
                let clock = clock.split('.').next().unwrap_or_default();
                format!("{day} {clock} UTC")
            }
            None => time.to_owned(),
        },
    )
}

/// The provenance of all started runs: a table for each distinct command, program or machine.
pub(super) fn tables(results: &Results) -> Vec<Table> {
    // Runs of one command share everything but the data they read.
    let mut origins: Vec<(Provenance, Vec<String>)> = vec![];
    for run in results.runs.iter().filter(|run| run.settings.is_some()) {
        let entries = match &run.origin[..] {
            [] => &[Provenance::default()][..],
            entries => entries,
        };
        for (i, entry) in entries.iter().enumerate() {
            let name = name(run, i, entries.len());
            let same = |(other, _): &&mut (Provenance, Vec<String>)| {
                let mut entry = entry.clone();
                entry.data.clone_from(&other.data);
                *other == entry
            };
            match origins.iter_mut().find(same) {
                Some((known, names)) => {
                    known.data.extend(entry.data.clone());
                    names.push(name);
                }
                None => origins.push((entry.clone(), vec![name])),
            }
        }
    }
    let origins = origins.iter();
    origins
        .map(|(entry, names)| describe(entry, names))
        .collect()
}

/// `pretrained, seed 1`, with the part's number if the run was resumed.
fn name(run: &Run, part: usize, parts: usize) -> String {
    let part = match parts {
        0 | 1 => String::new(),
        _ => format!(" (part {} of {parts})", part + 1),
    };
    format!("{}, seed {}{part}", run.label, run.seed)
}

fn describe(entry: &Provenance, runs: &[String]) -> Table {
    let is_known = *entry != Provenance::default();
    let caption = match is_known {
        true => "What made these runs.",
        false => "What made these runs is not known.",
    };
    let mut rows = vec![("Runs".to_owned(), runs.join("; "))];
    if is_known {
        rows.extend(facts(entry));
    }
    let fields: [Field<'_, (String, String)>; 2] = [
        ("What", &|(what, _)| words(what)),
        ("Which", &|(_, which)| words(which)),
    ];
    Table::of("origin", caption, rows, &fields)
}

/// What is known of a command, its program and machine, by name.
fn facts(entry: &Provenance) -> impl Iterator<Item = (String, String)> {
    let program = &entry.program;
    let features = match &program.features[..] {
        [] => String::new(),
        features => format!(", with {}", features.join(", ")),
    };
    let (version, profile, dfdx) = (&program.version, &program.profile, &program.dfdx);
    let machine = &entry.machine;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let memory = machine.memory_bytes;
    let memory = memory.map(|bytes| format!("{:.1} GB", bytes as f64 / 1e9));
    let cores = machine.logical_cores;
    let cores = cores.map(|n| format!("{} cores, ", thousands(n)));
    let cores = cores.unwrap_or_default() + &thousands(machine.threads);
    let system = [
        text(&machine.system),
        text(&machine.kernel),
        machine.architecture.clone(),
    ];
    let beside = match entry.computed.stages_at_once {
        0 | 1 => String::new(),
        stages => format!(" by each of {stages} stages at once"),
    };
    let variables = entry.environment.iter().map(|(k, v)| format!("{k}={v}"));
    let differing = entry.git.as_ref().map(changes);
    let rows = [
        ("Command", command(&entry.command)),
        ("Environment", variables.collect::<Vec<_>>().join(" ")),
        ("Experiment", entry.experiment.clone()),
        ("Commit", commit(entry)),
        ("Files that differ from it", differing.unwrap_or_default()),
        (
            "Program",
            format!("attnlab {version}, {profile} build{features}"),
        ),
        ("Its BLAKE3 sum", text(&program.blake3)),
        (
            "Built with",
            format!("{}, dfdx {dfdx}", program.rustc.trim()),
        ),
        ("Processor", text(&machine.processor)),
        ("Threads", format!("{cores} used{beside}")),
        ("Matrix products", text(&entry.computed.matmul_kernel)),
        ("Memory", memory.unwrap_or_default()),
        ("GPU", text(&entry.gpu)),
        ("System", system.join(" ")),
    ];
    let rows = rows.into_iter();
    let said = rows.filter(|(_, which)| !which.trim().is_empty());
    let said = said.map(|(what, which)| (what.to_owned(), which));
    let sums = entry.data.iter();
    said.chain(sums.map(|(name, sum)| (format!("Data: {name}"), sum.clone())))
}

/// The commit and branch, or why they are unknown; empty outside a repository.
fn commit(entry: &Provenance) -> String {
    match (&entry.git, &entry.commit_unknown) {
        (Some(Git { commit, branch, .. }), _) => match branch {
            Some(branch) => format!("{commit}, branch {branch}"),
            None => commit.clone(),
        },
        (None, Some(reason)) => format!("commit unknown: {reason}"),
        (None, None) => String::new(),
    }
}

/// The files that differ from the commit, on one line.
fn changes(git: &Git) -> String {
    match &git.changes_in_words()[..] {
        [] => "none".to_owned(),
        files => files.join("; "),
    }
}

/// The command line as one could type it, without the program's folder.
fn command(said: &[String]) -> String {
    let mut words: Vec<String> = said.iter().map(|word| shell_word(word)).collect();
    if let (Some(first), Some(path)) = (words.first_mut(), said.first())
        && let Some(name) = Path::new(path).file_name()
    {
        *first = shell_word(&name.to_string_lossy());
    }
    words.join(" ")
}

/// The settings of each point as TOML, under its label; its seeds differ only in that key.
pub(super) fn settings(results: &Results) -> Vec<(String, String)> {
    let mut seen = BTreeSet::new();
    let runs = results.runs.iter();
    let begun = runs.filter_map(|run| Some((run, run.settings.as_ref()?)));
    let first = begun.filter(|(run, _)| seen.insert(&run.point));
    let named =
        first.map(|(run, toml)| (format!("{}, seed {}", run.label, run.seed), toml.clone()));
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_typed_again_and_name_no_folder_of_the_program() {
        let words = [
            "/home/x/attnlab",
            "run",
            "a b.toml",
            "--set",
            "sweep.x=[1]",
            "it's",
        ];
        let text = command(&words.map(str::to_owned));
        assert_eq!(
            text,
            r"attnlab run 'a b.toml' --set 'sweep.x=[1]' 'it'\''s'"
        );
    }

    #[test]
    fn a_commit_stands_with_its_branch_or_with_why_it_is_unknown() {
        let commit = |json: &str| commit(&serde_json::from_str(json).expect("an entry"));
        let git = r#""git": { "commit": "2f6c", "branch": "main", "changed": [] }"#;
        let refused = r#""git": null, "commit_unknown": "detected dubious ownership""#;
        assert_eq!(commit(&format!("{{ {git} }}")), "2f6c, branch main");
        assert_eq!(
            commit(&format!("{{ {refused} }}")),
            "commit unknown: detected dubious ownership"
        );
        // Outside of a repository, and in files of before.
        assert_eq!(commit(r#"{ "git": null }"#), "");
    }

    #[test]
    fn times_are_read_by_people() {
        assert_eq!(
            when(Some("2026-11-24T13:42:05.123Z")).text,
            "2026-11-24 13:42:05 UTC"
        );
        assert_eq!(
            when(Some("2026-11-24T13:42:05Z")).text,
            "2026-11-24 13:42:05 UTC"
        );
        assert_eq!(when(Some("yesterday")).text, "yesterday");
        assert_eq!(when(None).text, "");
    }
}
