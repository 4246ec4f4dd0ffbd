//! `attnlab list`: experiments, attention kinds, runs.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{count, print, print_json};
use crate::cli::List;
use crate::config::shape::ATTENTION_KINDS;
use crate::config::{self, Experiment};
use crate::error::Result;
use crate::model::registry;
use crate::pipeline::runs::{self, RunRow};

/// `attnlab list experiments`.
#[derive(Serialize)]
struct ExperimentRow {
    file: PathBuf,
    /// The first line of the file, where it says what it asks.
    question: Option<String>,
    /// Of an experiment.
    #[serde(skip_serializing_if = "Option::is_none")]
    points: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seeds: Option<usize>,
    /// Of a suite: its experiments, and its profiles.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    profiles: Vec<String>,
    /// Whether all its model shapes are in this binary.
    compiled: bool,
}

/// `attnlab list attention`.
#[derive(Serialize)]
struct AttentionRow {
    kind: &'static str,
    about: &'static str,
    /// Shapes with this kind in this binary.
    shapes: usize,
}

/// `attnlab list`.
pub(crate) fn list(what: &List) -> Result<()> {
    match what {
        List::Experiments { folder, json } => experiments(folder, *json),
        List::Attention { json } => attention(*json),
        List::Runs { results, json } => runs(results, *json),
    }
}

fn experiments(folder: &Path, json: bool) -> Result<()> {
    let checked = config::check(&[folder.to_owned()])?;
    let row = |one: config::Checked| {
        let question = config::question(&one.path);
        let compiled = |one: &Experiment| one.points.iter().all(super::is_compiled);
        let row = match (one.experiment, one.suite) {
            (Some(experiment), _) => ExperimentRow {
                question,
                points: Some(experiment.points.len()),
                seeds: Some(experiment.seeds.len()),
                members: vec![],
                profiles: vec![],
                compiled: compiled(&experiment),
                file: one.path,
            },
            (None, Some(suite)) => {
                let members = suite.members.into_iter().map(|member| member.experiment);
                let members: Vec<Experiment> = members.collect();
                ExperimentRow {
                    question,
                    points: None,
                    seeds: None,
                    compiled: members.iter().all(compiled),
                    members: members.into_iter().map(|member| member.path).collect(),
                    profiles: suite.profiles,
                    file: one.path,
                }
            }
            (None, None) => return None,
        };
        Some(row)
    };
    let rows: Vec<ExperimentRow> = checked.into_iter().filter_map(row).collect();
    if json {
        return print_json(&rows);
    }
    for row in rows {
        let what = match (row.points, row.seeds) {
            (Some(points), Some(seeds)) => {
                format!("{} × {}", count(points, "point"), count(seeds, "seed"))
            }
            _ => {
                let (members, profiles) = (row.members.len(), row.profiles.join(", "));
                format!(
                    "a suite of {}; profiles {profiles}",
                    count(members, "experiment")
                )
            }
        };
        let note = if row.compiled {
            ""
        } else {
            ", not in this binary"
        };
        print(format!("{}  ({what}{note})", row.file.display()))?;
        row.question
            .map_or(Ok(()), |question| print(format!("    {question}")))?;
    }
    Ok(())
}

fn attention(json: bool) -> Result<()> {
    let rows: Vec<AttentionRow> = ATTENTION_KINDS
        .into_iter()
        .map(|kind| AttentionRow {
            kind: kind.name,
            about: kind.about,
            shapes: registry::compiled()
                .iter()
                .filter(|one| one.shape.attention == kind.name)
                .count(),
        })
        .collect();
    if json {
        return print_json(&rows);
    }
    rows.iter().try_for_each(|row| {
        let shapes = count(row.shapes, "compiled shape");
        print(format!("{:<16}{}  ({shapes})", row.kind, row.about))
    })
}

fn runs(results: &Path, json: bool) -> Result<()> {
    let rows = runs::list(results);
    if json {
        return print_json(&rows);
    }
    if rows.is_empty() {
        let none = if results.is_dir() {
            ""
        } else {
            ", which is no folder"
        };
        return print(format!("no run in {}{none}", results.display()));
    }
    for row in &rows {
        print(line(row))?;
    }
    Ok(())
}

/// `done          48/60 = 80.0 %  2026-11-24 13:42  results/quickstart/…/seed-1`, then why it is not done.
fn line(row: &RunRow) -> String {
    let accuracy = match (row.correct, row.questions) {
        (Some(correct), Some(questions)) if questions > 0 => {
            format!(
                "{correct}/{questions} = {:.1} %",
                100.0 * correct as f64 / questions as f64
            )
        }
        _ => String::new(),
    };
    let when = row
        .ended
        .as_deref()
        .or(row.started.as_deref())
        .unwrap_or_default();
    let when: String = when.chars().take(16).collect::<String>().replace('T', " ");
    let reason = row
        .reason
        .as_deref()
        .and_then(|reason| reason.lines().next());
    let reason = reason.map_or(String::new(), |reason| format!("\n    {reason}"));
    let earlier = match row.holds_earlier_results {
        true => "\n    its results are from the earlier run, which finished",
        false => "",
    };
    format!(
        "{:<12}{accuracy:>18}  {when:<16}  {}{reason}{earlier}",
        row.state,
        row.folder.display()
    )
}
