//! `attnlab check` and `attnlab shapes`: checking files without running them, and the shapes in this program.

use std::path::PathBuf;

use serde_json::json;

use super::{count, is_compiled, points_and_seeds, print, print_json, print_wrapped};
use crate::config::shape::QUICKSTART;
use crate::config::{self, Checked};
use crate::error::{Error, Problem, Result};
use crate::model::registry::{self, Compiled};

pub fn check(paths: &[PathBuf], json: bool) -> Result<()> {
    let checked = config::check(paths);
    if json {
        return check_for_scripts(checked);
    }
    for checked in checked? {
        let says = match (&checked.experiment, &checked.suite) {
            (None, None) => "a base file".to_owned(),
            (None, Some(suite)) => {
                let profiles = count(suite.profiles.len(), "profile");
                let members = count(suite.members.len(), "experiment");
                format!("a suite of {members}, {profiles}")
            }
            (Some(experiment), _) => {
                let what = points_and_seeds(experiment.points.len(), experiment.seeds.len());
                match experiment.points.iter().all(is_compiled) {
                    true => what,
                    false => what + "  (compiled when it is first run)",
                }
            }
        };
        print(format!("{}: {says}", checked.path.display()))?;
        let mut notes = checked.experiment.iter().flat_map(|one| &one.notes);
        notes.try_for_each(|note| print_wrapped(&format!("  note: {note}"), 4))?;
    }
    Ok(())
}

/// Files or problems as JSON; problems are also printed on standard error, and decide the exit code.
fn check_for_scripts(checked: Result<Vec<Checked>>) -> Result<()> {
    let (files, problems) = match &checked {
        Ok(files) => (&files[..], &[][..]),
        Err(Error::Problems(problems)) => (&[][..], &problems[..]),
        Err(_) => return checked.map(drop),
    };
    let file = |one: &Checked| {
        let experiment = one.experiment.as_ref();
        json!({
            "file": one.path,
            "points": experiment.map(|experiment| experiment.points.len()),
            "seeds": experiment.map(|experiment| &experiment.seeds),
            "notes": experiment.map(|experiment| &experiment.notes),
            "members": one.suite.as_ref().map(|suite| suite.members.len()),
            "compiled": experiment.map(|experiment| experiment.points.iter().all(is_compiled)),
        })
    };
    let problem =
        |one: &Problem| json!({ "place": one.place, "message": one.message, "help": one.help });
    let files: Vec<_> = files.iter().map(file).collect();
    let problems: Vec<_> = problems.iter().map(problem).collect();
    print_json(&json!({ "files": files, "problems": problems }))?;
    checked.map(drop)
}

pub fn shapes(json: bool) -> Result<()> {
    let compiled = registry::compiled();
    if json {
        return print_json(&compiled.iter().map(shape_row).collect::<Vec<_>>());
    }
    let header = QUICKSTART.counts().map(|(name, _)| format!("{name:>10}"));
    print(header.join("  "))?;
    let row = |one: &Compiled| {
        one.shape
            .counts()
            .map(|(_, n)| format!("{n:>10}"))
            .join("  ")
    };
    compiled.iter().try_for_each(|one| print(row(one)))
}

fn shape_row(one: &Compiled) -> serde_json::Value {
    let counts = one.shape.counts().into_iter();
    let row: serde_json::Map<_, _> = counts.map(|(name, n)| (name.into(), n.into())).collect();
    row.into()
}
