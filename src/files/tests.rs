use super::*;

#[test]
fn a_bare_file_name_is_in_the_current_folder() {
    let folder = |path| folder_of(Path::new(path)).to_str().expect("text");
    assert_eq!(
        ["a.csv", "./a.csv", "b/a.csv", "/a.csv"].map(folder),
        [".", ".", "b", "/"]
    );
    // The tests run in the root of the package, where nothing else has this name.
    let name = Path::new("written-by-a-bare-name.tmp");
    let written = write(name, b"whole").and_then(|()| write(name, b"again"));
    let shared = share(name, Path::new("shared-by-a-bare-name.tmp"));
    let found = std::fs::read("shared-by-a-bare-name.tmp");
    for name in ["written-by-a-bare-name.tmp", "shared-by-a-bare-name.tmp"] {
        remove(Path::new(name)).expect("removed");
    }
    written.and(shared).expect("written and shared");
    assert_eq!(found.expect("shared"), b"again");
}

#[test]
#[cfg(unix)]
fn a_folder_that_cannot_be_synced_is_not_an_error_but_a_failing_disk_is() {
    // EBADF, EACCES, EISDIR, EINVAL; EIO, ENOENT, EMFILE, ENOSPC.
    let ignored = |code| cannot_sync_folders(&std::io::Error::from_raw_os_error(code));
    assert_eq!([9, 13, 21, 22].map(ignored), [true; 4]);
    assert_eq!([5, 2, 24, 28].map(ignored), [false; 4]);
    let unsupported = std::io::Error::from(std::io::ErrorKind::Unsupported);
    assert!(cannot_sync_folders(&unsupported));
    #[cfg(target_os = "linux")]
    // ENOSYS, EOPNOTSUPP.
    assert_eq!([38, 95].map(ignored), [true; 2]);
}

#[test]
fn a_byte_order_mark_is_not_part_of_the_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.txt");
    let read = |bytes: &[u8]| {
        write(&path, bytes).expect("written");
        read_text(Kind::Data, &path).map_err(|error| error.message())
    };
    assert_eq!(
        read(b"\xef\xbb\xbfa\xef\xbb\xbf").expect("text"),
        "a\u{feff}"
    );
    let refused = read(b"\xff\xfea\0").expect_err("not UTF-8");
    assert!(
        refused.ends_with("t.txt: UTF-16 text, not UTF-8"),
        "{refused}"
    );
}

#[test]
fn a_link_whose_reply_was_lost_is_recognised_by_its_content() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("claim");
    let unheard = |from: &Path, to: &Path| {
        std::fs::hard_link(from, to).and(Err(std::io::ErrorKind::AlreadyExists.into()))
    };
    assert!(create_by(unheard, &path, b"ours").expect("created"));
    assert!(!create(&path, b"theirs").expect("there is one"));
    assert_eq!(std::fs::read(&path).expect("a file"), b"ours");
}

#[test]
fn files_are_alike_when_their_bytes_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    for (name, content) in [("a", "1,2"), ("b", "1,2"), ("c", "1;2")] {
        write(&path(name), content.as_bytes()).expect("written");
    }
    share(&path("a"), &path("link")).expect("shared");
    let alike = |other| are_alike(&path("a"), &path(other));
    assert_eq!(
        ["link", "b", "c", "gone"].map(alike),
        [true, true, false, false]
    );
}

#[test]
fn sharing_twice_leaves_one_name_and_replaces_what_was_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    write(&path("from"), b"one").expect("written");
    write(&path("in/to"), b"old").expect("written");
    for _ in 0..2 {
        share(&path("from"), &path("in/to")).expect("shared");
        assert_eq!(std::fs::read(path("in/to")).expect("a file"), b"one");
        let names = std::fs::read_dir(path("in")).expect("a folder").count();
        assert_eq!(names, 1, "nothing is left beside it");
    }
    write(&path("from"), b"two").expect("written");
    assert_eq!(std::fs::read(path("in/to")).expect("a file"), b"one");
}

#[test]
fn unfinished_files_are_found_and_removed_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    for name in [
        "kept",
        "a/.writing-x",
        "a/kept",
        "a/b/.writing-y",
        "a/b/c/.writing-z",
    ] {
        write(&path(name), b"").expect("written");
    }
    let found = unfinished(folder.path(), &|folder| !folder.ends_with("b"));
    assert_eq!(found, [path("a/.writing-x")]);
    remove_unfinished(folder.path(), |_| true);
    assert_eq!(
        unfinished(folder.path(), &|_| true),
        [""; 0].map(PathBuf::from)
    );
    assert!(path("kept").is_file() && path("a/kept").is_file());
}
