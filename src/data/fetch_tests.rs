//! Tests of fetching, from a directory and from a small server on the loopback interface.

use crate::data::DataSource as _;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::data::checksum::sha256;
use crate::progress::Verbosity;
use crate::progress::tests::in_file;

/// Two made-up files, so that no test needs the real ones.
const FILES: [SourceFile; 2] = [
    SourceFile {
        name: "wiki.txt",
        sha256: "d83dc3774a85ae041a8afc47e34b3e598456da92d8cc230a7368bf359b03bedc",
    },
    SourceFile {
        name: "birth_dev.tsv",
        sha256: "662242318b7bab0d2859d7561af38f016a4c8f0ad18dded2e52e3eb74892fccc",
    },
];
const CONTENT: [&str; 2] = [
    "Ada Moss. Moss was born in Lima.\n",
    "Where was Ada Moss born?\tLima\n",
];

/// How the server responds to a request for the second file; the first is always right.
#[derive(Clone, Copy)]
enum Second {
    Right,
    WithoutLength,
    Missing,
    Truncated,
    WrongBytes,
    Huge,
    Empty,
}

/// Serves `FILES` under `/d/` until the test ends, one request per connection.
fn serve(second: Second) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}/d", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        listener
            .incoming()
            .flatten()
            .for_each(|stream| answer(stream, second));
    });
    address
}

fn answer(mut stream: TcpStream, second: Second) {
    let mut request = BufReader::new(stream.try_clone().expect("a socket")).lines();
    let first_line = request.next().expect("a request").expect("readable");
    request
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .for_each(drop);
    let path = first_line.split(' ').nth(1).expect("a path");
    let right = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let response = match (path, second) {
        ("/d/wiki.txt", _) => right(CONTENT[0]),
        ("/d/birth_dev.tsv", Second::Right) => right(CONTENT[1]),
        ("/d/birth_dev.tsv", Second::WithoutLength) => {
            format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", CONTENT[1])
        }
        ("/d/birth_dev.tsv", Second::Truncated) => {
            right(CONTENT[1]).trim_end_matches("Lima\n").to_owned()
        }
        ("/d/birth_dev.tsv", Second::WrongBytes) => right("<html>Sign in</html>"),
        ("/d/birth_dev.tsv", Second::Empty) => right(""),
        ("/d/birth_dev.tsv", Second::Huge) => {
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nabc".to_owned()
        }
        _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
    };
    // The client may have closed the connection, which is fine.
    drop(stream.write_all(response.as_bytes()));
}

fn quiet(files: &[SourceFile], from: &str, into: &Path) -> Result<PathBuf> {
    fetch(files, from, into, &Progress::new(Verbosity::Quiet))
}

