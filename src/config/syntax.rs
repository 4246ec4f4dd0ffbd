//! Explains TOML syntax errors in terms that an author of experiments knows.
//!
//! Experiments are TOML 1.0. The parser used here knows TOML 1.1, recovers after an error and gives the
//! span of the offending text. What 1.1 allows and 1.0 does not is reported by the parser that reads
//! experiments; its error message is passed in as `refusal`.

use std::ops::Range;

use toml::de::DeTable;

use super::layers::Fault;
use super::locate::{Position, position};

/// A mistake and where it is.
pub(super) type Flaw = (Position, Fault);

fn explained(message: impl Into<String>, help: impl Into<String>) -> Fault {
    Fault::new(message).help(help)
}

/// The syntax errors of a text in order, the first of each line only, since others on that line mostly
/// follow from it. `refusal` is the error message of the TOML 1.0 parser.
pub(super) fn flaws(text: &str, refusal: &str) -> Vec<Flaw> {
    let (_, errors) = DeTable::parse_recoverable(text);
    let mut errors: Vec<(Range<usize>, String)> = errors.iter().map(report).collect();
    errors.sort_by_key(|(span, _)| span.start);
    let mut found: Vec<Flaw> = (errors.into_iter())
        .map(|(span, message)| flaw(text, span, &message))
        .collect();
    found.dedup_by_key(|((line, _), _)| *line);
    if found.is_empty() {
        found.extend(number_beyond_limits(text).or_else(|| only_in_toml_1_1(text, refusal)));
    }
    found
}

/// Span and message of a parser error.
fn report(error: &toml::de::Error) -> (Range<usize>, String) {
    let message: Vec<&str> = error.message().lines().map(str::trim).collect();
    (error.span().unwrap_or_default(), message.join(", "))
}

/// The first number of a text that does not fit 64 bits. Numbers are only read once the syntax is
/// valid, so nothing else can fail then.
pub(super) fn number_beyond_limits(text: &str) -> Option<Flaw> {
    let (_, errors) = DeTable::parse_recoverable(text);
    let cause = toml::from_str::<toml::Table>(text).err();
    let (span, cause) = report(&cause.filter(|_| errors.is_empty())?);
    let number = text.get(span.clone()).unwrap_or_default();
    let fault = match cause.contains("float") {
        true => explained(
            format!("the number {number} is too large"),
            "the largest is about 1.8e308",
        ),
        false => explained(
            format!("the whole number {number} is beyond 64 bits"),
            "the largest is 9223372036854775807",
        ),
    };
    Some((position(text, span.start), fault))
}

/// `refusal` says `… at line 22, column 14 … invalid inline table …`.
fn only_in_toml_1_1(text: &str, refusal: &str) -> Option<Flaw> {
    let number = |after: &str| -> Option<usize> {
        let (_, rest) = refusal.split_once(after)?;
        let end = rest.find(|c: char| !c.is_ascii_digit());
        rest[..end.unwrap_or(rest.len())].parse().ok()
    };
    let position = (number("at line ")?, number("column ")?);
    let mut rest = text.lines().nth(position.0 - 1)?.chars();
    let at_comma = rest.nth(position.1 - 1) == Some(',');
    let fault = if refusal.contains("escape") {
        escape()
    } else if refusal.contains("inline table") && at_comma {
        let message = "TOML 1.0 does not allow a trailing comma in an inline table";
        explained(message, "remove the comma")
    } else if refusal.contains("inline table") {
        explained(
            "TOML 1.0 does not allow an inline table to span several lines",
            "put it on one line, or give it a header of its own, such as [model.attention]",
        )
    } else {
        let cause = refusal.rsplit(" ^ ").next().unwrap_or(refusal);
        let cause = cause.trim_start_matches('^').trim();
        let cause = cause.split(" in ").next().unwrap_or(cause);
        Fault::new(format!("this is not TOML 1.0: {cause}"))
    };
    Some((position, fault))
}

fn flaw(text: &str, span: Range<usize>, message: &str) -> Flaw {
    let plain = || Fault::new(format!("this is not TOML: {message}"));
    let (start, fault) = disguised(text, &span).unwrap_or_else(|| {
        let explained = explain_line(text, &span, message);
        let explained = explained.or_else(|| explain_value(text, &span, message));
        (span.start, explained.unwrap_or_else(plain))
    });
    (position(text, start), fault)
}

/// The first look-alike of a TOML character in a span, or right after an empty one.
fn disguised(text: &str, span: &Range<usize>) -> Option<(usize, Fault)> {
    let rest = text.get(span.start..)?.char_indices();
    let within = |at: usize| at == 0 || span.start + at < span.end;
    let mut characters = rest.take_while(|(at, _)| within(*at));
    characters.find_map(|(at, c)| Some((span.start + at, look_alike(c)?)))
}

