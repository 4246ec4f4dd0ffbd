//! Checks that every value a random search could draw is valid for its key.
//!
//! An invalid value may be drawn late or never. So each key is checked at both ends of its range, or with each
//! of its choices; an error there is reported once, where that end or choice is written, and not again for each
//! draw.

use figment::value::Value;

use super::layers::Fault;
use super::sweep::{PointValues, RANDOM};
use super::{json_schema, read_point, tree, wording};

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
    let distribution = tree::get(root, &["sweep", RANDOM, key])?.as_dict()?;
    let (name, ends) = distribution.iter().next()?;
    let schema = json_schema::at(&tree::split(key))?;
    let help = match (schema["type"].as_str()?, name.as_str()) {
        (_, "choice") | ("integer", "integers") | ("number", "uniform" | "log_uniform") => {
            return None;
        }
        ("integer", _) => "write { integers = […] }".to_owned(),
        ("number", _) => {
            let ends = tree::text(ends);
            format!("write {{ uniform = {ends} }}, or {{ choice = […] }} for whole ones alone")
        }
        _ => "write { choice = […] }".to_owned(),
    };
    let takes = wording::expected(schema);
    let message = format!("`{key}` must be {takes}, which `{name}` does not draw");
    Some(Fault::at_key(&["sweep", RANDOM, key, name], message).help(help))
}
