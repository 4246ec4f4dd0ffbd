//! What figures of explorations show: `curves.csv` and `samples.csv` of all points and seeds.

use std::path::Path;

use crate::config::Experiment;
use crate::config::schema::{Exploration, ExploredQuestion, FigureSpec};
use crate::error::Result;
use crate::metrics::rows::{CurveRow, SampleRow};
use crate::metrics::statistics::mean;
use crate::metrics::table;
use crate::pipeline::artefacts::{Artefact, CURVES, SAMPLES};
use crate::pipeline::directory::finished;
use crate::pipeline::summary::content::Content;
use crate::plot::{
    CurvePanel, ExplorationCurves, ExplorationDistribution, ExploredCurve, SampledSeries,
    draw_exploration_curves, draw_exploration_distribution,
};
use crate::progress::thousands;

/// The rows of one point, of all its finished runs one after another.
pub(super) struct OfPoint<R> {
    pub(super) folder: String,
    pub(super) label: String,
    pub(super) rows: Vec<R>,
}

/// Draws what was measured against what was varied.
pub(super) fn curves(
    experiment: &Experiment,
    spec: &FigureSpec,
    results: &Path,
) -> Result<Content> {
    let points = read::<CurveRow>(experiment, results, &CURVES)?;
    let all = || points.iter().flat_map(|point| &point.rows);
    let Some(first) = all().next() else {
        return Ok(Content::Nothing("no run has measured curves"));
    };
    let mut panels: Vec<CurvePanel> = vec![];
    for row in all() {
        if panels.iter().all(|panel| panel.vertical != row.y_quantity) {
            panels.push(CurvePanel {
                vertical: row.y_quantity.clone(),
                is_logarithmic: row.y_is_logarithmic,
                curves: vec![],
            });
        }
    }
    for panel in &mut panels {
        let names = distinct(
            all()
                .filter(|row| row.y_quantity == panel.vertical)
                .map(|row| (row.curve.as_str(), row.is_reported)),
        );
        for point in &points {
            for &(name, is_reported) in &names {
                let rows = point
                    .rows
                    .iter()
                    .filter(|row| row.y_quantity == panel.vertical && row.curve == name);
                let [points_of_curve, ranges] = over_seeds(&rows.collect::<Vec<_>>());
                panel.curves.push(ExploredCurve {
                    label: label(&point.label, name, [points.len(), names.len()]),
                    is_reported,
                    points: points_of_curve,
                    ranges,
                });
            }
        }
    }
    Ok(Content::Drawn(draw_exploration_curves(
        &ExplorationCurves {
            title: title(experiment, spec),
            caption: caption(experiment),
            horizontal: first.x_quantity.clone(),
            panels,
        },
    )?))
}

/// Draws how what was measured is distributed over the samples.
pub(super) fn distribution(
    experiment: &Experiment,
    spec: &FigureSpec,
    results: &Path,
) -> Result<Content> {
    let points = read::<SampleRow>(experiment, results, &SAMPLES)?;
    let all = || points.iter().flat_map(|point| &point.rows);
    let Some(first) = all().next() else {
        return Ok(Content::Nothing("no run has drawn samples"));
    };
    let names = distinct(all().map(|row| (row.series.as_str(), row.is_reported)));
    let mut series = vec![];
    for point in &points {
        for &(name, is_reported) in &names {
            let rows = point.rows.iter().filter(|row| row.series == name);
            series.push(SampledSeries {
                label: label(&point.label, name, [points.len(), names.len()]),
                is_reported,
                values: rows.map(|row| row.value).collect(),
            });
        }
    }
    let figure = ExplorationDistribution {
        title: title(experiment, spec),
        caption: caption(experiment),
        quantity: first.quantity.clone(),
        series,
    };
    Ok(Content::Drawn(draw_exploration_distribution(&figure)?))
}

/// The points that have a finished run, in their order.
pub(super) fn read<R: serde::de::DeserializeOwned>(
    experiment: &Experiment,
    results: &Path,
    file: &Artefact,
) -> Result<Vec<OfPoint<R>>> {
    let mut points = vec![];
    for point in &experiment.points {
        let mut rows = vec![];
        for (_, run) in finished(experiment, point, results) {
            let path = run.file(file);
            if path.is_file() {
                rows.extend(table::read::<R>(&path)?);
            }
        }
        if !rows.is_empty() {
            points.push(OfPoint {
                folder: point.folder(),
                label: point.label.clone(),
                rows,
            });
        }
    }
    Ok(points)
}

