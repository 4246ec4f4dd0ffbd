//! Plans a run of an experiment: what to do for each stage, and why; nothing is written.

pub mod estimate;
mod reason;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::config::schema::Settings;
use crate::config::{Experiment, Point, PointSettings};
use crate::data::Corpus;
use crate::error::Result;
use crate::model::registry;
use crate::pipeline::directory::{RunDirectory, State, Status, experiment_folder};
use crate::pipeline::execute::assemble::first_changed;
use crate::pipeline::finished::FinishedStage;
use crate::pipeline::plan::reason::Past;
use crate::pipeline::stage::job::{Inputs, Job};
use crate::pipeline::stage::store::{CacheState, StageFolder};
use crate::pipeline::stage::{self, Source, Stage};
use crate::pipeline::{Options, preflight};

/// The runs of an experiment and the stages that they share.
pub struct Plan<'a> {
    pub experiment: &'a Experiment,
    /// Every point with every seed, in order.
    pub runs: Vec<PlannedRun<'a>>,
    /// Every stage once, each after the one that it starts from.
    pub stages: Vec<PlannedStage<'a>>,
    /// Notes for the user about existing files: weights whose names were adapted, and results that have to
    /// be restored.
    pub notes: BTreeSet<String>,
}

/// One point with one seed.
pub struct PlannedRun<'a> {
    pub point: &'a Point,
    pub seed: u64,
    pub directory: RunDirectory,
    /// Its stages, in order, as indices into [`Plan::stages`].
    pub stages: Vec<usize>,
    /// Whether it is done, with these stages, and has nothing left to do.
    pub is_done: bool,
}

/// One stage, for one run or for several.
pub struct PlannedStage<'a> {
    pub stage: Stage,
    /// Its work, with the settings of a run that needs it.
    pub job: Job<'a>,
    /// Its length: see `Job::steps`.
    pub steps: usize,
    /// That run's point.
    pub point: &'a Point,
    pub seed: u64,
    /// The stage that it starts from, as an index.
    pub needs: Option<usize>,
    pub action: Action,
    /// The run in whose folder its results are, if they are not in the cache.
    pub(crate) held_by: Option<RunDirectory>,
    pub(crate) folder: StageFolder,
}

/// What to do for a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reuse its existing results.
    Reuse,
    /// Resume it from a checkpoint, after this step.
    Resume(usize),
    /// Run it from the beginning, for this reason.
    Run(String),
}

impl<'a> Plan<'a> {
    /// The runs that need a stage.
    pub fn users(&self, stage: usize) -> impl Iterator<Item = usize> {
        let needs = move |run: &usize| self.runs[*run].stages.contains(&stage);
        (0..self.runs.len()).filter(needs)
    }

    /// What a run is called in messages: `quickstart / pretrained / seed 1`.
    pub fn name(&self, run: usize) -> String {
        let PlannedRun { point, seed, .. } = &self.runs[run];
        let (experiment, label) = (&self.experiment.name, &point.label);
        format!("{experiment} / {label} / seed {seed}")
    }

    pub fn stages_of(&self, run: &PlannedRun<'_>) -> impl Iterator<Item = &PlannedStage<'a>> {
        run.stages.iter().map(|&stage| &self.stages[stage])
    }

    pub(crate) fn folders(&self, run: &PlannedRun<'_>) -> Vec<&StageFolder> {
        self.stages_of(run).map(|one| &one.folder).collect()
    }

    /// The keys of a run's stages by their names, as `status.json` has them.
    pub(crate) fn keys(&self, run: &PlannedRun<'_>) -> BTreeMap<String, String> {
        let pair = |one: &StageFolder| (one.kind.name().to_owned(), one.key.clone());
        self.folders(run).into_iter().map(pair).collect()
    }

    /// Whether a run's folder says that it is done, with these stages.
    pub(crate) fn says_done(&self, run: &PlannedRun<'_>) -> bool {
        let is_done =
            |status: Status| status.state == State::Done && status.stages == self.keys(run);
        run.directory.status().is_some_and(is_done)
    }
}

/// Lists the runs and stages of an experiment and checks existing results. `notice` is called with a
/// message for each rejected checkpoint.
///
/// # Errors
/// No run could start: a shape is not compiled in, data is missing, texts do not fit the model, or a
/// weights file belongs to another model.
pub fn make<'a>(
    experiment: &'a Experiment,
    options: &Options,
    notice: &mut dyn FnMut(String),
) -> Result<Plan<'a>> {
    preflight::check_ready(experiment)?;
    let mut corpora = vec![];
    let open = |point| open(point, options.data.as_deref(), &mut corpora);
    let inputs: Vec<Option<Inputs<'_>>> =
        experiment.points.iter().map(open).collect::<Result<_>>()?;
    registry::require(preflight::shapes(experiment))?;
    let mut plan = Plan {
        experiment,
        runs: vec![],
        stages: vec![],
        notes: BTreeSet::new(),
    };
    for (point, inputs) in experiment.points.iter().zip(&inputs) {
        let stages = stages(point, inputs.as_ref(), &experiment.seeds)?;
        for (&seed, stages) in experiment.seeds.iter().zip(stages) {
            let add = |stage| add_stage(&mut plan, stage, (point, seed), &options.results);
            let stages = stages.into_iter().map(add).collect::<Result<_>>()?;
            plan.runs.push(PlannedRun {
                point,
                seed,
                directory: RunDirectory::new(experiment, point, seed, &options.results),
                stages,
                is_done: false,
            });
        }
    }
    let notes = corpora
        .iter()
        .flat_map(|(_, corpus)| corpus.notes.iter().cloned());
    plan.notes.extend(notes);
    decide(&mut plan, options, notice);
    // Finished results can be planned, plotted and reported on any machine.
    let left = plan.stages.iter().filter(|one| one.action != Action::Reuse);
    for settings in left.filter_map(|one| Some(one.job.inputs()?.settings)) {
        if preflight::uses_model(settings) {
            registry::check(settings.placement())?;
        }
    }
    Ok(plan)
}

