//! `attnlab bench`: its output, not its speed.

use serde_json::Value;

use crate::lab::{Lab, QUICKSTART, SHORT};

/// The short quickstart, one step.
fn bench(lab: &Lab, more: &[&str]) -> String {
    let set = SHORT.iter().flat_map(|setting| ["--set", setting]);
    let bench = ["bench", QUICKSTART, "--steps", "1", "--threads", "2"];
    let arguments: Vec<&str> = bench.into_iter().chain(set).collect();
    lab.attnlab(&[&arguments[..], more].concat()).done()
}

fn number(value: &Value, key: &str) -> f64 {
    let number = value[key].as_f64();
    number.unwrap_or_else(|| panic!("no number {key} in {value:#}"))
}

#[test]
fn json_has_the_step_its_parts_and_the_answers() {
    let said = bench(&Lab::new(), &["--json"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["experiment"], "quickstart");
    assert_eq!(said["parameters"], 116_480);
    assert_eq!(said["threads"], 2);
    assert!(said["gpu"].is_null(), "{}", said["gpu"]);

    let step = &said["step"];
    assert_eq!(
        (number(step, "steps"), number(step, "documents")),
        (1.0, 24.0)
    );
    for key in [
        "tokens",
        "tokens_per_second",
        "gflop",
        "gflop_per_second",
        "share_of_peak",
    ] {
        assert!(number(step, key) > 0.0, "{key}");
    }
    let peak = number(step, "peak_gflop_per_second");
    let share = number(step, "gflop_per_second") / peak;
    assert!((number(step, "share_of_peak") - share).abs() < 1e-9);
    let median = number(&step["step_ms"], "median");
    assert_eq!(
        median,
        number(&step["step_ms"], "p10"),
        "one step has no spread"
    );
    assert_eq!(median, number(&step["step_ms"], "p90"));

    let parts = said["parts"].as_array().expect("a list");
    let times: Vec<(&str, u64)> = (parts.iter())
        .map(|part| (part["part"].as_str(), part["times_a_step"].as_u64()))
        .map(|(part, times)| (part.expect("a name"), times.expect("a number")))
        .collect();
    let all = [
        ("embedding", 1),
        ("attention", 2),
        ("mlp", 2),
        ("head", 1),
        ("optimiser", 1),
    ];
    assert_eq!(times, all);
    let mut in_parts = 0.0;
    for part in parts {
        let total = number(part, "total_ms");
        in_parts += total;
        if part["part"] == "optimiser" {
            assert!(part["forward_ms"].is_null() && part["backward_ms"].is_null());
        } else {
            let passes = number(part, "forward_ms") + number(part, "backward_ms");
            assert!((total - passes).abs() < 1e-6, "{part:#}");
        }
    }
    let left_over = number(&said, "left_over_ms");
    assert!((in_parts + left_over - median).abs() < 1e-6, "{said:#}");

    let decode = &said["decode"];
    assert_eq!(number(decode, "questions"), 19.0);
    assert!((0.0..=32.0).contains(&number(decode, "answer_characters")));
    assert!(number(decode, "names_per_second") > 0.0);
    // A process with a model in it; known on Linux only.
    let bytes = said["peak_bytes"].as_u64();
    assert_eq!(bytes.is_some(), cfg!(target_os = "linux"));
    assert!(bytes.is_none_or(|bytes| bytes > 10_000_000));
}

#[test]
fn text_names_every_part_with_its_unit() {
    let lab = Lab::new();
    let said = bench(&lab, &[]);
    let start = "quickstart, pretrain-epochs-0-";
    assert!(
        said.starts_with(start) && said.contains(": 116,480 parameters, 2 threads, "),
        "{said}"
    );
    for word in [
        "embedding",
        "attention",
        "mlp",
        "head",
        "optimiser",
        "left over",
    ] {
        let row = said.lines().find(|line| line.starts_with(word));
        let row = row.unwrap_or_else(|| panic!("no row {word} in {said}"));
        assert!(row.contains(" ms  ") && row.ends_with(" %"), "{row}");
    }
    for unit in [" tokens/s", " GFLOP/s", " names/s", " ms   median of 1 "] {
        assert!(said.contains(unit), "no {unit} in {said}");
    }
}

#[test]
fn what_does_not_pretrain_is_refused() {
    let lab = Lab::new();
    let file = lab.finetuning("finetuned", "");
    let message = lab.attnlab(&["bench", &file, "--steps", "1"]).failed(3);
    assert_eq!(
        message,
        "error: `bench` measures pretraining, and there is no `[pretrain]`"
    );
}