/// Explains a character that word processors and web pages substitute for one of TOML's.
fn look_alike(c: char) -> Option<Fault> {
    let code = format!("U+{:04X}", u32::from(c));
    let stands_for = |what: &str, meant: char| {
        let message = format!("`{c}` ({code}) is not {what}");
        explained(message, format!("write {meant} instead"))
    };
    Some(match c {
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => explained(
            format!("a non-ASCII space ({code}); TOML allows only plain spaces"),
            "type a plain space instead",
        ),
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => {
            let message = format!("an invisible character ({code}) is not allowed here");
            explained(message, "delete it, or type the line again")
        }
        '“' | '”' | '„' | '‟' | '«' | '»' | '″' => {
            stands_for("a TOML quotation mark", '"')
        }
        '‘' | '’' | '‚' | '‛' | '´' | '′' => stands_for("a TOML quotation mark", '\''),
        '−' | '–' | '—' | '‐' | '‑' | '‒' => stands_for("a minus sign", '-'),
        '\u{ff01}'..='\u{ff5e}' => {
            let plain = char::from_u32(u32::from(c) - 0xfee0)?;
            stands_for(&format!("an ASCII {plain}"), plain)
        }
        c if c.is_ascii_control() && !c.is_ascii_whitespace() => {
            let message = format!("a control character ({code}) is not allowed here");
            explained(message, "delete it")
        }
        _ => return None,
    })
}

/// What is wrong with the form of a line: its key, its quotation marks, what stands between.
fn explain_line(text: &str, span: &Range<usize>, message: &str) -> Option<Fault> {
    let token = text.get(span.clone()).unwrap_or_default();
    let next = text.get(span.start..).unwrap_or_default().chars().next();
    let says = |starts: &[&str]| starts.iter().any(|start| message.starts_with(start));
    let no_value = says(&["key with no value"]);
    let (message, help) = if says(&["duplicate key"]) {
        let message = format!("{} is defined twice", shown(token));
        return Some(explained(message, "keep one of the two"));
    } else if says(&["missing escaped value", "too few unicode", "invalid escape"]) {
        return Some(escape());
    } else if says(&["carriage return"]) {
        (
            "a carriage return without a line feed after it",
            "save the file with Unix or Windows line endings",
        )
    } else if says(&["invalid basic string", "invalid literal string"]) && token.is_empty() {
        (
            "the closing quotation mark is missing",
            "close the string on the line where it starts",
        )
    } else if next == Some(':') || (no_value && after(text, span) == Some(':')) {
        ("found `:` where TOML uses `=`", "write KEY = VALUE")
    } else if no_value || (says(&["string values must be quoted"]) && token.is_empty()) {
        (
            "the key has no value",
            "write KEY = VALUE, or remove the line",
        )
    } else if says(&["unexpected key or value"]) && next == Some(',') {
        (
            "a comma follows the value",
            "remove it; numbers have no commas: 1000 or 1_000, 0.5",
        )
    } else {
        return None;
    };
    Some(explained(message, help))
}

/// What somebody wrote for a value that TOML writes otherwise.
fn explain_value(text: &str, span: &Range<usize>, message: &str) -> Option<Fault> {
    let token = text.get(span.clone()).unwrap_or_default();
    let says = |start: &str| message.starts_with(start);
    let value = word_around(text, span);
    let sign = if value.starts_with('-') { "-" } else { "" };
    let help = match token.to_lowercase().as_str() {
        "null" | "none" | "nil" | "undefined" => {
            let message = format!("TOML has no {}", shown(token));
            return Some(explained(message, "omit the key to use its default"));
        }
        "true" | "yes" | "on" => "write true".to_owned(),
        "false" | "no" | "off" => "write false".to_owned(),
        "nan" => format!("write {sign}nan"),
        "inf" | "infinity" => format!("write {sign}inf"),
        _ if says("invalid mantissa") => "write a digit before the point, such as 0.5".to_owned(),
        _ if says("invalid fraction") => "write a digit after the point, such as 1.0".to_owned(),
        _ if says("unexpected leading zero") => "write it without the leading zero".to_owned(),
        _ if says("radix must be lowercase") => {
            "write the prefix in lower case, such as 0x1f".to_owned()
        }
        _ if !says("string values must be quoted") => return None,
        _ if token.starts_with(|c: char| c.is_ascii_digit()) => {
            "write a plain number, or a string in quotes".to_owned()
        }
        _ => format!("write {token:?} if it is a string"),
    };
    Some(explained(
        format!("{} is not a TOML value", shown(value)),
        help,
    ))
}

/// Quotes a word of the file for a message.
fn shown(word: &str) -> String {
    let is_plain = !word.is_empty() && !word.contains(['`', '\n', '\r']);
    match is_plain {
        true => format!("`{word}`"),
        false => format!("{word:?}"),
    }
}

/// The whole word around a span, up to spaces and punctuation.
fn word_around<'t>(text: &'t str, span: &Range<usize>) -> &'t str {
    let ends = |c: char| c.is_whitespace() || "=[]{},#".contains(c);
    let start = text.get(..span.start).and_then(|before| before.rfind(ends));
    let end = text.get(span.end..).and_then(|after| after.find(ends));
    let start = start.map_or(0, |at| at + 1);
    let end = end.map_or(text.len(), |at| span.end + at);
    text.get(start..end).unwrap_or_default()
}

/// The first character after a span that is not a space.
fn after(text: &str, span: &Range<usize>) -> Option<char> {
    text.get(span.end..)?
        .trim_start_matches([' ', '\t'])
        .chars()
        .next()
}

fn escape() -> Fault {
    explained(
        "a backslash inside \"…\" starts an escape sequence, and this one is invalid",
        "use single quotes, where a backslash is literal: 'C:\\weights'",
    )
}
