//! Reports: what is in them and what they say is missing; `readers` has a browser and LaTeX read them.

mod readers;

use std::path::Path;

use attnlab::report::{Document, Section};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

use crate::lab::{Lab, Said, column, files_below, read};

/// Both points with two seeds each, and what somebody is said to have reported.
const SEEDS: [&str; 4] = [
    "--set",
    "seeds=[1, 2]",
    "--set",
    "evaluate.reported={ accuracy = 0.21, source = 'a <paper> & more' }",
];

/// `attnlab COMMAND` on the short quickstart with two seeds and more arguments.
fn quickstart(lab: &Lab, command: &str, more: &[&str]) -> Said {
    lab.quickstart(command, "r", &[&SEEDS[..], more].concat())
}

/// The report of the short quickstart in the folder `out`, which is read.
fn page(lab: &Lab, more: &[&str]) -> String {
    let out = lab.text("out");
    quickstart(lab, "report", &[&["--out", &out], more].concat()).done();
    read(&lab.path("out/index.html"))
}

/// The parts of `text` between two marks.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    let parts = text.split(start).skip(1);
    parts
        .filter_map(|part| Some(part.split_once(end)?.0))
        .collect()
}

fn hash(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)))
}

#[test]
fn a_report_tells_everything_in_order_and_needs_nothing() {
    let lab = Lab::new();
    quickstart(&lab, "run", &[]).done();
    let html = page(&lab, &[]);

    // Nothing is fetched, and nothing runs but what the policy knows.
    let policy = between(&html, "Content-Security-Policy\" content=\"", "\">")[0];
    let [style, script] = ["style", "script"].map(|tag| {
        let start = format!("<{tag}>");
        let all = between(&html, &start, &format!("</{tag}>"));
        assert_eq!(all.len(), 1, "{tag}");
        hash(all[0])
    });
    let expected = format!(
        "default-src 'none'; style-src {style}; script-src {script}; img-src data:; base-uri 'none'; \
         form-action 'none'"
    );
    assert_eq!(policy, expected);
    for fetched in ["src=\"", "<link", "@import", "@font-face", "href=\"http"] {
        assert!(!html.contains(fetched), "{fetched}");
    }
    assert!(
        !html.contains(" style=\"") && !html.contains(" onclick="),
        "inline styles are refused"
    );

    let order = |text: &str, what: &str| -> Vec<String> {
        let found = between(text, &format!("<b>{what} "), ".</b>");
        found.into_iter().map(str::to_owned).collect()
    };
    assert_eq!(order(&html, "Figure"), ["1", "2", "3", "4"]);
    assert_eq!(html.matches("<svg ").count(), 4);
    assert_eq!(order(&html, "Table"), ["1", "2", "3", "4", "5"]);
    assert_eq!(
        html.matches("<details>").count(),
        2,
        "the settings of two points"
    );
    assert!(html.contains("objective = &#34;span-corruption&#34;"));
    assert!(html.contains("4 of 4 runs done") && !html.contains("What is missing"));

    // What was measured, as the CSV files have it, and what was reported, apart.
    let groups = read(&lab.path("r/quickstart/groups.csv"));
    let of = |name: &str| column(&groups, name);
    let percent = |text: &str| format!("{:.1}", 100.0 * text.parse::<f64>().expect("a number"));
    let rows = between(&html, "<tbody>", "</tbody>")[0];
    let rows: Vec<Vec<&str>> = between(rows, "<tr>", "</tr>")
        .into_iter()
        .map(|row| {
            between(row, "<td", "</td>")
                .into_iter()
                .filter_map(|cell| Some(cell.split_once('>')?.1))
                .collect()
        })
        .collect();
    let at = of("subject")
        .iter()
        .position(|one| one == "model")
        .expect("a model");
    assert_eq!(rows[0][0], "no pretraining");
    let mean = percent(&of("mean_accuracy")[at]);
    let deviation = percent(&of("standard_deviation")[at]);
    assert_eq!(
        rows[0][1],
        format!("{mean}<span class=\"deviation\"> ± {deviation}</span>")
    );
    assert_eq!(rows[0][2], "21.0");
    let interval = [&of("low_95")[at], &of("high_95")[at]].map(|end| percent(end));
    assert_eq!(rows[0][3], interval.join(" to "));
    // The constant answer stands apart at the end.
    assert_eq!(html.matches("<tr class=\"baseline\">").count(), 1);
    assert!(html.contains("Reported elsewhere, not measured here: a &#60;paper&#62; &#38; more."));
    let summary = read(&lab.path("r/quickstart/summary.csv"));
    let seeds = column(&summary, "seed")
        .iter()
        .filter(|seed| !seed.is_empty())
        .count();
    assert_eq!(
        between(&html, "<tbody>", "</tbody>")[1]
            .matches("<tr>")
            .count(),
        seeds
    );

    // Where it came from: all of this is in the run's own file.
    let run = lab.run_folder("r", 1);
    let origin: serde_json::Value =
        serde_json::from_str(&read(&run.join("provenance.json"))).expect("JSON");
    for key in [
        "/git/commit",
        "/program/version",
        "/program/rustc",
        "/machine/processor",
        "/experiment",
    ] {
        let value = origin[0].pointer(key).and_then(|value| value.as_str());
        assert!(
            value.is_none_or(|value| html.contains(value.trim())),
            "{key}: {value:?}"
        );
    }
    assert!(html.contains("attnlab run experiments/quickstart.toml --results"));

    // The same files give the same bytes; the Markdown's figures are beside it.
    let before = files_below(&lab.path("out"));
    assert!(
        before.keys().any(|name| name == "images/1-accuracy.png"),
        "{:?}",
        before.keys()
    );
    page(&lab, &[]);
    assert!(files_below(&lab.path("out")) == before);
    let markdown = read(&lab.path("out/report.md"));
    let images = between(&markdown, "](images/", ")");
    assert_eq!(images.len(), 4);
    assert!(
        images
            .iter()
            .all(|image| before.contains_key(&format!("images/{image}"))),
        "{images:?}"
    );
    let said = quickstart(&lab, "report", &["--json", "--out", &lab.text("out")]).done();
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["sections"][0]["done"], 4);
    assert_eq!(
        said["sections"][0]["figures"].as_array().map(Vec::len),
        Some(4)
    );
}

