//! Checksums: of source files, which are verified by SHA-256, and of the texts that a stage reads.

use std::io::Read;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::files::{BYTE_ORDER_MARK, is_utf16};

/// What to do when a file of the corpus is missing or damaged.
pub(crate) const HELP: &str = "`attnlab data fetch cs224n --from URL-OR-FOLDER` fetches the files; `--data FOLDER` names the folder if you have them";

/// A file of a corpus and the checksum of its only valid content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// File name, without a folder.
    pub name: &'static str,
    /// SHA-256 of the content, 64 lower-case hex digits.
    pub sha256: &'static str,
}

/// The text whose checksum matches, and how the original bytes differed from it, if they did: `CRLF line endings`.
pub type Verified = (String, Option<&'static str>);

impl SourceFile {
    /// Verifies bytes read from `place`, a path or URL.
    ///
    /// Editors, spreadsheets and Git on Windows add byte-order marks and change line endings. If
    /// nothing else differs, the original text is restored.
    ///
    /// # Errors
    /// The file is empty, binary, not UTF-8, or has the wrong checksum. The more specific cause is reported,
    /// since each of them also changes the checksum.
    pub fn verify(&self, place: &str, bytes: Vec<u8>) -> Result<Verified> {
        let wrong = |message: String| Error::data(format!("{place} {message}")).help(HELP);
        if bytes.is_empty() {
            return Err(wrong("is empty".into()));
        }
        if is_utf16(&bytes) {
            return Err(wrong("is UTF-16 text, not UTF-8".into()));
        }
        if let Some(byte) = bytes.iter().position(|&b| b == 0) {
            let what = format!("is not text but binary (zero byte at {byte})");
            return Err(wrong(what));
        }
        let found = sha256(&bytes);
        let text = String::from_utf8(bytes).map_err(|e| {
            let byte = e.utf8_error().valid_up_to();
            wrong(format!("is not UTF-8 text (bad byte at {byte})"))
        })?;
        if found == self.sha256 {
            return Ok((text, None));
        }
        self.repair(&text).ok_or_else(|| {
            let (expected, found) = (&self.sha256[..12], &found[..12]);
            let sums = format!("expected {expected}, found {found}");
            wrong(format!("has the wrong SHA-256 checksum: {sums}"))
        })
    }

    /// The text without a byte-order mark and with LF line endings, if that has the right checksum; so nothing
    /// that belongs to the text can be lost.
    fn repair(&self, text: &str) -> Option<Verified> {
        let unmarked = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let plain = unmarked.replace('\r', "");
        let repaired = match (unmarked.len() < text.len(), plain.len() < unmarked.len()) {
            (true, true) => "a byte-order mark and CRLF line endings",
            (true, false) => "a byte-order mark",
            (false, true) => "CRLF line endings",
            (false, false) => "a missing or extra newline at the end",
        };
        let unended = plain.trim_end_matches('\n').to_owned();
        let ended = format!("{unended}\n");
        let right = |text: &String| sha256(text.as_bytes()) == self.sha256;
        let text = [plain, unended, ended].into_iter().find(right)?;
        Some((text, Some(repaired)))
    }
}

/// SHA-256 as 64 lower-case hex digits.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// The SHA-256 of what a reader has, which need not fit in memory.
///
/// # Errors
/// It cannot be read.
pub fn sha256_of(mut reader: impl Read) -> std::io::Result<String> {
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match reader.read(&mut piece)? {
            0 => return Ok(hexadecimal(&hasher.finalize())),
            read => hasher.update(&piece[..read]),
        }
    }
}

fn hexadecimal(digits: &[u8]) -> String {
    digits.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A BLAKE3 sum of texts, each preceded by its length, so that no two lists are the same bytes.
pub fn of_texts(texts: impl IntoIterator<Item: AsRef<str>>) -> String {
    let mut hasher = blake3::Hasher::new();
    for text in texts {
        let text = text.as_ref();
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    format!("blake3 {}", hasher.finalize().to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: SourceFile = SourceFile {
        name: "hello.txt",
        // printf 'hello\n' | sha256sum
        sha256: "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
    };

    fn refusal(bytes: &[u8]) -> String {
        let error = HELLO
            .verify("d/hello.txt", bytes.to_vec())
            .expect_err("refused");
        assert_eq!(error.exit_code(), 5);
        let text = error.to_string();
        let (message, help) = text.split_once('\n').expect("a help line");
        assert!(help.contains("attnlab data fetch cs224n") && help.contains("--data FOLDER"));
        message.to_owned()
    }

    #[test]
    fn the_right_bytes_are_text() {
        assert_eq!(
            HELLO.verify("x", b"hello\n".to_vec()).expect("right"),
            ("hello\n".to_owned(), None)
        );
    }

    #[test]
    fn only_line_ends_and_a_byte_order_mark_are_repaired() {
        for (bytes, repaired) in [
            ("hello\r\n", "CRLF line endings"),
            ("\u{feff}hello\n", "a byte-order mark"),
            (
                "\u{feff}hello\r\n",
                "a byte-order mark and CRLF line endings",
            ),
            ("hello\r", "CRLF line endings"),
            ("hello", "a missing or extra newline at the end"),
            ("hello\n\n", "a missing or extra newline at the end"),
        ] {
            let verified = HELLO.verify("x", bytes.as_bytes().to_vec()).expect("right");
            assert_eq!(verified.0, "hello\n", "{bytes:?}");
            assert_eq!(verified.1, Some(repaired), "{bytes:?}");
        }
        assert!(refusal(b"\xef\xbb\xbfhallo\r\n").contains("wrong SHA-256 checksum"));
    }

    #[test]
    fn each_defect_has_its_own_line() {
        assert_eq!(refusal(b""), "error: d/hello.txt is empty");
        assert_eq!(
            refusal(b"he\0lo\n"),
            "error: d/hello.txt is not text but binary (zero byte at 2)"
        );
        assert_eq!(
            refusal(b"hell\xff\n"),
            "error: d/hello.txt is not UTF-8 text (bad byte at 4)"
        );
        assert_eq!(
            refusal(b"\xff\xfeh\0"),
            "error: d/hello.txt is UTF-16 text, not UTF-8"
        );
        let found = &sha256(b"hell\n")[..12];
        assert_eq!(
            refusal(b"hell\n"),
            format!(
                "error: d/hello.txt has the wrong SHA-256 checksum: expected 5891b5b522d5, found {found}"
            )
        );
    }
}
