//! Rules about what all points share: seeds and figures.

use std::collections::BTreeMap;

use figment::value::Value;
use serde_json::json;

use super::{Rules, ranges};
use crate::config::layers::Fault;
use crate::config::point::Point;
use crate::config::schema::{
    AttentionMapsSpec, ExperimentHeader, FigureKind, FigureSpec, Labels, MOST_MAPPED,
};
use crate::config::sweep::PointValues;

/// The longest name of a figure, which is a file name.
const NAME_CHARACTERS: usize = 60;

/// Everything that is wrong with the shared keys. Explorations have figures of their own. `mended` are the
/// keys not to look at.
pub fn check(
    header: &ExperimentHeader,
    sweep: &[PointValues],
    explores: bool,
    mended: &[String],
) -> Vec<Fault> {
    let points = sweep.len();
    let mut rules = Rules::new(mended);
    rules.rule(header.seeds.is_empty(), &["seeds"], || {
        "`seeds` is empty; nothing would run".into()
    });
    for (i, value) in header.seeds.iter().enumerate() {
        let key = format!("seeds.{i}");
        rules.rule(header.seeds[..i].contains(value), &[&key], || {
            format!("`seeds` has {value} twice")
        });
    }
    let names = match &header.labels {
        Labels::InOrder(names) => &names[..],
        Labels::ByValue(_) => &[],
    };
    let number = names.len();
    rules.helped(number > 0 && number != points, &["labels", "sweep"], || {
        let plural = if points == 1 { "" } else { "s" };
        let noun = if number == 1 { "name" } else { "names" };
        let message =
            format!("`labels` has {number} {noun}, but the experiment has {points} point{plural}");
        (
            message,
            "give every point of the sweep one name, or leave `labels` out".to_owned(),
        )
    });
    for (i, label) in names.iter().enumerate() {
        let key = format!("labels.{i}");
        rules.rule(names[..i].contains(label), &[&key], || {
            format!("`labels` has \"{label}\" twice: the points could not be told apart")
        });
    }
    for (name, spec) in &header.figures {
        figure(&mut rules, name, spec, sweep);
        let key = format!("figures.{name}.kind");
        let foreign = spec.kind.is_of_exploration() != explores;
        rules.helped(foreign, &[&key], || match explores {
            true => (
                format!("`{key}` is not a figure of an exploration"),
                "write \"exploration-curves\" or \"exploration-distribution\"".to_owned(),
            ),
            false => (
                format!("`{key}` is a figure of an exploration"),
                "it shows what `[explore]` measures: choose another kind".to_owned(),
            ),
        });
    }
    ranges::check(&mut rules, header);
    rules.faults
}

fn figure(rules: &mut Rules<'_>, name: &str, spec: &FigureSpec, sweep: &[PointValues]) {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let named = !name.is_empty() && name.len() <= NAME_CHARACTERS && name.chars().all(plain);
    // A name with a dot cannot be addressed as a key path: the place is the table of figures.
    rules.helped(!named, &["figures"], || {
        let message = format!("{name:?} cannot be a figure's file name");
        (
            message,
            format!("use letters, digits, `_` and `-`, at most {NAME_CHARACTERS}"),
        )
    });
    if !named {
        return;
    }
    use FigureKind::{
        AccuracyScatter, AnswerAttention, AttentionMaps, CommonestAnswers, CorruptionExamples,
        LearningCurves, ReliabilityDiagram,
    };
    let key = |field: &str| format!("figures.{name}.{field}");
    let kind = key("kind");
    let only = |rules: &mut Rules<'_>, field: &str, is_given: bool, kinds: &[FigureKind]| {
        let key = key(field);
        rules.rule(
            is_given && !kinds.contains(&spec.kind),
            &[&key, &kind],
            || {
                let kinds: Vec<String> = kinds.iter().map(|kind| json!(kind).to_string()).collect();
                format!("`{key}` is for `kind` = {} only", kinds.join(" and "))
            },
        );
    };
    only(rules, "stage", spec.stage.is_some(), &[LearningCurves]);
    only(rules, "x", spec.x.is_some(), &[AccuracyScatter]);
    let counts: [(&str, Option<usize>, usize, &[FigureKind]); 4] = [
        ("examples", spec.examples, 12, &[CorruptionExamples]),
        ("bins", spec.bins, 20, &[ReliabilityDiagram]),
        ("answers", spec.answers, 20, &[CommonestAnswers]),
        (
            "question",
            spec.question,
            MOST_MAPPED,
            &[AttentionMaps, AnswerAttention],
        ),
    ];
    for (field, count, most, kinds) in counts {
        let Some(count) = count else { continue };
        only(rules, field, true, kinds);
        let applies = kinds.contains(&spec.kind);
        let key = key(field);
        rules.rule(
            applies && !(1..=most).contains(&count),
            &[&key, &kind],
            || format!("`{key}` = {count} must be between 1 and {most}"),
        );
    }
    let quantity = spec.x.as_deref().unwrap_or("parameters");
    let swept = numbers(sweep);
    let known = ["parameters", "step_ms"].contains(&quantity) || swept.contains(&quantity);
    let x = key("x");
    let nothing = spec.kind == AccuracyScatter && !known;
    rules.helped(nothing, &[&x, &kind, "sweep"], || {
        let message = format!("`{x}` = {quantity:?} is not a numeric setting of these points");
        let mut help = "write \"parameters\", \"step_ms\"".to_owned();
        for key in &swept {
            help.push_str(&format!(", {key:?}"));
        }
        if swept.is_empty() {
            help.push_str(", or a key that the sweep sets to numbers");
        }
        (message, help)
    });
}

/// Figures of a question that no point maps, though some map others.
pub fn unmapped(figures: &BTreeMap<String, FigureSpec>, points: &[Point]) -> Vec<Fault> {
    let maps = points.iter().filter_map(|point| {
        let evaluate = point.settings.training()?.evaluate.as_ref()?;
        evaluate.attention_maps.as_ref()
    });
    let Some(most) = maps.map(AttentionMapsSpec::count).max() else {
        return vec![];
    };
    let mut rules = Rules::new(&[]);
    for (name, spec) in figures {
        let Some(question) = spec.question.filter(|question| *question > most) else {
            continue;
        };
        let key = format!("figures.{name}.question");
        let plural = if most == 1 { "" } else { "s" };
        rules.rule(true, &[&key], || {
            format!(
                "`{key}` = {question}, but `evaluate.attention_maps` names {most} question{plural}"
            )
        });
    }
    rules.faults
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
