//! Rules about values, beyond what the types say. Every broken rule is reported.

mod exploration;
mod header;
mod ranges;
mod settings;

pub(super) use exploration::check as exploration;
pub(super) use header::{check as header, figures};
pub(super) use settings::check as settings;

use super::layers::Fault;
use super::sweep::overlap;
use super::tree;
use crate::kinds::BrokenRule;

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

    /// Adds a fault at the first of `keys` if the rule is `broken`; the rule reads all of them.
    fn rule(&mut self, broken: bool, keys: &[&str], message: impl FnOnce() -> String) {
        self.add(broken, keys, || (message(), None));
    }

    /// The same with a line that says what to do.
    fn helped(&mut self, broken: bool, keys: &[&str], texts: impl FnOnce() -> (String, String)) {
        self.add(broken, keys, || {
            let (message, help) = texts();
            (message, Some(help))
        });
    }

    /// A rule that a key of a table's kind breaks; it reads `others` as well.
    fn broken(&mut self, table: &str, broken: BrokenRule, others: &[&str]) {
        let key = format!("{table}.{}", broken.key);
        let message = format!("`{key}` {}", broken.message);
        let keys = [&[&key[..]], others].concat();
        self.add(true, &keys, || (message, broken.help));
    }

    fn add(
        &mut self,
        broken: bool,
        keys: &[&str],
        texts: impl FnOnce() -> (String, Option<String>),
    ) {
        let unread = |key: &&str| self.skipped.iter().any(|skipped| overlap(key, skipped));
        if !broken || keys.iter().any(unread) {
            return;
        }
        let key = tree::split(keys.first().copied().unwrap_or_default());
        let (message, help) = texts();
        let fault = Fault::at_key(&[], message);
        self.faults.push(Fault { key, help, ..fault });
    }
}
