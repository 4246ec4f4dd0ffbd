//! Runs the members of a suite one after another; stages that they share run once.

use super::{ExperimentResults, failures_error};
use crate::config::{Experiment, Member, Suite};
use crate::error::{Error, Result};

/// The results of running a suite.
#[derive(Debug)]
pub struct Ran<'a> {
    /// Each member that has results, in order.
    pub reports: Vec<(&'a Member, ExperimentResults)>,
    /// The members that failed while others were finished.
    pub failed: Option<Error>,
}

/// Calls `work` for every member, in order. A member that fails in part counts as failed.
///
/// # Errors
/// A member fails without `keep_going`, the user stops it, or all members fail. The message names the member.
pub fn each(
    suite: &Suite,
    keep_going: bool,
    mut work: impl FnMut(&Experiment) -> Result<ExperimentResults>,
) -> Result<Ran<'_>> {
    let (mut reports, mut failures) = (vec![], vec![]);
    for member in &suite.members {
        let named = |error: Error| error.in_file(&member.experiment.path);
        match work(&member.experiment) {
            Ok(mut report) => {
                failures.extend(report.failed.take().map(named));
                reports.push((member, report));
            }
            Err(error) if error.is_interruption() || !keep_going => return Err(named(error)),
            Err(error) => failures.push(named(error)),
        }
    }
    let (is_total, all) = (reports.is_empty(), suite.members.len());
    let failed = failures.first().map(|first| {
        let lines: Vec<String> = failures.iter().map(Error::message).collect();
        failures_error(&lines, all, "members", first.what_to_do(), is_total)
    });
    match failed {
        Some(error) if is_total => Err(error),
        failed => Ok(Ran { reports, failed }),
    }
}
