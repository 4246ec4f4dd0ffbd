//! The README tells the truth about files.

use crate::lab::read;

/// The folder of the repository.
fn root() -> std::path::PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// Targets of `](…)` that are no web addresses.
fn links(text: &str) -> Vec<&str> {
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).collect()
}

#[test]
fn every_link_in_a_readme_leads_to_a_file() {
    for (page, least) in [
        ("README.md", 6),
        ("src/ops/README.md", 0),
        ("experiments/README.md", 0),
        ("CONTRIBUTING.md", 2),
    ] {
        let page = root().join(page);
        let text = read(&page);
        let links = links(&text);
        assert!(links.len() >= least, "{}: {links:?}", page.display());
        for link in links {
            let target = page.parent().expect("a folder").join(link);
            assert!(target.exists(), "{} links to {link}", page.display());
        }
    }
}

#[test]
fn the_experiment_in_the_readme_is_the_quickstart() {
    let readme = read(&root().join("README.md"));
    let shown = readme
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let shown = shown.expect("an experiment in the README");
    assert!(shown.lines().count() > 30, "{shown}");
    assert!(read(&root().join("experiments/quickstart.toml")).starts_with(shown.trim_end()));
}

#[test]
fn the_readme_has_every_file_that_stages_make() {
    let readme = read(&root().join("README.md"));
    let (_, table) = readme
        .split_once("| file | what it holds |")
        .expect("the table of a run's files");
    let (table, _) = table.split_once("\n\n").expect("its end");
    for artefact in attnlab::metrics::artefacts::ALL {
        // The table has files of one folder together.
        let shown = match artefact.in_run.rsplit_once('/') {
            None => artefact.in_run.to_owned(),
            Some((folder, file)) => {
                format!("{folder}/*.{}", file.rsplit('.').next().expect("an ending"))
            }
        };
        assert!(table.contains(&format!("`{shown}`")), "{shown}");
    }
}

#[test]
fn code_in_the_contributing_guide_is_quoted_from_the_file_that_is_linked_before_it() {
    let guide = read(&root().join("CONTRIBUTING.md"));
    let pieces: Vec<&str> = guide.split("```").collect();
    let mut quoted = 0;
    for (i, code) in pieces.iter().enumerate() {
        let Some(code) = code.strip_prefix("rust\n") else {
            continue;
        };
        let before = pieces[..i].iter().rev();
        let link = before.flat_map(|text| links(text).into_iter().rev()).next();
        let link = link.expect("a link before the code");
        let file = read(&root().join(link)).replace("\r\n", "\n");
        assert!(file.contains(code.trim_end()), "{link} has no\n{code}");
        quoted += 1;
    }
    assert!(quoted > 1, "only {quoted} quotations");
}
