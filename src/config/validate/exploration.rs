//! Rules about an exploration: which keys its question takes, and what they can be.

use super::{Rules, ranges};
use crate::config::layers::Fault;
use crate::config::schema::{Exploration, ExplorationSettings, ExploredQuestion};
use crate::config::wording;

/// Everything that is wrong with one point's values. `mended` are the keys not to look at.
pub fn check(settings: &ExplorationSettings, mended: &[String]) -> Vec<Fault> {
    let mut rules = Rules::new(mended);
    let spec = &settings.explore;
    takes(&mut rules, spec);
    if let Some(keys) = spec.keys {
        number_of_keys(&mut rules, spec, keys);
    }
    if let Some(bases) = &spec.bases {
        let as_numbers: Vec<f64> = bases.iter().map(|&m| m as f64).collect();
        ascending(&mut rules, "explore.bases", &as_numbers);
        let (largest, dimension) = (bases.iter().copied().max().unwrap_or(0), spec.dimension);
        let keys = ["explore.bases", "explore.dimension"];
        rules.rule(largest > dimension / 2, &keys, || {
            format!("`explore.bases` goes to {largest}: two bases of that many do not fit into `explore.dimension` = {dimension}")
        });
    }
    if let Some(margins) = &spec.margins {
        ascending(&mut rules, "explore.margins", margins);
    }
    if let Some(betas) = &spec.betas {
        ascending(&mut rules, "explore.betas", betas);
    }
    ranges::check(&mut rules, settings);
    rules.faults
}

/// Keys of other questions are refused, missing ones named.
fn takes(rules: &mut Rules<'_>, spec: &Exploration) {
    let (question, needs) = (spec.question.name(), spec.question.needs());
    for (name, given) in spec.own() {
        let key = format!("explore.{name}");
        let wanted = needs.contains(&name);
        rules.helped(given && !wanted, &[&key, "explore.question"], || {
            let takes = [&["dimension"], needs].concat();
            let message = format!("`{key}` is not for `explore.question` = {question:?}");
            (
                message,
                format!("it takes {}", wording::list(&takes, "and")),
            )
        });
        rules.rule(!given && wanted, &["explore.question", &key], || {
            format!("`explore.question` = {question:?} needs `{name}`")
        });
    }
}

fn number_of_keys(rules: &mut Rules<'_>, spec: &Exploration, keys: usize) {
    // The weight on the others is measured where there are others.
    let alone = keys < 3 && spec.question == ExploredQuestion::NoisyAveraging;
    rules.rule(alone, &["explore.keys"], || {
        format!("`explore.keys` = {keys} must be at least 3")
    });
    let dimension = spec.dimension;
    let both = ["explore.keys", "explore.dimension"];
    rules.rule(keys > dimension, &both, || {
        format!("`explore.keys` = {keys} must be at most `explore.dimension` = {dimension}: they are perpendicular")
    });
}

/// A grid of finite numbers, each larger than the one before.
fn ascending(rules: &mut Rules<'_>, key: &str, values: &[f64]) {
    rules.rule(values.is_empty(), &[key], || {
        format!("`{key}` is empty; nothing would be measured")
    });
    let wrong = values.iter().any(|value| !value.is_finite())
        || values.windows(2).any(|pair| pair[0] >= pair[1]);
    rules.rule(wrong, &[key], || {
        format!("`{key}` must be finite numbers, each larger than the one before")
    });
}
