//! The paths that a Rust source mentions, in `use` lines and elsewhere.
//!
//! A reader of tokens, not of the language: comments, texts and characters are skipped, `use` trees
//! are unfolded, and `super`, `self` and `crate` are resolved against the file's module.

/// A mentioned path, such as `crate::model::weights` or `dfdx::shapes::Rank0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mention {
    /// Line, from 1.
    pub(crate) line: usize,
    /// Segments, joined with `::`.
    pub(crate) path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`.
    Join,
    Sign(char),
}

/// The source without comments, texts and characters; line ends stay.
pub(crate) fn code(source: &str) -> String {
    let c: Vec<char> = source.chars().collect();
    let at = |i: usize| c.get(i).copied().unwrap_or('\0');
    let word = |i: usize| at(i).is_alphanumeric() || at(i) == '_';
    let (mut out, mut i) = (String::new(), 0);
    while i < c.len() {
        let start = i;
        let raw = (at(i) == 'r' || at(i) == 'b' && at(i + 1) == 'r') && (i == 0 || !word(i - 1));
        let hashes_from = if at(i) == 'b' { i + 2 } else { i + 1 };
        let hashes = (hashes_from..).take_while(|&j| at(j) == '#').count();
        if at(i) == '/' && at(i + 1) == '/' {
            i += (i..c.len()).take_while(|&j| at(j) != '\n').count();
        } else if at(i) == '/' && at(i + 1) == '*' {
            i += 2;
            while i < c.len() && !(at(i - 2) == '*' && at(i - 1) == '/' && i > start + 3) {
                i += 1;
            }
        } else if raw && at(hashes_from + hashes) == '"' {
            i = hashes_from + hashes + 1;
            let ends = |j: usize| at(j) == '"' && (1..=hashes).all(|h| at(j + h) == '#');
            while i < c.len() && !ends(i) {
                i += 1;
            }
            i += 1 + hashes;
        } else if at(i) == '"' {
            i += 1;
            while i < c.len() && at(i) != '"' {
                i += if at(i) == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if at(i) == '\'' && at(i + 1) == '\\' {
            i += 3;
            while i < c.len() && at(i) != '\'' {
                i += 1;
            }
            i += 1;
        } else if at(i) == '\'' && at(i + 2) == '\'' {
            i += 3;
        } else {
            out.push(at(i));
            i += 1;
            continue;
        }
        let skipped = &c[start..i.min(c.len())];
        out.push(' ');
        out.extend(skipped.iter().filter(|&&c| c == '\n'));
    }
    out
}

fn tokens(source: &str) -> Vec<(usize, Token)> {
    let mut tokens = vec![];
    for (line, text) in code(source).lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let length = if word(first) {
                rest.find(|c| !word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let token = match &rest[..length] {
                "::" => Token::Join,
                text if word(first) => Token::Word(text.to_owned()),
                _ => Token::Sign(first),
            };
            tokens.push((line + 1, token));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// Every path of two segments or more, and every lone one after `use`, in a file of `src/`.
///
/// `file` is its path below `src`: `ops/mod.rs` is the module `ops`.
pub(crate) fn mentions(file: &str, source: &str) -> Vec<Mention> {
    let mut module: Vec<String> = file
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if matches!(
        module.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        module.pop();
    }
    let tokens = tokens(source);
    // Depths of braces at which an inline module has begun.
    let (mut inline, mut depth) = (vec![], 0);
    let (mut found, mut i) = (vec![], 0);
    while i < tokens.len() {
        let before = i.checked_sub(1).map(|i| &tokens[i].1);
        let after = tokens.get(i + 1).map(|t| &t.1);
        let named = |t: Option<&Token>, name: &str| matches!(t, Some(Token::Word(w)) if w == name);
        let used = named(before, "use");
        let starts = match &tokens[i].1 {
            Token::Word(_) => used || after == Some(&Token::Join),
            Token::Sign('{') => used,
            _ => false,
        };
        match &tokens[i].1 {
            Token::Sign('{') if !starts => {
                depth += 1;
                let is_module = i >= 2 && named(Some(&tokens[i - 2].1), "mod");
                if let (true, Token::Word(name)) = (is_module, &tokens[i - 1].1) {
                    inline.push(depth);
                    module.push(name.clone());
                }
            }
            Token::Sign('}') => {
                if inline.last() == Some(&depth) {
                    inline.pop();
                    module.pop();
                }
                depth -= 1;
            }
            _ if starts => {
                let line = tokens[i].0;
                let mut paths = vec![];
                i = tree(&tokens, i, &[], &mut paths);
                found.extend(paths.iter().map(|path| Mention {
                    line,
                    path: resolve(&module, path).join("::"),
                }));
                continue;
            }
            _ => {}
        }
        i += 1;
    }
    found
}

/// Unfolds the tree of paths at `i` and returns where it ends.
fn tree(
    tokens: &[(usize, Token)],
    mut i: usize,
    prefix: &[String],
    paths: &mut Vec<Vec<String>>,
) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(i).map(|t| &t.1) {
            Some(Token::Word(word)) => {
                path.push(word.clone());
                i += 1;
                if tokens.get(i).map(|t| &t.1) != Some(&Token::Join) {
                    paths.push(path);
                    let renamed = matches!(tokens.get(i), Some((_, Token::Word(w))) if w == "as");
                    return if renamed { i + 2 } else { i };
                }
                i += 1;
            }
            Some(Token::Sign('{')) => {
                i += 1;
                while i < tokens.len() && tokens[i].1 != Token::Sign('}') {
                    let next = tree(tokens, i, &path, paths);
                    // A comma or `*` is stepped over.
                    i = next.max(i + 1);
                }
                return i + 1;
            }
            _ => {
                // `a::*`, `a::<T>`, or nothing of a path at all.
                if path.len() > prefix.len() {
                    paths.push(path);
                }
                return i;
            }
        }
    }
}

fn resolve(module: &[String], path: &[String]) -> Vec<String> {
    let (mut here, mut rest) = (None, path);
    while let Some(first) = rest.first() {
        let base: Vec<String> = here.clone().unwrap_or_else(|| module.to_vec());
        here = Some(match first.as_str() {
            "crate" | "attnlab" => vec![],
            "self" => base,
            "super" => base[..base.len().saturating_sub(1)].to_vec(),
            _ => break,
        });
        rest = &rest[1..];
    }
    let start = here.map(|base| [vec!["crate".to_owned()], base].concat());
    [start.unwrap_or_default(), rest.to_vec()].concat()
}

#[test]
fn paths_are_found_unfolded_and_resolved() {
    let source = "
use crate::{eval, files::{self, write as put}};
use csv;
mod tests { use super::super::b; mod deeper { use super::super::super::c; } }
use super::d::*;
fn f<'a>(x: &'a str) -> char { r#\"toml::no\"#; \"csv::no\"; // clap::no
    /* clap::no */ plotters::draw::<u8>(x); '\"'; dfdx :: nn } // }";
    let found: Vec<String> = mentions("ops/head/cpu.rs", source)
        .into_iter()
        .map(|m| format!("{} {}", m.line, m.path))
        .collect();
    assert_eq!(
        found,
        [
            "2 crate::eval",
            "2 crate::files::self",
            "2 crate::files::write",
            "3 csv",
            "4 crate::ops::head::b",
            "4 crate::ops::head::c",
            "5 crate::ops::head::d",
            "7 plotters::draw",
            "7 dfdx::nn",
        ]
    );
}
