//! Compiles shapes that the program lacks, and goes on as the new program.
//!
//! Cargo builds the program anew, in the folders of its first build: only `main.rs`, where models are instantiated, is
//! compiled, not the library. The list of shapes stays beside the program, as cargo keeps `Cargo.lock`.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{count, print};
use crate::SOURCES;
use crate::config;
use crate::config::schema::{DeviceKind, Settings};
use crate::config::shape::ModelShape;
use crate::error::{Error, Result};
use crate::files;
use crate::model::registry;
use crate::pipeline::preflight::uses_model;
use crate::progress::{Progress, Verbosity};

/// How cargo built the program.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// The output folder of the program's build script: `TARGET/PROFILE/build/NAME/out`.
    pub out: &'static str,
    /// The platform that it was built for.
    pub platform: &'static str,
}

/// `attnlab compile`: the shapes of all experiments in these files and folders.
pub fn compile(build: Build, paths: &[PathBuf]) -> Result<()> {
    let checked = config::check(paths)?;
    let experiments = checked.iter().flat_map(|one| {
        let members = one.suite.iter().flat_map(|suite| &suite.members);
        one.experiment
            .iter()
            .chain(members.map(|member| &member.experiment))
    });
    let settings = experiments.flat_map(config::Experiment::trainings);
    let needed: BTreeSet<ModelShape> = settings
        .filter(|one| uses_model(one))
        .map(|one| one.model.shape())
        .collect();
    let missing = missing(needed.iter().copied());
    if !missing.is_empty() {
        build.add(&missing)?;
    }
    let new = missing.len();
    print(format!(
        "{}, {new} of them new",
        count(needed.len(), "shape")
    ))
}

impl Build {
    /// Goes on as a program that has the shapes of these settings, if this one lacks some.
    ///
    /// # Errors
    /// They cannot be compiled here; the message says why.
    pub fn ensure<'a>(self, settings: impl IntoIterator<Item = &'a Settings>) -> Result<()> {
        let runs_here = |one: &&Settings| one.device != DeviceKind::Cuda || cfg!(feature = "cuda");
        let settings = settings
            .into_iter()
            .filter(|one| uses_model(one))
            .filter(runs_here);
        let missing = missing(settings.map(|one| one.model.shape()));
        match missing.is_empty() {
            true => Ok(()),
            false => Err(become_program(&self.add(&missing)?)),
        }
    }

    /// Adds shapes to the list and builds the program, whose path it returns.
    fn add(self, shapes: &BTreeSet<ModelShape>) -> Result<PathBuf> {
        let lines: Vec<String> = shapes.iter().map(ModelShape::to_string).collect();
        self.build(shapes, &lines).map_err(|why| {
            let message = format!("{} not in this program, and {why}", are(&lines));
            let help = "where cargo and the sources are, `attnlab compile FILE` adds the shapes of an experiment";
            Error::config(message).help(help)
        })
    }

    /// The same, given the lines of the list; the error says why there is no such program.
    fn build(self, shapes: &BTreeSet<ModelShape>, lines: &[String]) -> Result<PathBuf, String> {
        let sources = Path::new(SOURCES).canonicalize().ok();
        let sources = sources.filter(|folder| folder.join("Cargo.toml").is_file());
        let sources = sources.ok_or_else(|| format!("its sources are not in {SOURCES}"))?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let starts = Command::new(&cargo)
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        starts.map_err(|cause| format!("`{}` does not start: {cause}", cargo.display()))?;
        let list =
            ModelShape::list_of_build(Path::new(self.out)).expect("the build script has found it");
        append(&list, lines)
            .map_err(|cause| format!("{} cannot be written: {cause}", list.display()))?;
        Progress::new(Verbosity::Normal).say(&format!(
            "compiling the shape{} {} into the program: once, in about half a minute",
            if lines.len() == 1 { "" } else { "s" },
            lines.join(" and ")
        ));
        let built =
            self.cargo(&cargo, &sources)
                .and_then(|program| match lacks(&program, shapes) {
                    false => Ok(program),
                    true => Err(format!("{} has been built without", program.display())),
                });
        if built.is_err() {
            // The next build must not fail on them too.
            let _ = remove(&list, lines);
        }
        built
    }

    /// Builds the program as it was built first, and returns its path.
    fn cargo(self, cargo: &OsStr, sources: &Path) -> Result<PathBuf, String> {
        let folder = Path::new(self.out)
            .ancestors()
            .nth(3)
            .expect("it has the list");
        let (mut target, profile) = (folder.parent().unwrap_or(folder), files::name_of(folder));
        let profile = if profile == "debug" { "dev" } else { &*profile };
        let mut command = Command::new(cargo);
        command
            .current_dir(sources)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        command.args([
            "build",
            "--quiet",
            "--package",
            "attnlab",
            "--bin",
            "attnlab",
        ]);
        command.args([
            "--message-format",
            "json-render-diagnostics",
            "--profile",
            profile,
        ]);
        if cfg!(feature = "cuda") {
            command.args(["--features", "cuda"]);
        }
        if files::name_of(target) == self.platform {
            command.args(["--target", self.platform]);
            target = target.parent().unwrap_or(target);
        }
        let shown = format!("`{} build`", cargo.display());
        let done = command.arg("--target-dir").arg(target).output();
        let done = done.map_err(|cause| format!("{shown} does not start: {cause}"))?;
        if !done.status.success() {
            return Err(format!("{shown} failed in {}", sources.display()));
        }
        let program = executable(&String::from_utf8_lossy(&done.stdout));
        program.ok_or_else(|| format!("{shown} has not said where the program is"))
    }
}

