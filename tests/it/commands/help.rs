//! What the program says about itself, and about what it does not know.

use crate::lab::Lab;

const COMMANDS: [&[&str]; 21] = [
    &["run"],
    &["plan"],
    &["check"],
    &["list", "experiments"],
    &["list", "attention"],
    &["list", "runs"],
    &["clean"],
    &["shapes"],
    &["compile"],
    &["show"],
    &["schema"],
    &["plot"],
    &["report"],
    &["compare"],
    &["ask"],
    &["score"],
    &["export"],
    &["bench"],
    &["completions"],
    &["data", "fetch"],
    &["data", "show"],
];

#[test]
fn the_help_of_every_command_shows_an_example() {
    let lab = Lab::new();
    let without: Vec<&&[&str]> = COMMANDS
        .iter()
        .filter(|command| {
            let help = lab.attnlab(&[*command, &["--help"][..]].concat()).done();
            let example = format!("\n  attnlab {}", command.join(" "));
            !(help.contains("\nExample") && help.contains(&example))
        })
        .collect();
    assert!(without.is_empty(), "no example: {without:?}");
}

/// So that the list above cannot forget one.
#[test]
fn every_command_is_in_the_list_of_this_test() {
    let lab = Lab::new();
    let listed = |arguments: &[&str]| -> Vec<String> {
        let help = lab.attnlab(arguments).done();
        let commands = help.split("Commands:\n").nth(1).expect("commands");
        let lines = commands.lines().take_while(|line| !line.is_empty());
        let names = lines.filter_map(|line| line.split_whitespace().next());
        names
            .filter(|name| *name != "help")
            .map(str::to_owned)
            .collect()
    };
    let mut names = listed(&["--help"]);
    for group in ["list", "data"] {
        let at = names.iter().position(|name| name == group).expect(group);
        let inner = listed(&[group, "--help"]).into_iter();
        names.splice(at..=at, inner.map(|name| format!("{group} {name}")));
    }
    assert_eq!(names, COMMANDS.map(|command| command.join(" ")));
}

#[test]
fn the_exit_codes_are_in_the_help() {
    let help = Lab::new().attnlab(&["--help"]).done();
    let help: Vec<&str> = help.split_whitespace().collect();
    let codes = "0 done, 1 a run failed, 2 usage, 3 configuration, 4 some runs failed and the \
                 others finished (--keep-going), 5 data missing or damaged, 130 interrupted";
    assert!(help.join(" ").contains(codes), "{help:?}");
}

#[test]
fn an_unknown_command_or_option_is_a_usage_error() {
    let lab = Lab::new();
    assert!(lab.attnlab(&["rum"]).failed(2).contains("'rum'"));
    assert!(lab.attnlab(&["run"]).failed(2).contains("required"));
    assert!(
        lab.attnlab(&["shapes", "--wide"])
            .failed(2)
            .contains("'--wide'")
    );
    assert!(
        lab.attnlab(&["data", "fetch", "mnist", "--from", "x"])
            .failed(2)
            .contains("'mnist'")
    );
    let said = lab.attnlab(&[]);
    assert_eq!(said.code, 2);
    assert!(
        said.err.contains("Usage: attnlab <COMMAND>"),
        "{}",
        said.err
    );
}
