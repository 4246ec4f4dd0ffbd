//! Arguments, as they reach the commands.

use super::*;

#[test]
fn a_tilde_is_the_home_directory_in_every_argument_that_is_a_path() {
    let home = std::env::home_dir().expect("a home directory");
    let mut found = vec![];
    for line in [
        "run ~/x --results=~/x --data=~/x",
        "plan ~/x --results ~/x --data ~/x",
        "check ~/x",
        "clean ~/x --results=~/x",
        "show ~/x",
        "plot ~/x --results=~/x",
        "report ~/x --results=~/x --out=~/x",
        "compare ~/x ~/x",
        "ask ~/x where?",
        "score ~/x --text=~/x",
        "export ~/x ~/x",
        "bench ~/x --data=~/x",
        "list experiments ~/x",
        "list runs --results=~/x",
        "data fetch cs224n --from=~/x --data=~/x",
        "data show ~/x --data=~/x --results=~/x",
    ] {
        let words = ["attnlab"].into_iter().chain(line.split(' '));
        let matches = expanding_home(Cli::command()).try_get_matches_from(words);
        let cli = Cli::from_arg_matches(&matches.expect(line)).expect(line);
        let text = format!("{:?}", cli.command);
        assert!(!text.contains('~'), "{text}");
        found.push(text.matches(&home.join("x").display().to_string()).count());
    }
    assert_eq!(found, [3, 3, 1, 2, 1, 2, 3, 2, 1, 2, 2, 2, 1, 1, 2, 3]);
    let words = ["attnlab", "plan", "x", "--results=~ada/x"];
    let refused = expanding_home(Cli::command()).try_get_matches_from(words);
    let refused = refused.expect_err("another user's").to_string();
    assert!(refused.contains("`~ada` is not expanded"), "{refused}");
    let words = ["attnlab", "ask", "x", "~ who?"];
    let asked = expanding_home(Cli::command()).try_get_matches_from(words);
    let cli = Cli::from_arg_matches(&asked.expect("a question")).expect("a question");
    assert!(
        format!("{:?}", cli.command).contains("\"~ who?\""),
        "text is not a path"
    );
}
