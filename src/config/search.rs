//! Whether a random search draws nothing but what its keys allow, whatever it does draw.
//!
//! A value that is not allowed may be drawn late or never. So each key is tried at the ends of what
//! it is drawn from, and with each of its choices; what is wrong there is told once, where that end
//! is written, and not again for each draw.

use figment::value::Value;

use super::layers::Fault;
use super::sweep::{PointValues, RANDOM};
use super::{json_schema, read_point, tree};

/// Keys that can be drawn as they must not be.
#[derive(Default)]
pub(super) struct Unfit {
    /// The keys, in parts.
    pub(super) keys: Vec<Vec<String>>,
    /// What is wrong, and the point at which it is.
    pub(super) faults: Vec<(Vec<Fault>, PointValues)>,
}

impl Unfit {
    /// Looks at everything that each key can be. `excused` are the keys whose absence is no fault.
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
                // What is wrong with the others is told when it is their turn.
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

/// A distribution of numbers whose key takes others, or none.
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
