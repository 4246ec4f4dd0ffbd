//! `ask` and `score`: what a trained model says.

use crate::lab::{Lab, column, read};

/// A lab with the short quickstart run; the folder of its second point.
fn trained() -> (Lab, String) {
    let lab = Lab::new();
    lab.quickstart("run", "r", &[]).done();
    let run = lab.run_text("r", 1);
    (lab, run)
}

/// `MATMUL_KERNEL` simulates a processor without AVX512_BF16.
#[test]
fn results_in_bf16_are_of_use_on_a_processor_without_it() {
    let (lab, bf16) = (Lab::new(), ["--precision", "bf16"]);
    let said = lab.quickstart("run", "r", &bf16);
    if said.err.contains("does not support AVX512_BF16") {
        eprintln!("not tested: no AVX512_BF16");
        return;
    }
    said.done();
    let elsewhere = [("MATMUL_KERNEL", "avx2")];
    let planned = lab.quickstart_with("plan", "r", &bf16, &elsewhere).done();
    assert!(planned.contains("reuse"), "{planned}");
    let more = [&bf16[..], &["--again"]].concat();
    lab.quickstart_with("plan", "r", &more, &elsewhere)
        .failed(3);
    let asked = ["ask", &lab.run_text("r", 1), "Where was Ada born?"];
    let said = lab.attnlab_with(&asked, &elsewhere);
    let told = "computing on the CPU in f32: `precision` is \"bf16\", but MATMUL_KERNEL is avx2";
    assert!(said.err.contains(told), "{}", said.err);
    assert!(said.done().contains("probability"));
}

#[test]
fn ask_gives_the_recorded_answer_and_its_probability() {
    let (lab, run) = trained();
    let predictions = read(&lab.run_folder("r", 1).join("predictions/dev-model.tsv"));
    let row: Vec<&str> = predictions
        .lines()
        .nth(1)
        .expect("a row")
        .split('\t')
        .collect();
    let probability: f64 = row[4].parse().expect("a number");

    let out = lab.attnlab(&["ask", &run, row[0]]).done();
    let (answer, rest) = out.split_once('\n').expect("two lines");
    let given = match row[2] {
        "" => "(the answer is empty)",
        given => given,
    };
    assert_eq!(answer, given);
    assert_eq!(
        rest,
        format!("probability {:.1} %\n", 100.0 * probability.exp())
    );

    // The folder above holds one run too; the one above that holds two.
    let point = lab
        .run_folder("r", 1)
        .parent()
        .expect("a point")
        .display()
        .to_string();
    assert_eq!(lab.attnlab(&["ask", &point, row[0]]).done(), out);
    let message = lab.attnlab(&["ask", &lab.text("r"), row[0]]).failed(2);
    assert!(message.ends_with(" holds several runs"), "{message}");
}

#[test]
fn ask_names_a_character_that_the_model_does_not_know() {
    let (lab, run) = trained();
    let message = lab.attnlab(&["ask", &run, "Where was Zoë born?"]).failed(2);
    assert!(
        message.contains("'Z' (U+005A) at position 11 does not occur"),
        "{message}"
    );
    assert_eq!(
        lab.attnlab(&["ask", &run, ""]).failed(2),
        "error: a question is empty"
    );
}

/// The question is at fault, not a run: exit 1 would say that a run has failed.
#[test]
fn ask_refuses_a_question_longer_than_the_context() {
    let (lab, run) = trained();
    let long = "Where was he born? ".repeat(20);
    let said = lab.attnlab(&["ask", &run, &long]);
    assert_eq!(said.out, "");
    let help = "\n  help: use at most 96 characters\n";
    assert!(said.err.ends_with(help), "{}", said.err);
    assert_eq!(
        said.failed(2),
        "error: the question has 380 characters; with an answer of up to 32 that is more than \
         the 128 that the model reads"
    );
    // As long as the help says fits, one more does not.
    lab.attnlab(&["ask", &run, &long[..96]]).done();
    lab.attnlab(&["ask", &run, &long[..97]]).failed(2);
}

#[test]
fn score_reads_every_line_and_long_ones_in_pieces() {
    let (lab, run) = trained();
    let long = "Ada Moss was born in London. ".repeat(12);
    let text = lab.write(
        "lines.txt",
        format!("Ada Moss was born in London.\n\nA\n{long}\n"),
    );
    let out = lab.attnlab(&["score", &run, "--text", &text]).done();
    assert_eq!(
        out.lines().next(),
        Some("line,scored_tokens,loss_nats,text")
    );
    assert_eq!(column(&out, "line"), ["1", "2", "3", "4"]);
    let tokens = (long.len() - 1).to_string();
    assert_eq!(column(&out, "scored_tokens"), ["27", "0", "0", &tokens]);
    let losses = column(&out, "loss_nats");
    assert_eq!(losses[1..3], ["", ""], "nothing scored is empty, not 0");
    for loss in [&losses[0], &losses[3]] {
        let loss: f64 = loss.parse().expect("a number");
        assert!(loss > 0.0 && loss < 10.0, "{out}");
    }
    let windows = format!("\u{feff}{}", read(text.as_ref()).replace('\n', "\r\n"));
    let windows = lab.write("windows.txt", windows);
    assert_eq!(
        lab.attnlab(&["score", &run, "--text", &windows]).done(),
        out
    );
}

#[test]
fn the_score_of_no_text_is_a_header() {
    let (lab, run) = trained();
    let text = lab.write("empty.txt", "");
    assert_eq!(
        lab.attnlab(&["score", &run, "--text", &text]).done(),
        "line,scored_tokens,loss_nats,text\n"
    );
}

#[test]
fn score_refuses_text_that_it_cannot_read() {
    let (lab, run) = trained();
    let score = |name: &str, bytes: &[u8]| {
        let text = lab.write(name, bytes);
        let said = lab.attnlab(&["score", &run, "--text", &text]);
        assert_eq!(said.out, "");
        lab.filtered(&said.failed(5))
    };
    assert_eq!(
        score("latin.txt", b"caf\xe9\n"),
        "error: cannot read TMP/latin.txt: not UTF-8 text (byte 3)"
    );
    let message = score("other.txt", "good\nb\u{e4}d\n".as_bytes());
    let start = "error: TMP/other.txt: line 2: character '\u{e4}' (U+00E4) at position 2";
    assert!(message.starts_with(start), "{message}");
    let gone = lab.attnlab(&["score", &run, "--text", &lab.text("gone.txt")]);
    assert!(
        lab.filtered(&gone.failed(5))
            .starts_with("error: cannot read TMP/gone.txt: ")
    );
}

#[test]
fn a_folder_without_a_run_is_named() {
    let lab = Lab::new();
    for arguments in [
        vec!["ask", "TMP", "Where?"],
        vec!["score", "TMP", "--text", "Cargo.toml"],
        vec!["export", "TMP", "TMP.safetensors"],
    ] {
        let nowhere = lab.text("nowhere");
        let arguments: Vec<String> = arguments
            .iter()
            .map(|a| a.replace("TMP", &nowhere))
            .collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let message = lab.attnlab(&arguments).failed(2);
        assert_eq!(lab.filtered(&message), "error: TMP/nowhere holds no run");
    }
}
