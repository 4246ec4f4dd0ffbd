//! Rules about what all points share: seeds and figures.

use std::collections::{BTreeMap, BTreeSet};

use figment::value::Value;

use super::Rules;
use crate::config::layers::Fault;
use crate::config::point::{Point, PointSettings};
use crate::config::schema::{AttentionMapsSpec, ExperimentHeader, Labels, PretrainSpec, Settings};
use crate::config::sweep::PointValues;
use crate::data::Split;
use crate::kinds::{Kinded, Listed as _, joined};
use crate::plot::{FigureKind, Need, Points};

/// The longest name of a figure, which is a file name.
const NAME_CHARACTERS: usize = 60;

/// Everything that is wrong with the shared keys. Explorations have figures of their own. `skipped` are the
/// keys not to look at.
pub fn check(
    header: &ExperimentHeader,
    sweep: &[PointValues],
    explores: bool,
    skipped: &[String],
) -> Vec<Fault> {
    let mut rules = Rules::new(skipped);
    let names = match &header.labels {
        Labels::InOrder(names) => &names[..],
        Labels::ByValue(_) => &[],
    };
    let (number, points) = (names.len(), sweep.len());
    if number > 0 && number != points {
        let plural = if points == 1 { "" } else { "s" };
        let noun = if number == 1 { "name" } else { "names" };
        rules.helped(
            &["labels", "sweep"],
            format!("`labels` has {number} {noun}, but the experiment has {points} point{plural}"),
            "give every point of the sweep one name, or set `labels = []`",
        );
    }
    for (name, figure) in &header.figures {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > NAME_CHARACTERS || !name.chars().all(plain) {
            // A name with a dot cannot be addressed as a key path: the place is the table of figures.
            rules.helped(
                &["figures"],
                format!("{name:?} cannot be a figure's file name"),
                format!("use letters, digits, `_` and `-`, at most {NAME_CHARACTERS}"),
            );
            continue;
        }
        let key = format!("figures.{name}.kind");
        match (figure.kind.is_of_exploration, explores) {
            (false, true) => rules.helped(
                &[&key],
                format!("`{key}` is not a figure of an exploration"),
                format!("write {}", of_explorations()),
            ),
            (true, false) => rules.helped(
                &[&key],
                format!("`{key}` is a figure of an exploration"),
                "it shows what `[explore]` measures: choose another kind",
            ),
            _ => {}
        }
    }
    rules.faults
}

/// `"a" or "b"`: the kinds of figures of an exploration.
fn of_explorations() -> String {
    let kinds = FigureKind::all().iter();
    let own = kinds.filter(|kind| kind.is_of_exploration);
    joined(own.map(|kind| format!("{:?}", kind.name())), "or")
}

/// Faults of the keys that belong to a figure's kind, given the `points` that could be read, and which figures
/// must find there what they show; `chosen` are the keys of a choice.
pub fn figures(
    figures: &BTreeMap<String, Kinded<FigureKind>>,
    sweep: &[PointValues],
    points: &[Point],
    must_show: impl Fn(&str) -> bool,
    chosen: &[String],
    skipped: &[String],
) -> Vec<Fault> {
    let evaluated = || {
        let training = points.iter().filter_map(|point| point.settings.training());
        training.filter_map(|settings| settings.evaluate.as_ref())
    };
    let maps = evaluated().filter_map(|spec| spec.attention_maps.as_ref());
    let training = points.iter().filter_map(|point| point.settings.training());
    let training = training.filter(|settings| settings.evaluate.is_some());
    let names = |settings: &Settings| settings.measures().iter().map(|one| one.0.name()).collect();
    let measures = training.map(names);
    let measures = measures.reduce(|all: BTreeSet<_>, own| &all & &own);
    let made = (!points.is_empty()).then(|| made(points));
    let values = points.iter().map(|point| point.values().cloned().collect());
    let is_whole = points.len() == sweep.len();
    let mut known = Points {
        values: values.filter(|_| is_whole).collect(),
        numbers: numbers(sweep),
        chosen,
        mapped: maps.map(AttentionMapsSpec::count).max(),
        measures: measures.unwrap_or_default(),
        made: None,
    };
    // What is of the wrong kind altogether has been said.
    let explores = |point: &Point| point.settings.exploration().is_some();
    let is_fitting = |kind: &FigureKind| {
        points
            .iter()
            .all(|point| explores(point) == kind.is_of_exploration)
    };
    let mut rules = Rules::new(skipped);
    for (name, figure) in figures.iter().filter(|(_, figure)| is_fitting(figure.kind)) {
        known.made = made.clone().filter(|_| must_show(name));
        if let Some(broken) = figure.check(&known) {
            let kind = format!("figures.{name}.kind");
            rules.of_kind(&format!("figures.{name}"), broken, &[&kind, "sweep"]);
        }
    }
    rules.faults
}

/// What the points make, for figures to show.
fn made(points: &[Point]) -> BTreeSet<Need> {
    let made = points.iter().flat_map(|point| made_by(&point.settings));
    let mut all: Vec<Need> = made.collect();
    for (one, two) in [
        (Need::JudgedAnswers, Need::JudgedPairs),
        (Need::ModelScores, Need::ModelPairs),
    ] {
        if all.iter().filter(|need| **need == one).count() > 1 {
            all.push(two);
        }
    }
    all.into_iter().collect()
}

fn made_by(point: &PointSettings) -> Vec<Need> {
    let settings = match point {
        PointSettings::Training(settings) => settings,
        PointSettings::Exploration(settings) => {
            let is_sampled = settings.explore.kind.yields_samples;
            return vec![if is_sampled {
                Need::Samples
            } else {
                Need::Curves
            }];
        }
    };
    let (pretrain, evaluate) = (settings.pretrain.as_ref(), settings.evaluate.as_ref());
    let is_scored = evaluate.is_some_and(|spec| spec.ask_model);
    let is_asked = is_scored && settings.asks_questions();
    let has_answers = evaluate.is_some_and(|spec| spec.split != Split::Test);
    let is_judged = has_answers || settings.scores_held_out();
    let made = [
        (Need::Pretraining, settings.pretrain.is_some()),
        (Need::Validations, settings.validations().next().is_some()),
        (
            Need::Corruption,
            pretrain.is_some_and(PretrainSpec::corrupts),
        ),
        (Need::Finetuning, settings.finetune.is_some()),
        (Need::Scores, is_judged),
        (Need::ModelScores, is_scored && is_judged),
        (Need::HeldOutScores, is_scored && settings.scores_held_out()),
        (Need::Answers, is_asked),
        (Need::JudgedAnswers, is_asked && has_answers),
        (
            Need::InventedAnswers,
            evaluate.is_some_and(|spec| spec.invented.is_some()),
        ),
        (
            Need::AttentionMaps,
            evaluate.is_some_and(|spec| spec.attention_maps.is_some()),
        ),
    ];
    let made = made.into_iter().filter(|(_, is_made)| *is_made);
    made.map(|(need, _)| need).collect()
}

/// The keys that the sweep sets to a number at every point.
fn numbers(sweep: &[PointValues]) -> Vec<&str> {
    let keys = sweep.iter().take(1).flat_map(|point| &point.values);
    let number = |key: &&str| {
        let set = sweep.iter().flat_map(|point| &point.values);
        let mut own = set.filter(|one| one.key == *key);
        own.all(|one| matches!(one.value, Value::Num(..)))
    };
    keys.map(|one| one.key.as_str()).filter(number).collect()
}
