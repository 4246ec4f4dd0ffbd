//! What makes a stage stale, and what does not.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::config;
use crate::config::schema::{DeviceKind, MixedSpec, Precision, PretrainSpec, Training};
use crate::kinds::Named;

/// The stages that compute with a model.
const OF_MODEL: [StageKind; 3] = [
    StageKind::Pretrain,
    StageKind::Finetune,
    StageKind::Evaluate,
];

/// The stages of the quickstart's settings after a change, by kind.
fn stages(change: impl Fn(&mut Settings)) -> BTreeMap<StageKind, Stage> {
    let file = crate::sources().join("experiments/quickstart.toml");
    let set = ["data.people=48", "sweep.pretrain.epochs=[1]", "labels=[]"].map(str::to_owned);
    let experiment = config::load(&file, &set).expect("valid");
    let settings = experiment.points[0].settings.training();
    let mut settings = settings.expect("it trains").clone();
    change(&mut settings);
    let corpus = Arc::new(settings.open(None).expect("synthetic"));
    let settings = &settings;
    let stages = of_run(&Inputs { settings, corpus }, 1).expect("stages");
    stages
        .into_iter()
        .map(|(_, stage)| (stage.kind, stage))
        .collect()
}

/// The kinds whose keys a change changes.
fn changed(change: impl Fn(&mut Settings)) -> Vec<StageKind> {
    let (before, after) = (stages(|_| {}), stages(change));
    let differs = |kind: &StageKind| before[kind].key != after[kind].key;
    after.keys().copied().filter(differs).collect()
}

fn pretrain(settings: &mut Settings) -> &mut PretrainSpec {
    settings.pretrain.as_mut().expect("it pretrains")
}

fn finetune(settings: &mut Settings) -> &mut Training {
    settings.finetune.as_mut().expect("it finetunes")
}

fn evaluate(settings: &mut Settings) -> &mut EvaluateSpec {
    settings.evaluate.as_mut().expect("it evaluates")
}

#[test]
fn a_change_makes_stages_that_read_it_and_later_ones_stale() {
    let all = OF_MODEL;
    assert_eq!(changed(|s| s.model.dropout = 0.2), all);
    assert_eq!(changed(|s| s.model.initial_deviation = 0.05), all);
    assert_eq!(changed(|s| pretrain(s).shuffle = true), all);
    assert_eq!(changed(|s| pretrain(s).longest_excerpt = Some(50)), all);
    assert_eq!(changed(|s| pretrain(s).shortest_excerpt = Some(9)), all);
    assert_eq!(changed(|s| pretrain(s).entities = Entities::Answers), all);
    assert_eq!(changed(|s| pretrain(s).cue_words = Some(3)), all);
    let anywhere = |s: &mut Settings| pretrain(s).title_place = TitlePlace::Anywhere;
    assert_eq!(changed(anywhere), all);
    assert_eq!(changed(|s| pretrain(s).rewording.noise = 0.1), all);
    assert_eq!(changed(|s| pretrain(s).ema = Some(0.9)), all);
    assert_eq!(changed(|s| pretrain(s).accumulate = 2), all);
    let muon = |s: &mut Settings| pretrain(s).optimiser.kind = Named::of("muon");
    assert_eq!(changed(muon), all);
    let mixed = |s: &mut Settings| finetune(s).mix = vec![MixedSpec::of("cued-recall", 0.5)];
    let validated = |s: &mut Settings| {
        finetune(s).validate = Some(ValidateSpec {
            measure: Some(Named::of("exact-match")),
            ..ValidateSpec::default()
        })
    };
    assert_eq!(changed(mixed), all[1..]);
    assert_eq!(changed(validated), all[1..]);
    // The pretraining reads no question.
    let kept_out = |s: &mut Settings| evaluate(s).kept_out_questions = Some(3);
    assert_eq!(changed(kept_out), all[1..]);
    assert_eq!(changed(|s| s.data.set("seed", 9)), all);
    assert_eq!(changed(|s| finetune(s).optimiser.betas[1] = 0.9), all[1..]);
    assert_eq!(changed(|s| evaluate(s).answer_characters = 20), all[2..]);
    assert_eq!(
        changed(|s| evaluate(s).split = crate::data::Split::Train),
        all[2..]
    );
}