/// The first line of the error; checks that no folder was created.
fn refusal(from: &str) -> String {
    let root = tempfile::tempdir().expect("a folder");
    let error = quiet(&FILES, from, &root.path().join("a/b")).expect_err("refused");
    assert_eq!(
        fs::read_dir(root.path()).expect("there").count(),
        0,
        "something was left"
    );
    let text = error.to_string();
    text.lines().next().expect("a line").replace(from, "FROM")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("there");
    entries
        .map(|e| {
            e.expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

/// A directory with the right files.
fn source() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a folder");
    for (file, content) in FILES.iter().zip(CONTENT) {
        assert_eq!(sha256(content.as_bytes()), file.sha256);
        fs::write(directory.path().join(file.name), content).expect("written");
    }
    directory
}

fn assert_fetched(into: &Path) {
    let expected = FILES.map(|file| file.name.to_owned());
    assert_eq!(names(&into.join("cs224n")), BTreeSet::from(expected));
    assert_eq!(names(into), BTreeSet::from(["cs224n".to_owned()]));
    assert!(complete(&into.join("cs224n"), &FILES));
}

#[test]
fn files_come_from_a_server() {
    for second in [Second::Right, Second::WithoutLength] {
        let root = tempfile::tempdir().expect("a folder");
        let into = root.path().join("a/b");
        let (progress, said, _) = in_file();
        let from = format!("{}/", serve(second));
        let place = fetch(&FILES, &from, &into, &progress).expect("fetched");
        assert_eq!(place, into.join("cs224n"));
        assert_fetched(&into);
        let received = |i: usize| {
            let (name, length) = (FILES[i].name, CONTENT[i].len());
            format!("{name} {length}/{length}  bytes  took 0.0 s\n")
        };
        // Of unknown length, there is no progress to show.
        let second = match second {
            Second::Right => received(1),
            _ => format!("receiving {}\n", FILES[1].name),
        };
        assert_eq!(said.text(), received(0) + &second);
    }
}

#[test]
fn each_failure_of_a_server_is_one_line_and_leaves_nothing() {
    for (second, expected) in [
        (
            Second::Missing,
            "cannot fetch FROM/birth_dev.tsv: the server answered 404",
        ),
        (
            Second::Huge,
            "cannot fetch FROM/birth_dev.tsv: larger than 64 MiB",
        ),
        (Second::Empty, "FROM/birth_dev.tsv is empty"),
        (
            Second::WrongBytes,
            "FROM/birth_dev.tsv has the wrong SHA-256 checksum: expected 662242318b7b, found 20a581d06823",
        ),
    ] {
        assert_eq!(refusal(&serve(second)), format!("error: {expected}"));
    }
    let truncated = refusal(&serve(Second::Truncated));
    assert!(
        truncated.starts_with("error: cannot fetch FROM/birth_dev.tsv: broke off after 25 "),
        "{truncated}"
    );
}

#[test]
fn an_address_without_a_server_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let message = refusal(&address);
    assert!(
        message.starts_with("error: cannot fetch FROM/wiki.txt: "),
        "{message}"
    );
    assert!(message.to_lowercase().contains("refused"), "{message}");
    assert!(refusal("http://").starts_with("error: cannot fetch "));
}

#[test]
fn only_directories_and_web_addresses_are_sources() {
    assert_eq!(
        refusal("FTP://host/d"),
        "error: cannot fetch from ftp://: an http or https URL, or a folder is needed"
    );
    assert_eq!(
        refusal("no/such/place"),
        "error: cannot fetch from FROM: no such folder"
    );
}

#[test]
fn files_come_from_a_directory_or_its_parent() {
    let from = source();
    let into = tempfile::tempdir().expect("a folder");
    quiet(&FILES, &from.path().to_string_lossy(), into.path()).expect("fetched");
    assert_fetched(into.path());

    let second = tempfile::tempdir().expect("a folder");
    quiet(&FILES, &into.path().to_string_lossy(), second.path()).expect("fetched");
    assert_fetched(second.path());
}

#[test]
fn files_with_windows_line_endings_are_stored_with_the_original_ones() {
    let (from, into) = (source(), tempfile::tempdir().expect("a folder"));
    for (file, content) in FILES.iter().zip(CONTENT) {
        let content = format!("\u{feff}{}", content.replace('\n', "\r\n"));
        fs::write(from.path().join(file.name), content).expect("written");
    }
    assert!(complete(from.path(), &FILES), "they are read as they are");
    let (progress, said, _) = in_file();
    let address = from.path().to_string_lossy();
    fetch(&FILES, &address, into.path(), &progress).expect("fetched");
    let both = "a byte-order mark and CRLF line endings; the original text is stored";
    let notes = FILES.map(|file| format!("note: {} came with {both}", file.name));
    let said = said.text();
    let said: Vec<&str> = said.lines().filter(|l| l.starts_with("note: ")).collect();
    assert_eq!(said, notes);
    assert_fetched(into.path());
    for (file, content) in FILES.iter().zip(CONTENT) {
        let stored = fs::read_to_string(into.path().join("cs224n").join(file.name));
        assert_eq!(stored.expect("stored"), content);
    }
}

#[test]
fn a_wrong_file_in_a_directory_is_refused() {
    let from = source();
    let directory = from.path().to_string_lossy().into_owned();
    fs::write(from.path().join(FILES[1].name), "other\n").expect("written");
    assert!(refusal(&directory).contains("birth_dev.tsv has the wrong SHA-256 checksum"));
    fs::remove_file(from.path().join(FILES[1].name)).expect("removed");
    assert!(refusal(&directory).contains("birth_dev.tsv: "));
    fs::create_dir(from.path().join(FILES[1].name)).expect("made");
    assert!(refusal(&directory).starts_with("error: cannot fetch "));
}

#[test]
fn a_damaged_folder_is_repaired_and_other_files_are_kept() {
    let (from, into) = (source(), tempfile::tempdir().expect("a folder"));
    let place = into.path().join("cs224n");
    fs::create_dir(&place).expect("made");
    fs::write(place.join("wiki.txt"), "half").expect("written");
    fs::write(place.join("notes.txt"), "mine").expect("written");
    assert!(!complete(&place, &FILES));

    let elsewhere = serve(Second::WrongBytes);
    quiet(&FILES, &elsewhere, into.path()).expect_err("refused");
    assert_eq!(
        fs::read_to_string(place.join("wiki.txt")).expect("there"),
        "half"
    );

    quiet(&FILES, &from.path().to_string_lossy(), into.path()).expect("fetched");
    assert!(complete(&place, &FILES));
    assert_eq!(
        fs::read_to_string(place.join("notes.txt")).expect("there"),
        "mine"
    );
    assert_eq!(names(into.path()), BTreeSet::from(["cs224n".to_owned()]));
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let (from, root) = (source(), tempfile::tempdir().expect("a folder"));
    let blocked = root.path().join("file");
    fs::write(&blocked, "").expect("written");
    for into in [blocked.clone(), blocked.join("below")] {
        let error = quiet(&FILES, &from.path().to_string_lossy(), &into).expect_err("refused");
        assert_eq!(error.exit_code(), 5);
        let (text, start) = (
            error.to_string(),
            format!("error: cannot write {}", into.display()),
        );
        assert!(
            text.starts_with(&start) && text.lines().count() == 1,
            "{text}"
        );
    }
    assert_eq!(names(root.path()), BTreeSet::from(["file".to_owned()]));

    fs::write(root.path().join("cs224n"), "").expect("written");
    quiet(&FILES, &from.path().to_string_lossy(), root.path()).expect_err("a file is in the way");
    assert_eq!(names(root.path()).len(), 2);
}

#[cfg(unix)]
#[test]
fn a_read_only_place_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let (from, root) = (source(), tempfile::tempdir().expect("a folder"));
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o555)).expect("own folder");
    if fs::write(root.path().join("probe"), "").is_ok() {
        eprintln!("skipped: this user may write into a read-only folder");
        return;
    }
    let error = quiet(&FILES, &from.path().to_string_lossy(), root.path()).expect_err("refused");
    let start = format!("error: cannot write {}: ", root.path().display());
    assert!(error.to_string().starts_with(&start), "{error}");
}