#[test]
fn unfinished_runs_are_listed_and_stale_numbers_are_left_out() {
    let lab = Lab::new();
    quickstart(&lab, "run", &[]).done();
    let status = lab.run_folder("r", 1).join("status.json");
    let failed = read(&status).replace("\"done\"", "\"failed\"");
    let failed = failed.replacen('{', "{ \"reason\": \"loss_nats is <NaN>\",", 1);
    std::fs::write(&status, failed).expect("written");

    // The tables and figures still hold its numbers.
    let html = page(&lab, &[]);
    assert!(html.contains("3 of 4 runs done"));
    assert!(
        html.contains("1 of 4 runs is not done: its numbers"),
        "{html}"
    );
    assert!(html.contains("<li>pretrained, seed 1: failed: loss_nats is &#60;NaN&#62;</li>"));
    assert!(html.contains("do not match the finished runs and are left out"));
    assert!(!html.contains("<svg ") && !html.contains("Accuracy on dev"));
    assert!(html.contains("Training. Loss"), "what is done is there");

    quickstart(&lab, "plot", &[]).done();
    let html = page(&lab, &[]);
    assert!(html.contains("Accuracy on dev") && html.contains("seed 1: failed"));
    assert_eq!(html.matches("<svg ").count(), 4);

    // A figure that is not there has its reason; half a figure is an error.
    let figure = |ending: &str| lab.path(&format!("r/quickstart/figures/accuracy.{ending}"));
    std::fs::remove_file(figure("png")).expect("removed");
    let said = quickstart(&lab, "report", &["--out", &lab.text("out")]).failed(5);
    assert!(said.ends_with("accuracy.png is missing"), "{said}");
    std::fs::remove_file(figure("svg")).expect("removed");
    let html = page(&lab, &[]);
    assert!(
        html.contains("Figure accuracy is left out: there was nothing to draw"),
        "{html}"
    );
    assert_eq!(html.matches("<svg ").count(), 3);
}

