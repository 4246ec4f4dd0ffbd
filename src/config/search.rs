//! Checks that every value a random search could draw is valid for its key.
//!
//! An invalid value may be drawn late or never. So each key is checked at both ends of its range, or with each
//! of its choices; an error there is reported once, where that end or choice is written, and not again for each
//! draw.

use figment::value::Value;

use super::layers::Fault;
use super::sweep::{PointValues, RANDOM};
use super::{json_schema, read_point, tree};

/// Keys for which invalid values could be drawn.
#[derive(Default)]
pub(super) struct InvalidDraws {
    /// The keys, in parts.
    pub(super) keys: Vec<Vec<String>>,
    /// What is wrong, and the point at which it is.
    pub(super) faults: Vec<(Vec<Fault>, PointValues)>,
}

impl InvalidDraws {
    /// Checks each key at its extremes. `excused` are the keys whose absence is not a fault.
    pub(super) fn find(
        root: &Value,
        extremes: &[(String, Vec<PointValues>)],
        excused: &[String],
    ) -> Self {
        let mut unfit = Self::default();
        let drawn: Vec<Vec<String>> = extremes.iter().map(|(key, _)| tree::split(key)).collect();
        for (key, points) in extremes {
            let own = tree::split(key);
            if let Some(fault) = unsuited(root, key) {
                unfit.keys.push(own);
                unfit.faults.push((vec![fault], PointValues::default()));
                continue;
            }
            for point in points {
                let (_, mut faults) = read_point(&point.apply(root), excused);
                let is_own = |fault: &Fault| is_about(fault, &own);
                if faults.iter().any(is_own) {
                    unfit.keys.push(own.clone());
                }
                // Faults of the other drawn keys are reported when it is their turn.
                let of_others = |fault: &Fault| drawn.iter().any(|key| is_about(fault, key));
                faults.retain(|fault| is_own(fault) || !of_others(fault));
                unfit.faults.push((faults, point.clone()));
            }
        }
        unfit
    }
}

/// Whether a fault is at a key, in it, or at the table that should have it.
pub(super) fn is_about(fault: &Fault, key: &[String]) -> bool {
    let within = fault.key.starts_with(key);
    within || (!fault.key.is_empty() && key.starts_with(&fault.key))
}

/// The fault of a key whose distribution does not draw values of its type.
fn unsuited(root: &Value, key: &str) -> Option<Fault> {
    let path = ["sweep", RANDOM, key].map(str::to_owned);
    let (name, ends) = tree::get(root, &path)?.as_dict()?.iter().next()?;
    let ends = tree::text(ends);
    let (takes, help) = match (type_of(key)?.as_str(), name.as_str()) {
        (_, "choice") | ("integer", "integers") | ("number", "uniform" | "log_uniform") => {
            return None;
        }
        ("integer", _) => ("whole numbers", "write { integers = […] }".to_owned()),
        ("number", _) => (
            "any number",
            format!("write {{ uniform = {ends} }}, or {{ choice = […] }} for whole ones alone"),
        ),
        ("boolean", _) => ("true or false", CHOOSE.to_owned()),
        ("array", _) => ("a list", CHOOSE.to_owned()),
        ("object", _) => ("a table", CHOOSE.to_owned()),
        _ => ("text", CHOOSE.to_owned()),
    };
    let message = format!("`{key}` takes {takes}, which `{name}` does not draw");
    Some(Fault::at_key(&["sweep", RANDOM, key, name], message).help(help))
}

const CHOOSE: &str = "write { choice = […] }";

/// The type of a key in the words of JSON Schema; absent if there is no such key.
fn type_of(key: &str) -> Option<String> {
    let schema = json_schema::tree();
    let mut parts = key.split('.');
    let found = parts.try_fold(&schema, |at, part| at.get("properties")?.get(part))?;
    Some(found["type"].as_str()?.to_owned())
}
