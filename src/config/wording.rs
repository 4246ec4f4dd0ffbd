//! Plain words for what was found, what was expected, and what was probably meant.

use figment::value::Value;
use serde_json::Value as Schema;

use super::json_schema::{self, Range};
use super::tree;
use crate::kinds::joined;

/// The candidate that `word` is most likely a misspelling of, if any is near enough (one edit for short words, a
/// third of the longer word's letters otherwise), or else the only one that starts with it: `brier` for `brier-score`.
pub(super) fn nearest<'a>(word: &str, candidates: &'a [impl AsRef<str>]) -> Option<&'a str> {
    let word = word.to_lowercase();
    let candidates = candidates.iter().map(AsRef::as_ref);
    let distance = |candidate: &str| strsim::damerau_levenshtein(&word, candidate);
    let near = |candidate: &&str| {
        let longest = candidate.chars().count().max(word.chars().count());
        distance(candidate) <= (longest / 3).max(1)
    };
    let starts = |candidate: &&str| {
        let rest = candidate.strip_prefix(&*word);
        rest.is_some_and(|rest| !word.is_empty() && rest.starts_with(['-', '_']))
    };
    let only = || {
        candidates
            .clone()
            .filter(starts)
            .map(Some)
            .reduce(|_, _| None)
    };
    let near = candidates.clone().filter(near);
    near.min_by_key(|candidate| distance(candidate))
        .or_else(|| only().flatten())
}

/// `` `a`, `b` and `c` ``
pub(super) fn list<T: AsRef<str>>(words: &[T], conjunction: &str) -> String {
    let quoted = words.iter().map(|word| format!("`{}`", word.as_ref()));
    joined(quoted, conjunction)
}

/// What a value is, as a noun: `the string "four"`, `a table`.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("the string {text:?}"),
        Value::Dict(_, dict) if tree::is_date(dict) => "a date".into(),
        Value::Dict(..) => "a table".into(),
        Value::Array(..) => "a list".into(),
        Value::Num(..) => format!("the number {}", tree::text(value)),
        other => tree::text(other),
    }
}

/// What a schema asks for, in the words of a user of TOML.
pub(super) fn expected(schema: &Schema) -> String {
    let noun = |kind: &str| match kind {
        "integer" => {
            let range = Range::of(schema).map(|range| range.to_string());
            match range.unwrap_or_default() {
                least if least.starts_with("at least") => format!("a whole number of {least}"),
                both if both.starts_with("between") => format!("a whole number {both}"),
                most if most.is_empty() => "a whole number of at least 0".to_owned(),
                most => format!("a whole number of at least 0 and {most}"),
            }
        }
        "number" => "a number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => match json_schema::length(schema) {
            Some(length) => format!("a list of {length} values"),
            None => "a list".to_owned(),
        },
        "object" => "a table".to_owned(),
        _ => "a string".to_owned(),
    };
    joined(json_schema::types(schema).into_iter().map(noun), "or")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_near_spelling_is_suggested() {
        let keys = ["layers", "embed", "heads", "head_dim"];
        assert_eq!(nearest("layres", &keys), Some("layers"));
        assert_eq!(nearest("head", &keys), Some("heads"));
        assert_eq!(nearest("Embed", &keys), Some("embed"));
        assert_eq!(nearest("learning_rate", &keys), None);
        assert_eq!(nearest("", &keys), None);
        let measures = ["exact-match", "brier-score", "log-loss", "log-odds"];
        assert_eq!(nearest("Brier", &measures), Some("brier-score"));
        assert_eq!(nearest("log", &measures), None);
    }

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(list::<&str>(&[], "and"), "");
        assert_eq!(list(&["a"], "and"), "`a`");
        assert_eq!(list(&["a", "b", "c"], "or"), "`a`, `b` or `c`");
    }
}
