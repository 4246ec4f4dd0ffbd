//! Line and column of a key in a TOML file, because figment only records the file.

use toml::de::{DeTable, DeValue};

/// A place in a text: line and column from 1, the column in characters.
pub(super) type Position = (usize, usize);

/// The place of a key, as deep as the text has it: `["model", "layers"]` is `layers` in a table,
/// a dotted key or an inline table, or else `model`; an index is an element of a list.
/// Also says whether the whole path was found. Absent if not even its first part was.
pub(super) fn locate(text: &str, path: &[impl AsRef<str>]) -> Option<(Position, bool)> {
    let (root, _) = DeTable::parse_recoverable(text);
    let root = DeValue::Table(root.into_inner());
    let (mut at, mut offset, mut depth) = (&root, None, 0);
    for part in path.iter().map(AsRef::as_ref) {
        let next = match at {
            DeValue::Table(table) => {
                (table.get_key_value(part)).map(|(key, value)| (key.span(), value))
            }
            DeValue::Array(items) => {
                let item = part.parse().ok().and_then(|index: usize| items.get(index));
                item.map(|item| (item.span(), item))
            }
            _ => None,
        };
        let Some((span, value)) = next else { break };
        (at, offset, depth) = (value.get_ref(), Some(span.start), depth + 1);
    }
    Some((position(text, offset?), depth == path.len()))
}

pub(super) fn position(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# ä comment
seeds = [1, 2]
model.layers = 4
[data]
  kind = \"synthetic\"
[figures]
a = { kind = 'x', é = 3, title = 'y' }
[sweep]
\"pretrain.epochs\" = [0, 100]
_ = [{ \"model.heads\" = 2 }]
";

    fn at(path: &[&str]) -> Option<(Position, bool)> {
        locate(
            TEXT,
            &path
                .iter()
                .map(|part| (*part).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn finds_tables_dotted_keys_inline_tables_lists_and_quoted_keys() {
        assert_eq!(at(&["seeds"]), Some(((2, 1), true)));
        assert_eq!(at(&["seeds", "1"]), Some(((2, 13), true)));
        assert_eq!(at(&["model", "layers"]), Some(((3, 7), true)));
        assert_eq!(at(&["data"]), Some(((4, 2), true)));
        assert_eq!(at(&["data", "kind"]), Some(((5, 3), true)));
        assert_eq!(at(&["figures", "a", "title"]), Some(((7, 26), true)));
        assert_eq!(
            at(&["sweep", "pretrain.epochs", "1"]),
            Some(((9, 25), true))
        );
        assert_eq!(
            at(&["sweep", "_", "0", "model.heads"]),
            Some(((10, 8), true))
        );
    }

    #[test]
    fn stops_at_the_deepest_part_that_is_there() {
        assert_eq!(at(&["data", "people"]), Some(((4, 2), false)));
        assert_eq!(at(&["seeds", "7"]), Some(((2, 1), false)));
        assert_eq!(at(&["nowhere"]), None);
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(position("a = 1\nä = = 2\n", 11), (2, 5));
    }
}
