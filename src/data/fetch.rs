//! Fetching the CS224N files from a URL or a directory, all of them or none.

use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checksum::SourceFile;
use super::cs224n;
use crate::error::{Error, Kind, Result};
use crate::progress::Progress;

/// Size limit of a download; all files are smaller.
const MOST_BYTES: u64 = 64 << 20;

/// Fetches the four files into `into/cs224n` and returns that folder.
///
/// `from` is the `http(s)` URL of a folder that holds them, or a directory: the one with the files, or the
/// parent of `cs224n/`. Nothing appears at the destination until all four are verified: a new folder is
/// renamed into place; in an existing folder each file is replaced and other files are kept.
///
/// # Errors
/// The source does not exist, a transfer fails, a checksum is wrong, or the destination cannot be written.
/// No partial file is left behind.
pub fn fetch_cs224n(from: &str, into: &Path, progress: &Progress) -> Result<PathBuf> {
    let place = into.join(cs224n::FOLDER);
    if complete(&place, &cs224n::FILES) {
        progress.say("it is already there and verified");
        return Ok(place);
    }
    fetch(&cs224n::FILES, from, into, progress)
}

/// Whether all files exist and are verified.
fn complete(folder: &Path, files: &[SourceFile]) -> bool {
    files.iter().all(|file| cs224n::read(folder, file).is_ok())
}

/// Fetches into a temporary folder beside the destination, and removes the folders it created if it fails.
fn fetch(files: &[SourceFile], from: &str, into: &Path, progress: &Progress) -> Result<PathBuf> {
    let source = Source::of(from)?;
    let missing = into.ancestors().take_while(|folder| !folder.exists());
    let missing: Vec<&Path> = missing.collect();
    let result = fetch_beside(files, &source, into, progress);
    if result.is_err() {
        // Innermost first. A folder that is not empty is in use by now: it stays.
        missing
            .iter()
            .for_each(|folder| drop(fs::remove_dir(folder)));
    }
    result
}