/// The shapes that are not in this program.
fn missing(shapes: impl Iterator<Item = ModelShape>) -> BTreeSet<ModelShape> {
    shapes.filter(|shape| !registry::has(shape)).collect()
}

/// `shape … is`, `shapes … and … are`.
fn are(shapes: &[String]) -> String {
    match shapes {
        [one] => format!("shape {one} is"),
        several => format!("shapes {} are", several.join(" and ")),
    }
}

/// Adds lines at the end, at once: another process may do the same.
fn append(list: &Path, lines: &[String]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(list)?;
    file.write_all((lines.join("\n") + "\n").as_bytes())
}

fn remove(list: &Path, lines: &[String]) -> std::io::Result<()> {
    let text = std::fs::read_to_string(list)?;
    let kept = text
        .lines()
        .filter(|line| !lines.iter().any(|gone| gone == line));
    files::replace(
        list,
        kept.map(|line| format!("{line}\n"))
            .collect::<String>()
            .as_bytes(),
    )
}

/// The program's path in what `cargo build --message-format json` says, a line for each artefact.
fn executable(said: &str) -> Option<PathBuf> {
    let messages = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut paths =
        messages.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    paths.next_back()
}

/// Whether a program says that it lacks one of the shapes.
fn lacks(program: &Path, shapes: &BTreeSet<ModelShape>) -> bool {
    let said = Command::new(program).args(["shapes", "--json"]).output();
    let listed: Option<Vec<Value>> = said
        .ok()
        .and_then(|said| serde_json::from_slice(&said.stdout).ok());
    let has = |shape: &ModelShape| {
        let is_it = |one: &Value| {
            shape
                .counts()
                .iter()
                .all(|(name, n)| one[name].as_u64() == Some(*n as u64))
        };
        listed.iter().flatten().any(is_it)
    };
    !shapes.iter().all(has)
}

/// Puts another program in the place of this process, with the same arguments; returns only if that fails.
fn become_program(program: &Path) -> Error {
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1));
    #[cfg(unix)]
    let cause = std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    let cause = match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(cause) => cause,
    };
    Error::run(format!("{} does not start: {cause}", program.display()))
}
