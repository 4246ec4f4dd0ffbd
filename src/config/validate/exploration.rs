//! Rules about an exploration: which keys its question takes, and what they can be.

use super::Rules;
use crate::config::layers::Fault;
use crate::config::schema::{Exploration, ExplorationSettings, ExploredQuestion};
use crate::config::wording;

/// More dimensions than this, or samples, are taken for a mistake.
const MOST_DIMENSIONS: usize = 4096;
const MOST_SAMPLES: usize = 1_000_000;

/// Everything that is wrong with one point's values. `mended` are the keys not to look at.
pub fn check(settings: &ExplorationSettings, mended: &[String]) -> Vec<Fault> {
    let mut rules = Rules::new(mended);
    let spec = &settings.explore;
    takes(&mut rules, spec);
    within(
        &mut rules,
        "explore.dimension",
        spec.dimension,
        1,
        MOST_DIMENSIONS,
    );
    if let Some(keys) = spec.keys {
        number_of_keys(&mut rules, spec, keys);
    }
    if let Some(bases) = &spec.bases {
        let as_numbers: Vec<f64> = bases.iter().map(|&m| m as f64).collect();
        ascending(&mut rules, "explore.bases", &as_numbers, 1.0);
        let (largest, dimension) = (bases.iter().copied().max().unwrap_or(0), spec.dimension);
        let keys = ["explore.bases", "explore.dimension"];
        rules.rule(largest > dimension / 2, &keys, || {
            format!("`explore.bases` goes to {largest}: two bases of that many do not fit into `explore.dimension` = {dimension}")
        });
    }
    if let Some(margins) = &spec.margins {
        ascending(&mut rules, "explore.margins", margins, f64::NEG_INFINITY);
    }
    if let Some(betas) = &spec.betas {
        ascending(&mut rules, "explore.betas", betas, 0.0);
    }
    if let Some(beta) = spec.beta {
        rules.positive("explore.beta", beta);
    }
    if let Some(alpha) = spec.alpha {
        rules.not_negative("explore.alpha", alpha);
    }
    if let Some(samples) = spec.samples {
        within(&mut rules, "explore.samples", samples, 2, MOST_SAMPLES);
    }
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
    let least = match spec.question {
        ExploredQuestion::NoisyAveraging => 3,
        _ => 2,
    };
    rules.at_least("explore.keys", keys, least);
    let dimension = spec.dimension;
    let both = ["explore.keys", "explore.dimension"];
    rules.rule(keys > dimension, &both, || {
        format!("`explore.keys` = {keys} must be at most `explore.dimension` = {dimension}: they are perpendicular")
    });
}

fn within(rules: &mut Rules<'_>, key: &str, value: usize, least: usize, most: usize) {
    rules.rule(!(least..=most).contains(&value), &[key], || {
        format!("`{key}` = {value} must be between {least} and {most}")
    });
}

/// A grid of finite numbers, each larger than the one before.
fn ascending(rules: &mut Rules<'_>, key: &str, values: &[f64], least: f64) {
    rules.rule(values.is_empty(), &[key], || {
        format!("`{key}` is empty; nothing would be measured")
    });
    let wrong = values.iter().any(|value| !value.is_finite())
        || values.windows(2).any(|pair| pair[0] >= pair[1]);
    rules.rule(wrong, &[key], || {
        format!("`{key}` must be finite numbers, each larger than the one before")
    });
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    rules.rule(low < least, &[key], || {
        format!("`{key}` goes down to {low}, {least} is the least")
    });
}
