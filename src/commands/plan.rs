//! `attnlab plan`: what a run would do and why, and what it would cost.

use std::time::Duration;

use serde::Serialize;

use super::{count, megabytes, print, print_json, thousands};
use crate::cli;
use crate::config;
use crate::error::Result;
use crate::model::registry;
use crate::pipeline::plan::estimate::{Estimate, estimate};
use crate::pipeline::plan::{self, Action, Plan};
use crate::pipeline::stage::Source;
use crate::progress::in_words;

/// `attnlab plan`, and `attnlab run --dry-run`. Nothing is written.
pub(crate) fn plan(args: &cli::Plan) -> Result<()> {
    let experiment = config::load(&args.experiment.file, &args.experiment.set)?;
    let mut notices = vec![];
    let plan = plan::make(&experiment, &super::options(args, false, 1), &mut |line| {
        notices.push(line)
    })?;
    let estimates = estimate(&plan)?;
    let laid_out = Laid {
        notices,
        ..lay_out(&plan, &estimates)
    };
    if args.json {
        return print_json(&laid_out);
    }
    print(headline(&laid_out))?;
    laid_out
        .notices
        .iter()
        .try_for_each(|line| print(format!("note: {line}")))?;
    laid_out.runs.iter().try_for_each(print_run)
}

#[derive(Serialize)]
struct Laid<'a> {
    experiment: &'a str,
    /// Checkpoints that cannot be used.
    notices: Vec<String>,
    runs: Vec<LaidRun>,
    /// Stages to do, each counted once.
    stages_to_do: usize,
    stages: usize,
    /// Of all stages to do, one after another.
    seconds: f64,
    /// Of the largest stage.
    memory_bytes: u64,
}

#[derive(Serialize)]
struct LaidRun {
    label: String,
    seed: u64,
    folder: String,
    /// Absent where no model is used.
    parameters: Option<usize>,
    done: bool,
    stages: Vec<LaidStage>,
}

#[derive(Serialize)]
struct LaidStage {
    stage: &'static str,
    key: String,
    /// `reuse`, `resume`, `run` or `shared` (with a run above).
    action: &'static str,
    reason: Option<String>,
    /// Steps that are done already.
    done_steps: Option<usize>,
    steps: Option<usize>,
    tokens: Option<u64>,
    memory_bytes: Option<u64>,
    seconds: Option<f64>,
}

fn lay_out<'a>(plan: &'a Plan<'_>, estimates: &[Option<Estimate>]) -> Laid<'a> {
    let mut first = vec![None; plan.stages.len()];
    let mut runs = vec![];
    for (number, run) in plan.runs.iter().enumerate() {
        let mut stages = vec![];
        for &index in &run.stages {
            let planned = &plan.stages[index];
            let owner = *first[index].get_or_insert(number);
            let (mut action, mut reason, done_steps) = match &planned.action {
                Action::Reuse => ("reuse", None, None),
                Action::Resume { step } => ("resume", None, Some(*step)),
                Action::Run { reason } => ("run", Some(reason.clone()), None),
            };
            let shared = owner != number && action != "reuse";
            if shared {
                let with = &plan.runs[owner];
                (action, reason) = (
                    "shared",
                    Some(format!("with {}, seed {}", with.label, with.seed)),
                );
            }
            let estimate = estimates[index].as_ref().filter(|_| !shared);
            stages.push(LaidStage {
                stage: planned.stage.kind.name(),
                key: planned.stage.key.clone(),
                action,
                reason,
                done_steps: done_steps.filter(|_| !shared),
                steps: estimate.and_then(|one| one.steps),
                tokens: estimate.map(|one| one.tokens),
                memory_bytes: estimate.map(|one| one.memory_bytes),
                seconds: estimate.map(|one| one.time.as_secs_f64()),
            });
        }
        let settings = &plan.experiment.points[run.point].settings;
        let mut starts = run
            .stages
            .iter()
            .map(|&index| &plan.stages[index].stage.start);
        let uses_model = starts.any(|start| *start != Source::Nothing);
        let settings = settings.training();
        let compiled = settings.and_then(|one| registry::find(&one.model.shape(), one.device).ok());
        let parameters = compiled
            .filter(|_| uses_model)
            .map(|one| one.parameter_count());
        runs.push(LaidRun {
            label: run.label.clone(),
            seed: run.seed,
            folder: run.directory.path().display().to_string(),
            parameters,
            done: run.is_done,
            stages,
        });
    }
    let to_do = || estimates.iter().flatten();
    Laid {
        experiment: &plan.experiment.name,
        notices: vec![],
        runs,
        stages_to_do: to_do().count(),
        stages: plan.stages.len(),
        seconds: to_do().map(|one| one.time.as_secs_f64()).sum(),
        memory_bytes: to_do().map(|one| one.memory_bytes).max().unwrap_or(0),
    }
}

/// `quickstart: 2 runs, 5 stages, 3 to do: one after another about 40 s and 90 MB of memory`.
fn headline(laid: &Laid<'_>) -> String {
    let (runs, stages) = (count(laid.runs.len(), "run"), count(laid.stages, "stage"));
    let all = format!("{}: {runs}, {stages}", laid.experiment);
    let unfinished = laid.runs.iter().filter(|run| !run.done).count();
    if laid.stages_to_do == 0 {
        return match unfinished {
            0 => format!("{all}, all done before"),
            n => format!(
                "{all}, all done before; the files of {} are put back",
                count(n, "run")
            ),
        };
    }
    format!(
        "{all}, {} to do: one after another about {} and {} of memory",
        laid.stages_to_do,
        in_words(Duration::from_secs_f64(laid.seconds)),
        megabytes(laid.memory_bytes)
    )
}

fn print_run(run: &LaidRun) -> Result<()> {
    let parameters = match run.parameters {
        None => String::new(),
        Some(n) => format!(", {} parameters", thousands(n)),
    };
    let done = if run.done { ": done before" } else { "" };
    print(format!(
        "\n{}, seed {}{parameters}{done}\n  {}",
        run.label, run.seed, run.folder
    ))?;
    for stage in &run.stages {
        let number =
            |n: Option<u64>, unit: &str| n.map_or(String::new(), |n| count(n as usize, unit));
        let action = match stage.done_steps {
            Some(step) => format!("resume after {}", thousands(step)),
            None => stage.action.to_owned(),
        };
        let line = format!(
            "  {:<9} {action:<14} {:>13} {:>18} {:>9} {:>11}   {}",
            stage.stage,
            number(stage.steps.map(|n| n as u64), "step"),
            number(stage.tokens.filter(|&n| n > 0), "token"),
            stage.memory_bytes.map_or(String::new(), megabytes),
            stage
                .seconds
                .map_or(String::new(), |s| in_words(Duration::from_secs_f64(s))),
            stage.reason.as_deref().unwrap_or_default(),
        );
        print(line.trim_end())?;
    }
    Ok(())
}
