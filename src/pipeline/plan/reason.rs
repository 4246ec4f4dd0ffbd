//! Why a stage has to run: what has changed since the experiment last did it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::pipeline::directory::of_experiment;
use crate::pipeline::stage::store::{Record, StageFolder};
use crate::pipeline::stage::{Ingredients, START, Stage, StageKind};

/// Number of changes that are named; the rest are only counted.
const NAMED: usize = 3;

/// The stages that an experiment has run before and no longer needs.
pub struct Past {
    stages: Vec<Record>,
}

impl Past {
    /// Reads the runs in an experiment's folder. Stages with keys in `wanted` are skipped: they
    /// are still needed.
    pub fn read(results: &Path, experiment: &Path, wanted: &BTreeSet<&String>) -> Self {
        let runs = of_experiment(experiment).into_iter();
        let keys = runs.filter_map(|run| Some(run.status()?.stages));
        let no_longer_needed = keys.flatten().filter(|(_, key)| !wanted.contains(key));
        let record = |(name, key): (String, String)| {
            let kind = StageKind::ALL
                .into_iter()
                .find(|kind| kind.name() == name)?;
            StageFolder::new(results, kind, &key).record()
        };
        Self {
            stages: no_longer_needed.filter_map(record).collect(),
        }
    }

    /// How `stage` differs from the most similar earlier stage with the same seed; `None` if there is no
    /// such stage, so that this one is new.
    pub fn changes(&self, stage: &Stage) -> Option<String> {
        let seed = |all: &Ingredients| all.get("seed").cloned();
        // A stage that starts from other weights is a different stage, not a changed one.
        let from = |all: &Ingredients| source(all.get(START));
        let now = &stage.ingredients;
        let similar = self.stages.iter().filter(
            |Record {
                 stage: kind,
                 depends_on: before,
             }| {
                *kind == stage.kind && seed(before) == seed(now) && from(before) == from(now)
            },
        );
        let changes = similar.map(|one| differences(&one.depends_on, now));
        let fewest = changes.min_by_key(Vec::len)?;
        (!fewest.is_empty()).then(|| sentence(&fewest))
    }
}

/// `pretrain.epochs 100 -> 200`, for each ingredient that is not the same.
fn differences(before: &Ingredients, now: &Ingredients) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let values = names
        .iter()
        .map(|&name| (name.as_str(), before.get(name), now.get(name)));
    let changed = values.filter(|(_, old, new)| old != new);
    let told = changed.map(|(name, old, new)| match name {
        START => start(old, new),
        _ if is_sum(old) || is_sum(new) => format!("{name} changed"),
        _ => format!("{name} {} -> {}", shown(old), shown(new)),
    });
    told.collect()
}

/// Where weights come from, without the key or checksum.
fn source(start: Option<&Value>) -> String {
    let text = start.and_then(Value::as_str).unwrap_or("nothing");
    let name = text.rsplit_once(' ').filter(|(_, sum)| sum.len() == 64);
    name.map_or(text, |(name, _)| name).to_owned()
}

/// Describes a change of the starting weights: another source, or the same source with other content.
fn start(old: Option<&Value>, new: Option<&Value>) -> String {
    match (source(old), source(new)) {
        (old, new) if old != new => format!("it starts from: {old} -> {new}"),
        (_, new) if new == "weights file" => "its weights file changed".to_owned(),
        (_, new) => format!("its {new} changed"),
    }
}

fn is_sum(value: Option<&Value>) -> bool {
    let text = value.and_then(Value::as_str);
    text.is_some_and(|text| text.starts_with("blake3 "))
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "not set".to_owned(), Value::to_string)
}

fn sentence(changes: &[String]) -> String {
    let named = changes[..changes.len().min(NAMED)].join(", ");
    match changes.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(pairs: &[(&str, Value)]) -> Ingredients {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect()
    }

    #[test]
    fn changes_are_described_in_plain_words() {
        let sum = |digit: &str| json!(format!("blake3 {}", digit.repeat(64)));
        let from = |digit: &str| json!(format!("pretrain {}", digit.repeat(64)));
        let before = of(&[
            ("a", json!(0.006)),
            ("b", json!("cosine")),
            ("data.train", sum("0")),
            ("start", from("0")),
        ]);
        let changed = |name: &str, value: Option<Value>| {
            let mut now = before.clone();
            match value {
                Some(value) => now.insert(name.to_owned(), value),
                None => now.remove(name),
            };
            differences(&before, &now)
        };
        assert_eq!(changed("a", Some(json!(0.003))), ["a 0.006 -> 0.003"]);
        assert_eq!(changed("b", None), ["b \"cosine\" -> not set"]);
        assert_eq!(
            changed("data.train", Some(sum("1"))),
            ["data.train changed"]
        );
        assert_eq!(changed("start", Some(from("1"))), ["its pretrain changed"]);
        let fresh = json!("fresh weights");
        let says = ["it starts from: pretrain -> fresh weights"];
        assert_eq!(changed("start", Some(fresh)), says);
    }

    #[test]
    fn many_changes_are_counted() {
        let changes: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        assert_eq!(sentence(&changes[..3]), "a, b, c");
        assert_eq!(sentence(&changes), "a, b, c and 2 more");
    }
}
