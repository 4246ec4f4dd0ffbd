//! `attnlab plan`: what a run would do and why, and what it would cost.

mod lines;

use std::collections::BTreeMap;

use serde::Serialize;

use lines::{headline, run_lines};

use super::{count, load, print, print_json, print_wrapped};
use crate::cli;
use crate::config::{Experiment, Loaded};
use crate::error::Result;
use crate::model::registry;
use crate::pipeline::plan::estimate::{Estimate, estimate};
use crate::pipeline::plan::{self, Action, Plan};
use crate::pipeline::preflight;
use crate::pipeline::stage::Source;
use crate::progress::output_width;

/// `attnlab plan`, and `attnlab run --dry-run`. Compiles missing shapes, so that it can count parameters, and writes nothing else.
pub fn plan(args: &cli::Plan) -> Result<()> {
    let mut above = BTreeMap::new();
    match &load(&args.experiment, &args.suite)? {
        Loaded::Experiment(experiment) => {
            let laid_out = make(experiment, args, &mut above)?;
            if args.json {
                return print_json(&laid_out);
            }
            print_plan(&laid_out)
        }
        Loaded::Suite(suite) => {
            let experiments = suite.members.iter().map(|member| &member.experiment);
            let laid_out = experiments.map(|experiment| make(experiment, args, &mut above));
            let laid_out: Vec<Laid> = laid_out.collect::<Result<_>>()?;
            let sum = Sum {
                suite: &suite.name,
                profile: &suite.profile,
                to_do: ToDo::of(above.len(), laid_out.iter().flat_map(|one| &one.estimates)),
                members: laid_out,
            };
            if args.json {
                return print_json(&sum);
            }
            let experiments = count(sum.members.len(), "experiment");
            let start = format!("{}, profile {}: {experiments}", sum.suite, sum.profile);
            let runs: Vec<&LaidRun> = sum.members.iter().flat_map(|one| &one.runs).collect();
            print_wrapped(&headline(&format!("{start}, "), &runs, &sum.to_do), 4)?;
            sum.members.iter().try_for_each(|laid| {
                print("")?;
                print_plan(laid)
            })
        }
    }
}

/// Lays out one experiment. `above` maps the keys of earlier experiments' stages to the first experiment with
/// each; this experiment's stages are added.
fn make(
    experiment: &Experiment,
    args: &cli::Plan,
    above: &mut BTreeMap<String, String>,
) -> Result<Laid> {
    let mut notices = experiment.notes.clone();
    notices.extend(preflight::auto_device_note(experiment));
    let options = super::options(args, false, 1);
    let plan = plan::make(experiment, &options, &mut |line| notices.push(line))?;
    notices.extend(plan.notes.iter().cloned());
    let mut estimates = estimate(&plan)?;
    for (planned, estimate) in plan.stages.iter().zip(&mut estimates) {
        estimate.take_if(|_| above.contains_key(&planned.stage.key));
    }
    let laid_out = Laid {
        experiment: experiment.name.clone(),
        context: experiment.context.clone(),
        notices,
        runs: lay_out(&plan, &estimates, above),
        to_do: ToDo::of(plan.stages.len(), estimates.iter().flatten()),
        estimates: estimates.into_iter().flatten().collect(),
    };
    for planned in &plan.stages {
        let key = planned.stage.key.clone();
        above.entry(key).or_insert_with(|| experiment.name.clone());
    }
    Ok(laid_out)
}

fn print_plan(laid: &Laid) -> Result<()> {
    let runs: Vec<&LaidRun> = laid.runs.iter().collect();
    let start = format!("{}: ", laid.experiment);
    print_wrapped(&headline(&start, &runs, &laid.to_do), 4)?;
    if !laid.context.is_empty() {
        print_wrapped(&format!("at all points: {}", laid.context.join(", ")), 4)?;
    }
    let mut notices = laid.notices.iter();
    notices.try_for_each(|line| print_wrapped(&format!("note: {line}"), 2))?;
    let lines = run_lines(&laid.runs, output_width());
    lines.iter().try_for_each(print)
}

#[derive(Serialize)]
struct Sum<'a> {
    suite: &'a str,
    profile: &'a str,
    members: Vec<Laid>,
    #[serde(flatten)]
    to_do: ToDo,
}

