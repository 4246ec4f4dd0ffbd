//! What `kind = "exploration-curves"` and `"exploration-distribution"` show: `curves.csv` and `samples.csv` of all
//! points and seeds.

use super::{
    CurvePanel, ExplorationCurves, ExplorationDistribution, ExploredCurve, SampledSeries,
    draw_exploration_curves, draw_exploration_distribution,
};
use crate::error::Result;
use crate::metrics::artefacts::{CURVES, SAMPLES};
use crate::metrics::explored::{PointRows, distinct, label, over_seeds, read};
use crate::metrics::measured::{ExplorationTexts, Measured};
use crate::metrics::rows::{CurveRow, SampleRow};
use crate::plot::Figure;
use crate::plot::kind::{Gathered, NoKeys, Plot};

fn words(measured: &Measured) -> ExplorationTexts {
    measured.exploration.clone().unwrap_or_default()
}

impl Plot for ExplorationCurves {
    type Keys = NoKeys;

    const NAME: &'static str = "exploration-curves";
    const SHOWS: &'static str = "explorations only: the measured quantity against the varied one";
    const IS_OF_EXPLORATION: bool = true;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::gallery::Example] = &[super::curves::tests::made_up];

    fn title(_: &NoKeys, measured: &Measured) -> String {
        words(measured).heading
    }

    fn gather(_: &NoKeys, title: String, measured: &Measured) -> Result<Gathered<Self>> {
        let points = read::<CurveRow>(measured, &CURVES)?;
        let all = || points.iter().flat_map(|point| &point.rows);
        let Some(first) = all().next() else {
            return Ok(Gathered::Nothing("no run has measured curves"));
        };
        let quantities = distinct(all().map(|row| &row.y_quantity));
        let panels = quantities.iter().map(|quantity| panel(quantity, &points));
        Ok(Gathered::Figure(Self {
            title,
            caption: words(measured).caption,
            horizontal: first.x_quantity.clone(),
            panels: panels.collect(),
        }))
    }

    fn draw(&self) -> Result<Figure> {
        draw_exploration_curves(self)
    }
}

/// The chart of one measured quantity.
fn panel(quantity: &str, points: &[PointRows<CurveRow>]) -> CurvePanel {
    let all = points.iter().flat_map(|point| &point.rows);
    let own: Vec<&CurveRow> = all.filter(|row| row.y_quantity == quantity).collect();
    let names = distinct(own.iter().map(|row| (row.curve.as_str(), row.is_reported)));
    let curve = |point: &PointRows<CurveRow>, name: &str, is_reported| {
        let own = |row: &&CurveRow| row.y_quantity == quantity && row.curve == name;
        let rows: Vec<&CurveRow> = point.rows.iter().filter(own).collect();
        let [measured, ranges] = over_seeds(&rows);
        ExploredCurve {
            label: label(&point.label, name, [points.len(), names.len()]),
            is_reported,
            points: measured,
            ranges,
        }
    };
    let of_point = |point| {
        let names = names.iter();
        names.map(move |&(name, is_reported)| curve(point, name, is_reported))
    };
    CurvePanel {
        vertical: quantity.to_owned(),
        is_logarithmic: own[0].y_is_logarithmic,
        curves: points.iter().flat_map(of_point).collect(),
    }
}

impl Plot for ExplorationDistribution {
    type Keys = NoKeys;

    const NAME: &'static str = "exploration-distribution";
    const SHOWS: &'static str =
        "explorations only: the distribution of the measured quantity over the samples";
    const IS_OF_EXPLORATION: bool = true;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::gallery::Example] =
        &[super::distribution::tests::made_up];

    fn title(_: &NoKeys, measured: &Measured) -> String {
        words(measured).heading
    }

    fn gather(_: &NoKeys, title: String, measured: &Measured) -> Result<Gathered<Self>> {
        let points = read::<SampleRow>(measured, &SAMPLES)?;
        let all = || points.iter().flat_map(|point| &point.rows);
        let Some(first) = all().next() else {
            return Ok(Gathered::Nothing("no run has drawn samples"));
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
        Ok(Gathered::Figure(Self {
            title,
            caption: words(measured).caption,
            quantity: first.quantity.clone(),
            series,
        }))
    }

    fn draw(&self) -> Result<Figure> {
        draw_exploration_distribution(self)
    }
}
