//! The training table: steps, tokens, loss and time of each stage of each run.

use std::time::Duration;

use super::results::{Results, Run};
use super::table::{Cell, Column, Table, count, maybe, seed, words};
use crate::metrics::rows::{StepRow, TimingRow};
use crate::metrics::statistics::mean;
use crate::progress::format_duration;

/// One row per stage of each finished run; nothing if none was trained.
pub(super) fn table(results: &Results) -> Option<Table> {
    let loss = "Training. Loss: mean over the steps of the last epoch, each weighted equally, with dropout as in training.";
    let caption = format!("{loss}{}", times(results));
    let columns = [
        Column::words("Point"),
        Column::numbers("Seed"),
        Column::words("Stage"),
        Column::numbers("Epochs"),
        Column::numbers("Steps"),
        Column::numbers("Tokens"),
        Column::numbers("Loss in nats"),
        Column::numbers("Time"),
    ];
    let mut table = Table::new("training", caption, &columns);
    for run in &results.runs {
        for rows in run.steps.chunk_by(|a, b| a.stage == b.stage) {
            table.rows.push(row(run, rows));
        }
    }
    (!table.rows.is_empty()).then(|| table.without_empty_columns())
}

/// The caption's sentence about times measured while other stages ran.
fn times(results: &Results) -> String {
    let runs = results.runs.iter().filter(|run| !run.timings.is_empty());
    let (beside, alone): (Vec<&Run>, Vec<&Run>) = runs.partition(|run| run.stages_at_once > 1);
    let most = beside.iter().map(|run| run.stages_at_once).max();
    let Some(most) = most else {
        return String::new();
    };
    let of = match &beside[..] {
        _ if alone.is_empty() => String::new(),
        [one] => format!(" of {}, seed {},", one.label, one.seed),
        several => format!(" of {} runs", several.len()),
    };
    format!(
        " Time{of} was measured while up to {most} stages shared the machine, so it is not the time of a stage running alone."
    )
}

fn row(run: &Run, steps: &[StepRow]) -> Vec<Cell> {
    let stage = &steps[0].stage;
    let epochs = steps.iter().map(|step| step.epoch).max();
    let epochs = epochs.unwrap_or_default();
    let last = steps.iter().filter(|step| step.epoch == epochs);
    let losses: Vec<f64> = last.map(|step| step.loss_nats).collect();
    let loss = |loss: f64| Cell::number(format!("{loss:.4}"), loss);
    vec![
        words(&run.label),
        seed(run.seed),
        words(stage),
        count(epochs),
        count(steps.len()),
        count(steps.iter().map(|step| step.tokens).sum()),
        maybe(mean(&losses), loss),
        maybe(milliseconds(stage, steps.len(), &run.timings), time),
    ]
}

/// Total time of a stage's steps; absent unless every step was timed.
fn milliseconds(stage: &str, steps: usize, timings: &[TimingRow]) -> Option<f64> {
    let own = timings.iter().filter(|row| row.stage == stage);
    let own: Vec<f64> = own.map(|row| row.step_ms).collect();
    (own.len() == steps).then(|| own.iter().sum())
}

fn time(milliseconds: f64) -> Cell {
    let duration = Duration::try_from_secs_f64(milliseconds / 1e3);
    let text = duration.map_or_else(|_| String::new(), format_duration);
    Cell::number(text, milliseconds)
}
