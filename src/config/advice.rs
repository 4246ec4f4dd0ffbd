//! How a value is set, in the terms of whoever set it: what a `help` line says can be done as it
//! stands.

use super::overrides::{OPTIONS, PREFIX};
use super::tree;

/// The variable of a place such as `environment ATTNLAB_MODEL__LAYERS`.
pub(super) fn variable(place: &str) -> Option<&str> {
    place.strip_prefix("environment ")
}

/// How a file sets a key to a value.
pub(super) fn in_file(key: &[String], value: &str) -> String {
    match key.last().filter(|_| !is_element(key)) {
        Some(name) => format!(
            "write {} = {value}",
            tree::dotted(std::slice::from_ref(name))
        ),
        None => format!("write {value} in its place"),
    }
}

/// How `place`, which is in no experiment's file and set a key to something else, sets it to a value.
pub(super) fn outside(place: &str, key: &[String], value: &str) -> String {
    let option = place.strip_prefix("--");
    match (variable(place), option) {
        _ if is_element(key) => format!("write {value} in its place"),
        (Some(name), _) => format!("set {name}={}", quoted(value)),
        (None, Some(name)) if OPTIONS.contains(&name) => {
            format!("use --{name} {}", value.trim_matches('"'))
        }
        (None, Some(_)) => format!(
            "use --set {}",
            quoted(&format!("{}={value}", key.join(".")))
        ),
        // The profile of a suite.
        (None, None) => in_file(key, value),
    }
}

/// Whether a key is an element of a list.
fn is_element(key: &[String]) -> bool {
    key.last().is_some_and(|last| last.parse::<usize>().is_ok())
}

/// How another key is written as a variable.
pub(super) fn variable_for(key: &[String]) -> String {
    let name = key.join("__").to_uppercase();
    format!("in the environment that key is {PREFIX}{name}, with `__` between the levels")
}

/// How to get rid of a variable that somebody else has set.
pub(super) fn unset(name: &str) -> String {
    format!(
        "the environment has it, perhaps not for attnlab: `unset {name}`, or \
         `env -u {name} attnlab …` for one command"
    )
}

/// A word of a command line that a shell leaves alone.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
