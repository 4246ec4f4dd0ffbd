//! A browser shows a report and sorts its tables, and LaTeX sets them.

use std::path::Path;
use std::process::Command;

use super::{between, hash, page, quickstart};
use crate::lab::{Lab, REPOSITORY, read};

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

/// Sets the tables of reports in one document, by `scripts/latex_test.sh`; says which engine did it.
fn set_by_latex(lab: &Lab, reports: &[&str]) -> String {
    let folders = reports.iter().map(|report| lab.path(report));
    let said = Command::new(Path::new(REPOSITORY).join("scripts/latex_test.sh"))
        .args(folders)
        .env("OUT", lab.path("tex"))
        .output()
        .expect("bash is there");
    let complaints = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{complaints}");
    String::from_utf8(said.stdout).expect("UTF-8")
}

/// Two reports in one document: names that mean something to LaTeX, formulas, a table of many rows and
/// one whose names take many lines.
#[test]
fn latex_sets_the_tables_of_two_reports_in_one_document() {
    if program(&["pdflatex"]).is_none() {
        eprintln!("skipped: no pdflatex is installed");
        return;
    }
    let lab = Lab::new();
    let reported = |name: &str, more: &[&str]| {
        let sweep = "sweep.data.seed=[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,\
                     25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40]";
        let constant = "constant_answer = 'London'\nask_model = false\n";
        let (file, results) = (lab.finetuning(name, constant), lab.text("r"));
        let common = [
            &file,
            "--results",
            &results,
            "--set",
            sweep,
            "--set",
            "finetune.epochs=0",
        ];
        for command in ["run", "report"] {
            lab.attnlab(&[&[command], &common[..], more].concat())
                .done();
        }
        format!("r/{name}/report")
    };
    let long = reported("constant", &[]);
    // Every letter that goes through as it is, and what is special.
    let letters = ('\u{a1}'..='\u{17f}').filter(|c| !"\u{ad}ĦħĸĿŀŉŦŧſ".contains(*c));
    let letters: String = letters.collect();
    let formulas = "η = 0.1, β₁ ≥ ½ ± 5 × 10⁻⁴ α → ℝ² ∈ √2 ∞ µ ‖x‖ ≈ ∑ ✓";
    let special = NAMES.concat().replace('中', "");
    let labels = format!(
        "labels={}",
        serde_json::json!([format!("{special} {formulas}"), letters])
    );
    quickstart(&lab, "run", &["--set", &labels]).done();
    page(&lab, &["--set", &labels]);
    let said = set_by_latex(&lab, &["out", &long]);
    assert!(
        said.contains("by pdflatex: 4 tables, 2 of them long"),
        "{said}"
    );
}
