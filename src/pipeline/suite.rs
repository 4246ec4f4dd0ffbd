//! Runs the members of a suite one after another; stages that they share run once.

use super::{Options, Report};
use crate::config::{Experiment, Member, Suite};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::stop::Stop;

/// The results of running a suite.
#[derive(Debug)]
pub struct Ran<'a> {
    /// Each member that has results, in order.
    pub reports: Vec<(&'a Member, Report)>,
    /// The members that failed while others were finished.
    pub failed: Option<Error>,
}

/// Runs the unfinished stages of every member, in order.
///
/// # Errors
/// As for one experiment; without `keep_going` the first member that fails ends the suite. The
/// message names the member.
pub fn run<'a>(
    suite: &'a Suite,
    options: &Options,
    progress: &Progress,
    stop: &Stop,
) -> Result<Ran<'a>> {
    each(suite, options.keep_going, |experiment| {
        super::run(experiment, options, progress, stop)
    })
}

/// Calls `work` for every member, in order. A member that fails in part counts as failed.
///
/// # Errors
/// A member fails without `keep_going`, the user stops it, or all members fail.
pub fn each(
    suite: &Suite,
    keep_going: bool,
    mut work: impl FnMut(&Experiment) -> Result<Report>,
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
    let Some(first) = failures.first() else {
        let failed = None;
        return Ok(Ran { reports, failed });
    };
    let help = first.what_to_do();
    let help = help
        .unwrap_or("rerun the same command to retry them")
        .to_owned();
    let lines: Vec<String> = failures.iter().map(Error::message).collect();
    let told = format!(
        "{} of {} members failed\n  {}",
        failures.len(),
        suite.members.len(),
        lines.join("\n  ")
    );
    if reports.is_empty() {
        return Err(Error::run(told).help(help));
    }
    let failed = Some(Error::partly(told).help(help));
    Ok(Ran { reports, failed })
}
