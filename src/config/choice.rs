//! `choose = "best of KEY by dev"`: points that differ in some keys of the sweep alone are candidates, of which the
//! validations during training choose one.

use std::collections::{BTreeMap, BTreeSet};

use super::labels::Names;
use super::layers::Fault;
use super::point::{Point, decides};
use super::schema::{ExperimentHeader, Labels, Settings, ValidateSpec};
use super::sweep::{PointValues, overlap};
use super::wording;
use crate::data::Split;
use crate::kinds::Listed as _;

/// The key of a choice.
const CHOOSE: &str = "choose";

/// Tables whose keys validation during pretraining cannot judge, each with the reason.
const UNJUDGED: [(&str, &str); 4] = [
    ("data", "changes the data that validation scores"),
    ("pretrain.validate", "changes how validation scores"),
    ("finetune", "takes effect only after validation"),
    ("evaluate", "changes what is asked"),
];

/// What is chosen, and among which points.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The split whose validations decide.
    pub split: Split,
    /// The keys whose values are chosen.
    pub keys: Vec<String>,
    /// Every point is a candidate in exactly one of them; in the order of the first candidates.
    pub groups: Vec<Candidates>,
}

/// The points of which one is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidates {
    /// What the chosen point is called: the values that all candidates share. No other group has this label.
    pub label: String,
    /// Their indices in [`Experiment::points`](super::Experiment::points), in order.
    pub points: Vec<usize>,
}

impl Choice {
    /// The choice of a file, if it has one, laid out over its sweep; `experiment` is what the chosen point is called if all
    /// points are candidates. A sweep that is the file's own must have several candidates for some point; one set from outside,
    /// as by `--set`, may leave one each.
    pub(super) fn read(
        header: &ExperimentHeader,
        (sweep, is_own): (&[PointValues], bool),
        experiment: &str,
    ) -> Result<Option<Self>, Fault> {
        let Some(text) = &header.choose else {
            return Ok(None);
        };
        let (keys, split) = keys(text, &sweep[0])?;
        let mut groups: Vec<(PointValues, Vec<usize>)> = vec![];
        let mut known = BTreeMap::new();
        for (i, point) in sweep.iter().enumerate() {
            let shared = without(point, &keys);
            let group = *known
                .entry((shared.draw, shared.texts(false)))
                .or_insert_with(|| {
                    groups.push((shared, vec![]));
                    groups.len() - 1
                });
            groups[group].1.push(i);
        }
        let (shared, points): (Vec<PointValues>, Vec<Vec<usize>>) = groups.into_iter().unzip();
        if is_own && points.iter().all(|candidates| candidates.len() == 1) {
            let keys = wording::list(&keys.iter().map(String::as_str).collect::<Vec<_>>(), "and");
            let message =
                format!("`choose` has nothing to choose from: no two points differ only in {keys}");
            let help = "name all keys that change together, such as every key of a random search";
            return Err(Fault::at_key(&[CHOOSE], message).help(help));
        }
        let labels = labels(&header.labels, &shared, experiment);
        let group = |(label, points)| Candidates { label, points };
        let groups = labels.into_iter().zip(points).map(group).collect();
        Ok(Some(Self {
            split,
            keys,
            groups,
        }))
    }

    /// What is wrong with the choice, given all points.
    pub(super) fn faults(&self, points: &[Point]) -> Vec<Fault> {
        let wrong =
            |message: String, help: &str| vec![Fault::at_key(&[CHOOSE], message).help(help)];
        let mut validated_points = vec![];
        for point in points {
            if point.settings.exploration().is_some() {
                let message = "`choose` does not apply to an exploration".to_owned();
                return wrong(message, "remove it: nothing is trained");
            }
            let Some(validated) = point.settings.training().and_then(validated) else {
                let message = format!(
                    "`choose` needs validation during pretraining, and {:?} has none",
                    point.label
                );
                return wrong(
                    message,
                    "add `validate = {}` to `[pretrain]`, and train at least one epoch",
                );
            };
            validated_points.push(validated);
        }
        let measures = validated_points
            .iter()
            .map(|(settings, spec)| settings.validated_by(spec).name());
        let measures: BTreeSet<&str> = measures.collect();
        if measures.len() > 1 {
            let measures = wording::list(&Vec::from_iter(measures), "and");
            return wrong(
                format!("`choose` compares validations, but points are validated with {measures}"),
                "set one `pretrain.validate.measure` for all of them",
            );
        }
        let other = |(settings, spec): &(&Settings, &ValidateSpec)| {
            let split = settings.validation_split(spec);
            (split != self.split).then_some(split)
        };
        if let Some(split) = validated_points.iter().find_map(other) {
            let (said, split) = (self.split.name(), split.name());
            let message =
                format!("`choose` selects \"by {said}\", but validations score the {split} split");
            return wrong(message, &format!("end it with \"by {split}\""));
        }
        let is_biased = |(settings, _): &(&Settings, &ValidateSpec)| {
            let evaluate = settings.evaluate.as_ref();
            evaluate.is_some_and(|spec| spec.split == self.split)
        };
        if !validated_points.iter().any(is_biased) {
            return vec![];
        }
        let split = self.split.name();
        let other = match self.split {
            Split::Dev => Split::Test,
            _ => Split::Dev,
        };
        wrong(
            format!(
                "`choose` selects on the {split} split, so that a score reported on it would be biased"
            ),
            &format!("set `evaluate.split` = {:?}", other.name()),
        )
    }
}

