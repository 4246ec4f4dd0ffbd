//! What a figure of accuracy against a quantity shows: `summary.csv` and `groups.csv` together, and the times
//! of the runs' steps.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::schema::FigureSpec;
use crate::config::{Experiment, Point};
use crate::error::Result;
use crate::metrics::rows::{AccuracyRow, GroupRow};
use crate::metrics::table;
use crate::pipeline::directory::{RunDirectory, finished};
use crate::pipeline::provenance::{Computed, Provenance};
use crate::pipeline::summary::content::{Content, origin, splits};
use crate::pipeline::summary::costs;
use crate::plot::{AccuracyScatter, SeedAccuracy, Spot, draw_accuracy_scatter};

/// The quantity where the file does not say.
const DEFAULT: &str = "parameters";

/// Draws the figure, unless no point has both an accuracy and the quantity.
pub(super) fn gather(
    experiment: &Experiment,
    spec: &FigureSpec,
    results: &Path,
    folder: &Path,
) -> Result<Content> {
    let x = spec.x.as_deref().unwrap_or(DEFAULT);
    let rows: Vec<AccuracyRow> = table::read(&folder.join("summary.csv"))?;
    let groups: Vec<GroupRow> = table::read(&folder.join("groups.csv"))?;
    let quantity = |point: &Point| -> Result<Option<f64>> {
        let name = point.folder();
        let group = groups
            .iter()
            .find(|row| row.point == name && row.subject == "model");
        let parameters = group.and_then(|row| row.parameters);
        match x {
            "parameters" => Ok(parameters.map(|number| number as f64)),
            "step_ms" => costs::median_step_ms(&folder.join(name), &experiment.seeds),
            key => Ok(swept(point, key)),
        }
    };
    let spot = |point: &Point| -> Result<Option<Spot>> {
        let name = point.folder();
        let runs = rows
            .iter()
            .filter(|row| row.subject == "model" && row.point == name);
        let run = |row: &AccuracyRow| {
            Some(SeedAccuracy {
                seed: row.seed?,
                correct: row.correct?,
                questions: row.questions?,
            })
        };
        let runs: Vec<SeedAccuracy> = runs.filter_map(run).collect();
        let x = quantity(point)?.filter(|_| !runs.is_empty());
        let label = point.label.clone();
        Ok(x.map(|x| Spot { label, x, runs }))
    };
    let points = experiment.points.iter();
    let spots = points.map(spot).collect::<Result<Vec<Option<Spot>>>>()?;
    let spots: Vec<Spot> = spots.into_iter().flatten().collect();
    if spots.is_empty() {
        return Ok(Content::Nothing(
            "no finished point has both an accuracy and the quantity of `x`",
        ));
    }
    let (words, short) = match x {
        "parameters" => ("parameters", "parameters"),
        "step_ms" => ("median time of a training step (ms)", "time of a step"),
        key => (key, key),
    };
    let title = spec.title.clone();
    let split = splits(experiment);
    let mut caption = format!("{}, {split} questions.", origin(experiment));
    if x == "step_ms" {
        let machines = machines(experiment, results);
        caption.push_str(&format!(
            " Times were measured during the runs, on {machines}."
        ));
    }
    Ok(Content::Drawn(draw_accuracy_scatter(&AccuracyScatter {
        title: title.unwrap_or_else(|| format!("Questions answered right, by {short}")),
        caption,
        horizontal: words.to_owned(),
        // Where one number is all that the sweep sets, the axis says which is which.
        named: !experiment.labels.is_empty()
            || experiment.points.iter().any(|point| {
                let mut others = point.values().filter(|(key, _)| key != x);
                others.next().is_some() || swept(point, x).is_none()
            }),
        spots,
    })?))
}

/// What the sweep sets a key to at this point, where that is a number.
fn swept(point: &Point, key: &str) -> Option<f64> {
    let (_, value) = point.values().find(|(name, _)| name == key)?;
    value
        .replace('_', "")
        .parse()
        .ok()
        .filter(|x: &f64| x.is_finite())
}

/// What all finished runs were timed on, in words: `Some Processor, 2 threads`.
fn machines(experiment: &Experiment, results: &Path) -> String {
    let mut machines = BTreeSet::new();
    for point in &experiment.points {
        let runs = finished(experiment, point, results);
        machines.extend(runs.iter().flat_map(|(_, run)| timed_on(run)));
    }
    if machines.is_empty() {
        return "a machine that no file names".to_owned();
    }
    let machines: Vec<String> = machines.into_iter().collect();
    machines.join(" and on ")
}

/// What computed the stage whose steps are timed; of a run by an older program, the machine that ran it.
fn timed_on(run: &RunDirectory) -> Vec<String> {
    let stages = costs::TIMED.into_iter();
    let mut computed = stages.map(|stage| run.computed(stage));
    if let Some(computed) = computed.find(|computed| !computed.is_empty()) {
        let words = |one: &Computed| {
            let device = one.gpu.as_ref().or(one.processor.as_ref());
            let device = device.map_or("an unnamed machine", String::as_str);
            format!("{device}, {}", one.shares())
        };
        return computed.iter().map(words).collect();
    }
    let words = |entry: Provenance| {
        let machine = entry.machine;
        let architecture = Some(machine.architecture).filter(|name| !name.is_empty());
        let name = machine.processor.or(machine.host).or(architecture);
        let threads = match machine.threads {
            0 => String::new(),
            1 => ", 1 thread".to_owned(),
            n => format!(", {n} threads"),
        };
        format!(
            "{}{threads}",
            name.as_deref().unwrap_or("an unnamed machine")
        )
    };
    let entries = Provenance::read(&run.provenance_json());
    entries.into_iter().map(words).collect()
}
