//! A figure as files, and the gallery of all kinds.

pub(super) mod gallery;

use super::*;

/// Draws a figure of made-up values under this title.
pub(super) fn drawn(figure: &impl Plot, title: &str) -> Figure {
    let caption = Caption::new(title.to_owned(), "made-up values.".to_owned());
    figure.draw(caption).expect("drawn")
}

#[test]
fn a_figure_is_three_files() {
    let folder = tempfile::tempdir().unwrap();
    let figure = Figure {
        svg: "<svg/>".to_owned(),
        png: vec![1],
        csv: b"a\n1\n".to_vec(),
    };
    let paths = figure.write(folder.path(), "loss").unwrap();
    let names: Vec<_> = paths
        .iter()
        .filter_map(|p| p.file_name()?.to_str())
        .collect();
    assert_eq!(names, ["loss.svg", "loss.png", "loss.csv"]);
    assert_eq!(std::fs::read(&paths[2]).unwrap(), figure.csv);
}
