//! Keys that nothing reads: they are allowed, since a sweep or profile may set them for other points, but worth a note.

use serde::Serialize;
use serde_json::Value;

use super::point::Point;
use super::schema::{Settings, Training};
use super::wording;
use crate::data::objectives::Objective;
use crate::kinds::Listed as _;

/// A note for each key that some point sets and no point reads.
pub(super) fn notes(points: &[Point]) -> Vec<String> {
    let all: Vec<&Settings> = points
        .iter()
        .filter_map(|point| point.settings.training())
        .collect();
    let mut notes = vec![];
    let mut keys: Vec<&str> = Objective::all()
        .iter()
        .flat_map(|one| one.own_keys)
        .copied()
        .collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let is_set = all.iter().any(|settings| sets(&settings.pretrain, key));
        if is_set && !all.iter().any(|settings| reads(settings, key)) {
            let readers = Objective::all()
                .iter()
                .filter(|one| one.own_keys.contains(&key));
            let readers: Vec<&str> = readers.map(|one| one.name()).collect();
            let readers = wording::list(&readers, "and");
            notes.push(format!(
                "`pretrain.{key}` changes nothing here: it is for {readers}"
            ));
        }
    }
    for stage in ["pretrain", "finetune"] {
        let stages = all.iter().filter_map(|settings| match stage {
            "pretrain" => settings.pretrain.as_ref().map(|spec| spec.training()),
            _ => settings.finetune.clone(),
        });
        let stages: Vec<Training> = stages.collect();
        let is_set = stages.iter().any(|one| sets(&one.optimiser, "momentum"));
        let is_read = |one: &Training| one.optimiser.kind.0.reads_momentum;
        if is_set && !stages.iter().any(is_read) {
            let key = format!("{stage}.optimiser.momentum");
            notes.push(format!("`{key}` changes nothing here: it is for `muon`"));
        }
    }
    notes
}

/// Whether a table has a value of its own for a key.
fn sets(table: &impl Serialize, key: &str) -> bool {
    let table = serde_json::to_value(table);
    table.is_ok_and(|table: Value| table.get(key).is_some())
}

/// Whether any objective of either stage reads this key of `[pretrain]`.
fn reads(settings: &Settings, key: &str) -> bool {
    let pretrain = settings.pretrain.iter().map(|spec| spec.objective);
    let mixed = settings.pretrain.iter().flat_map(|spec| &spec.mix);
    let mixed = mixed.chain(settings.finetune.iter().flat_map(|spec| &spec.mix));
    let mut all = pretrain.chain(mixed.map(|one| one.objective));
    all.any(|one| one.0.own_keys.contains(&key))
}
