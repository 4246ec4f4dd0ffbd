//! Text with special meaning in HTML, Markdown or LaTeX is shown literally.

use askama::filters::Escaper;
use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser, Tag};

use super::escape::{HtmlText, LatexText, MarkdownText, is_beyond_pdflatex};
use super::latex::{self, LatexTable};
use super::symbols;
use super::table::{Cell, Field, Table, count, words};

fn escaped(escaper: impl Escaper, text: &str) -> String {
    let mut written = String::new();
    escaper
        .write_escaped_str(&mut written, text)
        .expect("a String takes all");
    written
}

/// Names made of special characters, mask characters, and arbitrary ones.
fn names() -> impl Strategy<Value = String> {
    let special = prop::sample::select(
        "_&<>%#$~^\\{}[]()|*+-=.,:;!?`'\"/@ \t\n1a\u{2047}\u{25a1}“”—éß中αβμά²₁ⁿ≤→√∞ℝЖ\u{a0}\u{1}"
            .chars()
            .collect::<Vec<_>>(),
    );
    let one = prop_oneof![6 => special, 1 => any::<char>()];
    prop::collection::vec(one, 0..24).prop_map(String::from_iter)
}

/// The text that all three show: control characters as spaces, trimmed.
fn shown(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars()
        .map(shown)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// The text of Markdown, and its kinds of elements.
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

/// The text that LaTeX shows, read back from the allowed commands; any other special character is an error.
fn read_latex(mut latex: &str) -> Result<String, String> {
    const COMMANDS: [(&str, &str); 28] = [
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
        ("\\mbox{-}", "\u{2011}"),
        ("\\,", "\u{2009}"),
        ("\\allowbreak{}", ""),
        ("\\penalty5000{}", ""),
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
    let formula = |c: char| {
        let formula = symbols::mathematics(c).expect("it is one of them");
        (format!("\\ensuremath{{{formula}}}"), c.to_string())
    };
    let text = COMMANDS.iter();
    let text = text.map(|(command, means)| ((*command).to_owned(), (*means).to_owned()));
    let commands: Vec<(String, String)> = text.chain(symbols::tests::all().map(formula)).collect();
    let mut text = String::new();
    while let Some(c) = latex.chars().next() {
        let known = commands
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

/// Characters that LaTeX sets identically: increment and delta, ohm and omega, two hyphens, two thin spaces.
fn alike(c: char) -> char {
    match c {
        '\u{2206}' => 'Δ',
        '\u{2126}' => 'Ω',
        '\u{2010}' => '\u{2011}',
        '\u{202f}' => '\u{2009}',
        other => other,
    }
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
        let read = read_latex(&latex).map(|read| read.chars().map(alike).collect::<String>());
        let expected = shown(&text).chars().map(alike).collect::<String>();
        prop_assert_eq!(read, Ok(expected.trim().to_owned()), "{}", latex);
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

#[test]
fn mathematics_is_for_every_engine_and_other_scripts_are_for_some() {
    let formulas = "η = 0.1, β₁ ≤ ½ ± 5 × 10⁻⁴; α → ℝ² ∋ √2 ∞ · µ";
    let latex = escaped(LatexText, formulas);
    assert!(!latex.chars().any(is_beyond_pdflatex), "{latex}");
    assert!(!latex.contains("U+"), "{latex}");
    assert!(
        latex.contains("\\ensuremath{\\beta}\\ensuremath{_1} \\ensuremath{\\le} ½ ±"),
        "{latex}"
    );
    // Accents make it a word of the language.
    for script in ["Кириллица", "Ελληνικά", "中文", "🙂", "ħ"] {
        assert_eq!(escaped(LatexText, script), script);
        assert!(script.chars().any(is_beyond_pdflatex), "{script}");
    }
    assert_eq!(escaped(LatexText, "a\u{202e}b"), "a\\texttt{U+202E}b");
}

#[test]
fn a_long_word_breaks_where_a_reader_would_break_it() {
    let latex = escaped(
        LatexText,
        "model.attention.kind=0.006,x a.b=c initialisation",
    );
    let expected = "model.\\allowbreak{}at\\penalty5000{}tention.\\allowbreak{}kind=\\allowbreak{}0.0\\penalty5000{}06,\\allowbreak{}x a.b=c initialisation";
    assert_eq!(latex, expected);
}

/// A table of `n` points with the same name.
fn points(number: usize, name: &str) -> Table {
    let point = |i: usize| {
        let mean = Cell {
            deviation: (i == 0).then(|| "1.2".to_owned()),
            ..Cell::number("57.0", 0.57)
        };
        (format!("{name}{i}"), mean, i)
    };
    let baseline = ("always “London”".to_owned(), Cell::number("35.0", 0.35), 21);
    let rows = (0..number).map(point).chain([baseline]);
    let fields: [Field<'_, (String, Cell, usize)>; 3] = [
        ("Point", &|row| words(&row.0)),
        ("Measured in %", &|row| row.1.clone()),
        ("Right", &|row| count(row.2)),
    ];
    let mut table = Table::of("accuracy", "Accuracy.", rows, &fields);
    table.baselines = table.rows.split_off(number);
    table
}

#[test]
fn latex_sets_a_table_as_a_paper_has_it() {
    let latex = latex::file(&[LatexTable::new("a/b", "Is it?", &points(2, "x²"))]).expect("LaTeX");
    let expected = r"
% ---- tab:a/b/accuracy
\begin{table}[htbp]
  \centering
  \caption{Is it? Accuracy.}
  \label{tab:a/b/accuracy}
  \smallskip
  \footnotesize\setlength{\tabcolsep}{4pt}
  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{\begin{tabular}{lr@{\,}lr}
    \toprule
    Point & \multicolumn{2}{c}{Measured in \%} & Right \\
    \midrule
    x²0 & 57.0 & \ensuremath{\pm}\,1.2 & 0 \\
    x²1 & 57.0 &  & 1 \\
    \midrule
    always “London” & 35.0 &  & 21 \\
    \bottomrule
  \end{tabular}}
\end{table}
% ---- end of tab:a/b/accuracy
";
    let (needs, table) = latex.split_at(latex.find("\n% ----").expect("a mark"));
    assert_eq!(table, expected);
    for package in ["fontenc", "amssymb", "booktabs", "graphicx"] {
        assert!(needs.contains(package), "{needs}");
    }
    assert!(!needs.contains("XeLaTeX"), "{needs}");
}

#[test]
fn latex_breaks_long_tables_and_wraps_long_names() {
    let long = points(
        80,
        "a rather long name of a point that leaves no room to the numbers, 中 ",
    );
    let table = LatexTable::new("ab", "Is it", &long);
    let latex = latex::file(&[table]).expect("LaTeX");
    assert!(
        latex.contains("\\begin{longtable}{>{\\raggedright\\arraybackslash\\hangindent=1em}p{0.7"),
        "{latex}"
    );
    assert!(
        latex.contains("\\caption{Is it. Accuracy.}\n    \\label{tab:ab/accuracy} \\\\"),
        "{latex}"
    );
    assert!(
        latex.contains("{4}{c}{\\tablename~\\thetable, continued}"),
        "{latex}"
    );
    assert!(!latex.contains("\\begin{table}"), "{latex}");
    let (needs, _) = latex.split_once("\n% ----").expect("a mark");
    assert!(
        needs.contains("pdfLaTeX cannot set 中: compile with XeLaTeX"),
        "{needs}"
    );
    assert!(needs.contains("\\onecolumn"), "{needs}");
}

#[test]
fn labels_of_different_names_differ() {
    let names = ["a/b", "a-b", "a b", "é", "+e9+", "ue9", "a_b"];
    let expected = ["a/b", "a-b", "a+20+b", "+e9+", "+2b+e9+2b+", "ue9", "a_b"];
    assert_eq!(names.map(latex::label_part), expected);
}
