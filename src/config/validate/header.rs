//! Rules about what all points share: seeds and figures.

use std::collections::BTreeMap;

use figment::value::Value;

use super::{Rules, ranges};
use crate::config::kinded;
use crate::config::layers::Fault;
use crate::config::point::Point;
use crate::config::schema::{AttentionMapsSpec, ExperimentHeader, Labels};
use crate::config::sweep::PointValues;
use crate::kinds::{Kinded, Listed as _, joined};
use crate::plot::{FigureKind, Points};

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
    let points = sweep.len();
    let mut rules = Rules::new(skipped);
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
            "give every point of the sweep one name, or set `labels = []`".to_owned(),
        )
    });
    for (i, label) in names.iter().enumerate() {
        let key = format!("labels.{i}");
        rules.rule(names[..i].contains(label), &[&key], || {
            format!("`labels` has \"{label}\" twice: the points could not be told apart")
        });
    }
    for (name, figure) in &header.figures {
        let is_named = check_name(&mut rules, name);
        for (shared, text) in &figure.shared {
            let key = format!("figures.{name}.{shared}");
            let is_blank = is_named && text.trim().is_empty();
            rules.helped(is_blank, &[&key], || {
                let help = "leave it out for the default".to_owned();
                (format!("`{key}` is blank"), help)
            });
        }
        let own = kinded::faults(&["figures", name], figure, skipped);
        rules.faults.extend(own);
        let key = format!("figures.{name}.kind");
        let foreign = figure.kind.is_of_exploration != explores;
        rules.helped(is_named && foreign, &[&key], || match explores {
            true => (
                format!("`{key}` is not a figure of an exploration"),
                format!("write {}", of_explorations()),
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

/// `"a" or "b"`: the kinds of figures of an exploration.
fn of_explorations() -> String {
    let kinds = FigureKind::all().iter();
    let own = kinds.filter(|kind| kind.is_of_exploration);
    let names: Vec<String> = own.map(|kind| format!("{:?}", kind.name())).collect();
    joined(&names, "or")
}

/// Whether a figure's name can be that of a file.
fn check_name(rules: &mut Rules<'_>, name: &str) -> bool {
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
    named
}

/// Faults of the keys that belong to a figure's kind, given the `points` that could be read.
pub fn figures(
    figures: &BTreeMap<String, Kinded<FigureKind>>,
    sweep: &[PointValues],
    points: &[Point],
    skipped: &[String],
) -> Vec<Fault> {
    let evaluated = || {
        let training = points.iter().filter_map(|point| point.settings.training());
        training.filter_map(|settings| settings.evaluate.as_ref())
    };
    let maps = evaluated().filter_map(|spec| spec.attention_maps.as_ref());
    let known = Points {
        numbers: numbers(sweep),
        mapped: maps.map(AttentionMapsSpec::count).max(),
        measures: evaluated()
            .flat_map(|spec| spec.measures.iter().map(|one| one.0.name()))
            .collect(),
    };
    let mut rules = Rules::new(skipped);
    for (name, figure) in figures {
        let Some(broken) = figure.check(&known) else {
            continue;
        };
        let kind = format!("figures.{name}.kind");
        rules.broken(&format!("figures.{name}"), broken, &[&kind, "sweep"]);
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
