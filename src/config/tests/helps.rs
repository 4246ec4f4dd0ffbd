//! Following the suggestion of a message removes its error.

use super::layering::load;
use super::{Scratch, VALID, problems_of, valid_with};
use crate::error::{Error, Problem, Result};

/// The sections of a golden text: their names and what follows them.
fn sections(name: &str) -> Vec<(String, String)> {
    let path = crate::sources().join(format!("tests/golden/{name}.txt"));
    let text = std::fs::read_to_string(path).unwrap();
    let sections = text.split("## ").skip(1);
    let pair = |section: &str| {
        let (name, rest) = section.split_once('\n').unwrap();
        (name.to_owned(), rest.to_owned())
    };
    sections.map(pair).collect()
}

/// An error of a golden text: line and column, message, help.
struct Told {
    line: usize,
    column: usize,
    message: String,
    help: String,
}

fn told(section: &str) -> Vec<Told> {
    let one = |block: &str| {
        let (first, help) = block
            .trim_end()
            .split_once("\n  help: ")
            .unwrap_or((block.trim_end(), ""));
        let mut parts = first.splitn(4, ':');
        let mut number = || parts.next()?.parse().ok();
        number();
        let (line, column) = (number()?, number()?);
        let (message, help) = (parts.next()?.trim().to_owned(), help.to_owned());
        Some(Told {
            line,
            column,
            message,
            help,
        })
    };
    section.split("error: ").skip(1).filter_map(one).collect()
}

/// The text after following the suggestion of an error, if it has one.
fn followed(text: &str, error: &Told) -> Option<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let line = lines.get(error.line - 1)?.clone();
    let (before, at) = line.split_at(line.char_indices().nth(error.column - 1)?.0);
    let new = if let Some((_, meant)) = error.message.split_once("; did you mean `") {
        let meant = meant.split('`').next()?;
        let table = |key: &str| key.rsplit_once('.').map(|(table, _)| table.to_owned());
        let unknown = error.message.strip_prefix("unknown key `");
        let unknown = unknown.and_then(|rest| rest.split('`').next());
        if unknown.is_some_and(|unknown| table(unknown) != table(meant)) {
            // It belongs elsewhere in the file.
            return None;
        }
        match error.message.split_once(" = \"") {
            // A name in quotes.
            Some((_, given)) => {
                let given = given.split('"').next()?;
                line.replace(&format!("\"{given}\""), &format!("\"{meant}\""))
            }
            None => {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                let rest = at.trim_start_matches(word);
                format!("{before}{}{rest}", meant.rsplit('.').next()?)
            }
        }
    } else if let Some(written) = error
        .help
        .strip_prefix("write ")
        .filter(|_| before.is_empty())
    {
        match written.split_once(" = ") {
            Some((key, _)) if at.starts_with(key) => written.to_owned(),
            _ => return None,
        }
    } else if let Some(example) = error.help.strip_prefix("such as `") {
        example.trim_end_matches('`').to_owned()
    } else if error.help.starts_with("remove the key") {
        match before.rfind(',') {
            None => String::new(),
            Some(comma) => {
                let end = at.find([',', '}'])?;
                format!("{} {}", &before[..comma], &at[end..])
            }
        }
    } else {
        return None;
    };
    lines[error.line - 1] = new;
    Some(lines.join("\n") + "\n")
}

#[test]
fn what_to_write_in_a_file_removes_its_error() {
    let mut tried = 0;
    for (name, section) in ["config_errors", "config_rules"]
        .into_iter()
        .flat_map(sections)
    {
        let Some((edit, rest)) = section.split_once('\n') else {
            continue;
        };
        let Some((old, new)) = edit.split_once(" -> ") else {
            continue;
        };
        let text = |quoted: &str| serde_json::from_str::<String>(quoted).unwrap();
        let broken = valid_with(&text(old), &text(new));
        for error in told(rest) {
            if let Some(corrected) = followed(&broken, &error) {
                tried += 1;
                let problems = problems_of(&corrected);
                assert!(
                    !problems.contains(&error.message),
                    "{name}:\n{problems}\n{corrected}"
                );
            }
        }
    }
    assert!(tried >= 18, "only {tried} were tried");
}

fn problems<T>(result: Result<T>) -> Vec<Problem> {
    match result {
        Ok(_) => vec![],
        Err(Error::Problems(problems)) => problems,
        Err(other) => panic!("{other}"),
    }
}

/// The words of `use --set '…'`, as a shell hands them on.
fn proposed(help: &str) -> String {
    let (_, rest) = help.split_once("use --set '").unwrap();
    rest.split('\'').next().unwrap().to_owned()
}

