//! Text that means something to HTML, Markdown or LaTeX comes out as it went in.

use askama::filters::Escaper;
use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser, Tag};

use super::escape::{HtmlText, LatexText, MarkdownText};

fn escaped(escaper: impl Escaper, text: &str) -> String {
    let mut written = String::new();
    escaper
        .write_escaped_str(&mut written, text)
        .expect("a String takes all");
    written
}

/// Names made of what is special somewhere, of the mask characters, and of anything.
fn names() -> impl Strategy<Value = String> {
    let special = prop::sample::select(
        "_&<>%#$~^\\{}[]()|*+-=.,:;!?`'\"/@ \t\n1a\u{2047}\u{25a1}“”—éß中αβμ\u{a0}\u{1}"
            .chars()
            .collect::<Vec<_>>(),
    );
    let one = prop_oneof![6 => special, 1 => any::<char>()];
    prop::collection::vec(one, 0..24).prop_map(String::from_iter)
}

/// What all three show of a text: control characters as spaces, none at its ends.
fn shown(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars()
        .map(shown)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// The text of Markdown, and the kinds of elements in it.
fn read_markdown(markdown: &str) -> (String, Vec<String>) {
    let (mut text, mut elements) = (String::new(), vec![]);
    for event in Parser::new_ext(markdown, Options::all() - Options::ENABLE_SMART_PUNCTUATION) {
        match event {
            Event::Text(more) => text += &more,
            Event::Start(Tag::Image { .. }) => elements.push("image".to_owned()),
            Event::Start(tag) => elements.push(format!("{tag:?}")),
            Event::End(_) => {}
            other => elements.push(format!("{other:?}")),
        }
    }
    (text.trim().to_owned(), elements)
}

/// Text as LaTeX sets it, read back from the commands that there may be; anything else that is special
/// is an error.
fn read_latex(mut latex: &str) -> Result<String, String> {
    const COMMANDS: [(&str, &str); 27] = [
        ("\\textbackslash{}", "\\"),
        ("\\textasciitilde{}", "~"),
        ("\\textasciicircum{}", "^"),
        ("\\textless{}", "<"),
        ("\\textgreater{}", ">"),
        ("\\textquotedbl{}", "\""),
        ("\\textasciigrave{}", "`"),
        ("\\textbar{}", "|"),
        ("\\fbox{\\phantom{x}}", "\u{25a1}"),
        ("{?}{?}", "\u{2047}"),
        ("\\ensuremath{\\alpha}", "α"),
        ("\\ensuremath{\\beta}", "β"),
        ("\\ensuremath{\\mu}", "μ"),
        ("{-}", "-"),
        ("{[}", "["),
        ("{]}", "]"),
        ("{*}", "*"),
        ("{'}", "'"),
        ("{,}", ","),
        ("\\{", "{"),
        ("\\}", "}"),
        ("\\_", "_"),
        ("\\&", "&"),
        ("\\%", "%"),
        ("\\#", "#"),
        ("\\$", "$"),
        ("~", "\u{a0}"),
    ];
    let mut text = String::new();
    while let Some(c) = latex.chars().next() {
        let known = COMMANDS
            .iter()
            .find(|(command, _)| latex.starts_with(command));
        if let Some((command, means)) = known {
            text += means;
            latex = &latex[command.len()..];
        } else if let Some(rest) = latex.strip_prefix("\\texttt{U+") {
            let (number, rest) = rest.split_once('}').ok_or("an open brace")?;
            let number = u32::from_str_radix(number, 16).map_err(|e| e.to_string())?;
            text.push(char::from_u32(number).ok_or("no character")?);
            latex = rest;
        } else if "\\{}_&%#$^<>\"`|".contains(c)
            || ["--", ",,", "''"].iter().any(|two| latex.starts_with(two))
        {
            return Err(format!("{latex:?} is special"));
        } else {
            text.push(c);
            latex = &latex[c.len_utf8()..];
        }
    }
    Ok(text.trim().to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn html_shows_text_as_it_is(text in names()) {
        // XML has no such characters at all.
        let text = text.replace(['\u{fffe}', '\u{ffff}'], "");
        let text = text.replace('\u{85}', "");
        let html = escaped(HtmlText, &text);
        let page = format!("<p title=\"{html}\">{html}</p>");
        let page = roxmltree::Document::parse(&page).expect("one element");
        let element = page.root_element();
        prop_assert_eq!(shown(element.text().unwrap_or_default()), shown(&text));
        prop_assert_eq!(shown(element.attribute("title").unwrap_or_default()), shown(&text));
        prop_assert!(element.children().all(|child| child.is_text()));
    }

    #[test]
    fn markdown_shows_text_as_it_is(text in names()) {
        let markdown = escaped(MarkdownText, &text);
        let (read, elements) = read_markdown(&markdown);
        prop_assert_eq!(&read, &shown(&text), "{}", markdown);
        prop_assert!(elements.len() <= 1, "{:?}", elements);
        let (read, elements) = read_markdown(&format!("| a | b |\n|---|---:|\n| {markdown} | x |\n"));
        let cells = elements.iter().filter(|element| *element == "TableCell").count();
        let read = read.strip_prefix("ab").and_then(|read| read.strip_suffix('x'));
        prop_assert_eq!(read.map(shown), Some(shown(&text)));
        prop_assert_eq!(cells, 4);
        let (read, elements) = read_markdown(&format!("![{markdown}](images/x.png)"));
        prop_assert_eq!(read, shown(&text));
        prop_assert_eq!(elements, ["Paragraph", "image"]);
    }

    #[test]
    fn latex_sets_text_as_it_is(text in names()) {
        let latex = escaped(LatexText, &text);
        prop_assert_eq!(read_latex(&latex), Ok(shown(&text)), "{}", latex);
    }
}

#[test]
fn what_follows_a_control_character_in_front_makes_no_list() {
    assert_eq!(escaped(MarkdownText, "\u{e}+"), "\\+");
}

#[test]
fn ordinary_text_is_left_alone() {
    let text = "35.0 % of 60 (21 right), 24.2 to 47.6: 1,234 tokens";
    assert_eq!(escaped(HtmlText, text), text);
    assert_eq!(escaped(MarkdownText, text), text);
    assert_eq!(escaped(LatexText, text), text.replace('%', "\\%"));
}