/// Each once, in the order of their first.
pub(super) fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = vec![];
    for one in all {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

/// Named by what tells it from others: its point, its construction, or both.
pub(super) fn label(point: &str, name: &str, [points, names]: [usize; 2]) -> String {
    match (points, names) {
        (1, _) => name.to_owned(),
        (_, 1) => point.to_owned(),
        _ => format!("{point}: {name}"),
    }
}

/// Means over seeds: each place with what was measured there, and where its samples lie.
pub(super) fn over_seeds(rows: &[&CurveRow]) -> [Vec<(f64, f64)>; 2] {
    let (mut points, mut ranges) = (vec![], vec![]);
    for x in distinct(rows.iter().map(|row| row.x)) {
        let of = |value: fn(&CurveRow) -> Option<f64>| {
            let here = rows.iter().filter(|row| row.x == x);
            mean(&here.filter_map(|row| value(row)).collect::<Vec<f64>>())
        };
        points.extend(of(|row| Some(row.y)).map(|y| (x, y)));
        ranges.extend(of(|row| row.low_90).zip(of(|row| row.high_90)));
    }
    [points, ranges]
}

fn title(experiment: &Experiment, spec: &FigureSpec) -> String {
    let default = match explored(experiment).next().map(|one| one.question) {
        Some(ExploredQuestion::Copying) => "When attention copies one value",
        Some(ExploredQuestion::Extraction) => "Taking one vector out of a sum of two",
        Some(ExploredQuestion::Averaging) => "One query that averages two values",
        Some(ExploredQuestion::NoisyAveraging) => "Averaging with keys near their means",
        Some(ExploredQuestion::Swing) => "One head with a key of uncertain length",
        Some(ExploredQuestion::TwoHeads) | None => "One head and two, on the same keys",
    };
    spec.title.clone().unwrap_or_else(|| default.to_owned())
}

fn explored(experiment: &Experiment) -> impl Iterator<Item = &Exploration> {
    let points = experiment.points.iter();
    points.filter_map(|point| point.settings.exploration())
}

/// Sizes, samples and seeds, then what a reader has to know of the question.
fn caption(experiment: &Experiment) -> String {
    let listed = |name: &str, of: &dyn Fn(&Exploration) -> Option<String>| {
        let values = distinct(explored(experiment).filter_map(of));
        let (last, others) = values.split_last()?;
        let others = others.join(", ");
        let or = if others.is_empty() { "" } else { " or " };
        Some(format!("{name}{others}{or}{last}"))
    };
    let number = |value: Option<f64>| value.map(|value| value.to_string());
    let alpha = |one: &Exploration| {
        let plain = |alpha: f64| match alpha != 0.0 && alpha < 1e-3 {
            true => format!("{alpha:e}"),
            false => alpha.to_string(),
        };
        one.alpha.map(plain)
    };
    let parts = [
        listed("n = ", &|one| Some(format!("{}", one.keys?))),
        listed("d = ", &|one| Some(one.dimension.to_string())),
        listed("α = ", &alpha),
        listed("β = ", &|one| number(one.beta)),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let seeds: Vec<String> = experiment.seeds.iter().map(u64::to_string).collect();
    let seeds = match seeds.len() {
        1 => format!("seed {}", seeds.concat()),
        _ => format!("seeds {}", seeds.join(", ")),
    };
    let samples = listed("", &|one| {
        Some(format!("{} samples", thousands(one.samples?)))
    });
    let drawn = samples.map_or(seeds.clone(), |samples| {
        let each = if experiment.seeds.len() > 1 {
            " each"
        } else {
            ""
        };
        format!("{samples}{each}, {seeds}")
    });
    let head = format!("{}: {}; {drawn}.", experiment.name, parts.join(", "));
    let note = explored(experiment)
        .next()
        .map_or("", |one| note(one.question));
    format!("{head}{note}")
}

/// How a question was put, where that is not plain from the axes.
fn note(question: ExploredQuestion) -> &'static str {
    match question {
        ExploredQuestion::Copying | ExploredQuestion::Averaging => {
            " Keys and values are orthonormal."
        }
        ExploredQuestion::Extraction => {
            " A has the m basis vectors of v_a as columns. The reported M is A itself, d × m, with d - m \
             columns of zeros so that it is square."
        }
        ExploredQuestion::NoisyAveraging => {
            " Keys are drawn from N(μ_i, α I) with orthonormal means."
        }
        ExploredQuestion::Swing => {
            " Keys are drawn around orthonormal means with covariance α I, that of a with α I + (μ_a μ_a^T) / 2: \
             its length is about N(1, 1/2)."
        }
        ExploredQuestion::TwoHeads => {
            " Keys as in c.ii, the same draws for all charts. The reported queries are written in values, \
             (±v_a + v_b) / 2; the keys' means are read in their place, as values say nothing of keys."
        }
    }
}