/// The work left to do.
#[derive(Serialize)]
struct ToDo {
    /// Number of stages to do, each counted once.
    stages_to_do: usize,
    /// Number of all stages.
    stages: usize,
    /// Seconds for all stages to do, one after another.
    seconds: f64,
    /// Memory of the largest stage, in bytes.
    memory_bytes: u64,
}

impl ToDo {
    /// What the stages with these estimates, of so many stages, come to.
    fn of<'a>(stages: usize, to_do: impl Iterator<Item = &'a Estimate> + Clone) -> Self {
        Self {
            stages_to_do: to_do.clone().count(),
            stages,
            seconds: to_do.clone().map(|one| one.time.as_secs_f64()).sum(),
            memory_bytes: to_do.map(|one| one.memory_bytes).max().unwrap_or(0),
        }
    }
}

#[derive(Serialize)]
struct Laid {
    experiment: String,
    /// Settings that the sweep gives to all points, which labels leave out.
    context: Vec<String>,
    /// Notes on likely mistakes, on the device that `auto` selects, and on unusable checkpoints.
    notices: Vec<String>,
    runs: Vec<LaidRun>,
    /// Of the stages to do.
    #[serde(skip)]
    estimates: Vec<Estimate>,
    #[serde(flatten)]
    to_do: ToDo,
}

#[derive(Serialize)]
struct LaidRun {
    label: String,
    /// The settings that the sweep gives to this point.
    values: BTreeMap<String, String>,
    /// Whether the label is from the file, and so does not show these values.
    #[serde(skip)]
    is_named: bool,
    seed: u64,
    folder: String,
    /// Number of parameters; absent without a model.
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
    /// Number of finished steps.
    done_steps: Option<usize>,
    /// Steps left, as `run` counts them; what they are stands in `unit`.
    steps: Option<usize>,
    #[serde(skip)]
    unit: &'static str,
    tokens: Option<u64>,
    memory_bytes: Option<u64>,
    seconds: Option<f64>,
}

fn lay_out(
    plan: &Plan<'_>,
    estimates: &[Option<Estimate>],
    above: &BTreeMap<String, String>,
) -> Vec<LaidRun> {
    let mut first = vec![None; plan.stages.len()];
    let mut runs = vec![];
    for (number, run) in plan.runs.iter().enumerate() {
        let mut stages = vec![];
        for &index in &run.stages {
            let planned = &plan.stages[index];
            let owner = *first[index].get_or_insert(number);
            let mut estimate = estimates[index].as_ref();
            let (mut action, mut reason, mut done_steps) = match &planned.action {
                Action::Reuse => ("reuse", None, None),
                Action::Resume(step) => ("resume", None, Some(*step)),
                Action::Run(reason) => ("run", Some(reason.clone()), None),
            };
            let with = &plan.runs[owner];
            let other = match above.get(&planned.stage.key) {
                Some(experiment) => Some(format!("with {experiment}")),
                None if owner == number => None,
                None => Some(format!("with {}, seed {}", with.point.label, with.seed)),
            };
            if action != "reuse" && other.is_some() {
                (action, reason, done_steps, estimate) = ("shared", other, None, None);
            }
            stages.push(LaidStage {
                stage: planned.stage.kind.name(),
                key: planned.stage.key.clone(),
                action,
                reason,
                done_steps,
                steps: estimate.map(|one| one.steps),
                unit: planned.job.unit(),
                tokens: estimate.map(|one| one.tokens),
                memory_bytes: estimate.map(|one| one.memory_bytes),
                seconds: estimate.map(|one| one.time.as_secs_f64()),
            });
        }
        let point = run.point;
        let mut stages_of_run = run.stages.iter().map(|&index| &plan.stages[index].stage);
        let uses_model = stages_of_run.any(|stage| stage.start != Source::Nothing);
        let settings = point.settings.training().filter(|_| uses_model);
        let parameters = settings.and_then(|one| {
            let compiled = registry::find(&one.model.shape()).ok()?;
            compiled.parameter_count(&one.model).ok()
        });
        runs.push(LaidRun {
            label: point.label.clone(),
            values: point.values().cloned().collect(),
            is_named: !plan.experiment.labels.is_empty(),
            seed: run.seed,
            folder: run.directory.path().display().to_string(),
            parameters,
            done: run.is_done,
            stages,
        });
    }
    runs
}
