//! Texts kept in `tests/golden/`; `UPDATE_GOLDEN=1 cargo test` writes them anew.

use std::path::Path;

/// Compares with `tests/golden/NAME.txt`.
pub(super) fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
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

/// One section for each case: its name, then its text.
pub(super) fn sections(cases: impl IntoIterator<Item = (String, String)>) -> String {
    cases
        .into_iter()
        .map(|(name, text)| format!("## {name}\n{}\n\n", text.trim_end()))
        .collect()
}
