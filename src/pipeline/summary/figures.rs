//! The figures of an experiment, each drawn by its kind from the files of finished runs.

use std::path::PathBuf;

use crate::config::Experiment;
use crate::error::Result;
use crate::files;
use crate::metrics::measured::Measured;
use crate::plot::Gathered;

/// Draws every figure of an experiment into `figures` in its folder; those that have nothing to show are left out,
/// with the reason.
pub fn draw(experiment: &Experiment, measured: &Measured) -> Result<Drawn> {
    let folder = measured.folder.join("figures");
    let mut drawn = Drawn::default();
    for (name, figure) in &experiment.figures {
        match figure.draw(measured)? {
            Gathered::Figure(figure) => drawn.written.extend(figure.write(&folder, name)?),
            Gathered::Nothing(why) => {
                // The figure from before is out of date.
                for extension in ["svg", "png", "csv"] {
                    files::remove(&folder.join(format!("{name}.{extension}")))?;
                }
                drawn.left_out.push((name.clone(), why.to_owned()));
            }
        }
    }
    Ok(drawn)
}

/// The figures that were written and those left out.
#[derive(Default)]
pub struct Drawn {
    /// The files.
    pub written: Vec<PathBuf>,
    /// Figures with nothing to show, and why.
    pub left_out: Vec<(String, String)>,
}
