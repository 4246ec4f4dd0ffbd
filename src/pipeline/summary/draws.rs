//! `draws.csv`: the values that a random search has drawn, from the loaded experiment alone.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::{Draw, Experiment};
use crate::error::Result;
use crate::files;
use crate::metrics::table;

/// Writes a row for each draw, with a column for each key. An experiment without draws has no
/// such file.
pub fn write(experiment: &Experiment, folder: &Path) -> Result<()> {
    let path = folder.join("draws.csv");
    // Each point of a grid has the same draws.
    let points = experiment.points.iter();
    let draws = points.filter_map(|point| point.draw.as_ref());
    let draws: BTreeMap<usize, &Draw> = draws.map(|draw| (draw.number, draw)).collect();
    let Some(first) = draws.values().next() else {
        return files::remove(&path);
    };
    let mut header = vec!["draw".to_owned()];
    header.extend(first.values.iter().map(|(key, _)| key.clone()));
    let row = |draw: &&Draw| {
        let mut row = vec![draw.number.to_string()];
        row.extend(draw.values.iter().map(|(_, value)| value.clone()));
        row
    };
    let rows: Vec<Vec<String>> = draws.values().map(row).collect();
    table::write_cells(&path, &header, &rows)
}
