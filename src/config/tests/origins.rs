//! Where each value comes from.

use std::path::Path;

use super::{Scratch, VALID, load};
use crate::config::layers;
use crate::config::origins::{Origins, origins_with};

const VARIABLES: [(&str, &str); 2] = [
    ("ATTNLAB_MODEL__ATTENTION", "{ kind = \"vanilla\" }"),
    ("ATTNLAB_DATA", "/tmp"),
];

fn origins(path: &Path, set: &[&str]) -> Origins {
    let set: Vec<String> = set.iter().map(|&one| one.to_owned()).collect();
    let variables = VARIABLES.map(|(name, text)| (name.into(), text.into()));
    origins_with(path, &set, &variables).unwrap_or_else(|error| panic!("{error}"))
}

/// `KEY = VALUE  # ORIGIN`, without the scratch folder.
fn line(scratch: &Scratch, origins: &Origins, key: &str) -> String {
    let mut found = origins.settings.iter().filter(|one| one.key == key);
    let setting = found.next().unwrap_or_else(|| panic!("no {key}"));
    assert_eq!(found.next(), None, "{key} is there twice");
    let text = format!("{} = {}  # {}", setting.key, setting.value, setting.origin);
    let folder = format!("{}/", scratch.path("").display());
    text.replace('\\', "/")
        .replace(&folder.replace("//", "/"), "")
}

#[test]
fn each_layer_is_named_for_what_it_set_last() {
    let file = "base = 'base/b.toml'\n[data]\npeople = 50\n[sweep]\n'pretrain.optimiser' = [\n\
                {clip_norm = 1}, {clip_norm = 2, epsilon = 1e-7}]\n'pretrain.epochs' = [1, 2]\n";
    let scratch = Scratch::new(&[("base/b.toml", VALID), ("x.toml", file)]);
    let origins = origins(
        &scratch.path("x.toml"),
        &["finetune.epochs=7", "data.places=6"],
    );
    let line = |key: &str| line(&scratch, &origins, key);
    assert_eq!(
        line("data.kind"),
        "data.kind = \"synthetic\"  # base/b.toml:5"
    );
    assert_eq!(line("data.people"), "data.people = 50  # x.toml:3");
    assert_eq!(line("data.places"), "data.places = 6  # --set data.places");
    assert_eq!(
        line("finetune.epochs"),
        "finetune.epochs = 7  # --set finetune.epochs"
    );
    assert_eq!(
        line("model.attention.kind"),
        "model.attention.kind = \"vanilla\"  # environment ATTNLAB_MODEL__ATTENTION"
    );
    assert_eq!(line("model.dropout"), "model.dropout = 0.1  # default");
    assert_eq!(
        line("pretrain.epochs"),
        "pretrain.epochs = [1,2]  # sweep, x.toml:7"
    );
    let key = "pretrain.optimiser.clip_norm";
    assert_eq!(line(key), format!("{key} = [1.0,2.0]  # sweep, x.toml:5"));
    let key = "pretrain.optimiser.epsilon";
    assert_eq!(line(key), format!("{key} = [1e-8,1e-7]  # sweep, x.toml:5"));
    let key = "pretrain.optimiser.weight_decay";
    assert_eq!(line(key), format!("{key} = [0.1]  # sweep, x.toml:5"));
    assert_eq!(
        line("figures.bars.kind"),
        "figures.bars.kind = \"accuracy-bars\"  # base/b.toml:37"
    );
}

#[test]
fn tables_stay_together_and_figures_come_last() {
    let scratch = Scratch::new(&[("x.toml", VALID)]);
    let origins = origins(&scratch.path("x.toml"), &[]);
    let table = |key: &str| {
        key.split_once('.')
            .map_or("", |(table, _)| table)
            .to_owned()
    };
    let mut tables: Vec<String> = origins.settings.iter().map(|one| table(&one.key)).collect();
    tables.dedup();
    let order = [
        "", "data", "model", "pretrain", "finetune", "evaluate", "figures",
    ];
    assert_eq!(tables, order);
}

#[test]
fn what_has_no_value_is_named_once_and_by_its_table_where_that_is_absent() {
    let without = VALID.split_once("[evaluate]").unwrap().0;
    let scratch = Scratch::new(&[("x.toml", without)]);
    let unset = origins(&scratch.path("x.toml"), &["pretrain.init=w"]).unset;
    let expected = [
        "data.biographies_per_person",
        "data.seed",
        "model.attention.bottleneck",
        "model.attention.kv_heads",
        "model.attention.window",
        "model.attention.rotary",
        "model.attention.bias",
        "model.attention.qk_norm",
        "model.attention.sink",
        "model.attention.gate",
        "model.attention.softcap",
        "model.attention.talking_heads",
        "model.pattern",
        "model.positions",
        "model.norm",
        "model.mlp",
        "model.tied_head",
        "pretrain.entities",
        "pretrain.cue_words",
        "pretrain.title_place",
        "pretrain.rewording",
        "pretrain.shortest_excerpt",
        "pretrain.longest_excerpt",
        "pretrain.accumulate",
        "pretrain.optimiser.kind",
        "pretrain.optimiser.momentum",
        "pretrain.optimiser.groups",
        "pretrain.ema",
        "pretrain.schedule.floor",
        "pretrain.schedule.decay",
        "pretrain.mix",
        "pretrain.validate",
        "pretrain.epoch_documents",
        "pretrain.checkpoint_steps",
        "finetune.accumulate",
        "finetune.init",
        "finetune.optimiser.kind",
        "finetune.optimiser.momentum",
        "finetune.optimiser.groups",
        "finetune.ema",
        "finetune.schedule.final_tokens",
        "finetune.schedule.floor",
        "finetune.schedule.decay",
        "finetune.mix",
        "finetune.validate",
        "finetune.epoch_documents",
        "finetune.checkpoint_steps",
        "evaluate",
        "precision",
    ];
    assert_eq!(unset, expected);
}

#[test]
fn every_experiment_of_the_repository_has_origins_and_is_otherwise_as_loaded() {
    let folder = crate::sources().join("experiments");
    let mut files = layers::toml_files(&folder).unwrap();
    files.retain(|file| !layers::is_base(file) && !crate::config::is_suite(file));
    assert!(files.len() >= 4);
    for file in files {
        let origins = origins_with(&file, &[], &[]).unwrap();
        assert_eq!(origins.experiment, load(&file).unwrap());
        for setting in &origins.settings {
            let place = setting.origin.trim_start_matches("sweep, ");
            let place = place
                .rsplit_once(':')
                .map(|(file, line)| (file, line.parse::<usize>()));
            let Some((file, line)) = place else {
                assert_eq!(setting.origin, "default", "{}", setting.key);
                continue;
            };
            let text = std::fs::read_to_string(file).unwrap();
            // A key may be quoted in either way.
            let unquoted = |text: &str| text.replace(['\\', '"', '\''], "");
            let line = unquoted(text.lines().nth(line.unwrap() - 1).unwrap());
            let key = unquoted(&setting.key);
            let mut names = key.rsplit('.');
            let name = names.next().unwrap();
            // An axis of whole tables sets every key in them, and so does one of several keys.
            let swept = setting.origin.starts_with("sweep, ");
            let table = names.next().filter(|_| swept);
            let named = line.contains(name)
                || table.is_some_and(|table| line.contains(table))
                || swept && line.starts_with("_ =");
            assert!(named, "{} at {line:?}", setting.key);
        }
    }
}