#[test]
fn what_to_set_removes_its_error() {
    let sweeps = "[sweep]\n'finetune.epochs' = [1, 2]\n'data' = [{ kind = 'synthetic', people = 40 }]\n\
                  _ = [{ 'model.layers' = 2, 'pretrain.epochs' = 1 }, { 'model.layers' = 3, 'pretrain.epochs' = 2 }]\n\
                  [sweep.random]\ndraws = 3\n'pretrain.learning_rate' = { log_uniform = [1e-4, 1e-2] }\n\
                  'model.dropout' = { choice = [0.0, 0.5] }\n";
    let scratch = Scratch::new(&[("experiments/x.toml", &format!("{VALID}{sweeps}"))]);
    assert_eq!(problems(load(&scratch, &[], &[])), []);
    let date = "evaluate.constant_answer=2024-01-01";
    for (set, points) in [
        ("finetune.epochs=3", 6),
        ("data.people=41", 12),
        ("model.layers=4", 12),
        ("pretrain.epochs=7", 12),
        ("pretrain.learning_rate=1e-3", 12),
        ("model.dropout=0.1", 12),
        (date, 12),
        ("evaluate.constant_answer=3", 12),
        ("evaluate.ask_model=True", 12),
    ] {
        let found = problems(load(&scratch, &[set], &[]));
        let [problem] = &found[..] else {
            panic!("{set}: {found:?}")
        };
        let instead = proposed(problem.help.as_deref().unwrap());
        let loaded = load(&scratch, &[&instead], &[]);
        let loaded = loaded.unwrap_or_else(|error| panic!("{set}, then {instead}: {error}"));
        assert_eq!(loaded.points.len(), points, "{instead}");
        let (_, value) = set.split_once('=').unwrap();
        let all = format!("{:?}", loaded.points);
        assert!(
            !set.starts_with("pretrain.epochs") || all.contains("epochs: 7"),
            "{value}"
        );
    }
    for (name, points) in [
        ("ATTNLAB_FINETUNE__EPOCHS", 6),
        ("ATTNLAB_MODEL__LAYERS", 12),
    ] {
        let found = problems(load(&scratch, &[], &[(name, "3")]));
        let help = found[0].help.clone().unwrap();
        assert!(
            help.starts_with(&format!("`unset {name}`, and use")),
            "{help}"
        );
        let loaded = load(&scratch, &[&proposed(&help)], &[]).unwrap();
        assert_eq!(loaded.points.len(), points);
    }
}

#[test]
fn what_is_meant_is_said_in_terms_of_where_it_was_written() {
    let scratch = Scratch::new(&[("experiments/x.toml", VALID)]);
    let help = |set: &[&str], environment: &[(&str, &str)]| {
        let found = problems(load(&scratch, set, environment));
        let [problem] = &found[..] else {
            panic!("{found:?}")
        };
        format!(
            "{}|{}",
            problem.message,
            problem.help.clone().unwrap_or_default()
        )
    };
    let meant = "`device` = \"gpu\" is not one of `cpu`, `cuda` and `auto`; did you mean `cuda`?|";
    assert_eq!(help(&["--device=gpu"], &[]), meant);
    assert_eq!(help(&[], &[("ATTNLAB_DEVICE", "gpu")]), meant);
    let rope = "`model.attention` must be a table, but is the string \"rope\"|";
    assert_eq!(
        help(&["model.attention=rope"], &[]),
        format!("{rope}use --set 'model.attention={{ kind = \"rope\" }}'")
    );
    assert_eq!(
        help(&[], &[("ATTNLAB_MODEL__ATTENTION", "rope")]),
        format!("{rope}set ATTNLAB_MODEL__ATTENTION='{{ kind = \"rope\" }}'")
    );
    let two = "unknown key `learning_rate`; did you mean `pretrain.learning_rate` or \
               `finetune.learning_rate`?|";
    assert_eq!(help(&["learning_rate=1e-3"], &[]), two);
    assert_eq!(help(&["sweep.learning_rate=[1e-3]"], &[]), two);
    assert_eq!(
        help(&[], &[("ATTNLAB_PORT", "tcp://10.0.0.1:80")]),
        "unknown key `port`|if the variable is not meant for attnlab: `unset ATTNLAB_PORT`, or \
         `env -u ATTNLAB_PORT attnlab …` for one command"
    );
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_named() {
    use std::os::unix::ffi::OsStringExt as _;
    let scratch = Scratch::new(&[("experiments/x.toml", VALID)]);
    let latin = |text: &[u8]| std::ffi::OsString::from_vec(text.to_vec());
    let environment = [
        (
            "ATTNLAB_EVALUATE__CONSTANT_ANSWER".into(),
            latin(b"Z\xfcrich"),
        ),
        (latin(b"ATTNLAB_\xfc"), "1".into()),
        ("ATTNLAB_DATA".into(), latin(b"\xfc")),
        ("OTHER".into(), latin(b"\xfc")),
    ];
    let found = problems(crate::config::load_with(
        &scratch.path("experiments/x.toml"),
        &[],
        &environment,
    ));
    let found: Vec<String> = found.iter().map(Problem::to_string).collect();
    assert_eq!(
        found,
        [
            "error: environment ATTNLAB_EVALUATE__CONSTANT_ANSWER: the value of this variable is not \
             UTF-8 text\n  help: set it in UTF-8, or `unset ATTNLAB_EVALUATE__CONSTANT_ANSWER`",
            "error: environment ATTNLAB_\u{fffd}: the name of this variable is not UTF-8 text\n  help: \
             set it in UTF-8, or `unset ATTNLAB_\u{fffd}`",
        ]
    );
}
