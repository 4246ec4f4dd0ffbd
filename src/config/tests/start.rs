//! Weights that stages start from, and paths in keys.

use super::{Scratch, VALID, load, valid_with};
use crate::config::check;

#[test]
fn weights_that_are_not_there_are_found_by_check_alone() {
    let text =
        VALID.replace("epochs = 3", "epochs = 0") + "[sweep]\n'finetune.init' = ['in', 'gone']\n";
    let scratch = Scratch::new(&[
        ("experiments/x.toml", &text),
        (
            "experiments/in",
            "beside the experiment, not where the program is started",
        ),
    ]);
    let path = scratch.path("experiments/x.toml");
    let beside = scratch.path("experiments/in").display().to_string();
    let said = scratch.error(check(std::slice::from_ref(&path)));
    assert_eq!(
        said,
        "error: experiments/x.toml:39:20: `finetune.init` = \"in\" does not exist\n  help: write \
         \"experiments/in\" instead\n\
         error: experiments/x.toml:39:26: `finetune.init` = \"gone\" does not exist\n  help: the path \
         is relative to the working directory; `attnlab export RUN FILE` writes such a file"
    );
    let experiment = load(&path).unwrap();
    assert_eq!(experiment.blockers.len(), 2);
    // The replacement that the message suggests, and the folder of a run, which is not a file.
    for (init, what) in [
        (beside.clone(), None),
        (scratch.path("").display().to_string(), Some("is a folder")),
    ] {
        std::fs::write(
            &path,
            text.replace("['in', 'gone']", &format!("['{init}']")),
        )
        .unwrap();
        let said = scratch.error(check(std::slice::from_ref(&path)));
        match what {
            None => assert_eq!(said, "valid"),
            Some(what) => assert!(said.contains(what), "{said}"),
        }
    }
}

#[test]
fn a_tilde_is_the_home_directory_in_every_key_that_is_a_path() {
    let home = std::env::home_dir().unwrap();
    let init = VALID
        .replace("epochs = 3", "epochs = 0")
        .replace("epochs = 2", "epochs = 2\ninit = '~/w'");
    let init = init + "[sweep]\n'pretrain.init' = ['~/v']\n";
    let scratch = Scratch::new(&[
        ("init.toml", &init),
        ("base.toml", "base = '~/attnlab-test/nowhere.toml'"),
        ("other.toml", "base = '~ada/x.toml'"),
        (
            "weights.toml",
            &valid_with("epochs = 2", "epochs = 2\ninit = '~ada/w'"),
        ),
    ]);
    let experiment = load(&scratch.path("init.toml")).unwrap();
    let settings = experiment.points[0].settings.training().unwrap();
    let files: Vec<_> = settings.init_files().collect();
    let [v, w] = ["v", "w"].map(|name| home.join(name));
    assert_eq!(
        files,
        [
            ("pretrain.init", v.as_path()),
            ("finetune.init", w.as_path())
        ]
    );
    let said = |name: &str| scratch.error(load(&scratch.path(name)));
    let base = home.join("attnlab-test/nowhere.toml").display().to_string();
    assert!(said("base.toml").contains(&base), "{}", said("base.toml"));
    for (name, start) in [
        ("other.toml", "other.toml:1:1: `base`: "),
        ("weights.toml", "weights.toml:29:1: `finetune.init`: "),
    ] {
        let said = said(name);
        assert!(
            said.starts_with(&format!("error: {start}`~ada` is not expanded")),
            "{said}"
        );
    }
}
