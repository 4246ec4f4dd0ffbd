//! `attnlab list`: experiments, attention kinds and runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use super::table::{Table, wrap};
use super::{count, points_and_seeds, print, print_json, print_wrapped};
use crate::cli::List;
use crate::config::schema::{ATTENTION_KINDS, ATTENTION_PARTS};
use crate::config::{self, Experiment};
use crate::error::Result;
use crate::labels::shorten_apart;
use crate::pipeline::runs::{self, RunRow};
use crate::progress::{columns, output_width};

#[derive(Default, Serialize)]
struct ExperimentRow {
    file: PathBuf,
    /// The file's first comment line, its question.
    question: Option<String>,
    /// Experiments only.
    #[serde(skip_serializing_if = "Option::is_none")]
    points: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seeds: Option<usize>,
    /// Suites only: its experiments and profiles.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    profiles: Vec<String>,
    /// Whether all its model shapes are compiled into this program.
    compiled: bool,
}

#[derive(Serialize)]
struct AttentionKindRow {
    kind: &'static str,
    about: &'static str,
    formula: &'static str,
    parameters: &'static str,
    /// Keys of parts that it does not take, and why.
    lacks: BTreeMap<&'static str, &'static str>,
}

pub fn list(what: &List) -> Result<()> {
    match what {
        List::Experiments { folder, json } => experiments(folder, *json),
        List::Attention { json } => attention(*json),
        List::Runs { results, json } => runs(results, *json),
    }
}

fn experiments(folder: &Path, json: bool) -> Result<()> {
    let checked = config::check(&[folder.to_owned()])?;
    let row = |one: config::Checked| {
        let row = ExperimentRow {
            question: config::question(&one.path),
            file: one.path,
            ..ExperimentRow::default()
        };
        let compiled = |one: &Experiment| one.points.iter().all(super::is_compiled);
        if let Some(experiment) = one.experiment {
            return Some(ExperimentRow {
                points: Some(experiment.points.len()),
                seeds: Some(experiment.seeds.len()),
                compiled: compiled(&experiment),
                ..row
            });
        }
        let suite = one.suite?;
        let members = || suite.members.iter().map(|member| &member.experiment);
        Some(ExperimentRow {
            compiled: members().all(compiled),
            members: members().map(|member| member.path.clone()).collect(),
            profiles: suite.profiles.clone(),
            ..row
        })
    };
    let rows: Vec<ExperimentRow> = checked.into_iter().filter_map(row).collect();
    if json {
        return print_json(&rows);
    }
    for row in rows {
        let what = match (row.points, row.seeds) {
            (Some(points), Some(seeds)) => points_and_seeds(points, seeds),
            _ => {
                let members = count(row.members.len(), "experiment");
                format!("a suite of {members}; profiles {}", row.profiles.join(", "))
            }
        };
        let note = match row.compiled {
            true => "",
            false => ", compiled when it is first run",
        };
        print_wrapped(&format!("{}  ({what}{note})", row.file.display()), 4)?;
        if let Some(question) = row.question {
            print_wrapped(&format!("    {question}"), 4)?;
        }
    }
    Ok(())
}

fn attention(json: bool) -> Result<()> {
    let kinds = ATTENTION_KINDS.map(|kind| AttentionKindRow {
        kind: kind.name,
        about: kind.about,
        formula: kind.formula,
        parameters: kind.parameters,
        lacks: kind.lacks.iter().copied().collect(),
    });
    if json {
        return print_json(&json!({"kinds": kinds, "parts": ATTENTION_PARTS}));
    }
    let learned = |parameters: &str| match parameters {
        "0" => String::new(),
        some => format!("; extra parameters: {some}"),
    };
    print_wrapped(
        "[model.attention] kind = …, with the weight of a value, where s = q · k / √d and d is the width of a head; or, with a \
         state S, a head's output, where α is a token's forget gate and β its write strength",
        0,
    )?;
    print("")?;
    for row in kinds {
        print_wrapped(&format!("{:<16}{}", row.kind, row.about), 16)?;
        let formula = format!("{:16}{}{}", "", row.formula, learned(row.parameters));
        print_wrapped(&formula, 16)?;
        if !row.lacks.is_empty() {
            let lacks: Vec<&str> = row.lacks.keys().copied().collect();
            print_wrapped(&format!("{:16}without {}", "", lacks.join(", ")), 16)?;
        }
    }
    print("\nParts that combine, except where a kind is without them\n")?;
    for part in ATTENTION_PARTS {
        print_wrapped(
            &format!("{:<28}{} ({})", part.key, part.formula, part.source),
            28,
        )?;
        if part.parameters != "0" {
            print(format!("{:28}extra parameters: {}", "", part.parameters))?;
        }
    }
    print_wrapped(
        "\nD is the width of the residual stream, H the number of heads. Counts are per layer, beside the 4 D (D + 1) \
         parameters of the q, k, v and output projections. In a differential head, rotary, qk_norm and sink treat each \
         of the two maps as a head of width d / 2, so l2 and learned sinks have two parameters per head. A \
         synthesizer has no keys, so kv_heads saves half as much.",
        0,
    )
}