#[test]
fn invented_people_make_nothing_stale_but_the_evaluation() {
    use crate::config::schema::InventedSpec;
    let invent = |names, seed| {
        move |s: &mut Settings| evaluate(s).invented = Some(InventedSpec { names, seed })
    };
    assert_eq!(changed(invent(20, 0)), [StageKind::Evaluate]);
    let own = |change: &dyn Fn(&mut Settings)| stages(change)[&StageKind::Evaluate].clone();
    let twenty = own(&invent(20, 0));
    for other in [invent(21, 0), invent(20, 1)] {
        let other = own(&other);
        assert_ne!(twenty.key, other.key);
        let names = |stage: &Stage| stage.ingredients["data.invented"].clone();
        assert_ne!(names(&twenty), names(&other));
    }
    assert_eq!(twenty.ingredients["evaluate.invented.names"], 20);
    let without = own(&|_| {}).ingredients;
    assert!(!without.keys().any(|name| name.contains("invented")));
}

#[test]
fn attention_maps_make_nothing_stale_but_the_evaluation() {
    use crate::config::schema::AttentionMapsSpec;
    let look = |questions: &[&str]| {
        let questions: Vec<String> = questions.iter().map(|&q| q.to_owned()).collect();
        move |s: &mut Settings| {
            let questions = questions.clone();
            let numbers = vec![1];
            evaluate(s).attention_maps = Some(AttentionMapsSpec { questions, numbers });
        }
    };
    assert_eq!(changed(look(&[])), [StageKind::Evaluate]);
    let key = |change: &dyn Fn(&mut Settings)| stages(change)[&StageKind::Evaluate].key.clone();
    let one = key(&look(&["Where was Ada born?"]));
    assert_ne!(one, key(&look(&[])));
    assert_ne!(one, key(&look(&["Where was Bob born?"])));
    let without = stages(|_| {})[&StageKind::Evaluate].ingredients.clone();
    assert!(!without.keys().any(|name| name.contains("attention_maps")));
}

#[test]
fn a_gpu_and_each_of_its_precisions_have_stages_of_their_own() {
    let on_gpu = |s: &mut Settings| s.device = DeviceKind::Cuda;
    assert_eq!(changed(on_gpu), OF_MODEL);
    use Precision::{Bf16, F32, Tf32, Tf32x3};
    let precisions = [F32, Bf16, Tf32, Tf32x3];
    let keys = precisions.map(|precision| {
        let mut stages = stages(|s| {
            on_gpu(s);
            s.precision = precision;
        });
        OF_MODEL.map(|kind| stages.remove(&kind).expect("a stage").key)
    });
    for kind in 0..OF_MODEL.len() {
        let distinct: BTreeSet<&String> = keys.iter().map(|keys| &keys[kind]).collect();
        assert_eq!(distinct.len(), precisions.len(), "{keys:?}");
    }
}

#[test]
fn bf16_on_the_cpu_changes_every_stage() {
    let rounded = |s: &mut Settings| s.precision = Precision::Bf16;
    assert_eq!(changed(rounded), OF_MODEL);
}

#[test]
fn settings_that_no_stage_reads_make_nothing_stale() {
    assert_eq!(changed(|s| pretrain(s).checkpoint_steps = Some(3)), []);
    assert_eq!(changed(|s| finetune(s).checkpoint_steps = Some(3)), []);
    // Spelled out, or left to the default.
    assert_eq!(changed(|s| s.data.set("places", 10)), []);
    assert_eq!(changed(|s| s.device = DeviceKind::Auto), []);
    // GPU-only, so it means f32 here.
    let rounded = |s: &mut Settings| s.precision = Precision::Tf32;
    assert_eq!(changed(rounded), []);
    let form = |s: &mut Settings| pretrain(s).schedule.form = Named::of("constant");
    let ended = |s: &mut Settings| {
        form(s);
        pretrain(s).schedule.final_tokens = Some(77);
    };
    assert_eq!(
        stages(form)[&StageKind::Pretrain].key,
        stages(ended)[&StageKind::Pretrain].key
    );
    let reported = crate::config::schema::Reported {
        accuracy: Some(0.5),
        source: "a paper".to_owned(),
        ..crate::config::schema::Reported::default()
    };
    assert_eq!(
        changed(|s| evaluate(s).reported = Some(reported.clone())),
        []
    );
}

