//! `help` lines that can be followed literally: how to set a value in the file, option or variable where
//! it was set.

use super::tree;

/// Prefix of the environment variables; `__` separates levels, as in `ATTNLAB_MODEL__LAYERS=2`.
pub(super) const PREFIX: &str = "ATTNLAB_";

/// Keys with a command-line option of their own, which is passed to `overrides` as `--KEY=VALUE`.
pub(super) const OPTIONS: [&str; 2] = ["device", "precision"];

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
        None => format!("write {value} instead"),
    }
}

/// How to set a key to `value` at `place`, which is an option, a variable or a profile, not an experiment file.
pub(super) fn outside(place: &str, key: &[String], value: &str) -> String {
    let option = place.strip_prefix("--");
    match (variable(place), option) {
        _ if is_element(key) => format!("write {value} instead"),
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

/// How to write a key as an environment variable.
pub(super) fn variable_for(key: &[String]) -> String {
    let name = key.join("__").to_uppercase();
    format!("the environment variable for that key is {PREFIX}{name}, with `__` between the levels")
}

/// How to unset a variable that was not meant for attnlab.
pub(super) fn unset(name: &str) -> String {
    format!(
        "if the variable is not meant for attnlab: `unset {name}`, or \
         `env -u {name} attnlab …` for one command"
    )
}

/// Quotes a word for the shell if it needs quotes.
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// Quotes a word for the shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
