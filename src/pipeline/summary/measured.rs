//! What an experiment has measured so far: its finished runs, found once for all tables and figures.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use crate::config::schema::Settings;
use crate::config::{Experiment, Point, decides};
use crate::eval::measures::Measure;
use crate::explore::Sizes;
use crate::kinds::{Kinded, Named, joined};
use crate::metrics::explored::distinct;
use crate::metrics::measured::{ExplorationTexts, Measured, MeasuredPoint, MeasuredRun};
use crate::metrics::steps::TrainingStage;
use crate::pipeline::directory::{RunDirectory, experiment_folder, finished};
use crate::pipeline::provenance::{Computed, Provenance};
use crate::progress::thousands;

/// With more distinct numbers of epochs than this, only the smallest and the largest are named.
const MOST_NAMED: usize = 4;

/// Whether any run of the experiment is finished.
pub fn any_finished(experiment: &Experiment, results: &Path) -> bool {
    let mut points = experiment.points.iter();
    points.any(|point| !finished(experiment, point, results).is_empty())
}

/// The finished runs of an experiment below `results`, as their files are now.
pub fn measured(experiment: &Experiment, results: &Path) -> Measured {
    let mut runs = vec![];
    let point = |point: &Point| {
        let finished = finished(experiment, point, results);
        runs.extend(finished.iter().map(|(_, run)| run.clone()));
        let run = |(seed, run): (u64, RunDirectory)| MeasuredRun {
            seed,
            folder: run.path().to_owned(),
        };
        let evaluate = point.settings.training().map(|one| &one.evaluate);
        MeasuredPoint {
            folder: point.folder(),
            label: point.label.clone(),
            values: point
                .values()
                .filter(|(key, _)| decides(key))
                .cloned()
                .collect(),
            names: point.names.clone(),
            split: evaluate.and_then(|spec| Some(spec.as_ref()?.split.name())),
            runs: finished.into_iter().map(run).collect(),
        }
    };
    let points = experiment.points.iter().map(point).collect();
    Measured {
        name: experiment.name.clone(),
        folder: experiment_folder(experiment, results),
        seeds: experiment.seeds.clone(),
        origin: origin(experiment),
        splits: splits(experiment),
        measure: measure(experiment),
        timed_on: Arc::new(LazyLock::new(Box::new(move || machines(&runs)))),
        has_labels: !experiment.labels.is_empty(),
        choice: None,
        exploration: exploration(experiment),
        points,
    }
}

/// The first measure of the first point that is evaluated.
fn measure(experiment: &Experiment) -> Named<Measure> {
    let points = experiment.points.iter();
    let mut settings = points.filter_map(|point| point.settings.training());
    let first = settings.find_map(|settings| settings.measures().first().copied());
    first.unwrap_or_default()
}

/// Which questions the points were asked: `dev`, or `dev and train`.
fn splits(experiment: &Experiment) -> String {
    let points = experiment.points.iter();
    let asked = points.filter_map(|point| point.settings.training()?.evaluate.as_ref());
    let splits: BTreeSet<&str> = asked.map(|spec| spec.split.name()).collect();
    splits.into_iter().collect::<Vec<_>>().join(" and ")
}

/// Which experiment, what all its points share, and how long they trained:
/// `birthplace/vanilla (pretrain 650 epochs, finetune 10 epochs)`.
fn origin(experiment: &Experiment) -> String {
    let trained = |stage: TrainingStage| {
        let points = experiment.points.iter();
        let settings = points.filter_map(|point| point.settings.training());
        let epochs = |settings: &Settings| match stage {
            TrainingStage::Pretrain => settings.pretrain.as_ref().map_or(0, |one| one.epochs),
            TrainingStage::Finetune => settings.finetune.as_ref().map_or(0, |one| one.epochs),
        };
        let all: BTreeSet<usize> = settings.map(epochs).collect();
        let words: Vec<String> = all.iter().map(usize::to_string).collect();
        let words = match &words[..] {
            [least, .., most] if words.len() > MOST_NAMED => format!("{least} to {most}"),
            words => words.join(" or "),
        };
        let plural = if all.last() == Some(&1) { "" } else { "s" };
        let any = all.last().is_some_and(|&most| most > 0);
        any.then(|| format!("{} {words} epoch{plural}", stage.name()))
    };
    let suite = experiment.suite.as_ref();
    let profile = suite.map(|suite| format!("profile {}", suite.profile));
    // The numbers of epochs are always given below.
    let is_epochs = |told: &&String| told.contains(".epochs = ");
    let shared = experiment.context.iter().filter(|told| !is_epochs(told));
    let told: Vec<String> = profile
        .into_iter()
        .chain(shared.cloned())
        .chain(TrainingStage::ALL.into_iter().filter_map(trained))
        .collect();
    match told.is_empty() {
        true => experiment.name.clone(),
        false => format!("{} ({})", experiment.name, told.join(", ")),
    }
}

