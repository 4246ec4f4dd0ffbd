//! What a template has to do to text so that HTML, Markdown and LaTeX show it as it is.
//!
//! A control character is a space in all three: none of them can show one.

use std::fmt::{Result, Write};

use askama::filters::{Escaper, Html};

/// Text for an HTML element or a quoted attribute. Line breaks stay: they count in `<pre>`.
#[derive(Clone, Copy, Debug)]
pub(super) struct HtmlText;

/// Text for a paragraph or a table's cell in GitHub's Markdown and CommonMark.
#[derive(Clone, Copy, Debug)]
pub(super) struct MarkdownText;

/// Text for LaTeX by pdfLaTeX with the T1 encoding.
#[derive(Clone, Copy, Debug)]
pub(super) struct LatexText;

impl Escaper for HtmlText {
    fn write_escaped_str<W: Write>(&self, mut into: W, text: &str) -> Result {
        let shown = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
        let text: String = text.chars().map(shown).collect();
        Html.write_escaped_str(&mut into, &text)
    }
}

impl Escaper for MarkdownText {
    fn write_escaped_str<W: Write>(&self, mut into: W, text: &str) -> Result {
        // Spaces in front, of which a control character is one, would make code of a paragraph.
        let text = text.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
        for (i, c) in text.chars().enumerate() {
            match c {
                '&' => into.write_str("&amp;")?,
                '<' => into.write_str("&lt;")?,
                '>' => into.write_str("&gt;")?,
                // At the start of a line these make lists and headings of what follows.
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

/// Whether the character after the first `n` ends a number and makes it that of a list: `1. `.
fn begins_list(text: &str, n: usize) -> bool {
    let is_number = n > 0 && text.chars().take(n).all(|c| c.is_ascii_digit());
    let is_blank = |c: char| c.is_whitespace() || c.is_control();
    is_number && text.chars().nth(n + 1).is_none_or(is_blank)
}

impl Escaper for LatexText {
    fn write_escaped_str<W: Write>(&self, mut into: W, text: &str) -> Result {
        let mut before = ' ';
        for c in text.chars() {
            match c {
                '\\' => into.write_str("\\textbackslash{}")?,
                '~' => into.write_str("\\textasciitilde{}")?,
                '^' => into.write_str("\\textasciicircum{}")?,
                '{' | '}' | '_' | '&' | '%' | '#' | '$' => write!(into, "\\{c}")?,
                // Ligatures would make other characters of them.
                '<' => into.write_str("\\textless{}")?,
                '>' => into.write_str("\\textgreater{}")?,
                '"' => into.write_str("\\textquotedbl{}")?,
                '`' => into.write_str("\\textasciigrave{}")?,
                '\'' if before == '\'' => into.write_str("{'}")?,
                '-' => into.write_str("{-}")?,
                ',' if before == ',' => into.write_str("{,}")?,
                '|' => into.write_str("\\textbar{}")?,
                '[' | ']' | '*' => write!(into, "{{{c}}}")?,
                '\u{a0}' => into.write_char('~')?,
                // What explorations call factors and means.
                'α' => into.write_str("\\ensuremath{\\alpha}")?,
                'β' => into.write_str("\\ensuremath{\\beta}")?,
                'μ' => into.write_str("\\ensuremath{\\mu}")?,
                // The mask characters of the assignment.
                '\u{2047}' => into.write_str("{?}{?}")?,
                '\u{25a1}' => into.write_str("\\fbox{\\phantom{x}}")?,
                ' '..='~' | '¡'..='¬' | '®'..='ſ' | '–' | '—' | '‘' | '’' | '“' | '”' | '…'
                    if !is_missing(c) =>
                {
                    into.write_char(c)?;
                }
                _ if c.is_control() => into.write_char(' ')?,
                _ => write!(into, "\\texttt{{U+{:04X}}}", u32::from(c))?,
            }
            before = c;
        }
        Ok(())
    }
}

/// Letters that the T1 encoding does not have.
fn is_missing(c: char) -> bool {
    "ĦħĸĿŀŉŦŧſ".contains(c)
}
