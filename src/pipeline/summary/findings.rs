//! The results of explorations in a few numbers: `findings.csv`, whose rows `run` prints.

use crate::error::Result;
use crate::metrics::artefacts::{CURVES, SAMPLES};
use crate::metrics::explored::{distinct, label, over_seeds, read};
use crate::metrics::measured::{Measured, PointRows};
use crate::metrics::rows::{CurveRow, FindingRow, SampleRow};
use crate::metrics::statistics::{mean, quantile, standard_deviation};
use crate::metrics::table;

/// Writes `findings.csv` and returns its [`rows`].
pub(crate) fn write(measured: &Measured) -> Result<Vec<FindingRow>> {
    let rows = rows(measured)?;
    table::write(&measured.folder.join("findings.csv"), &rows)?;
    Ok(rows)
}

/// The rows of `findings.csv`: both ends of every curve, and every distribution.
pub fn rows(measured: &Measured) -> Result<Vec<FindingRow>> {
    let curves = read::<CurveRow>(measured, &CURVES)?;
    let samples = read::<SampleRow>(measured, &SAMPLES)?;
    Ok([of_curves(&curves), of_samples(&samples)].concat())
}

fn of_curves(points: &[PointRows<CurveRow>]) -> Vec<FindingRow> {
    let all = || points.iter().flat_map(|point| &point.rows);
    let mut found = vec![];
    for quantity in distinct(all().map(|row| row.y_quantity.as_str())) {
        let measured = || all().filter(|row| row.y_quantity == quantity);
        let names = distinct(measured().map(|row| row.curve.as_str()));
        for point in points {
            for &name in &names {
                let own = point.rows.iter();
                let own = own.filter(|row| row.y_quantity == quantity && row.curve == name);
                let own: Vec<&CurveRow> = own.collect();
                let label = label(&point.label, name, [points.len(), names.len()]);
                found.extend(ends(&point.folder, &label, &own));
            }
        }
    }
    found
}

/// The first and the last place of a curve, over the seeds.
fn ends(point: &str, label: &str, rows: &[&CurveRow]) -> Vec<FindingRow> {
    let Some(of) = rows.first() else {
        return vec![];
    };
    // All places have a range, or none has.
    let [values, ranges] = over_seeds(rows);
    let finding = |at: usize| {
        let ((x, value), range) = (values[at], ranges.get(at));
        let here = rows.iter().filter(|row| row.x == x);
        FindingRow {
            point: point.to_owned(),
            label: label.to_owned(),
            is_reported: of.is_reported,
            quantity: of.y_quantity.clone(),
            value,
            variance: None,
            low_90: range.map(|range| range.0),
            high_90: range.map(|range| range.1),
            samples: here.map(|row| row.samples).sum(),
            x_quantity: Some(of.x_quantity.clone()),
            x: Some(x),
        }
    };
    let ends = distinct([0, values.len() - 1].into_iter());
    ends.into_iter().map(finding).collect()
}

fn of_samples(points: &[PointRows<SampleRow>]) -> Vec<FindingRow> {
    let all = points.iter().flat_map(|point| &point.rows);
    let names = distinct(all.map(|row| row.series.as_str()));
    let mut found = vec![];
    for point in points {
        for &name in &names {
            let own: Vec<&SampleRow> = point.rows.iter().filter(|row| row.series == name).collect();
            let values: Vec<f64> = own.iter().map(|row| row.value).collect();
            let Some((of, value)) = own.first().zip(mean(&values)) else {
                continue;
            };
            found.push(FindingRow {
                point: point.folder.clone(),
                label: label(&point.label, name, [points.len(), names.len()]),
                is_reported: of.is_reported,
                quantity: of.quantity.clone(),
                value,
                variance: standard_deviation(&values).map(|deviation| deviation * deviation),
                low_90: Some(quantile(&values, 0.05)),
                high_90: Some(quantile(&values, 0.95)),
                samples: values.len(),
                x_quantity: None,
                x: None,
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_point<R>(label: &str, rows: Vec<R>) -> PointRows<R> {
        PointRows {
            folder: "base-00000000".to_owned(),
            label: label.to_owned(),
            rows,
        }
    }

    fn place(curve: &str, x: f64, y: f64) -> CurveRow {
        CurveRow {
            curve: curve.to_owned(),
            is_reported: false,
            x_quantity: "factor".to_owned(),
            x,
            y_quantity: "error".to_owned(),
            y_is_logarithmic: true,
            y,
            low_90: Some(y / 2.0),
            high_90: Some(y * 2.0),
            samples: 5,
        }
    }

    #[test]
    fn curves_are_summarised_by_their_ends_over_the_seeds() {
        // Two seeds one after another, and a curve of one place.
        let rows = vec![
            place("ours", 0.0, 1.0),
            place("ours", 2.0, 0.5),
            place("ours", 4.0, 0.25),
            place("theirs", 0.5, 0.75),
            place("ours", 0.0, 3.0),
            place("ours", 4.0, 0.75),
        ];
        let found = of_curves(&[of_point("n = 3", rows)]);
        let told: Vec<_> = found
            .iter()
            .map(|row| {
                (
                    row.label.as_str(),
                    row.x,
                    row.value,
                    row.high_90,
                    row.samples,
                )
            })
            .collect();
        let wanted = [
            ("ours", Some(0.0), 2.0, Some(4.0), 10),
            ("ours", Some(4.0), 0.5, Some(1.0), 10),
            ("theirs", Some(0.5), 0.75, Some(1.5), 5),
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn distributions_are_summarised_by_mean_and_variance() {
        let rows = [0.0, 1.0, 0.5].iter().enumerate();
        let rows = rows.map(|(sample, &value)| SampleRow {
            series: "one head".to_owned(),
            is_reported: false,
            quantity: "weight".to_owned(),
            sample: sample as u64,
            epsilon: 1.0,
            value,
        });
        let rows: Vec<SampleRow> = rows.collect();
        let points = ["β = 3", "β = 10"].map(|label| of_point(label, rows.clone()));
        let found = of_samples(&points);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].label, "β = 3");
        assert_eq!((found[0].value, found[0].samples), (0.5, 3));
        assert!((found[0].variance.expect("of three") - 0.25).abs() < 1e-12);
        assert!((found[0].low_90.expect("a range") - 0.05).abs() < 1e-12);
    }
}
