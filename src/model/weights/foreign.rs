//! Recognises files that were given as weights but are not safetensors.

use serde_json::Value;

use crate::error::Error;
use crate::progress::thousands;

/// First bytes of other formats, what they are, and how to get weights from them.
const KNOWN: [(&[u8], &str, &str); 8] = [
    (
        b"version https://git-lfs",
        "it is a Git LFS pointer, not the weights themselves",
        "`git lfs pull` in its repository fetches the weights",
    ),
    (b"<", "it is a web page, not weights", DOWNLOAD),
    (
        b"PK\x03\x04",
        "it is a zip archive, such as `torch.save` writes",
        CONVERT,
    ),
    (
        b"\x80",
        "it is a Python pickle, such as `torch.save` writes",
        CONVERT,
    ),
    (
        b"\x1f\x8b",
        "it is compressed with gzip",
        "unpack it with `gunzip`",
    ),
    (b"GGUF", "it is a GGUF file", ONLY_SAFETENSORS),
    (b"\x89HDF", "it is an HDF5 file", ONLY_SAFETENSORS),
    (
        b"{",
        "it is JSON, such as the index of sharded weights",
        "merge the shards into one safetensors file",
    ),
];

const DOWNLOAD: &str = "download the file itself; on Hugging Face its URL has `/resolve/` where the page's has `/blob/`";

const CONVERT: &str = "convert it in Python: `safetensors.torch.save_file(torch.load(\"FILE\", map_location=\"cpu\"), \"FILE.safetensors\")`";

const ONLY_SAFETENSORS: &str = "save the weights as safetensors, with PyTorch names";

/// Why bytes are not a safetensors file, if that is recognised; `None` leaves it to the parser.
pub(super) fn diagnose(bytes: &[u8]) -> Option<Error> {
    if bytes.is_empty() {
        return Some(Error::data("the file is empty").help(COPY_AGAIN));
    }
    let marked = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = marked.trim_ascii_start();
    let known = KNOWN.iter().find(|(start, ..)| text.starts_with(start));
    // Safetensors begin with a length, which may have the first bytes of another format, but hardly
    // four of them, and ends in zeros.
    let is_length = bytes.get(5..8).is_some_and(|high| high == [0; 3]);
    match known.filter(|(start, ..)| start.len() >= 4 || !is_length) {
        Some((_, what, help)) => Some(Error::data(*what).help(*help)),
        None => cut_short(bytes),
    }
}

const COPY_AGAIN: &str = "copy or download it again";

/// A file that is shorter than its header says.
fn cut_short(bytes: &[u8]) -> Option<Error> {
    /// The longest header that safetensors allows.
    const LONGEST_HEADER: u64 = 100_000_000;
    let (length, rest) = bytes.split_first_chunk()?;
    let header = u64::from_le_bytes(*length);
    // A header is never shorter than `{}`.
    if !(2..=LONGEST_HEADER).contains(&header) {
        return None;
    }
    let (size, header) = (bytes.len() as u64, header as usize);
    let whole = match rest.get(..header) {
        None => None,
        Some(header_text) => Some(8 + header as u64 + data_bytes(header_text)?),
    };
    let there = thousands(usize::try_from(size).ok()?);
    let message = match whole {
        None => format!("the file is truncated: its {there} bytes end within the header"),
        Some(whole) if size < whole => {
            let whole = thousands(usize::try_from(whole).ok()?);
            format!("the file is truncated: it has {there} of {whole} bytes")
        }
        Some(_) => return None,
    };
    Some(Error::data(message).help(COPY_AGAIN))
}

/// How many bytes of tensor data a header declares.
fn data_bytes(header: &[u8]) -> Option<u64> {
    let header: Value = serde_json::from_slice(header).ok()?;
    let tensors = header.as_object()?.values();
    let ends = tensors.filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    ends.max()
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;

    fn message(bytes: &[u8]) -> String {
        let error = super::super::from_bytes(bytes).expect_err("refused");
        assert!(error.what_to_do().is_some(), "{error}");
        error.message()
    }

    #[test]
    fn files_of_other_kinds_are_named() {
        let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12345\n";
        for (bytes, says) in [
            (
                &lfs[..],
                "it is a Git LFS pointer, not the weights themselves",
            ),
            (b"<!DOCTYPE html><html>", "it is a web page, not weights"),
            (b"\n  <html lang=en>", "it is a web page, not weights"),
            (
                b"PK\x03\x04\x14\x00\x00\x00\x08\x00",
                "it is a zip archive, such as `torch.save` writes",
            ),
            (
                b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j",
                "it is a Python pickle, such as `torch.save` writes",
            ),
            (
                b"{\"metadata\": {}, \"weight_map\": {}}",
                "it is JSON, such as the index of sharded weights",
            ),
            (b"", "the file is empty"),
        ] {
            assert_eq!(message(bytes), says);
        }
    }

    #[test]
    fn a_truncated_file_is_reported_with_its_size() {
        let bytes = file();
        let (size, header) = (bytes.len(), 8 + bytes[0] as usize + 256 * bytes[1] as usize);
        let within = |end: usize| message(&bytes[..end]);
        let says = format!("the file is truncated: it has {} of {size} bytes", size - 1);
        assert_eq!(within(size - 1), says);
        let says = format!("the file is truncated: it has {header} of {size} bytes");
        assert_eq!(within(header), says);
        let says = "the file is truncated: its 20 bytes end within the header";
        assert_eq!(within(20), says);
    }
}
