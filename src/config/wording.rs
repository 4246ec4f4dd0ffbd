//! Plain words for what was found, what was expected, and what was probably meant.

use figment::value::Value;

use super::tree;
use crate::kinds::joined;

/// Common terms, and what experiment files call them here.
const SYNONYMS: [(&str, &str); 12] = [
    ("gpu", "cuda"),
    ("nvidia", "cuda"),
    ("processor", "cpu"),
    ("fp32", "f32"),
    ("float32", "f32"),
    ("softmax", "vanilla"),
    ("gqa", "grouped-query"),
    ("mqa", "multi-query"),
    ("rotary", "rope"),
    ("val", "dev"),
    ("valid", "dev"),
    ("validation", "dev"),
];

/// The candidate that `word` is another word for, or most likely a misspelling of, if any is near
/// enough: one edit for short words, a third of the longer word's letters otherwise.
pub(super) fn nearest<'a>(word: &str, candidates: &'a [impl AsRef<str>]) -> Option<&'a str> {
    let word = word.to_lowercase();
    let candidates = candidates.iter().map(AsRef::as_ref);
    let is_meant = |candidate: &&str| SYNONYMS.contains(&(&word, candidate));
    if let Some(candidate) = candidates.clone().find(is_meant) {
        return Some(candidate);
    }
    let distance = |candidate: &str| strsim::damerau_levenshtein(&word, candidate);
    let near = |candidate: &&str| {
        let longest = candidate.chars().count().max(word.chars().count());
        distance(candidate) <= (longest / 3).max(1)
    };
    candidates
        .filter(near)
        .min_by_key(|candidate| distance(candidate))
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
        Value::Dict(_, dict) if dict.keys().any(|key| is_date(key)) => "a date".into(),
        Value::Dict(..) => "a table".into(),
        Value::Array(..) => "a list".into(),
        Value::Num(..) => format!("the number {}", tree::text(value)),
        other => tree::text(other),
    }
}

/// Whether a table with this key represents a TOML date.
pub(super) fn is_date(key: &str) -> bool {
    key.starts_with("$__toml")
}

/// What serde expected, in the words of a user of TOML.
pub(super) fn expected(serde: &str) -> String {
    match serde {
        "usize" | "u64" | "u32" => "a whole number of at least 0".into(),
        "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "path string" => "a string".into(),
        "a sequence" => "a list".into(),
        "a map" => "a table".into(),
        text if text.starts_with("struct ") => "a table".into(),
        text => match text.strip_prefix("an array of length ") {
            Some(length) => format!("a list of {length} values"),
            None => text.into(),
        },
    }
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
        let devices = ["cpu", "cuda", "auto"];
        assert_eq!(nearest("GPU", &devices), Some("cuda"));
        assert_eq!(nearest("cpus", &devices), Some("cpu"));
    }

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(list::<&str>(&[], "and"), "");
        assert_eq!(list(&["a"], "and"), "`a`");
        assert_eq!(list(&["a", "b", "c"], "or"), "`a`, `b` or `c`");
    }
}
