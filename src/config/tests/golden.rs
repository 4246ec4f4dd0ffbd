//! Texts kept in `tests/golden/`; `UPDATE_GOLDEN=1 cargo test` writes them anew.

use crate::config::schema::KindOfAttention;
use crate::config::wording;
use crate::data::DataKind;
use crate::eval::measures::Measure;
use crate::explore::QuestionKind;
use crate::kinds::Listed as _;
use crate::plot::FigureKind;

/// Compares with `tests/golden/NAME.txt`.
pub(super) fn check(name: &str, text: &str) {
    let text = without_kinds(text);
    let path = crate::sources().join(format!("tests/golden/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path)
        .unwrap_or_default()
        .replace("\r\n", "\n");
    let lines = golden.lines().zip(text.lines()).enumerate();
    if let Some((i, (old, new))) = lines.into_iter().find(|(_, (old, new))| old != new) {
        panic!(
            "{name}.txt:{}:\n  golden: {old}\n  now:    {new}\nUPDATE_GOLDEN=1 accepts it",
            i + 1
        );
    }
    assert_eq!(
        golden, text,
        "{name}.txt differs in length; UPDATE_GOLDEN=1 accepts the new text"
    );
}

/// Lists of all kinds are a word each, so that a new kind changes no golden text.
fn without_kinds(text: &str) -> String {
    let lists = [
        ("KINDS OF ATTENTION", KindOfAttention::names()),
        ("KINDS OF DATA", DataKind::names()),
        ("KINDS OF FIGURES", FigureKind::names()),
        ("MEASURES", Measure::names()),
        ("QUESTIONS", QuestionKind::names()),
    ];
    let mut text = text.to_owned();
    for (word, names) in lists {
        for conjunction in ["and", "or"] {
            text = text.replace(&wording::list(&names, conjunction), word);
        }
    }
    text
}

/// One section for each case: its name, then its text.
pub(super) fn sections(cases: impl IntoIterator<Item = (String, String)>) -> String {
    cases
        .into_iter()
        .map(|(name, text)| format!("## {name}\n{}\n\n", text.trim_end()))
        .collect()
}
