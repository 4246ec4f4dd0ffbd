//! The keys that a kind of figure has of its own: which there are depends on `kind`, so they are read when that is
//! known.

use figment::value::{Dict, Value};
use schemars::SchemaGenerator;

use super::layers::Fault;
use super::problems::{self, Siblings};
use super::schema::{FigureSpec, kinds_with};
use super::tree;

/// Completes the own keys of a figure with their defaults, and reports what is wrong with them.
pub(super) fn read_own(name: &str, figure: &mut FigureSpec) -> Vec<Fault> {
    let table = ["figures".to_owned(), name.to_owned()];
    let mut own = figure.own.as_dict().cloned().unwrap_or_default();
    let mut faults = foreign(&table, figure, &own);
    own.retain(|key, _| faults.iter().all(|fault| fault.key.last() != Some(key)));
    let within = |own: Value| {
        let mut tree = Value::from(Dict::new());
        tree::set(&mut tree, &table, own);
        tree
    };
    let kind = figure.kind.0;
    let reader = |tree: &Value| {
        let own = tree::get(tree, &table).cloned();
        let own = own.unwrap_or_else(|| Value::from(Dict::new()));
        let complete = kind.complete(&own).map_err(|mut error| {
            error.path = [&table[..], &error.path].concat();
            error
        })?;
        Ok((complete.clone(), within(complete)))
    };
    let siblings = Siblings {
        table: &table,
        keys: &FigureSpec::SHARED,
    };
    let reading = problems::read_with(&within(Value::from(own)), &siblings, &[], &reader);
    faults.extend(reading.faults);
    if let Some(complete) = reading.value {
        figure.own = complete;
    }
    faults
}

/// Keys that figures of other kinds have.
fn foreign(table: &[String], figure: &FigureSpec, own: &Dict) -> Vec<Fault> {
    let mut generator = SchemaGenerator::default();
    let fault = |key: &String| {
        let kinds = kinds_with(key, &mut generator);
        if kinds.is_empty() || kinds.contains(&figure.kind.0.name) {
            return None;
        }
        let kinds: Vec<String> = kinds.iter().map(|kind| format!("{kind:?}")).collect();
        let key = [table, std::slice::from_ref(key)].concat();
        let parts: Vec<&str> = key.iter().map(String::as_str).collect();
        let (key, kinds) = (tree::dotted(&key), kinds.join(" and "));
        let message = format!("`{key}` is for `kind` = {kinds} only");
        Some(Fault::at_key(&parts, message))
    };
    own.keys().filter_map(fault).collect()
}
