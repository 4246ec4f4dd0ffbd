//! Rules about values, beyond what the types say. Every broken rule is reported.

mod exploration;
mod header;
mod settings;

pub(super) use exploration::check as exploration;
pub(super) use header::{check as header, unmapped};
pub(super) use settings::check as settings;

use std::fmt::Display;

use super::layers::Fault;
use super::sweep::overlap;
use super::tree;

/// Collects the broken rules. A rule that touches a key which could not be read says nothing,
/// because its value is a placeholder.
struct Rules<'a> {
    mended: &'a [String],
    faults: Vec<Fault>,
}

impl<'a> Rules<'a> {
    fn new(mended: &'a [String]) -> Self {
        Self {
            mended,
            faults: Vec::new(),
        }
    }

    /// Where `broken`, a fault at the first of `keys`; the rule reads all of them.
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

    fn add(
        &mut self,
        broken: bool,
        keys: &[&str],
        texts: impl FnOnce() -> (String, Option<String>),
    ) {
        let unread = |key: &&str| self.mended.iter().any(|mended| overlap(key, mended));
        if !broken || keys.iter().any(unread) {
            return;
        }
        let key = tree::split(keys.first().copied().unwrap_or_default());
        let (message, help) = texts();
        let fault = Fault::at_key(&[], message);
        self.faults.push(Fault { key, help, ..fault });
    }

    fn at_least<T: PartialOrd + Display>(&mut self, key: &str, value: T, least: T) {
        self.rule(value < least, &[key], || {
            format!("`{key}` = {value} must be at least {least}")
        });
    }

    /// `value` in `[0, 1]`, or `[0, 1)`; never NaN.
    fn fraction(&mut self, key: &str, value: f64, with_one: bool) {
        let holds = (0.0..1.0).contains(&value) || (with_one && value == 1.0);
        let end = if with_one { "and 1" } else { "and below 1" };
        let start = if with_one { "between 0" } else { "at least 0" };
        self.rule(!holds, &[key], || {
            format!("`{key}` = {value} must be {start} {end}")
        });
    }

    fn positive(&mut self, key: &str, value: f64) {
        let holds = value.is_finite() && value > 0.0;
        self.rule(!holds, &[key], || {
            format!("`{key}` = {value} must be above 0 and finite")
        });
    }

    fn not_negative(&mut self, key: &str, value: f64) {
        let holds = value.is_finite() && value >= 0.0;
        self.rule(!holds, &[key], || {
            format!("`{key}` = {value} must be at least 0 and finite")
        });
    }
}
