//! Suites: what goes to which member, and what is wrong with a suite and where.

use super::{Scratch, VALID, golden};
use crate::config::suite::load_suite_with;
use crate::config::{Loaded, Suite, check, is_suite, load_any};
use crate::error::Result;

const SUITE: &str = r#"title = "Two"
profile = "full"

[profiles.full]
about = "as the files say"

[profiles.short]
about = "fewer epochs"
set   = { "pretrain.epochs" = 1, "finetune.epochs" = 1, "seeds" = [7] }

[[members]]
question   = "1 a"
heading    = "Trained twice"
experiment = "both.toml"
figures    = { bars = "Figure 4" }
profiles.short = { "finetune.batch_documents" = 4 }

[[members]]
question   = "1 b"
heading    = "Never pretrained"
experiment = "one/untrained.toml"

[[members]]
question   = "1 c"
heading    = "Several"
experiment = "swept.toml"
profiles.short = { "sweep.pretrain.epochs" = [0, 2] }
"#;

/// The suite and its members in `experiments/`.
fn scratch(suite: &str) -> Scratch {
    let untrained = VALID.replace("epochs = 3", "epochs = 0");
    let swept = format!("{VALID}\n[sweep]\n'pretrain.epochs' = [0, 30]\n");
    Scratch::new(&[
        ("experiments/suite.toml", suite),
        ("experiments/both.toml", VALID),
        ("experiments/one/untrained.toml", &untrained),
        ("experiments/swept.toml", &swept),
    ])
}

fn load(scratch: &Scratch, profile: Option<&str>, set: &[&str]) -> Result<Suite> {
    let set: Vec<String> = set.iter().map(|text| (*text).to_owned()).collect();
    load_suite_with(&scratch.path("experiments/suite.toml"), profile, &set, &[])
}

/// `both.toml 3 2`: the epochs of both stages at each point of each member.
fn epochs(suite: &Suite) -> Vec<String> {
    let member = |member: &crate::config::Member| {
        let points = member.experiment.points.iter().map(|point| {
            let settings = point.settings.training().expect("it trains");
            let pretrain = settings.pretrain.as_ref().map_or(0, |stage| stage.epochs);
            let finetune = settings.finetune.as_ref().map_or(0, |stage| stage.epochs);
            format!("{pretrain}+{finetune}")
        });
        points.collect::<Vec<_>>().join(" ")
    };
    suite.members.iter().map(member).collect()
}

#[test]
fn a_profile_goes_to_the_members_that_have_a_place_for_it() {
    let scratch = scratch(SUITE);
    let full = load(&scratch, None, &[]).unwrap();
    assert_eq!(full.profile, "full");
    assert_eq!(full.profiles, ["full", "short"]);
    assert_eq!(epochs(&full), ["3+2", "0+2", "0+2 30+2"]);

    // What is not pretrained stays so, and the sweep is the member's own.
    let short = load(&scratch, Some("short"), &[]).unwrap();
    assert_eq!(epochs(&short), ["1+1", "0+1", "0+1 2+1"]);
    assert!(short.members.iter().all(|one| one.experiment.seeds == [7]));
    let batch = |member: usize| {
        let settings = &short.members[member].experiment.points[0].settings;
        let settings = settings.training().expect("it trains");
        settings.finetune.as_ref().unwrap().batch_documents
    };
    assert_eq!([batch(0), batch(1)], [4, 8], "its own alone");

    let member = &short.members[1].experiment;
    assert_eq!(member.name, "suite/short/one/untrained");
    let argument = format!(
        "{} --profile short",
        scratch.path("experiments/suite.toml").display()
    );
    assert_eq!(member.argument(), argument);
    let title = |suite: &Suite, member: usize| {
        suite.members[member].experiment.figures["bars"]
            .title
            .clone()
    };
    assert_eq!(title(&short, 0).as_deref(), Some("Figure 4"));
    assert_eq!(title(&short, 1), None);
}

