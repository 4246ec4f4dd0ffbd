//! A plan as text: a headline, then the runs with their stages in columns.

use std::time::Duration;

use super::{LaidRun, LaidStage, ToDo};
use crate::commands::table::{Table, wrap};
use crate::commands::{count, megabytes, thousands};
use crate::labels::shorten_apart;
use crate::progress::{columns, format_duration};

/// `quickstart: 2 runs, 5 stages, 3 to do: one after another about 40 s and 90 MB of memory`.
pub(super) fn headline(start: &str, runs: &[&LaidRun], to_do: &ToDo) -> String {
    let stages = count(to_do.stages, "stage");
    let all = format!("{start}{}, {stages}", count(runs.len(), "run"));
    let unfinished = runs.iter().filter(|run| !run.done).count();
    let mut stages = runs.iter().flat_map(|run| &run.stages);
    if to_do.stages_to_do == 0 {
        return match unfinished {
            _ if stages.any(|stage| stage.action == "shared") => {
                format!("{all}, all shared with experiments above")
            }
            0 => format!("{all}, all already finished"),
            1 => format!("{all}, all already finished; 1 run is assembled from the cache"),
            n => format!("{all}, all already finished; {n} runs are assembled from the cache"),
        };
    }
    format!(
        "{all}, {} to do: one after another about {} and {} of memory",
        to_do.stages_to_do,
        format_duration(Duration::from_secs_f64(to_do.seconds)),
        megabytes(to_do.memory_bytes)
    )
}

/// `~4,640,000 tokens`: an estimate to three digits, since the draws of span corruption and the length of answers
/// are not known in advance.
fn about(tokens: u64) -> String {
    let unit = 10_u64.pow(tokens.checked_ilog10().unwrap_or(0).saturating_sub(2));
    let rounded = (tokens + unit / 2) / unit * unit;
    format!("~{}", count(rounded as usize, "token"))
}

/// The runs with their stages in columns, separated by empty lines.
pub(super) fn run_lines(runs: &[LaidRun], width: usize) -> Vec<String> {
    let stages = runs.iter().flat_map(|run| &run.stages);
    let table = Table {
        rows: stages.map(stage_cells).collect(),
        ..Table::default()
    };
    let (_, mut blocks) = table.blocks(width.saturating_sub(2));
    let folders: Vec<String> = runs.iter().map(|run| run.folder.clone()).collect();
    let folders = shorten_apart(&folders, &|folder| columns(folder) + 2 <= width);
    let mut lines = vec![];
    for (run, folder) in runs.iter().zip(folders) {
        lines.push(String::new());
        lines.extend(wrap(&heading(run), width, 4));
        if run.is_named && !run.values.is_empty() {
            let values = run.values.iter();
            let values = values.map(|(key, value)| format!("{key} = {value}"));
            let values = values.collect::<Vec<_>>().join(", ");
            lines.extend(wrap(&format!("  {values}"), width, 4));
        }
        lines.push(format!("  {folder}"));
        for (stage, block) in run.stages.iter().zip(blocks.drain(..run.stages.len())) {
            let mut block = block.into_iter().map(|line| format!("  {line}"));
            let reason = stage.reason.as_deref().unwrap_or_default();
            let first = block.next().unwrap_or_default();
            let whole = format!("{first}   {reason}");
            if columns(whole.trim_end()) <= width && block.len() == 0 {
                lines.push(whole.trim_end().to_owned());
            } else {
                lines.push(first);
                lines.extend(block);
                lines.extend(wrap(&format!("    {reason}"), width, 4));
            }
        }
    }
    lines
}

/// `pretrained, seed 1, 116,480 parameters: already finished`.
fn heading(run: &LaidRun) -> String {
    let parameters = run.parameters.map(thousands);
    let parameters = parameters.map_or(String::new(), |n| format!(", {n} parameters"));
    let done = if run.done { ": already finished" } else { "" };
    format!("{}, seed {}{parameters}{done}", run.label, run.seed)
}

fn stage_cells(stage: &LaidStage) -> Vec<String> {
    let action = match stage.done_steps {
        Some(step) => format!("resume after {}", thousands(step)),
        None => stage.action.to_owned(),
    };
    let steps = stage.steps.filter(|&n| n > 0);
    let steps = steps.map(|n| count(n, stage.unit));
    let seconds = stage.seconds.map(Duration::from_secs_f64);
    vec![
        stage.stage.to_owned(),
        action,
        steps.unwrap_or_default(),
        stage.tokens.filter(|&n| n > 0).map_or(String::new(), about),
        stage.memory_bytes.map_or(String::new(), megabytes),
        seconds.map_or(String::new(), format_duration),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn run(label: &str, reason: &str) -> LaidRun {
        let stage = |stage, steps: Option<usize>, reason: &str| LaidStage {
            stage,
            key: String::new(),
            action: if steps.is_some() { "run" } else { "reuse" },
            reason: steps.map(|_| reason.to_owned()),
            done_steps: None,
            steps,
            unit: "step",
            tokens: steps.map(|_| 4_640_000),
            memory_bytes: steps.map(|_| 90_000_000),
            seconds: steps.map(|_| 21.0),
        };
        LaidRun {
            label: label.to_owned(),
            values: BTreeMap::from([("pretrain.epochs".to_owned(), "100".to_owned())]),
            is_named: true,
            seed: 1,
            folder: format!("results/quickstart/{label}-956e2874/seed-1"),
            parameters: Some(116_480),
            done: false,
            stages: vec![
                stage("pretrain", Some(3800), reason),
                stage("evaluate", None, ""),
            ],
        }
    }

    #[test]
    fn a_label_stands_over_its_values_and_reasons_go_below_where_there_is_no_room() {
        let long = "new, because pretrain.learning_rate 0.008 -> 0.004";
        let wanted = |reason: &str| {
            let text = format!(
                "\npretrained, seed 1, 116,480 parameters\n  pretrain.epochs = 100\n  \
                 results/quickstart/pretrained-956e2874/seed-1\n  \
                 pretrain  run    3,800 steps  ~4,640,000 tokens  90 MB  21 s{reason}\n  evaluate  reuse"
            );
            text.split('\n').map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(run_lines(&[run("pretrained", "new")], 80), wanted("   new"));
        let runs = [run("pretrained", long)];
        assert_eq!(run_lines(&runs, usize::MAX), wanted(&format!("   {long}")));
        assert_eq!(run_lines(&runs, 80), wanted(&format!("\n    {long}")));
        for width in 30..100 {
            let lines = run_lines(&runs, width);
            assert!(
                lines.iter().all(|line| columns(line) <= width),
                "{width}: {lines:#?}"
            );
        }
    }

    #[test]
    fn tokens_have_three_digits() {
        let told = [7, 999, 1234, 4_635_600, 99_950].map(about);
        let wanted = ["~7", "~999", "~1,230", "~4,640,000", "~100,000"];
        assert_eq!(told, wanted.map(|number| format!("{number} tokens")));
    }
}
