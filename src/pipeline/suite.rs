//! The members of a suite, one after the other; stages that they share are done once.

use super::{Options, Report};
use crate::config::Experiment;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::stop::Stop;

/// What a suite leaves behind.
#[derive(Debug)]
pub struct Ran {
    /// Each member that has results, by name, in order.
    pub reports: Vec<(String, Report)>,
    /// The members that failed while others were finished.
    pub failed: Option<Error>,
}

/// Runs what is not done of every member, in order.
///
/// # Errors
/// As for one experiment; without `keep_going` the first member that fails ends the suite. The
/// message names the member.
pub fn run(
    members: &[Experiment],
    options: &Options,
    progress: &Progress,
    stop: &Stop,
) -> Result<Ran> {
    let (mut reports, mut failures) = (vec![], vec![]);
    for member in members {
        let named = |error: Error| error.in_file(&member.path);
        match super::run(member, options, progress, stop) {
            Ok(mut report) => {
                failures.extend(report.failed.take().map(named));
                reports.push((member.name.clone(), report));
            }
            Err(error) if error.is_interruption() || !options.keep_going => {
                return Err(named(error));
            }
            Err(error) => failures.push(named(error)),
        }
    }
    let lines: Vec<String> = failures.iter().map(Error::message).collect();
    let told = format!(
        "{} of {} members failed\n  {}",
        failures.len(),
        members.len(),
        lines.join("\n  ")
    );
    let failed = match (failures.is_empty(), reports.is_empty()) {
        (true, _) => None,
        (false, true) => return Err(Error::run(told)),
        (false, false) => Some(Error::partly(told)),
    };
    Ok(Ran { reports, failed })
}
