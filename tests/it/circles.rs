//! No import cycles: no two files name each other, directly or through others.
//!
//! A folder's `mod.rs` may name the files of its folder and be named by them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::lab::{REPOSITORY, files_below};
use crate::paths::mentions;

/// Sources by their path below `src/`.
type Sources = BTreeMap<String, String>;

/// Names of files, by the file that names them.
type Edges<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// The module of a file: `ops/head/mod.rs` is `["ops", "head"]`.
fn module(file: &str) -> Vec<&str> {
    let stem = file.trim_end_matches(".rs");
    let mut segments: Vec<&str> = stem.split('/').collect();
    if let Some(&("mod" | "lib")) = segments.last() {
        segments.pop();
    }
    segments
}

/// The source without the tests at its end; nothing of a file that holds only tests.
fn without_tests<'a>(file: &str, source: &'a str) -> &'a str {
    let is_test = |name: &str| name == "tests" || name == "tests.rs" || name.ends_with("_tests.rs");
    match file.split('/').any(is_test) {
        true => "",
        false => source
            .split("\n#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default(),
    }
}

/// Modules of their own that are compiled only for tests.
fn test_modules(sources: &Sources) -> BTreeSet<Vec<&str>> {
    let modules = sources.iter().flat_map(|(file, source)| {
        let declared = source.split("\n#[cfg(test)]\nmod ").skip(1);
        let names = declared.filter_map(|rest| rest.split_once(';').map(|(name, _)| name));
        names.map(|name| [module(file), vec![name]].concat())
    });
    modules.collect()
}

fn edges(sources: &Sources) -> Edges<'_> {
    let tests = test_modules(sources);
    let is_test = |module: &[&str]| tests.iter().any(|test| module.starts_with(test));
    let all = sources.keys().map(|file| (module(file), &file[..]));
    let files: BTreeMap<Vec<&str>, &str> = all.filter(|(module, _)| !is_test(module)).collect();
    let named = |file: &str, source: &str| -> BTreeSet<&str> {
        let at = module(file);
        let named = mentions(file, without_tests(file, source)).into_iter();
        let targets = named.filter_map(|mention| {
            let path = mention.path.strip_prefix("crate::")?;
            let path: Vec<&str> = path.split("::").collect();
            // The longest beginning of the path that is a module; what follows is an item in it.
            let lengths = (1..=path.len()).rev();
            let (module, target) = lengths
                .filter_map(|length| files.get_key_value(&path[..length]))
                .map(|(module, target)| (module.clone(), *target))
                .next()?;
            (!at.starts_with(&module)).then_some(target)
        });
        targets.collect()
    };
    sources
        .iter()
        .map(|(file, source)| (&file[..], named(file, source)))
        .collect()
}

/// All files that a file names, directly or through others.
fn reachable<'a>(from: &str, edges: &Edges<'a>) -> BTreeSet<&'a str> {
    let (mut found, mut left) = (BTreeSet::new(), vec![from]);
    while let Some(file) = left.pop() {
        for &next in &edges[file] {
            if found.insert(next) {
                left.push(next);
            }
        }
    }
    found
}

/// Files that name each other, each group as one line.
fn circles(sources: &Sources) -> BTreeSet<String> {
    let edges = edges(sources);
    let reached: Edges<'_> = edges
        .keys()
        .map(|&file| (file, reachable(file, &edges)))
        .collect();
    let circle = |file: &&str| -> Option<String> {
        let others = reached[*file]
            .iter()
            .filter(|other| reached[**other].contains(*file));
        let circle: Vec<&str> = others.copied().collect();
        (!circle.is_empty()).then(|| circle.join(", "))
    };
    edges.keys().filter_map(circle).collect()
}

#[test]
fn no_files_name_each_other() {
    let files = files_below(&Path::new(REPOSITORY).join("src")).into_iter();
    let files = files.filter(|(name, _)| name.ends_with(".rs") && name != "main.rs");
    let sources: Sources = files
        .map(|(name, bytes)| (name, String::from_utf8(bytes).expect("UTF-8")))
        .collect();
    let named: usize = edges(&sources).values().map(BTreeSet::len).sum();
    assert!(named > 1000, "only {named} files are named");
    let found = circles(&sources);
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, [""; 0]);
}

/// A folder's face is its `mod.rs`, everywhere.
#[test]
fn no_file_lies_beside_its_own_folder() {
    let files = files_below(&Path::new(REPOSITORY).join("src"));
    let folders: BTreeSet<String> = files
        .keys()
        .filter_map(|file| Some(file.rsplit_once('/')?.0.to_owned()))
        .collect();
    let beside = files
        .keys()
        .filter(|file| folders.contains(file.trim_end_matches(".rs")));
    assert_eq!(beside.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn a_cycle_is_found_and_mod_rs_is_exempt() {
    let sources = |files: &[(&str, &str)]| -> Sources {
        let file = |&(name, source): &(&str, &str)| (name.to_owned(), source.to_owned());
        files.iter().map(file).collect()
    };
    let through_a_third = [
        ("a.rs", "use crate::b::{B, c};"),
        ("b/mod.rs", ""),
        ("b/c.rs", "fn f() { crate::d::g() }"),
        ("d.rs", "use super::a;"),
    ];
    assert_eq!(
        circles(&sources(&through_a_third)),
        BTreeSet::from(["a.rs, b/c.rs, d.rs".to_owned()])
    );
    let face = [
        ("b/mod.rs", "mod c;\nuse c::C;"),
        ("b/c.rs", "use super::B;\nuse crate::b::A;"),
    ];
    assert_eq!(circles(&sources(&face)), BTreeSet::new());
    let only_in_tests = [
        ("a.rs", "use crate::d;\n"),
        ("d.rs", "\n#[cfg(test)]\nmod tests { use crate::a; }"),
    ];
    assert_eq!(circles(&sources(&only_in_tests)), BTreeSet::new());
}