#[test]
fn a_profile_has_the_settings_of_its_base_but_for_its_own() {
    let shorter = "[profiles.shorter]\nabout = \"none\"\nbase = \"short\"\nset = { \"finetune.epochs\" = 0 }\n\n[[members]]";
    let suite = SUITE.replacen("[[members]]", shorter, 1);
    let scratch_of = |base: &str| scratch(&suite.replace("base = \"short\"", base));
    let loaded = load(&scratch(&suite), Some("shorter"), &[]).unwrap();
    assert_eq!(epochs(&loaded), ["1+0", "0+0", "0+0 2+0"]);
    assert!(loaded.members.iter().all(|one| one.experiment.seeds == [7]));
    for (base, expected) in [
        (
            "base = \"shrt\"",
            "the suite has no profile \"shrt\"; did you mean \"short\"?",
        ),
        (
            "base = \"shorter\"",
            "the profile \"shorter\" has a base, so it cannot be one",
        ),
    ] {
        let scratch = scratch_of(base);
        let error = scratch.error(load(&scratch, Some("shorter"), &[]));
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("suite.toml:13:"), "{error}");
    }
}

#[test]
fn set_and_variables_go_on_top_of_the_profile() {
    let scratch = scratch(SUITE);
    let set = [
        "finetune={epochs=5}",
        "sweep.pretrain.epochs=[4]",
        "figures.bars.title=\"x\"",
    ];
    let suite = load(&scratch, Some("short"), &set).unwrap();
    assert_eq!(epochs(&suite), ["1+5", "0+5", "4+5"]);
    let titled =
        |one: &crate::config::Member| one.experiment.figures["bars"].title.as_deref() == Some("x");
    assert!(suite.members.iter().all(titled));

    let variable = [("ATTNLAB_FINETUNE__EPOCHS".into(), "6".into())];
    let path = scratch.path("experiments/suite.toml");
    let suite = load_suite_with(&path, Some("short"), &[], &variable).unwrap();
    assert_eq!(epochs(&suite), ["1+6", "0+6", "0+6 2+6"]);
    // An axis that nobody has is one of those who have its table.
    let suite = load(&scratch, None, &["sweep.model.dropout=[0.0, 0.5]"]).unwrap();
    assert_eq!(epochs(&suite), ["3+2 3+2", "0+2 0+2", "0+2 30+2 0+2 30+2"]);
}

#[test]
fn a_search_goes_to_the_members_that_have_one() {
    let search = "[sweep.random]\ndraws = 5\n'finetune.epochs' = { integers = [5, 15] }\n";
    let scratch = scratch(SUITE);
    std::fs::write(
        scratch.path("experiments/both.toml"),
        format!("{VALID}\n{search}"),
    )
    .unwrap();
    let short = SUITE.replacen(
        "\"finetune.epochs\" = 1",
        "\"sweep.random\" = { draws = 2, \"finetune.epochs\" = { integers = [5, 7] } }",
        1,
    );
    std::fs::write(scratch.path("experiments/suite.toml"), short).unwrap();
    let full = load(&scratch, None, &[]).unwrap();
    assert_eq!(epochs(&full), ["3+11 3+7 3+5 3+9", "0+2", "0+2 30+2"]);
    let short = load(&scratch, Some("short"), &[]).unwrap();
    assert_eq!(epochs(&short), ["1+6 1+5", "0+2", "0+2 2+2"]);
    let three = load(&scratch, Some("short"), &["sweep.random.seed=1"]).unwrap();
    assert_eq!(epochs(&three), ["1+5 1+7", "0+2", "0+2 2+2"]);
    let fixed = scratch.error(load(&scratch, None, &["finetune.epochs=1"]));
    let start = "error: --set finetune.epochs: experiments/both.toml: the sweep of the file sets ";
    assert!(fixed.starts_with(start), "{fixed}");
}

