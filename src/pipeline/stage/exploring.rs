//! Runs an exploration and writes its rows to one table.

use std::path::PathBuf;

use crate::error::Result;
use crate::explore::{Measurements, QuestionKind};
use crate::kinds::Kinded;
use crate::metrics::artefacts::{CURVES, SAMPLES};
use crate::metrics::table;
use crate::pipeline::stage::store::StageFolder;
use crate::progress;
use crate::stop::Stop;

/// All that an exploration works with.
pub struct Exploring<'a> {
    pub spec: &'a Kinded<QuestionKind>,
    pub seed: u64,
    /// Where it writes; locked by this process.
    pub folder: &'a StageFolder,
    pub shown: &'a progress::Run,
    pub stop: &'a Stop,
}

impl Exploring<'_> {
    /// Runs the exploration in its prepared folder.
    ///
    /// # Errors
    /// The user stops it, or a file cannot be written.
    pub fn run(&self) -> Result<Vec<PathBuf>> {
        let samples = self.spec.sizes().samples;
        let (all, what) = samples.map_or((1, "measured"), |samples| (samples, "samples"));
        let mut task = self.shown.begin("explore", all, 0);
        let mut report = |drawn: usize| {
            task.at(drawn, what);
            match drawn < all {
                true => self
                    .stop
                    .check(|| format!("in explore after sample {drawn}")),
                false => Ok(()),
            }
        };
        let path = match self.spec.measure(self.seed, &mut report)? {
            Measurements::Curves(rows) => {
                let path = self.folder.file(&CURVES);
                table::write(&path, &rows).map(|()| path)
            }
            Measurements::Samples(rows) => {
                let path = self.folder.file(&SAMPLES);
                table::write(&path, &rows).map(|()| path)
            }
        };
        Ok(vec![path?])
    }
}
