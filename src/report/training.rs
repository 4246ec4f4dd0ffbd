//! The training table: steps, tokens, loss and time of each stage of each run.

use std::time::Duration;

use super::results::{Results, Run};
use super::table::{Cell, Field, Table, count, maybe, seed, words};
use crate::metrics::rows::StepRow;
use crate::metrics::statistics::mean;
use crate::progress::format_duration;

/// One row per stage of each finished run; nothing if none was trained.
pub(super) fn table(results: &Results) -> Option<Table> {
    let loss = "Training. Loss: mean over the steps of the last epoch, each weighted equally, with dropout as in training.";
    let caption = format!("{loss}{}", times(results));
    let loss = |loss: f64| Cell::number(format!("{loss:.4}"), loss);
    let fields: [Field<'_, TrainedStage<'_>>; 8] = [
        ("Point", &|(run, _)| words(&run.label)),
        ("Seed", &|(run, _)| seed(run.seed)),
        ("Stage", &|(_, steps)| words(&steps[0].stage)),
        ("Epochs", &|(_, steps)| count(epochs(steps))),
        ("Steps", &|(_, steps)| count(steps.len())),
        ("Tokens", &|(_, steps)| {
            count(steps.iter().map(|step| step.tokens).sum())
        }),
        ("Loss in nats", &|(_, steps)| maybe(final_loss(steps), loss)),
        ("Time", &|stage| maybe(milliseconds(*stage), time)),
    ];
    let stages = results.runs.iter().flat_map(|run| {
        let stages = run.steps.chunk_by(|a, b| a.stage == b.stage);
        stages.map(move |steps| (run, steps))
    });
    let table = Table::of("training", caption, stages, &fields);
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

/// A run and the steps of one of its stages, at least one.
type TrainedStage<'a> = (&'a Run, &'a [StepRow]);

fn epochs(steps: &[StepRow]) -> usize {
    let epochs = steps.iter().map(|step| step.epoch);
    epochs.max().unwrap_or_default()
}

/// The mean loss of the last epoch.
fn final_loss(steps: &[StepRow]) -> Option<f64> {
    let last = epochs(steps);
    let last = steps.iter().filter(|step| step.epoch == last);
    mean(&last.map(|step| step.loss_nats).collect::<Vec<f64>>())
}

/// Total time of a stage's steps; absent unless every step was timed.
fn milliseconds((run, steps): TrainedStage<'_>) -> Option<f64> {
    let own = run.timings.iter();
    let own = own.filter(|row| row.stage == steps[0].stage);
    let own: Vec<f64> = own.map(|row| row.step_ms).collect();
    (own.len() == steps.len()).then(|| own.iter().sum())
}

fn time(milliseconds: f64) -> Cell {
    let duration = Duration::try_from_secs_f64(milliseconds / 1e3);
    let text = duration.map_or_else(|_| String::new(), format_duration);
    Cell::number(text, milliseconds)
}