#[test]
fn each_mistake_in_a_suite_has_its_text() {
    let cases = [
        (
            "misspelled key",
            "heading    = \"Several\"",
            "headding = \"Several\"",
        ),
        ("no such profile", "profile = \"full\"", "profile = \"ful\""),
        (
            "no members",
            "[[members]]\nquestion   = \"1 a\"",
            "[[member]]\nquestion = \"1 a\"",
        ),
        ("no such file", "\"both.toml\"", "\"booth.toml\""),
        ("a suite in a suite", "\"both.toml\"", "\"suite.toml\""),
        ("listed twice", "\"swept.toml\"", "\"one/../both.toml\""),
        ("no such figure", "bars = ", "bar = "),
        (
            "profile with a misspelled key",
            "\"finetune.epochs\" = 1",
            "\"finetune.epoch\" = 1",
        ),
        (
            "profile with a misspelled table",
            "\"finetune.epochs\" = 1",
            "\"finetun.epochs\" = 1",
        ),
        (
            "profile with a wrong value",
            "\"finetune.epochs\" = 1",
            "\"finetune.epochs\" = \"1\"",
        ),
        (
            "profile with a table that none has",
            "\"seeds\"",
            "\"evaluate.invented.names\"",
        ),
        (
            "profile with a shape that does not fit",
            "\"seeds\" = [7]",
            "\"model.embed\" = 3",
        ),
        (
            "profile against a sweep",
            "{ \"sweep.pretrain.epochs\" = [0, 2] }",
            "{}",
        ),
        (
            "a member's profile that there is not",
            "profiles.short = { \"fine",
            "profiles.shrt = { \"fine",
        ),
        (
            "a member's misspelled key",
            "\"finetune.batch_documents\"",
            "\"finetune.batch_document\"",
        ),
    ];
    let sections = cases.map(|(name, old, new)| {
        assert_eq!(SUITE.matches(old).count(), 1, "{old:?} must occur once");
        let scratch = scratch(&SUITE.replacen(old, new, 1));
        (
            name.to_owned(),
            scratch.error(load(&scratch, Some("short"), &[])),
        )
    });
    let outside = [
        "pretrain.epoch=1",
        "pretrian.epochs=1",
        "sweep._=[]",
        "nothing",
        "pretrain.epochs=2",
    ];
    let outside = outside.map(|set| {
        let scratch = scratch(SUITE);
        (
            format!("--set {set}"),
            scratch.error(load(&scratch, None, &[set])),
        )
    });
    let unknown = scratch(SUITE);
    let unknown = unknown.error(load(&unknown, Some("shrot"), &[]));
    let sections = sections.into_iter().chain(outside);
    let sections = sections.chain([("--profile shrot".to_owned(), unknown)]);
    golden::check("config_suite", &golden::sections(sections));
}

#[test]
fn members_that_would_share_a_folder_are_refused() {
    let suite = SUITE.replace("one/untrained.toml", "elsewhere/both.toml");
    let scratch = Scratch::new(&[
        ("suite.toml", &suite),
        ("both.toml", VALID),
        ("elsewhere/both.toml", VALID),
        (
            "swept.toml",
            &format!("{VALID}\n[sweep]\n'pretrain.epochs' = [0, 30]\n"),
        ),
    ]);
    let path = scratch.path("suite.toml");
    let said = scratch.error(load_suite_with(&path, None, &[], &[]));
    assert!(
        said.starts_with("error: suite.toml:21:1: the results of both.toml and "),
        "{said}"
    );
    assert!(
        said.contains("elsewhere/both.toml would share the folder both"),
        "{said}"
    );
}

#[test]
fn check_reads_every_profile() {
    let broken = scratch(&SUITE.replace("\"finetune.epochs\" = 1", "\"finetune.epochs\" = -1"));
    let folder = [broken.path("experiments")];
    let said = broken.error(check(&folder));
    assert!(
        said.starts_with("error: experiments/suite.toml:9:34: "),
        "{said}"
    );
    assert_eq!(said.matches("error: ").count(), 1, "told once: {said}");
}

#[test]
fn only_a_suite_has_a_profile() {
    let scratch = scratch(SUITE);
    let both = scratch.path("experiments/both.toml");
    assert!(is_suite(&scratch.path("experiments/suite.toml")) && !is_suite(&both));
    let said = scratch.error(load_any(&both, Some("short"), &[]));
    assert_eq!(
        said,
        "error: experiments/both.toml is not a suite, so it has no profile \"short\"\n  help: leave \
         --profile out, or name a suite"
    );
    assert!(matches!(
        load_any(&both, None, &[]),
        Ok(Loaded::Experiment(_))
    ));
    let suite = scratch.path("experiments/suite.toml");
    let said = scratch.error(crate::config::load(&suite, &[]));
    assert!(
        said.starts_with("error: experiments/suite.toml is a suite of experiments\n"),
        "{said}"
    );
}
