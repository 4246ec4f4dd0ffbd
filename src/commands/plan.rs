//! `attnlab plan`: what a run would do and why, and what it would cost.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{count, megabytes, print, print_json, thousands};
use crate::cli;
use crate::config::{self, Experiment, Loaded, Suite};
use crate::error::Result;
use crate::model::registry;
use crate::pipeline::plan::estimate::{Estimate, estimate};
use crate::pipeline::plan::{self, Action, Plan};
use crate::pipeline::preflight;
use crate::pipeline::stage::Source;
use crate::progress::in_words;

/// `attnlab plan`, and `attnlab run --dry-run`. Nothing is written.
pub(crate) fn plan(args: &cli::Plan) -> Result<()> {
    let (file, set) = (&args.experiment.file, &args.experiment.overrides());
    let mut above = BTreeMap::new();
    match &config::load_any(file, args.suite.profile.as_deref(), set)? {
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
            let sum = Sum::of(suite, laid_out, above.len());
            if args.json {
                return print_json(&sum);
            }
            print(sum.headline())?;
            sum.members.iter().try_for_each(|laid| {
                print("")?;
                print_plan(laid)
            })
        }
    }
}

/// Lays out one experiment. `above` are the stages of the experiments before it, by key, with the
/// experiment that has each first; its own are added.
fn make(
    experiment: &Experiment,
    args: &cli::Plan,
    above: &mut BTreeMap<String, String>,
) -> Result<Laid> {
    let mut notices: Vec<String> = preflight::what_auto_is(experiment).into_iter().collect();
    let plan = plan::make(experiment, &super::options(args, false, 1), &mut |line| {
        notices.push(line)
    })?;
    notices.extend(plan.notes.iter().cloned());
    let mut estimates = estimate(&plan)?;
    for (planned, estimate) in plan.stages.iter().zip(&mut estimates) {
        if above.contains_key(&planned.stage.key) {
            *estimate = None;
        }
    }
    let laid_out = lay_out(&plan, &estimates, above);
    for planned in &plan.stages {
        let key = planned.stage.key.clone();
        above.entry(key).or_insert_with(|| experiment.name.clone());
    }
    Ok(Laid {
        notices,
        ..laid_out
    })
}

fn print_plan(laid: &Laid) -> Result<()> {
    print(headline(laid))?;
    let mut notices = laid.notices.iter();
    notices.try_for_each(|line| print(format!("note: {line}")))?;
    laid.runs.iter().try_for_each(print_run)
}

/// All members of a suite.
#[derive(Serialize)]
struct Sum<'a> {
    suite: &'a str,
    profile: &'a str,
    members: Vec<Laid>,
    /// Stages to do, each counted once.
    stages_to_do: usize,
    stages: usize,
    /// Of all stages to do, one after another.
    seconds: f64,
    /// Of the largest stage.
    memory_bytes: u64,
}

impl<'a> Sum<'a> {
    fn of(suite: &'a Suite, members: Vec<Laid>, stages: usize) -> Self {
        Self {
            suite: &suite.name,
            profile: &suite.profile,
            stages_to_do: members.iter().map(|one| one.stages_to_do).sum(),
            stages,
            seconds: members.iter().map(|one| one.seconds).sum(),
            memory_bytes: members
                .iter()
                .map(|one| one.memory_bytes)
                .max()
                .unwrap_or(0),
            members,
        }
    }

    fn headline(&self) -> String {
        let what = format!("{}, profile {}", self.suite, self.profile);
        let runs: Vec<&LaidRun> = self.members.iter().flat_map(|one| &one.runs).collect();
        let experiments = count(self.members.len(), "experiment");
        let to_do = (self.stages_to_do, self.seconds, self.memory_bytes);
        summary(
            &format!("{what}: {experiments}, "),
            &runs,
            self.stages,
            to_do,
        )
    }
}

#[derive(Serialize)]
struct Laid {
    experiment: String,
    /// What `auto` comes to, and checkpoints that cannot be used.
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

fn lay_out(
    plan: &Plan<'_>,
    estimates: &[Option<Estimate>],
    above: &BTreeMap<String, String>,
) -> Laid {
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
            let other = match above.get(&planned.stage.key) {
                Some(experiment) => Some(format!("with {experiment}")),
                None if owner != number => {
                    let with = &plan.runs[owner];
                    Some(format!("with {}, seed {}", with.label, with.seed))
                }
                None => None,
            };
            let shared = other.is_some() && action != "reuse";
            if shared {
                (action, reason) = ("shared", other);
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
        experiment: plan.experiment.name.clone(),
        notices: vec![],
        runs,
        stages_to_do: to_do().count(),
        stages: plan.stages.len(),
        seconds: to_do().map(|one| one.time.as_secs_f64()).sum(),
        memory_bytes: to_do().map(|one| one.memory_bytes).max().unwrap_or(0),
    }
}

/// `quickstart: 2 runs, 5 stages, 3 to do: one after another about 40 s and 90 MB of memory`.
fn headline(laid: &Laid) -> String {
    let runs: Vec<&LaidRun> = laid.runs.iter().collect();
    let to_do = (laid.stages_to_do, laid.seconds, laid.memory_bytes);
    summary(&format!("{}: ", laid.experiment), &runs, laid.stages, to_do)
}

/// So many runs and stages, and of the stages to do their number, seconds and bytes.
fn summary(start: &str, runs: &[&LaidRun], stages: usize, to_do: (usize, f64, u64)) -> String {
    let (number, seconds, memory_bytes) = to_do;
    let all = format!(
        "{start}{}, {}",
        count(runs.len(), "run"),
        count(stages, "stage")
    );
    let unfinished = runs.iter().filter(|run| !run.done).count();
    let mut stages = runs.iter().flat_map(|run| &run.stages);
    if number == 0 {
        return match unfinished {
            _ if stages.any(|stage| stage.action == "shared") => {
                format!("{all}, none to do that is not done above")
            }
            0 => format!("{all}, all done before"),
            1 => format!("{all}, all done before; 1 run takes what is known from the cache"),
            n => format!("{all}, all done before; {n} runs take what is known from the cache"),
        };
    }
    format!(
        "{all}, {number} to do: one after another about {} and {} of memory",
        in_words(Duration::from_secs_f64(seconds)),
        megabytes(memory_bytes)
    )
}

/// `~4,640,000 tokens`: three digits of an estimate. What span corruption will draw is not known, nor how long answers
/// will be.
fn about(tokens: u64) -> String {
    let unit = 10_u64.pow(tokens.checked_ilog10().unwrap_or(0).saturating_sub(2));
    let rounded = (tokens + unit / 2) / unit * unit;
    format!("~{}", count(rounded as usize, "token"))
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
            stage.tokens.filter(|&n| n > 0).map_or(String::new(), about),
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

#[cfg(test)]
mod tests {
    use super::about;

    #[test]
    fn tokens_have_three_digits() {
        let told = [7, 999, 1234, 4_635_600, 99_950].map(about);
        let wanted = ["~7", "~999", "~1,230", "~4,640,000", "~100,000"];
        assert_eq!(told, wanted.map(|number| format!("{number} tokens")));
    }
}