/// What a point reads, checked against its settings; an exploration reads nothing. Each corpus is read once, however many
/// points use it.
fn open<'a>(
    point: &'a Point,
    directory: Option<&Path>,
    corpora: &mut Vec<(&'a Settings, Arc<Corpus>)>,
) -> Result<Option<Inputs<'a>>> {
    let Some(settings) = point.settings.training() else {
        return Ok(None);
    };
    let reads =
        |known: &Settings| known.data == settings.data && known.kept_out() == settings.kept_out();
    let corpus = match corpora.iter().find(|(known, _)| reads(known)) {
        Some((_, corpus)) => corpus.clone(),
        None => {
            let corpus = Arc::new(settings.open(directory)?);
            corpora.push((settings, corpus.clone()));
            corpus
        }
    };
    let inputs = Inputs { settings, corpus };
    preflight::check(&inputs)?;
    Ok(Some(inputs))
}

/// The stages of a point's runs, seed by seed.
fn stages<'a>(
    point: &'a Point,
    inputs: Option<&Inputs<'a>>,
    seeds: &[u64],
) -> Result<Vec<Vec<(Job<'a>, Stage)>>> {
    let of_seed = |&seed: &u64| match (&point.settings, inputs) {
        (PointSettings::Exploration(settings), _) => {
            Ok(vec![stage::of_exploration(&settings.explore, seed)])
        }
        (PointSettings::Training(_), inputs) => stage::of_run(inputs.expect("it is open"), seed),
    };
    seeds.iter().map(of_seed).collect()
}