fn fetch_beside(
    files: &[SourceFile],
    source: &Source,
    into: &Path,
    progress: &Progress,
) -> Result<PathBuf> {
    let cannot_write = |path: &Path, cause| Error::io(Kind::Data, "write", path, cause);
    fs::create_dir_all(into).map_err(|e| cannot_write(into, e))?;
    let beside = tempfile::Builder::new().prefix(".fetch-").tempdir_in(into);
    let beside = beside.map_err(|e| cannot_write(into, e))?;
    // A separate folder, since the temporary one is unreadable for other users.
    let fresh = beside.path().join(cs224n::FOLDER);
    fs::create_dir(&fresh).map_err(|e| cannot_write(&fresh, e))?;

    for file in files {
        let bytes = source.bytes(file.name, progress).map_err(|e| {
            let names: Vec<&str> = files.iter().map(|file| file.name).collect();
            let names = names.join(", ");
            e.help(format!(
                "nothing was stored; these files are needed: {names}"
            ))
        })?;
        let verified = file.verify(&source.place(file.name), bytes);
        let (text, repaired) = verified
            .map_err(|e| e.help("nothing was stored; another --from may have the right files"))?;
        if let Some(came_with) = repaired {
            let note = format!("note: {} came with {came_with}", file.name);
            progress.say(&format!("{note}; the original text is stored"));
        }
        let path = fresh.join(file.name);
        write_synced(&path, text.as_bytes()).map_err(|e| cannot_write(&path, e))?;
    }

    let place = into.join(cs224n::FOLDER);
    if !place.exists() && fs::rename(&fresh, &place).is_ok() {
        return Ok(place);
    }
    for file in files {
        let path = place.join(file.name);
        fs::rename(fresh.join(file.name), &path).map_err(|e| cannot_write(&path, e))?;
    }
    Ok(place)
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = fs::File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Where to fetch files from.
enum Source {
    /// URL of a folder, without a trailing slash.
    Web {
        agent: ureq::Agent,
        address: String,
    },
    Directory(PathBuf),
}

impl Source {
    fn of(from: &str) -> Result<Self> {
        let scheme = from.split_once("://");
        let scheme = scheme.map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("http" | "https") => Ok(Self::Web {
                agent: agent(),
                address: from.trim_end_matches('/').to_owned(),
            }),
            Some(scheme) => Err(Error::usage(format!(
                "cannot fetch from {scheme}://: an http or https URL, or a folder is needed"
            ))),
            None if Path::new(from).is_dir() => {
                let help =
                    "--from takes the folder that contains the files, or the parent of cs224n/";
                let found = cs224n::folder_in(Path::new(from)).map(Self::Directory);
                found.map_err(|e| e.help(help))
            }
            None if Path::new(from).is_file() => {
                let error = Error::usage(format!("cannot fetch from {from}: it is a file"));
                Err(error.help("--from takes the folder that contains it"))
            }
            None => {
                let error = Error::data(format!("cannot fetch from {from}: no such folder"));
                Err(error.help("a URL starts with http:// or https://"))
            }
        }
    }

    /// The path or URL of a file.
    fn place(&self, name: &str) -> String {
        match self {
            Self::Web { address, .. } => format!("{address}/{name}"),
            Self::Directory(directory) => directory.join(name).display().to_string(),
        }
    }

    fn bytes(&self, name: &str, progress: &Progress) -> Result<Vec<u8>> {
        let place = self.place(name);
        let fail = |cause: String| Error::data(format!("cannot fetch {place}: {cause}"));
        let (total, mut reader): (Option<u64>, Box<dyn Read>) = match self {
            Self::Web { agent, .. } => {
                let response = agent.get(&place).call().map_err(|e| fail(web_cause(e)))?;
                let body = response.into_body();
                (body.content_length(), Box::new(body.into_reader()))
            }
            Self::Directory(_) => {
                let file = fs::File::open(&place).map_err(|e| fail(e.to_string()))?;
                let metadata = file.metadata().map_err(|e| fail(e.to_string()))?;
                (Some(metadata.len()), Box::new(file))
            }
        };
        read_all(name, &mut reader, total, progress).map_err(fail)
    }
}

/// Reads to the end in chunks; an error is the cause alone.
fn read_all(
    name: &str,
    reader: &mut dyn Read,
    total: Option<u64>,
    progress: &Progress,
) -> Result<Vec<u8>, String> {
    let too_large = || format!("larger than {} MiB", MOST_BYTES >> 20);
    if total.is_some_and(|total| total > MOST_BYTES) {
        return Err(too_large());
    }
    if total.is_none() {
        progress.say(&format!("receiving {name}"));
    }
    let mut bar = progress.begin(name, total.unwrap_or(0) as usize);
    let mut bytes = Vec::new();
    loop {
        bar.at(bytes.len(), "bytes");
        let before = bytes.len();
        let piece = reader.take(1 << 16).read_to_end(&mut bytes);
        let got = bytes.len() as u64;
        piece.map_err(|e| format!("broke off after {got} bytes ({e})"))?;
        if got > MOST_BYTES {
            return Err(too_large());
        }
        if bytes.len() == before {
            break;
        }
    }
    match total {
        Some(total) if total != bytes.len() as u64 => {
            Err(format!("broke off after {} of {total} bytes", bytes.len()))
        }
        _ => Ok(bytes),
    }
}

fn agent() -> ureq::Agent {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    ureq::Agent::config_builder()
        .user_agent(concat!("attnlab/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(seconds(15))
        .timeout_connect(seconds(15))
        .timeout_recv_response(seconds(30))
        .timeout_per_read(seconds(30))
        .timeout_global(seconds(600))
        .build()
        .new_agent()
}

/// A user-facing reason why a request failed.
fn web_cause(error: ureq::Error) -> String {
    match error {
        ureq::Error::StatusCode(status) => format!("the server answered {status}"),
        ureq::Error::Io(cause) => cause.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