/// The settings of a point that is validated while it trains.
fn validated(settings: &Settings) -> Option<(&Settings, &ValidateSpec)> {
    let pretrain = settings
        .pretrain
        .as_ref()
        .filter(|stage| stage.epochs > 0)?;
    Some((settings, pretrain.validate.as_ref()?))
}

/// The keys and the split of `best of KEY, KEY by dev`, each key whole or the end of one, as the sweep has them.
fn keys(text: &str, point: &PointValues) -> Result<(Vec<String>, Split), Fault> {
    let wrong = |message: String| Fault::at_key(&[CHOOSE], message);
    let written = text.trim().strip_prefix("best of ");
    let splits = [(" by dev", Split::Dev), (" by validate", Split::Validate)];
    let ends = |(end, split)| Some((written?.strip_suffix(end)?, split));
    let Some((written, split)) = splits.into_iter().find_map(ends) else {
        let message = format!("`choose` = {text:?} is not a choice");
        let help = "write \"best of KEY by dev\", with a key of the sweep or several with commas between them; \
                    validations that ask questions choose \"by validate\"";
        return Err(wrong(message).help(help));
    };
    let swept: Vec<&str> = point.values.iter().map(|one| one.key.as_str()).collect();
    let mut found = vec![];
    for key in written.split(',').map(str::trim) {
        let ends = |one: &&&str| **one == key || one.ends_with(&format!(".{key}"));
        let key = match swept.iter().filter(ends).collect::<Vec<_>>()[..] {
            [one] => (*one).to_owned(),
            [] => {
                let message = format!("`choose` names `{key}`, which the sweep does not set");
                return Err(match wording::nearest(key, &swept) {
                    Some(meant) => wrong(format!("{message}; did you mean `{meant}`?")),
                    None if swept.is_empty() => wrong(message).help("add it to `[sweep]`"),
                    None => {
                        wrong(message).help(format!("it sets {}", wording::list(&swept, "and")))
                    }
                });
            }
            ref several => {
                let message =
                    format!("`choose` names `{key}`, which matches several keys of the sweep");
                let help = format!("write {}", wording::list(several, "or"));
                return Err(wrong(message).help(help));
            }
        };
        let unjudged = UNJUDGED.into_iter().find(|(table, _)| overlap(&key, table));
        if let Some((_, why)) = unjudged {
            let message = format!("`choose` names `{key}`, which {why}");
            return Err(wrong(message).help("name keys of `[model]` or `[pretrain]` instead"));
        }
        if !found.contains(&key) {
            found.push(key);
        }
    }
    Ok((found, split))
}

/// What the sweep sets at a point besides the keys of the choice and what others reported. A draw whose every value is
/// chosen has no number.
fn without(point: &PointValues, keys: &[String]) -> PointValues {
    let mut shared = point.clone();
    shared
        .values
        .retain(|one| !keys.contains(&one.key) && decides(&one.key));
    let is_drawn = shared.values.iter().any(|one| one.is_drawn());
    shared.draw = shared.draw.filter(|_| is_drawn);
    shared
}

/// The labels of the groups. A list of labels names points, and so do entries about chosen keys: neither applies here.
fn labels(labels: &Labels, shared: &[PointValues], experiment: &str) -> Vec<String> {
    let plain = Labels::default();
    let labels = match labels {
        Labels::InOrder(_) => &plain,
        by_value => by_value,
    };
    let named = Names::of(labels, shared, experiment).labels;
    match named.iter().collect::<BTreeSet<_>>().len() == named.len() {
        true => named,
        false => Names::of(&plain, shared, experiment).labels,
    }
}
