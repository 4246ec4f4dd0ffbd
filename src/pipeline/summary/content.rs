//! What a figure gathers, and what its caption says of the experiment.

use std::collections::BTreeSet;

use crate::config::Experiment;
use crate::config::schema::Settings;
use crate::plot::Figure;

/// Of more different numbers of epochs only the least and the most are named.
const MOST_NAMED: usize = 4;

/// A figure, or why there is nothing to draw.
pub(super) enum Content {
    Drawn(Figure),
    Nothing(&'static str),
}

/// Which questions the points were asked: `dev`, or `dev and train`.
pub(super) fn splits(experiment: &Experiment) -> String {
    let points = experiment.points.iter();
    let asked = points.filter_map(|point| point.settings.training()?.evaluate.as_ref());
    let splits: BTreeSet<&str> = asked.map(|spec| spec.split.name()).collect();
    splits.into_iter().collect::<Vec<_>>().join(" and ")
}

/// Which experiment, what all its points share, and how long they trained:
/// `birthplace/vanilla (pretrain 650 epochs, finetune 10 epochs)`.
pub(super) fn origin(experiment: &Experiment) -> String {
    let pretrain = |s: &Settings| s.pretrain.as_ref().map_or(0, |stage| stage.epochs);
    let finetune = |s: &Settings| s.finetune.as_ref().map_or(0, |stage| stage.epochs);
    let trained = |stage: &str, epochs: &dyn Fn(&Settings) -> usize| {
        let points = experiment.points.iter();
        let settings = points.filter_map(|point| point.settings.training());
        let all: BTreeSet<usize> = settings.map(epochs).collect();
        let words: Vec<String> = all.iter().map(usize::to_string).collect();
        let words = match &words[..] {
            [least, .., most] if words.len() > MOST_NAMED => format!("{least} to {most}"),
            words => words.join(" or "),
        };
        let plural = if all.last() == Some(&1) { "" } else { "s" };
        let any = all.last().is_some_and(|&most| most > 0);
        any.then(|| format!("{stage} {words} epoch{plural}"))
    };
    let stages = [
        trained("pretrain", &pretrain),
        trained("finetune", &finetune),
    ];
    let suite = experiment.suite.as_ref();
    let profile = suite.map(|suite| format!("profile {}", suite.profile));
    // How long they trained is said in any case.
    let is_epochs = |told: &&String| told.contains(".epochs = ");
    let shared = experiment.context.iter().filter(|told| !is_epochs(told));
    let told: Vec<String> = profile
        .into_iter()
        .chain(shared.cloned())
        .chain(stages.into_iter().flatten())
        .collect();
    if told.is_empty() {
        return experiment.name.clone();
    }
    format!("{} ({})", experiment.name, told.join(", "))
}
