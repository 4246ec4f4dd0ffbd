//! Rules about values, beyond what the types say. Every broken rule is reported.

mod header;
mod settings;

pub(super) use header::{check as header, figures};
pub(super) use settings::check as settings;

use super::layers::Fault;
use super::schema::ExplorationSettings;
use super::sweep::overlap;
use super::tree;
use crate::kinds::BrokenRule;

/// Rules about one point of an exploration: those of its question. `skipped` are the keys not to look at.
pub(super) fn exploration(settings: &ExplorationSettings, skipped: &[String]) -> Vec<Fault> {
    let mut rules = Rules::new(skipped);
    for broken in settings.explore.check() {
        rules.of_kind("explore", broken, &[]);
    }
    rules.faults
}

/// Collects the broken rules. A rule that touches a key which could not be read says nothing,
/// because its value is a placeholder.
struct Rules<'a> {
    skipped: &'a [String],
    faults: Vec<Fault>,
}

impl<'a> Rules<'a> {
    fn new(skipped: &'a [String]) -> Self {
        Self {
            skipped,
            faults: Vec::new(),
        }
    }

    /// Adds a fault at the first of `keys`, which are all the keys that the rule reads.
    fn broken(&mut self, keys: &[&str], message: impl Into<String>) {
        self.add(keys, Fault::new(message));
    }

    /// The same with a help line.
    fn helped(&mut self, keys: &[&str], message: impl Into<String>, help: impl Into<String>) {
        self.add(keys, Fault::new(message).help(help));
    }

    /// A rule that a key of a table's kind breaks; it reads `others` as well.
    fn of_kind(&mut self, table: &str, broken: BrokenRule, others: &[&str]) {
        let own = [&[broken.key], broken.reads].concat();
        let own: Vec<String> = own.iter().map(|key| format!("{table}.{key}")).collect();
        let fault = Fault::new(format!("`{}` {}", own[0], broken.message));
        let own = own.iter().map(String::as_str);
        let (keys, help) = (
            own.chain(others.iter().copied()).collect::<Vec<_>>(),
            broken.help,
        );
        self.add(&keys, Fault { help, ..fault });
    }

    fn add(&mut self, keys: &[&str], fault: Fault) {
        let unread = |key: &&str| self.skipped.iter().any(|skipped| overlap(key, skipped));
        if !keys.iter().any(unread) {
            let mut keys = keys.iter().map(|key| tree::split(key));
            let key = keys.next().unwrap_or_default();
            let reads = keys.collect();
            self.faults.push(Fault {
                key,
                reads,
                ..fault
            });
        }
    }
}
