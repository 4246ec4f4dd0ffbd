//! Tests of text in files.

use std::fs;

use super::*;
use crate::data::Split;
use crate::data::vocabulary::Vocabulary;

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, content).expect("written");
    }
    folder
}

/// The keys of a table in JSON, with paths in the folder.
fn spec(folder: &tempfile::TempDir, keys: &str) -> Text {
    let place = folder.path().display().to_string().replace('\\', "/");
    serde_json::from_str(&keys.replace("DIR", &place)).expect("keys")
}

fn open(folder: &tempfile::TempDir, keys: &str) -> Corpus {
    spec(folder, keys)
        .open(None)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The first line of the error, with `DIR` for the folder.
fn refusal(folder: &tempfile::TempDir, keys: &str) -> String {
    let error = spec(folder, keys).open(None).err().expect("refused");
    let message = error.message();
    let place = folder.path().display().to_string();
    message.replace(&place, "DIR").replace('\\', "/")
}

fn texts(corpus: &Corpus, split: Split) -> Vec<String> {
    let documents = corpus.documents(split);
    let texts = documents.texts(&corpus.vocabulary);
    texts.collect::<Result<_>>().expect("readable")
}

#[test]
fn documents_are_lines_paragraphs_files_or_one_stream() {
    let folder = folder(&[
        ("a.txt", b"\xef\xbb\xbfone\r\ntwo\r\n\r\n\r\nthree"),
        ("b/c.txt", b"four\n"),
        (".hidden", b"no"),
    ]);
    let documents = |split: &str| {
        let keys = format!(r#"{{"documents": "DIR", "split": "{split}"}}"#);
        texts(&open(&folder, &keys), Split::Train)
    };
    assert_eq!(documents("lines"), ["one", "two", "three", "four"]);
    assert_eq!(documents("paragraphs"), ["one\ntwo", "three", "four"]);
    assert_eq!(documents("files"), ["one\ntwo\n\n\nthree", "four"]);
    assert_eq!(documents("stream"), ["one\ntwo\n\n\nthree\nfour\n"]);
    let default = open(&folder, r#"{"documents": "DIR"}"#);
    assert_eq!(texts(&default, Split::Train).len(), 2, "files of a folder");
    let default = open(&folder, r#"{"documents": "DIR/a.txt"}"#);
    assert_eq!(texts(&default, Split::Train).len(), 3, "lines of a file");
    assert_eq!(default.characters, "one\ntwo\nthree".len() as u64);
}

#[test]
fn held_out_documents_are_a_share_drawn_by_seed() {
    let lines: String = (0..100).map(|line| format!("{line}\n")).collect();
    let folder = folder(&[("a.txt", lines.as_bytes())]);
    let parts = |seed: u64| {
        let keys = format!(
            r#"{{"documents": "DIR/a.txt", "held_out": 0.1, "held_out_test": 0.25, "seed": {seed}}}"#
        );
        let corpus = open(&folder, &keys);
        [Split::Train, Split::Dev, Split::Test].map(|split| texts(&corpus, split))
    };
    let of_one = parts(1);
    assert_eq!(of_one.each_ref().map(Vec::len), [65, 10, 25]);
    let mut all = of_one.concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 100);
    assert_eq!(of_one, parts(1));
    assert_ne!(of_one[1], parts(2)[1]);
}

#[test]
fn the_end_of_a_stream_is_held_out() {
    let folder = folder(&[("a.txt", b"abcdefghij\nklmnopqrst\n")]);
    let keys =
        r#"{"documents": "DIR/a.txt", "split": "stream", "held_out": 0.25, "held_out_test": 0.25}"#;
    let corpus = open(&folder, keys);
    assert_eq!(texts(&corpus, Split::Train), ["abcdefghij"]);
    assert_eq!(texts(&corpus, Split::Dev), ["\nklmno"]);
    assert_eq!(texts(&corpus, Split::Test), ["pqrst\n"]);
    assert!(corpus.documents(Split::Dev).is_stream);
}

#[test]
fn tokens_are_characters_of_the_text_or_of_a_file_or_bytes() {
    let folder = folder(&[
        ("a.txt", "héé\n".as_bytes()),
        ("alphabet.txt", "éhx\n".as_bytes()),
    ]);
    let size = |tokens: &str| {
        let keys = format!(r#"{{"documents": "DIR/a.txt", "tokens": {tokens}}}"#);
        let corpus = open(&folder, &keys);
        assert_eq!(texts(&corpus, Split::Train), ["héé"]);
        (corpus.vocabulary.size(), corpus.documents.total_tokens())
    };
    assert_eq!(size(r#""characters""#), (4, 3));
    assert_eq!(size(r#"{"characters": "DIR/alphabet.txt"}"#), (5, 3));
    assert_eq!(size(r#""bytes""#), (258, 5));
    for wrong in [r#""words""#, r#"{"words": "x"}"#, "{}"] {
        let text = spec(
            &folder,
            &format!(r#"{{"documents": "x", "tokens": {wrong}}}"#),
        );
        assert_eq!(text.check().len(), 1, "{wrong}");
    }
}

/// Four pieces: `a`, `b`, their pair, and a space. It asks for documents to be cut to two tokens.
const TOKENIZER: &str = r#"{"version": "1.0", "padding": null, "truncation":
    {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
    "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
    "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 9}, "merges": [["a", "b"]]}}"#;

#[test]
fn tokens_may_be_the_pieces_of_a_tokenizer() {
    let folder = folder(&[("a.txt", b"ab ba\n"), ("t.json", TOKENIZER.as_bytes())]);
    let keys = r#"{"documents": "DIR/a.txt", "tokens": {"tokenizer": "DIR/t.json"}}"#;
    let corpus = open(&folder, keys);
    // Ids may leave gaps, and truncation is not done.
    assert_eq!(corpus.vocabulary.size(), 10 + 2);
    assert_eq!(corpus.documents.whole(0).expect("read"), [4, 11, 3, 2]);
    assert_eq!(texts(&corpus, Split::Train), ["ab ba"]);
    assert_eq!(corpus.vocabulary.bytes(11), b" ");
    let kept = Vocabulary::from_notes(&corpus.vocabulary.notes()).expect("whole");
    assert_eq!(kept, Some(corpus.vocabulary));
    fs::write(folder.path().join("t.json"), "{}").expect("written");
    assert!(refusal(&folder, keys).contains("t.json: not a tokenizer: "));
}

#[test]
fn text_that_is_not_text_is_named_by_file_and_line() {
    let message = |content: &[u8], keys: &str| refusal(&folder(&[("a.txt", content)]), keys);
    let keys = r#"{"documents": "DIR/a.txt"}"#;
    assert_eq!(message(b"", keys), "DIR/a.txt is empty");
    assert_eq!(
        message(b"ok\ncaf\xe9\n", keys),
        "DIR/a.txt:2: not UTF-8 text (byte 4 of the line)"
    );
    assert!(message(b"\xff\xfeh\0", keys).contains("UTF-16"));
    assert_eq!(
        message("ok\na\u{2047}".as_bytes(), keys),
        "DIR/a.txt:2: '\u{2047}' (U+2047) stands for the mask"
    );
    let gone = message(b"x", r#"{"documents": "DIR/b.txt"}"#);
    assert!(gone.starts_with("no file or folder at DIR/b.txt"), "{gone}");
    let few = message(b"a\nb\n", r#"{"documents": "DIR/a.txt", "held_out": 0.1}"#);
    assert_eq!(few, "`data.held_out` = 0.1 of 2 documents rounds to zero");
}

#[test]
fn checksums_are_recorded_and_may_be_demanded() {
    let folder = folder(&[("a.txt", b"hello\n")]);
    // printf 'hello\n' | sha256sum
    let right = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    let keys =
        |sum: &str| format!(r#"{{"documents": "DIR/a.txt", "sha256": {{"documents": "{sum}"}}}}"#);
    let corpus = open(&folder, &keys(right));
    assert_eq!(corpus.files[0].sha256, right);
    assert_eq!(
        refusal(&folder, &keys(&right.replace('5', "6"))),
        "DIR/a.txt has the wrong SHA-256 checksum: expected 6891b6b622d6, found 5891b5b522d5"
    );
}

/// A text, and a table of questions under a name.
fn asked(name: &str, table: &[u8]) -> (tempfile::TempDir, String) {
    let folder = folder(&[
        ("a.txt", b"Where was Ada born? Lima, \"Rio\".\n"),
        (name, table),
    ]);
    let keys = format!(r#"{{"documents": "DIR/a.txt", "questions": {{"train": "DIR/{name}"}}}}"#);
    (folder, keys)
}

#[test]
fn questions_are_read_from_tsv_and_csv() {
    for (name, table) in [
        (
            "q.tsv",
            "\u{feff}question\tanswer\r\nWhere?\tLima\r\n\r\nWas Ada?\t\"Rio, \"\"Rio\"\"\"\r\n",
        ),
        (
            "q.csv",
            "answer,question\nLima,Where?\n\n\"Rio, \"\"Rio\"\"\",Was Ada?\n",
        ),
    ] {
        let (folder, keys) = asked(name, table.as_bytes());
        let corpus = open(&folder, &keys);
        let found: Vec<_> = corpus
            .train
            .iter()
            .map(|q| (q.text.as_str(), q.answer.as_deref()))
            .collect();
        assert_eq!(
            found,
            [("Where?", Some("Lima")), ("Was Ada?", Some("Rio, \"Rio\""))],
            "{name}"
        );
        assert_eq!(corpus.files.len(), 2);
    }
}

#[test]
fn a_bad_table_is_one_line() {
    for (table, expected) in [
        (&b""[..], "DIR/q.tsv is empty"),
        (
            b"question\tanswer\n",
            "DIR/q.tsv has a header but no questions",
        ),
        (
            b"question    answer\nWhere?    Lima\n",
            "DIR/q.tsv:1: the header has no column `question`, but `question    answer` alone, without tabs",
        ),
        (
            b"q\ta\nWhere?\tLima\n",
            "DIR/q.tsv:1: the header has no column `question`, but `q` and `a`",
        ),
        (
            b"question\nWhere?\n",
            "DIR/q.tsv:1: the header has no column `answer`, but `question` alone, without tabs",
        ),
        (
            b"question\tanswer\nWhere?\n",
            "DIR/q.tsv:2: the row has 1 column, the header has 2",
        ),
        (
            b"question\tanswer\nWhere?\tLima\tRio\n",
            "DIR/q.tsv:2: the row has 3 columns, the header has 2",
        ),
        (
            b"question\tanswer\n\tLima\n",
            "DIR/q.tsv:2: the question is empty",
        ),
        (
            b"question\tanswer\nWhere?\t \n",
            "DIR/q.tsv:2: the answer is empty",
        ),
        (
            b"question\tanswer\nWhere?\t\"Lima\nWas?\tRio\n",
            "DIR/q.tsv:2: a field begins with a quote and does not end with one",
        ),
        (
            b"question\tanswer\nWhere?\t\xe2\x81\x87\n",
            "DIR/q.tsv: '\u{2047}': '\u{2047}' (U+2047) stands for the mask",
        ),
    ] {
        let (folder, keys) = asked("q.tsv", table);
        assert_eq!(refusal(&folder, &keys), expected);
    }
    let (folder, keys) = asked("q.tsv", b"question\tanswer\ncaf\xe9\tLima\n");
    assert!(refusal(&folder, &keys).contains("not UTF-8 text (byte 19)"));
}

#[test]
fn what_inflates_scores_is_told_with_its_number() {
    let table = |rows: &str| format!("question\tanswer\n{rows}");
    let train = table("Where?\tLima\nWas Ada?\tRio\nWhere?\tLima\n");
    let dev = table("Where?\tLima\nborn?\tRio\n");
    let folder = folder(&[
        ("a.txt", b"Where was Ada born? Lima, Rio. W"),
        ("t.tsv", train.as_bytes()),
        ("d.tsv", dev.as_bytes()),
    ]);
    let keys =
        r#"{"documents": "DIR/a.txt", "questions": {"train": "DIR/t.tsv", "dev": "DIR/d.tsv"}}"#;
    assert_eq!(
        open(&folder, keys).notes,
        [
            "1 of 3 train questions are asked more than once; the first is 'Where?'",
            "1 of 2 dev questions are also train questions, which inflates scores; the first is 'Where?'",
        ]
    );
}

#[test]
fn large_text_is_packed_once_and_read_as_if_it_were_in_memory() {
    let folder = folder(&[("a.txt", "zwei Zeilen\nmit é\n\nund drei\n".as_bytes())]);
    let text = spec(&folder, r#"{"documents": "DIR/a.txt"}"#);
    let sources = SourceFiles::find(&text.documents).expect("there");
    let data = folder.path().join("data");
    let sums = sources.checksums().expect("readable").into_iter();
    let recorded: Vec<ReadFile> = sums
        .map(|(file, sha256)| ReadFile {
            file: file.display().to_string(),
            sha256,
        })
        .collect();
    let opener = || Opener {
        spec: &text,
        directory: Some(&data),
        files: recorded.clone(),
        checked: vec![],
    };
    let of_text = tokens::Tokens::OfText("?".to_owned());
    for split in [DocumentsAre::Lines, DocumentsAre::Stream] {
        let held = packing::in_memory(&sources, split, &of_text).expect("encoded");
        let pack = || packing::packed(&sources, split, &of_text, &opener());
        let packed = pack().expect("packed");
        let all = |one: &packing::Encoded| {
            let texts = one.documents.texts(&one.vocabulary);
            texts.collect::<Result<Vec<_>>>().expect("readable")
        };
        assert_eq!(all(&packed), all(&held));
        assert_eq!(packed.characters, held.characters);
        let identity =
            |one: &packing::Encoded| one.documents.identity(&one.vocabulary).expect("known");
        assert_eq!(identity(&packed), identity(&pack().expect("found again")));
    }
    let folders = fs::read_dir(data.join("packed")).expect("packed");
    let damaged = folders.map(|one| one.expect("a folder").path().join("ids"));
    damaged.for_each(|ids| fs::write(ids, "x").expect("damaged"));
    let again = packing::packed(&sources, DocumentsAre::Lines, &of_text, &opener());
    assert_eq!(again.expect("packed anew").documents.len(), 3);
}
