//! Plans a run of an experiment: what to do for each stage, and why; nothing is written.

pub mod estimate;
mod reason;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::config::{Experiment, Point, PointSettings};
use crate::data::{Corpus, DataKind};
use crate::error::Result;
use crate::kinds::Kinded;
use crate::pipeline::directory::{RunDirectory, State, Status, experiment_folder};
use crate::pipeline::execute::assemble::{StageAndFolder, first_changed};
use crate::pipeline::finished::FinishedStage;
use crate::pipeline::plan::reason::Past;
use crate::pipeline::stage::job::{Inputs, Job};
use crate::pipeline::stage::store::{CacheState, StageFolder};
use crate::pipeline::stage::{self, Source, Stage};
use crate::pipeline::{Options, preflight};

/// The runs of an experiment and the stages that they share.
pub struct Plan<'a> {
    /// The experiment.
    pub experiment: &'a Experiment,
    /// Every point with every seed, in order.
    pub runs: Vec<PlannedRun>,
    /// Every stage once, each after the one that it starts from.
    pub stages: Vec<PlannedStage<'a>>,
    /// Notes for the user about existing files: weights whose names were adapted, and results that have to
    /// be restored.
    pub notes: BTreeSet<String>,
}

/// One point with one seed.
pub struct PlannedRun {
    /// Which point of the experiment.
    pub point: usize,
    /// What the point is called.
    pub label: String,
    /// The seed.
    pub seed: u64,
    /// Where its results go.
    pub directory: RunDirectory,
    /// Its stages, in order, as indices into [`Plan::stages`].
    pub stages: Vec<usize>,
    /// Whether it is done, with these stages, and has nothing left to do.
    pub is_done: bool,
}

/// One stage, for one run or for several.
pub struct PlannedStage<'a> {
    /// What it depends on.
    pub stage: Stage,
    /// Its work, with the settings of a run that needs it.
    pub job: Job<'a>,
    /// Index of that run's point in the experiment.
    pub point: usize,
    /// The seed of that run.
    pub seed: u64,
    /// The stage that it starts from, as an index.
    pub needs: Option<usize>,
    /// Steps in all: of the optimiser, questions for the model, or samples of an exploration.
    pub steps: usize,
    /// Whether to reuse, resume or run it.
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
    /// Resume it from a checkpoint.
    Resume {
        /// Steps that are done.
        step: usize,
    },
    /// Run it from the beginning.
    Run {
        /// Why.
        reason: String,
    },
}

impl Plan<'_> {
    /// The runs that need a stage.
    pub fn users(&self, stage: usize) -> impl Iterator<Item = usize> {
        let needs = move |(_, run): &(usize, &PlannedRun)| run.stages.contains(&stage);
        self.runs.iter().enumerate().filter(needs).map(|(i, _)| i)
    }

    /// What a run is called in messages: `quickstart / pretrained / seed 1`.
    pub fn name(&self, run: usize) -> String {
        let PlannedRun { label, seed, .. } = &self.runs[run];
        format!("{} / {label} / seed {seed}", self.experiment.name)
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
    for point in &experiment.points {
        let settings = point.settings.training();
        if let Some(settings) = settings.filter(|one| preflight::uses_model(one)) {
            preflight::compiled(experiment, settings)?;
        }
    }
    let mut layout = Layout {
        plan: Plan {
            experiment,
            runs: vec![],
            stages: vec![],
            notes: BTreeSet::new(),
        },
        by_key: BTreeMap::new(),
        results: &options.results,
    };
    let mut corpora = Corpora::default();
    for (number, point) in experiment.points.iter().enumerate() {
        let stages = corpora.stages(point, &experiment.seeds, options.data.as_deref())?;
        for (&seed, stages) in experiment.seeds.iter().zip(stages) {
            layout.add_run((number, point), seed, stages)?;
        }
    }
    let mut plan = layout.plan;
    decide(&mut plan, options, notice);
    Ok(plan)
}

/// A plan that grows run by run.
struct Layout<'a, 'o> {
    plan: Plan<'a>,
    /// Indices of its stages.
    by_key: BTreeMap<String, usize>,
    results: &'o Path,
}

