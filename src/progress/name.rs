//! Names and messages as parts of a line on a terminal.

use console::measure_text_width as columns;

/// The end of a name that is longer than `width` columns.
pub(super) fn shorten(name: &str, width: usize) -> String {
    if columns(name) <= width {
        return name.to_owned();
    }
    let mut ends = name.char_indices().map(|(at, _)| &name[at..]);
    match ends.find(|end| columns(end) < width) {
        Some(end) => format!("…{end}"),
        None if width > 0 => "…".to_owned(),
        None => String::new(),
    }
}

/// A name or message as part of a line: without control characters.
pub(super) fn printable(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_its_end() {
        assert_eq!(shorten("pretrained / seed 12", 20), "pretrained / seed 12");
        assert_eq!(shorten("pretrained / seed 12", 9), "… seed 12");
        assert_eq!(shorten("前訓練 / 種 12", 8), "…/ 種 12");
        assert_eq!([shorten("seed", 1), shorten("seed", 0)], ["…", ""]);
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(printable("a\nb\x1b[31m\tc"), "a b [31m c");
    }
}