/// The index of a stage in the plan; it is added if no earlier run needs it.
fn add_stage<'a>(
    plan: &mut Plan<'a>,
    (job, stage): (Job<'a>, Stage),
    (point, seed): (&'a Point, u64),
    results: &Path,
) -> Result<usize> {
    let index = |key: &String| plan.stages.iter().position(|one| one.stage.key == *key);
    if let Some(index) = index(&stage.key) {
        return Ok(index);
    }
    let needs = match &stage.start {
        Source::Stage(_, key) => index(key),
        _ => None,
    };
    let note = preflight::check_start(&job, &stage.start)?;
    plan.notes.extend(note);
    plan.stages.push(PlannedStage {
        folder: StageFolder::new(results, stage.kind, &stage.key),
        steps: job.steps()?,
        job,
        stage,
        point,
        seed,
        needs,
        action: Action::Reuse,
        held_by: None,
    });
    Ok(plan.stages.len() - 1)
}

/// Why a stage is run again although its run is finished.
const NOT_IN_THE_CACHE: &str = "its results are no longer in the cache";

/// What to do about each stage, and which runs are done.
fn decide(plan: &mut Plan<'_>, options: &Options, notice: &mut dyn FnMut(String)) {
    let wanted: BTreeSet<&String> = plan.stages.iter().map(|one| &one.stage.key).collect();
    let folder = experiment_folder(plan.experiment, &options.results);
    let past = Past::read(&options.results, &folder, &wanted);
    let runs = plan.runs.iter();
    let statuses: Vec<Status> = runs.filter_map(|run| run.directory.status()).collect();
    for number in 0..plan.stages.len() {
        let (action, held_by) = match options.again {
            true => (Action::Run("asked for by --again".to_owned()), None),
            false => decide_stage(plan, number, (&past, &statuses), notice),
        };
        let planned = &mut plan.stages[number];
        (planned.action, planned.held_by) = (action, held_by);
    }
    for number in 0..plan.runs.len() {
        let (is_done, note) = is_done(plan, number);
        plan.runs[number].is_done = is_done;
        plan.notes.extend(note);
    }
}

/// What to do about a stage, and the run in whose folder its results are if they are not in the cache.
fn decide_stage(
    plan: &Plan<'_>,
    number: usize,
    (past, statuses): (&Past, &[Status]),
    notice: &mut dyn FnMut(String),
) -> (Action, Option<RunDirectory>) {
    let PlannedStage { stage, folder, .. } = &plan.stages[number];
    let (reason, is_begun) = match folder.find(notice) {
        CacheState::Done => return (Action::Reuse, None),
        CacheState::Started(checkpoint) => {
            return (Action::Resume(checkpoint.metadata.position.step), None);
        }
        CacheState::Damaged(reason) => (Some(reason), false),
        CacheState::Nothing(Some(reason)) => (Some(reason), true),
        CacheState::Nothing(None) => (None, false),
    };
    let users = || plan.users(number).map(|run| &plan.runs[run].directory);
    // A stage whose rerun has been started does not reuse its earlier results.
    let can_be_held = !is_begun || users().all(RunDirectory::is_done);
    let wrong = match held(folder, users().filter(|_| can_be_held)) {
        Some(Ok(run)) => return (Action::Reuse, Some(run)),
        Some(Err(wrong)) => Some(wrong),
        None => None,
    };
    let name = stage.kind.name();
    let is_known = |status: &&Status| status.stages.get(name) == Some(&stage.key);
    let known = statuses.iter().find(is_known);
    let reason = match (reason, wrong) {
        (reason, Some(wrong)) => {
            let reason = reason.unwrap_or_else(|| NOT_IN_THE_CACHE.to_owned());
            format!("{reason}, and {wrong}")
        }
        (Some(reason), None) if is_begun => failure(known, name).unwrap_or(reason),
        (Some(reason), None) => reason,
        (None, None) => match past.changes(stage) {
            Some(changes) if users().any(RunDirectory::has_begun) => {
                format!("stale, because {changes}")
            }
            Some(changes) => format!("new, because {changes}"),
            None if known.is_some_and(Status::has_results) => NOT_IN_THE_CACHE.to_owned(),
            None => "new".to_owned(),
        },
    };
    (Action::Run(reason), None)
}

/// Whether a run is done and its folder is whole, and a note if a file of it has to be restored.
fn is_done(plan: &Plan<'_>, number: usize) -> (bool, Option<String>) {
    let run = &plan.runs[number];
    let mut stages = plan.stages_of(run);
    if !stages.all(|one| one.action == Action::Reuse) || !plan.says_done(run) {
        return (false, None);
    }
    if plan.stages_of(run).any(|one| one.held_by.is_some()) {
        let is_here = |one: &PlannedStage<'_>| {
            one.held_by.as_ref() == Some(&run.directory)
                || FinishedStage::check(&run.directory, &one.folder) == Some(Ok(()))
        };
        return (plan.stages_of(run).all(is_here), None);
    }
    let changed = first_changed(&run.directory, &plan.folders(run));
    let note = changed.as_ref().map(|path| {
        let (name, path) = (plan.name(number), path.display());
        format!("{name}: {path} is missing or has been changed; it is restored from the cache")
    });
    (changed.is_none(), note)
}

/// Of the runs that need a stage, the first whose folder has its results unchanged; what is wrong with
/// them if every copy is damaged; `None` if there is no copy.
fn held<'a>(
    stage: &StageFolder,
    users: impl Iterator<Item = &'a RunDirectory>,
) -> Option<Result<RunDirectory, String>> {
    let mut held =
        users.filter_map(|run| Some(FinishedStage::check(run, stage)?.map(|()| run.clone())));
    // Every check reads all results of a run, so the first that is whole is the last that is checked.
    let first = held.next()?;
    Some(first.or_else(|wrong| held.find(Result::is_ok).unwrap_or(Err(wrong))))
}

/// Why a run failed before, if this was the stage that failed.
fn failure(status: Option<&Status>, stage: &str) -> Option<String> {
    let status = status.filter(|status| status.state == State::Failed)?;
    let reason = status.reason.as_deref()?.lines().next()?;
    let is_this = status.failed_stage.as_deref() == Some(stage);
    is_this.then(|| format!("failed before: {reason}"))
}
