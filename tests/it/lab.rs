//! A fixture for one test: a temporary folder, the program, and its output.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The repository: the working directory of every command.
pub(crate) const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// The quickstart, short: two points, of which the second pretrains.
pub(crate) const QUICKSTART: &str = "experiments/quickstart.toml";
pub(crate) const SHORT: [&str; 5] = [
    "data.people=48",
    "data.biographies_per_person=2",
    "pretrain.batch_documents=24",
    "finetune.epochs=1",
    "sweep.pretrain.epochs=[0,1]",
];

/// A temporary folder that goes with the test.
pub(crate) struct Lab {
    folder: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder }
    }

    /// A path in the folder; it need not exist.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same as text, for the command line.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file of the folder and returns its path as text.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        std::fs::write(&path, bytes).expect("written");
        self.text(name)
    }

    /// Runs `attnlab` with arguments.
    pub(crate) fn attnlab(&self, arguments: &[&str]) -> Said {
        self.attnlab_with(arguments, &[])
    }

    /// Runs `attnlab` with arguments and variables; no other setting of the environment counts.
    pub(crate) fn attnlab_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        let mut command = program(arguments);
        command.envs(variables.iter().copied());
        Said::from(command.output().expect("the program starts"))
    }

    /// `attnlab COMMAND` on the short quickstart with its results in the folder `results`.
    pub(crate) fn quickstart(&self, command: &str, results: &str, more: &[&str]) -> Said {
        self.quickstart_with(command, results, more, &[])
    }

    /// The same with variables of the environment.
    pub(crate) fn quickstart_with(
        &self,
        command: &str,
        results: &str,
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> Said {
        let mut program = self.quickstart_program(command, results, more);
        program.envs(variables.iter().copied());
        Said::from(program.output().expect("the program starts"))
    }

    /// The same, not started yet.
    pub(crate) fn quickstart_program(
        &self,
        command: &str,
        results: &str,
        more: &[&str],
    ) -> Command {
        let results = self.text(results);
        let mut arguments: Vec<&str> = command.split(' ').collect();
        arguments.extend([QUICKSTART, "--results", &results]);
        arguments.extend(SHORT.iter().flat_map(|setting| ["--set", setting]));
        arguments.extend(more);
        program(&arguments)
    }

    /// Writes `NAME.toml`: the short quickstart's people, model and finetuning as one point without
    /// pretraining or figures, then `more`. Returns its path as text.
    pub(crate) fn finetuning(&self, name: &str, more: &str) -> String {
        let stages = format!(
            "[finetune]\nepochs = 1\nbatch_documents = 32\nlearning_rate = 1e-3\n\n\
             [evaluate]\nsplit = \"dev\"\n{more}"
        );
        let data = "kind = \"synthetic\"\npeople = 48\nbiographies_per_person = 2";
        self.experiment(name, data, &stages)
    }

    /// Writes `NAME.toml` with one seed, these keys of `[data]`, the quickstart's model, and then `stages`. Returns its path
    /// as text.
    pub(crate) fn experiment(&self, name: &str, data: &str, stages: &str) -> String {
        let quickstart = read(&Path::new(REPOSITORY).join(QUICKSTART));
        let (_, model) = quickstart.split_once("\n[model]\n").expect("a model");
        let (model, _) = model.split_once("\n[").expect("another table");
        let text = format!("seeds = [1]\n\n[data]\n{data}\n\n[model]\n{model}\n{stages}");
        self.write(&format!("{name}.toml"), text)
    }

    /// Runs [`Lab::finetuning`] from a file of weights.
    pub(crate) fn finetune_from(&self, results: &str, weights: &str) -> Said {
        let (file, results) = (self.finetuning("started", ""), self.text(results));
        let init = format!("finetune.init={weights}");
        self.attnlab(&["run", &file, "--results", &results, "--set", &init])
    }

    /// The run folder of the short quickstart's point with that many epochs of pretraining.
    pub(crate) fn run_folder(&self, results: &str, epochs: usize) -> PathBuf {
        let start = format!("pretrain-epochs-{epochs}-");
        let mut found: Vec<PathBuf> = std::fs::read_dir(self.path(results).join("quickstart"))
            .expect("an experiment's folder")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| {
                path.file_name()
                    .is_some_and(|n| n.to_string_lossy().starts_with(&start))
            })
            .collect();
        assert_eq!(found.len(), 1, "points of {epochs} epochs: {found:?}");
        found.remove(0).join("seed-1")
    }

    /// The same as text.
    pub(crate) fn run_text(&self, results: &str, epochs: usize) -> String {
        self.run_folder(results, epochs).display().to_string()
    }

    /// `text` with the temporary folder called `TMP`.
    pub(crate) fn filtered(&self, text: &str) -> String {
        text.replace(&self.folder.path().display().to_string(), "TMP")
            .replace('\\', "/")
    }
}

/// `attnlab` with arguments, in the repository; no setting of the environment counts.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnlab"));
    command.args(arguments).current_dir(REPOSITORY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ATTNLAB_") {
            command.env_remove(name);
        }
    }
    // No test compiles a shape: the program would change under the others.
    command.env("CARGO", "no-cargo-in-tests");
    command
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program says UTF-8");
        Self {
            code: output.status.code().expect("ended by itself"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Said {
    /// Fails the test unless the command was done; then what it printed.
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, 0, "{}", self.err);
        self.out
    }

    /// Fails the test unless the command failed with `code` and one message; then its lines that
    /// say what is wrong: neither help nor progress.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        let errors: Vec<&str> = self
            .err
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!(errors.len(), 1, "one line says what is wrong: {}", self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        errors[0].to_owned()
    }
}

/// Every file below a folder by its path in it, with its bytes.
pub(crate) fn files_below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below it");
                let name = name.display().to_string().replace('\\', "/");
                files.insert(name, std::fs::read(&path).expect("readable"));
            }
        }
    }
    files
}

/// A text file.
#[track_caller]
pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The cells of a CSV file's column.
#[track_caller]
pub(crate) fn column(text: &str, name: &str) -> Vec<String> {
    let mut table = csv::Reader::from_reader(text.as_bytes());
    let header = table.headers().expect("a header").clone();
    let at = header.iter().position(|cell| cell == name);
    let at = at.unwrap_or_else(|| panic!("no column {name} in {header:?}"));
    let rows = table.records();
    let cell = |row: Result<csv::StringRecord, csv::Error>| row.expect("a row")[at].to_owned();
    rows.map(cell).collect()
}