impl<'a> Layout<'a, '_> {
    fn add_run(
        &mut self,
        (number, point): (usize, &Point),
        seed: u64,
        stages: Vec<(Job<'a>, Stage)>,
    ) -> Result<()> {
        let stages = stages.into_iter();
        let stages: Result<Vec<usize>> = stages
            .map(|(job, stage)| self.add_stage(job, stage, (number, seed)))
            .collect();
        let experiment = self.plan.experiment;
        self.plan.runs.push(PlannedRun {
            point: number,
            label: point.label.clone(),
            seed,
            directory: RunDirectory::new(experiment, point, seed, self.results),
            stages: stages?,
            is_done: false,
        });
        Ok(())
    }

    /// The index of a stage, which is added if no run before needs it.
    fn add_stage(
        &mut self,
        job: Job<'a>,
        stage: Stage,
        (point, seed): (usize, u64),
    ) -> Result<usize> {
        if let Some(&index) = self.by_key.get(&stage.key) {
            return Ok(index);
        }
        let index = self.plan.stages.len();
        self.by_key.insert(stage.key.clone(), index);
        let note = preflight::check_start(&job, &stage.start)?;
        self.plan.notes.extend(note);
        let needs = match &stage.start {
            Source::Stage { key, .. } => self.by_key.get(key).copied(),
            _ => None,
        };
        self.plan.stages.push(PlannedStage {
            folder: StageFolder::new(self.results, stage.kind, &stage.key),
            steps: job.steps(),
            job,
            stage,
            point,
            seed,
            needs,
            action: Action::Reuse,
            held_by: None,
        });
        Ok(index)
    }
}

/// Why a stage is run again although its run is finished.
const NOT_IN_THE_CACHE: &str = "its results are no longer in the cache";