#[test]
fn several_experiments_are_told_together_and_none_is_an_error() {
    let lab = Lab::new();
    let said = quickstart(&lab, "report", &[]);
    assert!(
        said.err
            .contains("`attnlab run experiments/quickstart.toml` makes one"),
        "{}",
        said.err
    );
    let message = said.failed(2);
    assert!(
        message.starts_with("error: quickstart has no finished run in "),
        "{message}"
    );

    let (one, two) = (
        lab.finetuning("one", ""),
        lab.finetuning("two", "constant_answer = 'London'\n"),
    );
    let results = lab.text("r");
    lab.attnlab(&["run", &two, "--results", &results]).done();
    let said = lab
        .attnlab(&["report", &one, &two, "--results", &results])
        .done();
    let told = format!(
        "one: The run is not done: its numbers are in no table and no figure. attnlab run {one},"
    );
    assert!(said.contains(&told), "{said}");
    let html = read(&lab.path("r/report/index.html"));
    assert!(html.contains("1 of 2 runs done"));
    let headings = between(&html, "-heading\">", "</h2>");
    assert_eq!(headings, ["one", "two"]);
    lab.attnlab(&["report", &lab.text("none.toml")]).failed(3);
}

/// Through the library, with a text for each experiment.
#[test]
fn a_document_has_its_own_words_in_its_own_order() {
    let lab = Lab::new();
    let file = lab.finetuning("asked", "");
    let results = lab.text("r");
    lab.attnlab(&["run", &file, "--results", &results]).done();
    let experiment = attnlab::config::load(Path::new(&file), &[]).expect("an experiment");
    let section = |heading: &str, text: &str, reported: &str| Section {
        heading: heading.to_owned(),
        text: text.to_owned(),
        reported: reported.to_owned(),
        experiment: experiment.clone(),
    };
    let document = Document {
        title: "Questions & answers".to_owned(),
        subtitle: "profile <quick>".to_owned(),
        sections: vec![
            section("2 (d)", "One.\n\nTwo\nlines.", ""),
            section("2 (b)", "", "21 of 100_000 were *right*."),
        ],
    };
    // An earlier report had more tables and images, and the user has put files beside them.
    lab.write("out/report.md", "![Old](images/9-an\\_old.png)");
    let old = ["out/images/9-an_old.png", "out/tables/9-old.tex"];
    let others = ["out/images/mine.png", "out/tables/mine.tex"];
    for path in old.iter().chain(&others) {
        let start = if path.contains("old") {
            "% Written by attnlab"
        } else {
            ""
        };
        lab.write(path, start);
    }
    let built =
        attnlab::report::build(&document, &lab.path("r"), &lab.path("out")).expect("a report");
    assert_eq!(old.map(|path| lab.path(path).exists()), [false; 2]);
    assert_eq!(others.map(|path| lab.path(path).exists()), [true; 2]);
    assert!(built.images.iter().all(|path| path.is_file()));
    let html = read(&built.html);
    assert_eq!(between(&html, "-heading\">", "</h2>"), ["2 (d)", "2 (b)"]);
    for words in [
        "<h1>Questions &#38; answers</h1>",
        "<p class=\"subtitle\">profile &#60;quick&#62;</p>",
        "<p>One.</p>\n<p>Two lines.</p>",
        "<p>21 of 100_000 were *right*.</p>",
    ] {
        assert!(html.contains(words), "{words}");
    }
    let reported = between(&html, "<aside class=\"reported\"", "</aside>");
    assert!(
        reported.len() == 1 && reported[0].contains("not measured here"),
        "{reported:?}"
    );
    let markdown = read(&built.markdown);
    assert!(
        markdown.contains("> 21 of 100\\_000 were \\*right\\*."),
        "{markdown}"
    );
    // LaTeX can refer to each table, and take each alone.
    let latex = read(&built.latex);
    let labels = ["", "+2"].map(|again| {
        ["accuracy", "training"].map(|table| format!("{}{again}/{table}", experiment.name))
    });
    assert_eq!(between(&latex, "\\label{tab:", "}"), labels.concat());
    let alone = built.latex_tables.iter().map(|path| read(path));
    let alone: Vec<String> = alone.collect();
    assert_eq!(alone.len(), 4);
    for (table, label) in alone.iter().zip(labels.concat()) {
        assert_eq!(between(table, "\\label{tab:", "}"), [label]);
        assert!(
            table.contains("booktabs")
                && latex.contains(table.split_once("\n\n").expect("a head").1)
        );
    }
    assert!(
        latex.contains("\\caption{2 (b). Accuracy on dev questions."),
        "{latex}"
    );
}
