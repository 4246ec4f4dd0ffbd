//! Escaping text for HTML, Markdown and LaTeX.
//!
//! Control characters become spaces in all three, since none can show them.

use std::borrow::Cow;
use std::fmt::{Result, Write};

use askama::filters::{Escaper, Html};

use super::symbols::mathematics;

/// Text for an HTML element or a quoted attribute. Line breaks are kept, for `<pre>`.
#[derive(Clone, Copy, Debug)]
pub(super) struct HtmlText;

/// Text for a paragraph or table cell in GitHub's Markdown and CommonMark.
#[derive(Clone, Copy, Debug)]
pub(super) struct MarkdownText;

/// Text for LaTeX with the T1 encoding, `textcomp` and `amssymb`. Other scripts are passed through: see
/// [`is_beyond_pdflatex`].
#[derive(Clone, Copy, Debug)]
pub(super) struct LatexText;

/// Words of more characters than this may break after punctuation in LaTeX.
const LONG_WORD: usize = 12;

/// Words of more characters than this may break anywhere if they have to.
const LONGEST_WORD: usize = 16;

impl Escaper for HtmlText {
    fn write_escaped_str<W: Write>(&self, mut into: W, text: &str) -> Result {
        let shown = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
        let text: String = text.chars().map(shown).collect();
        Html.write_escaped_str(&mut into, &text)
    }
}

impl Escaper for MarkdownText {
    fn write_escaped_str<W: Write>(&self, mut into: W, text: &str) -> Result {
        // Leading spaces, which control characters become, would turn a paragraph into code.
        let text = text.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
        for (i, c) in text.chars().enumerate() {
            match c {
                '&' => into.write_str("&amp;")?,
                '<' => into.write_str("&lt;")?,
                '>' => into.write_str("&gt;")?,
                // At the start of a line these begin lists and headings.
                '-' | '+' | '=' | ':' if i == 0 => write!(into, "\\{c}")?,
                '.' | ')' if begins_list(text, i) => write!(into, "\\{c}")?,
                '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '$' | '^' | '{' | '}' => {
                    write!(into, "\\{c}")?;
                }
                _ if c.is_control() => into.write_char(' ')?,
                _ => into.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Whether the first `n` characters and the next one would begin a numbered list: `1. `.
fn begins_list(text: &str, n: usize) -> bool {
    let is_number = n > 0 && text.chars().take(n).all(|c| c.is_ascii_digit());
    let is_blank = |c: char| c.is_whitespace() || c.is_control();
    is_number && text.chars().nth(n + 1).is_none_or(is_blank)
}

impl Escaper for LatexText {
    fn write_escaped_str<W: Write>(&self, mut into: W, text: &str) -> Result {
        for word in text.split_inclusive(char::is_whitespace) {
            let word: Vec<char> = word.chars().collect();
            let mut at = 0;
            for run in word.chunk_by(|a, b| is_greek(*a) && is_greek(*b)) {
                // With accents it is Greek text, not a formula.
                let is_language = run.iter().any(|&c| is_greek(c) && mathematics(c).is_none());
                for &c in run {
                    let before = word[..at].last().copied().unwrap_or(' ');
                    match is_language {
                        true => into.write_char(c)?,
                        false => into.write_str(&latex(c, before))?,
                    }
                    at += 1;
                    into.write_str(break_at(&word, at))?;
                }
            }
        }
        Ok(())
    }
}

fn is_greek(c: char) -> bool {
    matches!(c, '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}')
}

/// A character in LaTeX, given the one before it.
fn latex(c: char, before: char) -> Cow<'static, str> {
    Cow::Borrowed(match c {
        '\\' => "\\textbackslash{}",
        '~' => "\\textasciitilde{}",
        '^' => "\\textasciicircum{}",
        '{' | '}' | '_' | '&' | '%' | '#' | '$' => return format!("\\{c}").into(),
        // Prevent ligatures.
        '<' => "\\textless{}",
        '>' => "\\textgreater{}",
        '"' => "\\textquotedbl{}",
        '`' => "\\textasciigrave{}",
        '\'' if before == '\'' => "{'}",
        '-' => "{-}",
        ',' if before == ',' => "{,}",
        '|' => "\\textbar{}",
        '[' | ']' | '*' => return format!("{{{c}}}").into(),
        '\u{a0}' => "~",
        '\u{2009}' | '\u{202f}' => "\\,",
        '\u{2010}' | '\u{2011}' => "\\mbox{-}",
        // The mask characters of the assignment.
        '\u{2047}' => "{?}{?}",
        '\u{25a1}' => "\\fbox{\\phantom{x}}",
        _ if c.is_control() => " ",
        _ if is_invisible(c) => return format!("\\texttt{{U+{:04X}}}", u32::from(c)).into(),
        _ => {
            return mathematics(c).map_or_else(
                || c.to_string().into(),
                |formula| format!("\\ensuremath{{{formula}}}").into(),
            );
        }
    })
}

/// The line break allowed before character `at` of a long word: after punctuation, but not within a number;
/// elsewhere with a penalty.
fn break_at(word: &[char], at: usize) -> &'static str {
    let Some(&next) = word.get(at).filter(|_| word.len() > LONG_WORD) else {
        return "";
    };
    match word[at - 1] {
        '=' | ',' | '/' | ':' | '_' | '>' if !next.is_whitespace() => "\\allowbreak{}",
        '.' if next.is_alphabetic() => "\\allowbreak{}",
        _ if word.len() > LONGEST_WORD && at.is_multiple_of(8) => "\\penalty5000{}",
        _ => "",
    }
}

/// Characters without a glyph in any font: direction marks, separators, private use.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}'
        | '\u{e0000}'..)
}

/// Whether pdfLaTeX has no glyph for a character, so that it needs XeLaTeX or LuaLaTeX and a suitable font.
pub(super) fn is_beyond_pdflatex(c: char) -> bool {
    let is_known = matches!(c, '\n' | ' '..='~' | '¡'..='ſ' | '–' | '—' | '‘' | '’' | '‚' | '“' | '”'
        | '„' | '†' | '‡' | '•' | '…' | '‰' | '‹' | '›' | '€' | '™');
    !is_known || "ĦħĸĿŀŉŦŧſ".contains(c)
}
