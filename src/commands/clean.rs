//! `attnlab clean`: listing what can be deleted, and deleting it once the user agrees.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use super::{count, megabytes, print, print_json};
use crate::cli::Clean;
use crate::config;
use crate::error::{Error, Result};
use crate::pipeline::clean::{Removable, find, free};
use crate::progress::{Progress, Verbosity};
use crate::stop::Stop;

pub fn clean(args: &Clean) -> Result<()> {
    let profile = args.suite.profile.as_deref();
    let mut experiments = vec![];
    for file in &args.files {
        experiments.extend(config::load_any(file, profile, &args.set)?.into_experiments());
    }
    let removable = find(&args.results, &experiments);
    if args.json {
        return print_json(&removable);
    }
    if removable.is_empty() {
        return print(format!("nothing to free in {}", args.results.display()));
    }
    for one in &removable {
        let size = megabytes(one.bytes);
        print(format!("{size:>9}  {}  ({})", one.path.display(), one.why))?;
    }
    let bytes = megabytes(removable.iter().map(|one| one.bytes).sum());
    let all = format!("{}, {bytes}", count(removable.len(), "item"));
    if args.dry_run {
        return print(format!("{all} could be freed"));
    }
    if !args.yes && !agreed(&all, &args.results)? {
        return print("nothing was deleted");
    }
    let progress = Progress::new(Verbosity::Normal);
    let waiting = |one: &Removable, holder: &str| {
        let folder = one.path.display();
        progress.say(&format!(
            "{folder}: checking for up to a minute whether {holder} is still using it"
        ));
    };
    let freed = free(&removable, &args.results, &Stop::on_signals()?, &waiting)?;
    let bytes = megabytes(freed.iter().map(|one| one.bytes).sum());
    print(format!("{}, {bytes} freed", count(freed.len(), "item")))
}

/// Asks on the terminal; without a terminal to answer, this is a usage error.
fn agreed(all: &str, results: &Path) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        let error = Error::usage("stdin is not a terminal, so nothing was deleted");
        return Err(error.help("pass --yes to delete without asking, or --dry-run to only list"));
    }
    // If standard error is closed, nobody sees the question, and the answer is no.
    let results = results.display();
    let _ = write!(std::io::stderr(), "free {all} in {results}? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}