/// The hardware that the finished runs were timed on: `Some CPU, 2 threads`.
fn machines(runs: &[RunDirectory]) -> String {
    let machines: BTreeSet<String> = runs.iter().flat_map(timed_on).collect();
    match machines.is_empty() {
        true => "an unrecorded machine".to_owned(),
        false => Vec::from_iter(machines).join(" and on "),
    }
}

/// The device that ran the timed stage; for a run by an older version, the machine.
fn timed_on(run: &RunDirectory) -> Vec<String> {
    let stages = TrainingStage::ALL.into_iter();
    let mut computed = stages.map(|stage| run.computed(stage.name()));
    let by_machine = |Provenance { machine, .. }: Provenance| {
        let architecture = Some(machine.architecture).filter(|name| !name.is_empty());
        Computed {
            processor: machine.processor.or(machine.host).or(architecture),
            threads: machine.threads,
            ..Computed::default()
        }
    };
    let older = || Provenance::read(&run.provenance_json()).into_iter();
    let computed = computed.find(|computed| !computed.is_empty());
    let computed = computed.unwrap_or_else(|| older().map(by_machine).collect());
    let words = |one: &Computed| {
        let device = one.gpu.as_ref().or(one.processor.as_ref());
        let device = device.map_or("an unnamed machine", String::as_str);
        match one.threads {
            0 => device.to_owned(),
            _ => format!("{device}, {}", one.shares()),
        }
    };
    computed.iter().map(words).collect()
}

/// Heading and caption for the figures of an exploration.
fn exploration(experiment: &Experiment) -> Option<ExplorationTexts> {
    let points = experiment.points.iter();
    let explored = points.filter_map(|point| point.settings.exploration());
    let question = explored.clone().next()?.kind;
    let sizes: Vec<Sizes> = explored.map(Kinded::sizes).collect();
    Some(ExplorationTexts {
        heading: question.heading.to_owned(),
        caption: how(experiment, &sizes) + question.note,
    })
}

/// Sizes, samples and seeds.
fn how(experiment: &Experiment, sizes: &[Sizes]) -> String {
    let listed = |name: &str, of: &dyn Fn(&Sizes) -> Option<String>| {
        let values = distinct(sizes.iter().filter_map(of));
        let any = !values.is_empty();
        any.then(|| format!("{name}{}", joined(&values, "or")))
    };
    let plain = |alpha: f64| match alpha != 0.0 && alpha < 1e-3 {
        true => format!("{alpha:e}"),
        false => alpha.to_string(),
    };
    let parts = [
        listed("n = ", &|one| Some(format!("{}", one.keys?))),
        listed("d = ", &|one| Some(one.dimension.to_string())),
        listed("α = ", &|one| one.alpha.map(plain)),
        listed("β = ", &|one| one.beta.map(|beta| beta.to_string())),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let seeds: Vec<String> = experiment.seeds.iter().map(u64::to_string).collect();
    let (plural, each) = match seeds.len() > 1 {
        true => ("s", " each"),
        false => ("", ""),
    };
    let seeds = format!("seed{plural} {}", seeds.join(", "));
    let samples = listed("", &|one| {
        Some(format!("{} samples", thousands(one.samples?)))
    });
    let drawn = samples.map_or(seeds.clone(), |samples| format!("{samples}{each}, {seeds}"));
    format!("{}: {}; {drawn}.", experiment.name, parts.join(", "))
}
