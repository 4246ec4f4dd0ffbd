//! Compiles shapes that the program lacks, and goes on as the new program.
//!
//! Cargo builds the program anew, in the folders of its first build: only `main.rs`, where models are instantiated, is
//! compiled, not the library. The list of shapes stays beside the program, as cargo keeps `Cargo.lock`.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{count, print};
use crate::config;
use crate::config::shape::ModelShape;
use crate::error::{Error, Result};
use crate::files;
use crate::model::registry;
use crate::pipeline::preflight::shapes;
use crate::progress::{Progress, Verbosity};
use crate::sources;

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
    let needed: BTreeSet<ModelShape> = experiments.flat_map(shapes).collect();
    let missing = needed.iter().filter(|shape| !registry::has(shape));
    let missing: BTreeSet<ModelShape> = missing.copied().collect();
    if !missing.is_empty() {
        build.add(&missing, Verbosity::Normal)?;
    }
    let new = missing.len();
    print(format!(
        "{}, {new} newly compiled",
        count(needed.len(), "shape")
    ))
}

impl Build {
    /// Goes on as a program that also has these shapes; returns only if that fails, with the reason.
    pub fn go_on_with(self, shapes: &BTreeSet<ModelShape>, verbosity: Verbosity) -> Error {
        match self.add(shapes, verbosity) {
            Ok(program) => become_program(&program),
            Err(error) => error,
        }
    }

    /// Adds shapes to the list and builds the program, whose path it returns.
    fn add(self, shapes: &BTreeSet<ModelShape>, verbosity: Verbosity) -> Result<PathBuf> {
        let lines: Vec<String> = shapes.iter().map(ModelShape::to_string).collect();
        self.build(shapes, &lines, verbosity).map_err(|why| {
            let message = format!("{} not in this program, and {why}", are(&lines));
            Error::config(message).help(registry::HOW_TO_ADD)
        })
    }

    /// The same, given the lines of the list; the error says why there is no such program.
    fn build(
        self,
        shapes: &BTreeSet<ModelShape>,
        lines: &[String],
        verbosity: Verbosity,
    ) -> Result<PathBuf, String> {
        let sources = sources();
        if !sources.join("Cargo.toml").is_file() {
            return Err(format!("its sources are not in {}", sources.display()));
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut starts = Command::new(&cargo);
        starts
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match starts.status() {
            Ok(status) if status.success() => {}
            Ok(_) => return Err(format!("`{} --version` fails", cargo.display())),
            Err(cause) => return Err(format!("`{}` does not start: {cause}", cargo.display())),
        }
        let list =
            ModelShape::list_of_build(Path::new(self.out)).expect("the build script has found it");
        let refused = |cause| format!("{} cannot be written: {cause}", list.display());
        // Until the new program has shown what it has: another process would replace it meanwhile.
        let _lock = lock(&list).map_err(refused)?;
        let (before, is_new) = add_to(&list, lines).map_err(refused)?;
        Progress::new(verbosity).say(&format!(
            "compiling the shape{} {} into the program: once, for about half a minute",
            if lines.len() == 1 { "" } else { "s" },
            lines.join(", ")
        ));
        let built = self
            .cargo(&cargo, files::folder_of(&list))
            .and_then(|program| match lacks(&program, shapes) {
                false => Ok(program),
                true => Err(format!(
                    "the new program, {}, lacks it too",
                    program.display()
                )),
            });
        if built.is_err() && is_new {
            // The next build must not fail on them too.
            let _ = files::replace(&list, before.as_bytes());
        }
        built
    }

    /// Builds the program as it was built first, into this folder, `TARGET/PROFILE`, and returns its path.
    fn cargo(self, cargo: &OsStr, folder: &Path) -> Result<PathBuf, String> {
        let (mut target, profile) = (files::folder_of(folder), files::name_of(folder));
        let profile = if profile == "debug" { "dev" } else { &*profile };
        let mut command = Command::new(cargo);
        command
            .current_dir(sources())
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        command.args(["build", "--quiet", "--package=attnlab", "--bin=attnlab"]);
        command.arg("--message-format=json-render-diagnostics");
        command.args(["--profile", profile]);
        if cfg!(feature = "cuda") {
            command.args(["--features", "cuda"]);
        }
        if files::name_of(target) == self.platform {
            command.args(["--target", self.platform]);
            target = files::folder_of(target);
        }
        for (name, _) in std::env::vars_os() {
            if is_of_cargo_run(&name.to_string_lossy()) {
                command.env_remove(name);
            }
        }
        let done = command.arg("--target-dir").arg(target).output();
        let done = done.map_err(|cause| format!("`cargo build` does not start: {cause}"))?;
        if !done.status.success() {
            return Err(format!("`cargo build` failed in {}", sources().display()));
        }
        let program = executable(&String::from_utf8_lossy(&done.stdout));
        program.ok_or_else(|| "`cargo build` has not said where the program is".to_owned())
    }
}

/// Whether `cargo run` sets a variable for the program that it runs. Build scripts that read it would run again, and all that
/// depends on them be compiled again.
fn is_of_cargo_run(name: &str) -> bool {
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_MANIFEST_")
        || ["OUT_DIR", "CARGO_BIN_NAME", "CARGO_CRATE_NAME"].contains(&name)
}

/// `shape … is`, `shapes …, … are`.
fn are(shapes: &[String]) -> String {
    match shapes {
        [one] => format!("shape {one} is"),
        several => format!("shapes {} are", several.join(", ")),
    }
}

/// Waits until no other process adds shapes to the list.
fn lock(list: &Path) -> std::io::Result<File> {
    std::fs::create_dir_all(files::folder_of(list))?;
    let file = File::create(list.with_extension("lock"))?;
    file.lock()?;
    Ok(file)
}

/// Adds the lines that the list lacks; returns what it held, and whether it lacked any. Otherwise it is not written, since
/// cargo builds anew what is older than it.
fn add_to(list: &Path, lines: &[String]) -> std::io::Result<(String, bool)> {
    let before = std::fs::read_to_string(list).unwrap_or_default();
    let new = lines
        .iter()
        .filter(|line| !before.lines().any(|old| old == **line));
    let new: String = new.map(|line| format!("{line}\n")).collect();
    if !new.is_empty() {
        files::replace(list, (before.clone() + &new).as_bytes())?;
    }
    Ok((before, !new.is_empty()))
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
