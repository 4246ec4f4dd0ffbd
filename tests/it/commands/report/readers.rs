//! A browser shows a report and sorts its tables, and LaTeX sets them.

use std::path::Path;
use std::process::Command;

use super::{between, hash, page, quickstart};
use crate::lab::{Lab, read};

/// Points whose names mean something to HTML, Markdown and LaTeX.
const NAMES: [&str; 2] = [
    "a_b & <i>c</i> % # $x$ ~ ^ \\d {e} \"f\" 'g' `h` --i *j* [k](l) |",
    "⁇ □ “ß” éŁ 中 --- ,, </td><script>throw 1</script>",
];

/// Runs the short quickstart with [`NAMES`] as the names of its points.
fn specially_named(lab: &Lab) {
    let labels = format!("labels={}", serde_json::json!(NAMES));
    let named = ["--set", labels.as_str()];
    quickstart(lab, "run", &named).done();
    page(lab, &named);
}

/// What a script at the end of the page finds in it, told in its title.
const PROBE: &str = r#"
const table = document.querySelector("table.sortable");
const names = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
const heading = table.tHead.rows[0].cells[1];
const states = [heading.getAttribute("aria-sort")];
const orders = [];
for (let click = 0; click < 2; click += 1) {
  heading.querySelector("button").click();
  states.push(heading.getAttribute("aria-sort"));
  orders.push([...table.tBodies[0].rows].map((row) => row.cells[1].dataset.order));
}
document.title = JSON.stringify({
  names: names(),
  orders,
  states,
  figures: [...document.querySelectorAll("figure svg")].map((svg) => svg.getBBox().width * svg.getBoundingClientRect().width),
  images: [...document.images].map((image) => image.naturalWidth),
  tables: document.querySelectorAll("table.sortable th").length - document.querySelectorAll("table.sortable th button[type=button]").length,
  paper: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
});
console.log("probed");
"#;

/// Opens a page with [`PROBE`] at its end and returns what that says; fails on anything that the page
/// writes to the console.
fn probed(browser: &Path, lab: &Lab, page: &str, more: &[&str]) -> serde_json::Value {
    let allowed = format!("script-src {} ", hash(PROBE));
    let page = page.replacen("script-src ", &allowed, 1);
    let page = page.replace("</body>", &format!("<script>{PROBE}</script></body>"));
    lab.write("probed.html", page);
    let said = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .args([
            "--dump-dom",
            "--enable-logging=stderr",
            "--window-size=420,900",
        ])
        .arg(format!("--user-data-dir={}", lab.text("profile")))
        .args(more)
        .arg(format!("file://{}", lab.text("probed.html")))
        .output()
        .expect("the browser starts");
    let log = String::from_utf8_lossy(&said.stderr);
    let console: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .collect();
    assert!(
        console.len() == 1 && console[0].contains("\"probed\""),
        "{console:?}"
    );
    let page = String::from_utf8(said.stdout).expect("UTF-8");
    let title = between(&page, "<title>", "</title>")[0].to_owned();
    let title = title
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&nbsp;", "\u{a0}");
    serde_json::from_str(&title.replace("&amp;", "&")).expect("JSON")
}

/// A program on the path.
fn program(names: &[&str]) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let mut all = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    all.find(|path| path.is_file())
}

#[test]
fn a_browser_shows_the_page_and_sorts_its_tables() {
    let Some(browser) = program(&["chromium", "chromium-browser", "google-chrome"]) else {
        eprintln!("skipped: no Chromium is installed");
        return;
    };
    let lab = Lab::new();
    specially_named(&lab);
    let page = read(&lab.path("out/index.html"));
    let light = probed(&browser, &lab, &page, &[]);
    // Names come out as they went in, and none of them is markup.
    let names = light["names"].as_array().expect("names");
    assert_eq!(
        names.len(),
        3,
        "two points and a constant answer: {names:?}"
    );
    assert!(
        NAMES.iter().all(|name| names.contains(&(*name).into())),
        "{names:?}"
    );
    let figures = light["figures"].as_array().expect("figures");
    assert_eq!(figures.len(), 4);
    assert!(
        figures.iter().all(|size| size.as_f64() > Some(0.0)),
        "{figures:?}"
    );
    assert_eq!(
        light["tables"], 0,
        "each heading of a table that can be sorted is a button"
    );
    assert_eq!(light["wide"], 0, "nothing is wider than a narrow window");
    assert_eq!(
        light["states"],
        serde_json::json!([null, "ascending", "descending"])
    );
    let order = |at: usize| -> Vec<f64> {
        let order = light["orders"][at].as_array().expect("rows").iter();
        order
            .map(|cell| cell.as_str().expect("text").parse().expect("a number"))
            .collect()
    };
    assert!(order(0).is_sorted(), "{light}");
    assert!(order(1).iter().rev().is_sorted(), "{light}");
    assert!(order(0) != order(1), "three different accuracies: {light}");

    let dark = probed(
        &browser,
        &lab,
        &page,
        &["--blink-settings=preferredColorScheme=0"],
    );
    for colour in ["paper", "ink"] {
        assert_ne!(dark[colour], light[colour], "{colour}");
    }

    // A figure whose SVG is damaged is shown by its PNG.
    std::fs::write(lab.path("r/quickstart/figures/accuracy.svg"), "<svg").expect("written");
    let labels = format!("labels={}", serde_json::json!(NAMES));
    let page = self::page(&lab, &["--set", &labels]);
    let damaged = probed(&browser, &lab, &page, &[]);
    assert_eq!(damaged["figures"].as_array().map(Vec::len), Some(3));
    assert_eq!(damaged["images"], serde_json::json!([1800]));
}

#[test]
fn latex_sets_the_tables() {
    let Some(latex) = program(&["pdflatex"]) else {
        eprintln!("skipped: no pdflatex is installed");
        return;
    };
    let lab = Lab::new();
    // Every letter that goes through as it is.
    let letters: String = ('\u{a1}'..='\u{17f}').collect();
    let labels = format!("labels={}", serde_json::json!([NAMES.concat(), letters]));
    quickstart(&lab, "run", &["--set", &labels]).done();
    page(&lab, &["--set", &labels]);
    lab.write(
        "out/document.tex",
        "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage{textcomp}\n\
         \\usepackage{booktabs}\n\\usepackage{graphicx}\n\\begin{document}\n\\input{tables.tex}\n\
         \\end{document}\n",
    );
    let said = Command::new(latex)
        .args(["-interaction=nonstopmode", "-halt-on-error", "document.tex"])
        .current_dir(lab.path("out"))
        .output()
        .expect("pdflatex starts");
    let log = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{log}");
    assert!(
        !log.contains("Missing character") && !log.contains("Overfull"),
        "{log}"
    );
    assert!(lab.path("out/document.pdf").is_file());
}
