//! Training questions that are kept out of training: asked during training and after it, and chosen by.

use crate::lab::{Lab, column, read};

/// A finetuning that mixes documents in, by Muon, validated by answers like the pretraining before it.
const STAGES: [&str; 5] = [
    "pretrain.validate={ measure = \"exact-match\" }",
    "pretrain.objective=\"cued-recall\"",
    "finetune.mix=[{ objective = \"masked-entities\", share = 0.3 }]",
    "finetune.optimiser={ kind = \"muon\" }",
    "finetune.validate={ every_steps = 1, measure = \"exact-match\" }",
];

fn set<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    settings.iter().flat_map(|one| ["--set", one]).collect()
}

#[test]
fn questions_that_are_kept_out_are_asked_while_both_stages_train() {
    let lab = Lab::new();
    let figure = [
        "figures.during.kind=\"validation-curves\"",
        "figures.during.stage=\"finetune\"",
        "figures.over_time.kind=\"validation-curves\"",
        "figures.over_time.time=\"minutes\"",
    ];
    let split = [
        "evaluate.split=\"validate\"",
        "evaluate.kept_out_questions=5",
    ];
    let settings = set(&[&STAGES[..], &split, &figure].concat());
    lab.quickstart("run", "r", &settings).done();
    for (epochs, stages) in [(0, &["finetune"][..]), (1, &["pretrain", "finetune"])] {
        let run = lab.run_folder("r", epochs);
        let asked = read(&run.join("predictions/validate-model.tsv"));
        assert_eq!(asked.lines().count(), 1 + 5, "{asked}");
        let rows = read(&run.join("validation.csv"));
        let mut of = column(&rows, "stage");
        of.dedup();
        assert_eq!(of, stages);
        assert!(
            column(&rows, "count").iter().all(|count| count == "5"),
            "{rows}"
        );
        assert!(
            column(&rows, "measure")
                .iter()
                .all(|one| one == "exact-match"),
            "{rows}"
        );
    }
    let figure = read(&lab.path("r/quickstart/figures/during.csv"));
    assert!(figure.lines().count() > 2, "{figure}");
    // In minutes, both stages are shown, one after the other.
    let rows = read(&lab.run_folder("r", 1).join("validation.csv"));
    let figure = read(&lab.path("r/quickstart/figures/over_time.csv"));
    let mut lines = figure.lines();
    let header = lines.next().expect("a header");
    let of_point = lines.filter(|line| line.contains("pretrained"));
    let of_point = format!("{header}\n{}", of_point.collect::<Vec<_>>().join("\n"));
    let minutes: Vec<f64> = column(&of_point, "x")
        .iter()
        .map(|x| x.parse().expect("a number"))
        .collect();
    let validations = rows.lines().count() - 1;
    assert!(minutes.len() >= validations, "{figure}");
    assert!(minutes.is_sorted() && minutes[0] > 0.0, "{minutes:?}");
}

#[test]
fn what_is_kept_out_changes_what_finetuning_reads_alone() {
    let lab = Lab::new();
    let plan = |settings: &[&str]| {
        let settings = [&["--json"][..], &set(settings)].concat();
        lab.quickstart("plan", "r", &settings).done()
    };
    let keys = |plan: &str| -> Vec<String> {
        let stages = plan.lines().filter(|line| line.contains("\"key\""));
        stages.map(str::to_owned).collect()
    };
    let (usual, without) = (plan(&[]), plan(&["evaluate.kept_out_questions=0"]));
    assert_eq!(keys(&usual), keys(&without));
    let kept = plan(&["evaluate.kept_out_questions=5"]);
    let same = keys(&usual)
        .into_iter()
        .filter(|key| keys(&kept).contains(key));
    // The pretraining does not read the questions.
    assert_eq!(same.count(), 1);
}

#[test]
fn what_cannot_be_kept_out_is_refused_in_one_line() {
    let lab = Lab::new();
    for (settings, says) in [
        (
            &[
                "evaluate.split=\"validate\"",
                "evaluate.kept_out_questions=0",
            ][..],
            "`evaluate.split` is \"validate\", but no training questions are kept out",
        ),
        (
            &["pretrain.validate.measure=\"loss\""],
            "`pretrain.validate` scores held-out documents or made examples by \"loss\", and \"synthetic\" data has none",
        ),
        (
            &["finetune.mix=[{ objective = \"language-model\", share = 1.0 }]"],
            "`finetune.mix.0.share` = 1.0 must be above 0 and below 1",
        ),
        (
            &[
                "finetune.mix=[{ objective = \"language-model\", share = 0.6 }, { objective = \"cued-recall\", share = 0.4 }]",
            ],
            "the shares of `finetune.mix` add up to 1, which leaves the answers nothing",
        ),
        (
            &["pretrain.optimiser.kind=\"muon\"", "device=\"cuda\""],
            "`pretrain.optimiser.kind` = \"muon\" has no CUDA kernels",
        ),
        (
            &["pretrain.schedule.decay=0.5"],
            "`pretrain.schedule.decay` is not read by `pretrain.schedule.form` = \"cosine\"",
        ),
    ] {
        let said = lab.quickstart("run", "r", &set(settings));
        assert_eq!(said.code, 3, "{}", said.err);
        assert!(said.err.contains(says), "{says}\n{}", said.err);
    }
}
