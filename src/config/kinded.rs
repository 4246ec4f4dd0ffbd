//! Checks the keys that a table has because of its `kind`.

use figment::value::{Dict, Value};

use super::layers::Fault;
use super::problems;
use super::sweep::overlap;
use super::tree;
use crate::kinds::{Kinded, TITLE, TableKind, joined};

/// Faults of the keys that belong to a table's kind, given the table's path. If the kind could not be read, it is
/// inferred from the keys.
pub(super) fn faults<K: TableKind>(
    table: &[&str],
    kinded: &Kinded<K>,
    skipped: &[String],
) -> Vec<Fault> {
    let table = tree::path(table);
    let name = format!("{}.{}", table.join("."), K::KEY);
    let mut own = kinded.own.as_dict().cloned().unwrap_or_default();
    let kind = match skipped.iter().any(|key| overlap(key, &name)) {
        false => kinded.kind,
        true => match K::taking(own.keys()) {
            Some(kind) => kind,
            None => return vec![],
        },
    };
    let mut faults = foreign(&table, kind, &own);
    own.retain(|key, _| faults.iter().all(|fault| fault.key.last() != Some(key)));
    let within = |own: Value| {
        let mut tree = Value::from(Dict::new());
        tree::set(&mut tree, &table, own);
        tree
    };
    let reader = |tree: &Value| {
        let own = tree::get(tree, &table).cloned();
        let own = own.unwrap_or_else(|| Value::from(Dict::new()));
        let understood = (kind.entry().read)(&own).map_err(|mut error| {
            error.path = [&table[..], &error.path].concat();
            error
        })?;
        Ok(((), within(understood)))
    };
    let title = K::TITLE.map(|_| TITLE);
    let siblings: Vec<&str> = [K::KEY].into_iter().chain(title).collect();
    let tree = within(Value::from(own));
    faults.extend(problems::read_with(&tree, (&table, &siblings), skipped, &reader).faults);
    faults
}

/// Keys that tables of other kinds have.
fn foreign<K: TableKind>(table: &[String], kind: &K, own: &Dict) -> Vec<Fault> {
    let fault = |key: &String| {
        let kinds = joined(K::with(key).iter().map(|kind| format!("{kind:?}")), "or");
        let path = [table, std::slice::from_ref(key)].concat();
        let (key, table, chooses) = (tree::dotted(&path), tree::dotted(table), K::KEY);
        let message = format!("`{key}` applies only to `{table}.{chooses}` = {kinds}");
        Fault::at_key(&path, message).help(format!("remove the key, or change the {chooses}"))
    };
    let mut keys: Vec<&String> = own.keys().collect();
    keys.retain(|key| !kind.has(key) && K::kinds().iter().any(|kind| kind.has(key)));
    keys.into_iter().map(fault).collect()
}