#[test]
fn a_constant_answer_depends_on_no_model() {
    let silent = |s: &mut Settings| {
        (s.pretrain, s.finetune) = (None, None);
        evaluate(s).ask_model = false;
    };
    let other = |s: &mut Settings| {
        silent(s);
        s.model.heads = 2;
        evaluate(s).answer_characters = 9;
    };
    let key = |stages: BTreeMap<StageKind, Stage>| stages[&StageKind::Evaluate].key.clone();
    assert_eq!(key(stages(silent)), key(stages(other)));
}

#[test]
fn weights_of_a_file_are_known_by_their_content_and_the_shape_that_reads_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("weights");
    let from_file = |content: &str, heads: usize| {
        std::fs::write(&path, content).expect("written");
        let stages = stages(|s| {
            pretrain(s).epochs = 0;
            finetune(s).epochs = 0;
            finetune(s).init = Some(path.clone());
            (s.model.heads, s.model.head_dim) = (heads, 64 / heads);
        });
        stages[&StageKind::Evaluate].key.clone()
    };
    let first = from_file("one", 4);
    assert_ne!(first, from_file("two", 4), "another file");
    assert_ne!(
        first,
        from_file("one", 8),
        "heads cannot be read off weights"
    );
    assert_eq!(first, from_file("one", 4));
}

#[test]
fn an_exploration_depends_on_its_question_and_its_seed() {
    let file = crate::sources().join("experiments/exploration/c_swing.toml");
    let experiment = config::load(
        &file,
        &["sweep.explore.beta=[3]", "labels=[]"].map(str::to_owned),
    );
    let experiment = experiment.expect("valid");
    let spec = experiment.points[0].settings.exploration();
    let spec = spec.expect("it explores");
    let key = |spec: &Kinded<QuestionKind>, seed| of_exploration(spec, seed).1.key;
    assert_eq!(key(spec, 1), key(&spec.clone(), 1));
    assert_ne!(key(spec, 1), key(spec, 2));
    let mut other = spec.clone();
    other.set("keys", 7);
    assert_ne!(key(spec, 1), key(&other, 1));
    let (_, stage) = of_exploration(spec, 1);
    assert_eq!(
        (stage.kind, stage.start),
        (StageKind::Explore, Source::Nothing)
    );
    let named: Vec<&String> = stage.ingredients.keys().collect();
    let wanted = [
        "code version",
        "explore.alpha",
        "explore.beta",
        "explore.dimension",
        "explore.keys",
        "explore.question",
        "explore.samples",
        "seed",
    ];
    assert_eq!(named, wanted);
}

#[test]
fn a_stage_whose_results_have_disappeared_is_not_done() {
    let results = tempfile::tempdir().expect("a folder");
    let folder = store::StageFolder::new(results.path(), StageKind::Evaluate, "key");
    assert!(folder.finish().is_err(), "there is no folder");
    std::fs::create_dir_all(folder.path()).expect("made");
    std::fs::write(folder.path().join("training_answers.csv"), "answer\n").expect("written");
    let error = folder.finish().expect_err("no predictions").to_string();
    assert!(
        error.contains("results of evaluate have disappeared"),
        "{error}"
    );
    assert!(!folder.is_marked_done());
    std::fs::create_dir(folder.path().join("predictions")).expect("made");
    std::fs::write(
        folder.path().join("predictions/dev-model.tsv"),
        "question\n",
    )
    .expect("written");
    folder.finish().expect("all results are there");
    let names: Vec<String> = folder.done().expect("done").into_keys().collect();
    assert_eq!(names, ["predictions/dev-model.tsv", "training_answers.csv"]);
}
