//! Rules about an exploration: those of its question.

use super::{Rules, ranges};
use crate::config::kinded;
use crate::config::layers::Fault;
use crate::config::schema::ExplorationSettings;

/// Everything that is wrong with one point's values. `skipped` are the keys not to look at.
pub fn check(settings: &ExplorationSettings, skipped: &[String]) -> Vec<Fault> {
    let mut rules = Rules::new(skipped);
    rules.faults = kinded::faults(&["explore"], &settings.explore, skipped);
    for broken in settings.explore.check() {
        rules.of_kind("explore", broken, &[]);
    }
    ranges::check(&mut rules, settings);
    rules.faults
}
