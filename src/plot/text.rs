//! Fitting text into a width, and numbers as people write them.

use super::fonts::{self, Face};
pub(super) use crate::progress::thousands as count;

/// `text` cut to `width` px, with `…` at the end where something is missing.
pub(super) fn shorten(face: Face, size: f64, text: &str, width: f64) -> String {
    if fonts::width(face, size, text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if fonts::width(face, size, &kept) + fonts::width(face, size, "…") > width {
            kept.pop();
            break;
        }
    }
    format!("{}…", kept.trim_end())
}

/// `text` in at most `lines` lines of `width` px; what does not fit ends in `…`.
///
/// Breaks at spaces, though not before `%`, and with a hyphen in a word that is wider than a line.
pub(super) fn wrap(face: Face, size: f64, text: &str, width: f64, lines: usize) -> Vec<String> {
    let fits = |line: &str| fonts::width(face, size, line) <= width;
    let mut done: Vec<String> = vec![];
    let mut line = String::new();
    let text = text.replace(" %", "\u{a0}%");
    let breaks = |c: char| c.is_whitespace() && c != '\u{a0}';
    let mut words = text.split(breaks).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let space = if line.is_empty() { "" } else { " " };
        let longer = format!("{line}{space}{word}");
        if fits(&longer) {
            line = longer;
            continue;
        }
        if done.len() + 1 >= lines {
            line = shorten(face, size, &rest_of(&longer, &mut words), width);
            break;
        }
        if !line.is_empty() {
            done.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            let hyphen = if c == '-' { "" } else { "-" };
            if !line.is_empty() && done.len() + 1 < lines && !fits(&format!("{line}{c}{hyphen}")) {
                match line.rfind('-') {
                    // Where the word has a hyphen, it breaks there.
                    Some(at) => {
                        let rest = line.split_off(at + 1);
                        done.push(std::mem::replace(&mut line, rest));
                    }
                    None => done.push(std::mem::take(&mut line) + "-"),
                }
            }
            line.push(c);
        }
        if !fits(&line) {
            line = shorten(face, size, &rest_of(&line, &mut words), width);
        }
    }
    if !line.is_empty() && lines > 0 {
        done.push(line);
    }
    done
}

/// What is left for a last line, to be cut.
fn rest_of<'a>(start: &str, words: &mut impl Iterator<Item = &'a str>) -> String {
    words.fold(start.to_owned(), |line, word| line + " " + word)
}

/// `value` with `decimals` digits after the point and a comma at every thousand.
pub(super) fn number(value: f64, decimals: usize) -> String {
    let digits = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let point = if fraction.is_empty() { "" } else { "." };
    let is_negative = value < 0.0 && digits.chars().any(|c| ('1'..='9').contains(&c));
    let sign = if is_negative { "-" } else { "" };
    format!("{sign}{grouped}{point}{fraction}")
}

/// A number with three significant digits: `0.215`, `0.00123`, `1.50e-19`.
pub(crate) fn significant(value: f64) -> String {
    let decade = value.abs().log10().floor();
    match decade {
        -4.0..=2.0 => number(value, (2.0 - decade) as usize),
        _ if value == 0.0 => "0".to_owned(),
        _ => format!("{value:.2e}"),
    }
}

/// A fraction in per cent, with one decimal: what some hundred questions can tell.
pub(super) fn percent(fraction: f64) -> String {
    format!("{} %", number(fraction * 100.0, 1))
}

/// `one` or `many` after a count: `1 seed`, `3 seeds`.
pub(super) fn plural(value: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

/// Which seeds: `seed 4`, `seeds 1, 2, 3`, and of more than ten how many.
pub(super) fn seeds(seeds: &[u64]) -> String {
    let list: Vec<String> = seeds.iter().map(u64::to_string).collect();
    match list.len() {
        1 => format!("seed {}", list.concat()),
        2..=10 => format!("seeds {}", list.join(", ")),
        many => plural(many, "seed", "seeds"),
    }
}

/// The seed, or how many: `seed 4`, `3 seeds`.
pub(super) fn seeds_in_short(all: &[u64]) -> String {
    match all {
        [_] => seeds(all),
        several => plural(several.len(), "seed", "seeds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators() {
        assert_eq!(number(15_000.0, 0), "15,000");
        assert_eq!(number(1_234_567.25, 1), "1,234,567.2");
        assert_eq!(number(-0.04, 1), "0.0");
        assert_eq!(number(-999.5, 1), "-999.5");
        assert_eq!(percent(0.21), "21.0 %");
        assert_eq!(plural(1, "seed", "seeds"), "1 seed");
        assert_eq!(seeds(&[4]), "seed 4");
        assert_eq!(seeds(&[1, 2, 3]), "seeds 1, 2, 3");
        assert_eq!(seeds(&[0; 11]), "11 seeds");
        assert_eq!(
            [seeds_in_short(&[4]), seeds_in_short(&[1, 2])],
            ["seed 4", "2 seeds"]
        );
        let few = [0.001234, 1.5e-19, 0.0, 0.7079, 42.0].map(significant);
        assert_eq!(few, ["0.00123", "1.50e-19", "0", "0.708", "42.0"]);
    }

    #[test]
    fn a_word_breaks_at_its_own_hyphens_first() {
        let wrapped = |text, width| wrap(Face::Text, 14.0, text, width, 3);
        assert_eq!(wrapped("multi-query", 60.0), ["multi-", "query"]);
        assert_eq!(
            wrapped("sliding-window (16)", 60.0),
            ["sliding-", "window", "(16)"]
        );
        let width = fonts::width(Face::Text, 14.0, "grouped-");
        assert_eq!(wrapped("grouped-query", width), ["grouped-", "query"]);
        assert_eq!(wrapped("synthesizer", 60.0).concat(), "synthesi-zer");
    }

    #[test]
    fn wrapped_lines_fit_and_lose_nothing_unmarked() {
        let long = "supercalifragilistic ".repeat(3) + &"x".repeat(200);
        for (text, lines) in [
            (long.as_str(), 3),
            ("a b c", 1),
            ("one two three four", 2),
            ("", 2),
            ("a", 0),
        ] {
            let wrapped = wrap(Face::Text, 14.0, text, 80.0, lines);
            assert!(wrapped.len() <= lines, "{wrapped:?}");
            for line in &wrapped {
                assert!(fonts::width(Face::Text, 14.0, line) <= 80.0, "{line:?}");
            }
            let squeeze = |s: &str| s.replace(|c: char| c == '-' || c.is_whitespace(), "");
            let kept = squeeze(&wrapped.concat());
            let cut = kept.strip_suffix('…');
            assert!(
                cut.is_some() || lines == 0 || kept == squeeze(text),
                "{wrapped:?}"
            );
            assert!(
                squeeze(text).starts_with(cut.unwrap_or(&kept)),
                "{wrapped:?}"
            );
        }
    }
}