fn runs(results: &Path, json: bool) -> Result<()> {
    let rows = runs::list(results);
    if json {
        return print_json(&rows);
    }
    if rows.is_empty() {
        let none = match results.is_dir() {
            true => "",
            false => ", which is not a folder",
        };
        return print(format!("no runs in {}{none}", results.display()));
    }
    run_lines(&rows, output_width()).iter().try_for_each(print)
}

/// `done  48/60 = 80.0 %  2026-11-24 13:42  pretrained, seed 1  results/quickstart/…/seed-1`, then why it is
/// not done. If one line would be too wide, all folders go on separate lines.
fn run_lines(rows: &[RunRow], width: usize) -> Vec<String> {
    let folder = |row: &RunRow| row.folder.display().to_string();
    let table = Table {
        rows: rows.iter().map(cells).collect(),
        names: 3,
        ..Table::default()
    };
    let mut whole = table.clone();
    for (cells, row) in whole.rows.iter_mut().zip(rows) {
        cells.push(folder(row));
    }
    let (_, mut blocks) = whole.blocks(usize::MAX);
    if blocks.iter().flatten().any(|line| columns(line) > width) {
        blocks = table.blocks(width).1;
        let folders: Vec<String> = rows.iter().map(folder).collect();
        let folders = shorten_apart(&folders, &|text| columns(text) + 4 <= width);
        for (block, folder) in blocks.iter_mut().zip(folders) {
            block.push(format!("    {folder}"));
        }
    }
    let mut lines = vec![];
    for (block, row) in blocks.into_iter().zip(rows) {
        lines.extend(block);
        let reason = row.reason.as_deref();
        let reason = reason.and_then(|reason| reason.lines().next());
        let earlier = "its results are from an earlier run, which finished";
        let earlier = row.holds_earlier_results.then_some(earlier);
        for note in reason.into_iter().chain(earlier) {
            lines.extend(wrap(&format!("    {note}"), width, 4));
        }
    }
    lines
}

/// State, accuracy, time and name of a run.
fn cells(row: &RunRow) -> Vec<String> {
    let accuracy = match (row.correct, row.questions) {
        (Some(correct), Some(questions)) if questions > 0 => {
            let percent = 100.0 * correct as f64 / questions as f64;
            format!("{correct}/{questions} = {percent:.1} %")
        }
        _ => String::new(),
    };
    let when = row.ended.as_deref().or(row.started.as_deref());
    let when = when.unwrap_or_default().chars().take(16);
    let when = when.collect::<String>().replace('T', " ");
    let name = row.name.clone().unwrap_or_default();
    vec![row.state.to_owned(), accuracy, when, name]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(epochs: usize, state: &'static str) -> RunRow {
        let done = state == "done";
        RunRow {
            folder: format!("results/quickstart/pretrain-epochs-{epochs}-0bb29c6f/seed-1").into(),
            name: Some(format!("pretrain.epochs = {epochs}, seed 1")),
            state,
            reason: (state == "failed")
                .then(|| "pretrain stopped at step 2: loss_nats is not finite".to_owned()),
            holds_earlier_results: false,
            correct: done.then_some(57),
            questions: done.then_some(60),
            started: None,
            ended: done.then(|| "2026-11-24T13:42:07Z".to_owned()),
        }
    }

    #[test]
    fn runs_have_one_line_where_there_is_room() {
        let rows = [row(0, "done"), row(100, "not started")];
        let wanted = [
            "done         57/60 = 95.0 %  2026-11-24 13:42  pretrain.epochs = 0, seed 1    \
             results/quickstart/pretrain-epochs-0-0bb29c6f/seed-1",
            "not started                                    pretrain.epochs = 100, seed 1  \
             results/quickstart/pretrain-epochs-100-0bb29c6f/seed-1",
        ];
        assert_eq!(run_lines(&rows, usize::MAX), wanted);
        // Runs of an older program have no name.
        let unnamed = RunRow {
            name: None,
            ..row(0, "done")
        };
        let line = "done  57/60 = 95.0 %  2026-11-24 13:42  results/quickstart/pretrain-epochs-0-0bb29c6f/seed-1";
        assert_eq!(run_lines(&[unnamed], usize::MAX), [line]);
    }

    #[test]
    fn on_a_terminal_names_stand_over_folders_and_both_can_be_told_apart() {
        let rows = [row(0, "done"), row(100, "failed"), row(7, "not started")];
        let wanted = [
            "done         57/60 = 95.0 %  2026-11-24 13:42  pretrain.epochs = 0, seed 1",
            "    results/quickstart/pretrain-epochs-0-0bb29c6f/seed-1",
            "failed                                         pretrain.epochs = 100, seed 1",
            "    results/quickstart/pretrain-epochs-100-0bb29c6f/seed-1",
            "    pretrain stopped at step 2: loss_nats is not finite",
            "not started                                    pretrain.epochs = 7, seed 1",
            "    results/quickstart/pretrain-epochs-7-0bb29c6f/seed-1",
        ];
        assert_eq!(run_lines(&rows, 80), wanted);
        for width in 30..90 {
            let lines = run_lines(&rows, width);
            assert!(
                lines.iter().all(|line| columns(line) <= width),
                "{lines:#?}"
            );
            let different: std::collections::BTreeSet<&String> = lines.iter().collect();
            assert!(different.len() >= 6, "{lines:#?}");
        }
    }
}