/// What to do about each stage, and which runs are done.
fn decide(plan: &mut Plan<'_>, options: &Options, notice: &mut dyn FnMut(String)) {
    let keys = plan.stages.iter().map(|one| one.stage.key.clone());
    let wanted: BTreeSet<String> = keys.collect();
    let folder = experiment_folder(plan.experiment, &options.results);
    let past = Past::read(&options.results, &folder, &wanted);
    let runs = plan.runs.iter();
    let statuses: Vec<Status> = runs.filter_map(|run| run.directory.status().ok()).collect();
    for number in 0..plan.stages.len() {
        let (action, held_by) = match options.again {
            true => (run("asked for by --again"), None),
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

fn run(reason: impl Into<String>) -> Action {
    let reason = reason.into();
    Action::Run { reason }
}

/// What to do about a stage, and the run in whose folder its results are if they are not in the cache.
fn decide_stage(
    plan: &Plan<'_>,
    number: usize,
    (past, statuses): (&Past, &[Status]),
    notice: &mut dyn FnMut(String),
) -> (Action, Option<RunDirectory>) {
    let PlannedStage { stage, folder, .. } = &plan.stages[number];
    let name = stage.kind.name();
    let found = match folder.find(&stage.key, notice) {
        CacheState::Done => return (Action::Reuse, None),
        CacheState::Started(checkpoint) => {
            let step = checkpoint.metadata.position.step;
            return (Action::Resume { step }, None);
        }
        found => found,
    };
    let users = plan
        .users(number)
        .map(|run| plan.runs[run].directory.clone());
    let users: Vec<RunDirectory> = users.collect();
    // A stage whose rerun has been started does not reuse its earlier results.
    let can_be_held = match found {
        CacheState::Nothing(Some(_)) => users.iter().all(RunDirectory::is_done),
        _ => true,
    };
    let holders = if can_be_held { &users[..] } else { &[] };
    let wrong = match held(stage, holders) {
        Some(Ok(run)) => return (Action::Reuse, Some(run)),
        Some(Err(wrong)) => Some(wrong),
        None => None,
    };
    let known = statuses
        .iter()
        .find(|status| status.stages.get(name) == Some(&stage.key));
    let reason = match (found, wrong) {
        (CacheState::Damaged(reason) | CacheState::Nothing(Some(reason)), Some(wrong)) => {
            format!("{reason}, and {wrong}")
        }
        (_, Some(wrong)) => format!("{NOT_IN_THE_CACHE}, and {wrong}"),
        (CacheState::Damaged(reason), None) => reason,
        (CacheState::Nothing(Some(reason)), None) => failure(known, name).unwrap_or(reason),
        (_, None) => match (past.changes(stage), known) {
            (Some(changes), _) => format!("stale, because {changes}"),
            (None, Some(status)) if status.has_results() => NOT_IN_THE_CACHE.to_owned(),
            (None, _) => "new".to_owned(),
        },
    };
    (run(reason), None)
}

/// Whether a run is done and its folder is whole, and a note if a file of it has to be restored.
fn is_done(plan: &Plan<'_>, number: usize) -> (bool, Option<String>) {
    let run = &plan.runs[number];
    let stages: Vec<&PlannedStage<'_>> = run
        .stages
        .iter()
        .map(|&index| &plan.stages[index])
        .collect();
    let is_reused = stages.iter().all(|one| one.action == Action::Reuse);
    if !is_reused || !says_done(run, &plan.stages) {
        return (false, None);
    }
    if stages.iter().any(|one| one.held_by.is_some()) {
        let is_here = |one: &&PlannedStage<'_>| {
            one.held_by.as_ref() == Some(&run.directory) || is_whole(&run.directory, one)
        };
        return (stages.iter().all(is_here), None);
    }
    let made: Vec<StageAndFolder<'_>> =
        stages.iter().map(|one| (&one.stage, &one.folder)).collect();
    let changed = first_changed(&run.directory, &made);
    let note = changed.as_ref().map(|path| {
        let (name, path) = (plan.name(number), path.display());
        format!("{name}: {path} is missing or has been changed; it is restored from the cache")
    });
    (changed.is_none(), note)
}

/// Whether a run's folder says that it is done, with these stages.
pub(crate) fn says_done(run: &PlannedRun, stages: &[PlannedStage<'_>]) -> bool {
    let stages = run.stages.iter().map(|&index| &stages[index]);
    let status = run.directory.status();
    status.is_ok_and(|status| status.state == State::Done && status.stages == keys(stages))
}

/// Whether a run's folder has all results of a stage as they were written, by its own account.
fn is_whole(run: &RunDirectory, planned: &PlannedStage<'_>) -> bool {
    let Stage { kind, key, .. } = &planned.stage;
    let held = FinishedStage::find(run, *kind, key);
    held.is_some_and(|held| held.check(run, *kind).is_ok())
}

/// Of the runs that need a stage, the first whose folder has its results unchanged; what is wrong with
/// them if every copy is damaged; `None` if there is no copy.
fn held(stage: &Stage, users: &[RunDirectory]) -> Option<Result<RunDirectory, String>> {
    let mut held = users.iter().filter_map(|run| {
        let held = FinishedStage::find(run, stage.kind, &stage.key)?;
        Some(held.check(run, stage.kind).map(|()| run.clone()))
    });
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

/// The stages' keys by their names, as `status.json` has them.
pub(crate) fn keys<'a>(
    stages: impl Iterator<Item = &'a PlannedStage<'a>>,
) -> BTreeMap<String, String> {
    let pair = |one: &PlannedStage<'_>| (one.stage.kind.name().to_owned(), one.stage.key.clone());
    stages.map(pair).collect()
}

/// Each corpus is read once, however many points use it.
#[derive(Default)]
struct Corpora(Vec<(Kinded<DataKind>, Arc<Corpus>)>);

impl Corpora {
    /// The stages of a point's runs, seed by seed; an exploration opens no data.
    fn stages<'a>(
        &mut self,
        point: &'a Point,
        seeds: &[u64],
        directory: Option<&Path>,
    ) -> Result<Vec<Vec<(Job<'a>, Stage)>>> {
        let seeds = seeds.iter();
        match &point.settings {
            PointSettings::Exploration(settings) => Ok(seeds
                .map(|&seed| vec![stage::of_exploration(&settings.explore, seed)])
                .collect()),
            PointSettings::Training(settings) => {
                let corpus = self.open(&settings.data, directory)?;
                preflight::check(settings, &corpus)?;
                let inputs = Inputs { settings, corpus };
                seeds.map(|&seed| stage::of_run(&inputs, seed)).collect()
            }
        }
    }

    fn open(&mut self, data: &Kinded<DataKind>, directory: Option<&Path>) -> Result<Arc<Corpus>> {
        if let Some((_, corpus)) = self.0.iter().find(|(known, _)| known == data) {
            return Ok(corpus.clone());
        }
        let corpus = Arc::new(data.open(directory)?);
        self.0.push((data.clone(), corpus.clone()));
        Ok(corpus)
    }
}
