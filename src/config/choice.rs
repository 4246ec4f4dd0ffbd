//! `choose = "best of KEY by dev"`: points that differ in some keys of the sweep alone are candidates, of which the
//! validations during training choose one.

use std::collections::BTreeMap;

use super::labels::Names;
use super::layers::Fault;
use super::point::Point;
use super::schema::{ExperimentHeader, Labels, Settings, ValidateSpec};
use super::sweep::PointValues;
use super::wording;
use crate::kinds::Listed as _;

/// The key of a choice.
pub(super) const CHOOSE: &str = "choose";

/// What is chosen, and among which points.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The keys whose values are chosen.
    pub keys: Vec<String>,
    /// Every point is a candidate in exactly one of them; in the order of the first candidates.
    pub groups: Vec<Candidates>,
}

/// The points of which one is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidates {
    /// What the chosen point is called: the values that all candidates share.
    pub label: String,
    /// Their indices in [`Experiment::points`](super::Experiment::points), in order.
    pub points: Vec<usize>,
}

impl Choice {
    /// The choice of a file, if it has one, laid out over its sweep; `experiment` is what the chosen point is called if all
    /// points are candidates.
    pub(super) fn read(
        header: &ExperimentHeader,
        sweep: &[PointValues],
        experiment: &str,
    ) -> Result<Option<Self>, Fault> {
        let Some(text) = &header.choose else {
            return Ok(None);
        };
        let keys = keys(text, &sweep[0])?;
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
        // A list names the candidates; a table may name what is chosen, which says nothing here.
        let labels = match &header.labels {
            Labels::InOrder(_) => &Labels::default(),
            by_value => by_value,
        };
        let names = Names::of(labels, &shared, experiment).labels.into_iter();
        let group = |(label, points)| Candidates { label, points };
        let groups = names.zip(points).map(group).collect();
        Ok(Some(Self { keys, groups }))
    }

    /// What is wrong with the choice, given all points.
    pub(super) fn faults(&self, points: &[Point]) -> Vec<Fault> {
        let wrong =
            |message: String, help: &str| vec![Fault::at_key(&[CHOOSE], message).help(help)];
        let mut settings = vec![];
        for point in points {
            if point.settings.exploration().is_some() {
                return wrong(
                    "`choose` is not for an exploration".to_owned(),
                    "remove it: nothing is trained",
                );
            }
            let validated = point.settings.training().and_then(validated);
            let Some(spec) = validated else {
                let label = &point.label;
                return wrong(
                    format!("`choose` goes by validations, which {label:?} has not"),
                    "add `validate = {}` to `[pretrain]`, and train at least one epoch",
                );
            };
            settings.push(spec);
        }
        for group in &self.groups {
            let measure = |&i: &usize| settings[i].0.validated_by(settings[i].1).name();
            let first = measure(&group.points[0]);
            if let Some(other) = group.points.iter().map(measure).find(|one| *one != first) {
                let label = &group.label;
                return wrong(
                    format!("candidates for {label:?} are validated by {first:?} and by {other:?}"),
                    "set one `pretrain.validate.measure` for all of them",
                );
            }
        }
        let mut evaluated = settings.iter().filter_map(|one| one.0.evaluate.as_ref());
        match evaluated.any(|spec| spec.split == ValidateSpec::SPLIT) {
            true => wrong(
                "`choose` would report a score on the data of the choice, which flatters it"
                    .to_owned(),
                "set `evaluate.split` = \"test\"",
            ),
            false => vec![],
        }
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

/// The keys of `best of KEY, KEY by dev`, each whole or the end of one, as the sweep has them.
fn keys(text: &str, point: &PointValues) -> Result<Vec<String>, Fault> {
    let wrong = |message: String| Fault::at_key(&[CHOOSE], message);
    let written = text.trim().strip_prefix("best of ");
    let Some(written) = written.and_then(|rest| rest.strip_suffix(" by dev")) else {
        let message = format!("`choose` = {text:?} is not a choice");
        let help = "write \"best of KEY by dev\", with a key of the sweep or several with commas between them";
        return Err(wrong(message).help(help));
    };
    let swept: Vec<&str> = point.values.iter().map(|one| one.key.as_str()).collect();
    let mut found = vec![];
    for key in written.split(',').map(str::trim) {
        let ends = |one: &&&str| **one == key || one.ends_with(&format!(".{key}"));
        match swept.iter().filter(ends).collect::<Vec<_>>()[..] {
            [one] => found.push((*one).to_owned()),
            [] => {
                let message = format!("`choose` names `{key}`, which the sweep does not set");
                return Err(match wording::nearest(key, &swept) {
                    Some(meant) => wrong(format!("{message}; did you mean `{meant}`?")),
                    None if swept.is_empty() => wrong(message).help("add a `[sweep]` with it"),
                    None => {
                        wrong(message).help(format!("it sets {}", wording::list(&swept, "and")))
                    }
                });
            }
            ref several => {
                let message = format!("`choose` names `{key}`, which may be any of several keys");
                let help = format!("write {}", wording::list(several, "or"));
                return Err(wrong(message).help(help));
            }
        }
    }
    found.dedup();
    Ok(found)
}

/// What the sweep sets at a point besides the keys of the choice. A draw whose every value is chosen has no number.
fn without(point: &PointValues, keys: &[String]) -> PointValues {
    let mut shared = point.clone();
    shared.values.retain(|one| !keys.contains(&one.key));
    let is_drawn = shared.values.iter().any(|one| one.is_drawn());
    shared.draw = shared.draw.filter(|_| is_drawn);
    shared
}
