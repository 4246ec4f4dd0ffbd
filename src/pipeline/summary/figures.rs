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
/// with the reason. Returns the files that were written, and the figures left out.
pub fn draw(experiment: &Experiment, measured: &Measured) -> Result<(Vec<PathBuf>, LeftOut)> {
    let folder = measured.folder.join("figures");
    let (mut written, mut left_out) = (vec![], vec![]);
    for (name, figure) in &experiment.figures {
        match figure.draw(measured)? {
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
