//! The figures of an experiment, each drawn by its kind from the files of finished runs.

use std::path::PathBuf;

use crate::config::Experiment;
use crate::error::Result;
use crate::files;
use crate::metrics::measured::Measured;
use crate::plot::Gathered;

/// Names of figures that have nothing to show, and why.
pub type LeftOut = Vec<(String, String)>;

/// Draws every figure of an experiment into `figures` in its folder; those that have nothing to show are left out,
/// with the reason. If points are chosen by validation, figures show the chosen ones, except those that are about what is
/// chosen among. Returns the files that were written, and the figures left out.
pub fn draw(
    experiment: &Experiment,
    all: &Measured,
    chosen: Option<&Measured>,
) -> Result<(Vec<PathBuf>, LeftOut)> {
    let folder = all.folder.join("figures");
    let (mut written, mut left_out) = (vec![], vec![]);
    let keys = experiment
        .choice
        .as_ref()
        .map_or(&[][..], |choice| &choice.keys);
    for (name, figure) in &experiment.figures {
        let chosen = chosen.filter(|_| !figure.shows_candidates(keys));
        let drawn = match chosen {
            Some(none) if none.points.iter().all(|point| point.runs.is_empty()) => {
                Gathered::Nothing(
                    "no point is chosen: candidates are unfinished, or all failed".into(),
                )
            }
            _ => figure.draw(chosen.unwrap_or(all))?,
        };
        match drawn {
            Gathered::Figure(figure) => written.extend(figure.write(&folder, name)?),
            Gathered::Nothing(why) => {
                // The figure from before is out of date.
                for extension in ["svg", "png", "csv"] {
                    files::remove(&folder.join(format!("{name}.{extension}")))?;
                }
                left_out.push((name.clone(), why.into_owned()));
            }
        }
    }
    Ok((written, left_out))
}