#[cfg(unix)]
#[test]
fn a_new_folder_has_default_permissions() {
    use std::os::unix::fs::PermissionsExt as _;
    let (from, into) = (source(), tempfile::tempdir().expect("a folder"));
    let place = quiet(&FILES, &from.path().to_string_lossy(), into.path()).expect("fetched");
    let usual = into.path().join("usual");
    fs::create_dir(&usual).expect("made");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode();
    assert_eq!(mode(&place), mode(&usual));
}

#[test]
fn the_real_files_are_fetched_once() {
    let Some(directory) = crate::data::tests::real_data() else {
        return;
    };
    let into = tempfile::tempdir().expect("a folder");
    let from = directory.to_string_lossy();
    let (progress, said, _) = in_file();
    let place = fetch_cs224n(&from, into.path(), &progress).expect("fetched");
    let text = said.text();
    let files: Vec<&str> = text.lines().filter_map(|l| l.split(' ').next()).collect();
    assert_eq!(files, cs224n::FILES.map(|file| file.name));
    let (progress, said, _) = in_file();
    let again = fetch_cs224n("http://nowhere.invalid", into.path(), &progress);
    assert_eq!(again.expect("there already"), place);
    assert_eq!(said.text(), "it is already there and verified\n");
    let corpus = cs224n::Cs224n {}.open(Some(into.path()));
    corpus.expect("verified");
}
