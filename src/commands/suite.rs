//! The results and the report of a suite.

use std::path::Path;

use serde_json::{Value, json};

use super::{print, print_json, print_results};
use crate::config::{Member, Suite};
use crate::error::Result;
use crate::pipeline::ExperimentResults;
use crate::pipeline::suite::Ran;
use crate::report::{Built, Document, Section, build};

/// Prints each member's results, writes the report, and fails if a member failed.
pub(super) fn tell(suite: &Suite, ran: Ran<'_>, results: &Path, json: bool) -> Result<()> {
    let built = build_report(suite, results, None)?;
    if json {
        let members: Vec<_> = ran.reports.iter().map(for_scripts).collect();
        print_json(&json!({
            "suite": suite.name,
            "profile": suite.profile,
            "members": members,
            "report": built.html,
        }))?;
    } else {
        for (member, report) in &ran.reports {
            print(format!("\n{}", heading(member)))?;
            print_results(report)?;
        }
        print(format!("\nreport  {}", built.html.display()))?;
    }
    ran.failed.map_or(Ok(()), Err)
}

/// A member's results, as `run` and `plot` print them for scripts.
fn for_scripts((member, results): &(&Member, ExperimentResults)) -> Value {
    let mut value = json!(results);
    value["question"] = json!(member.question);
    value["heading"] = json!(member.heading);
    value["experiment"] = json!(member.experiment.name);
    value
}

/// Writes the report of a suite into `folder`, or by default beside its results.
pub(super) fn build_report(suite: &Suite, results: &Path, folder: Option<&Path>) -> Result<Built> {
    let own = results.join(&suite.name).join(&suite.profile);
    let folder = folder.map_or_else(|| own.join("report"), Path::to_owned);
    let section = |member: &Member| Section {
        heading: heading(member),
        text: member.text.clone(),
        reported: member.reported.clone(),
        experiment: member.experiment.clone(),
    };
    let document = Document {
        title: suite.title.clone(),
        subtitle: format!("Profile {}: {}", suite.profile, suite.about),
        sections: suite.members.iter().map(section).collect(),
    };
    build(&document, results, &folder)
}

/// `2 f  Pretraining, then finetuning`.
pub(super) fn heading(member: &Member) -> String {
    format!("{}  {}", member.question, member.heading)
}
