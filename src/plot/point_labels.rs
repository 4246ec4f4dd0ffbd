//! The names of points in a figure: short, and all distinct.

use std::collections::BTreeMap;

use super::crowd::PointSubset;
use super::fonts::{self, Face};
use super::text;
use crate::labels::shorten_apart;

/// The labels of a figure's points, as the figure writes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PointLabels {
    /// One for each point.
    own: Vec<String>,
    /// Settings that all points share; only the caption has them.
    shared: Vec<String>,
}

impl PointLabels {
    /// Leaves out the settings (`key = value`) that all labels share, and spells out the characters that
    /// the fonts lack where labels would look alike without them.
    pub(super) fn of<'a>(labels: impl IntoIterator<Item = &'a str>) -> Self {
        let labels: Vec<&str> = labels.into_iter().collect();
        let parts: Vec<Vec<&str>> = labels.iter().map(|label| settings(label)).collect();
        let is_shared =
            |part: &&str| part.contains(" = ") && parts.iter().all(|parts| parts.contains(part));
        let first = parts.iter().take(1).flatten().copied();
        let shared: Vec<&str> = first.filter(is_shared).collect();
        let own = |parts: &Vec<&str>| -> String {
            let own = parts.iter().copied().filter(|part| !shared.contains(part));
            own.collect::<Vec<_>>().join(", ")
        };
        let own = parts.iter().map(own);
        let shared = shared.iter().map(|part| (*part).to_owned());
        let (mut own, mut shared): (Vec<String>, Vec<String>) = (own.collect(), shared.collect());
        // If a label consists of shared settings only, all labels are kept whole.
        if own.iter().any(String::is_empty) {
            own = labels.into_iter().map(str::to_owned).collect();
            shared.clear();
        }
        Self {
            own: spelled_apart(own),
            shared,
        }
    }

    /// Labels that are no points, of which nothing is left out.
    pub(super) fn whole<'a>(labels: impl IntoIterator<Item = &'a str>) -> Self {
        let own = labels.into_iter().map(str::to_owned).collect();
        Self {
            own: spelled_apart(own),
            shared: vec![],
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &String> {
        self.own.iter()
    }

    /// The names of some of the points.
    pub(super) fn only(&self, points: &PointSubset) -> Self {
        Self {
            own: points.among(&self.own),
            shared: self.shared.clone(),
        }
    }

    /// Every name in one line of at most `width` px.
    pub(super) fn fitted(&self, size: f64, width: f64) -> Vec<String> {
        shorten_apart(&self.own, &|name| {
            fonts::fits(Face::Text, size, name, width)
        })
    }

    /// Every name in at most `lines` lines of `width` px.
    pub(super) fn wrapped(&self, size: f64, width: f64, lines: usize) -> Vec<Vec<String>> {
        let wrap = |name: &str, lines| text::wrap(Face::Text, size, name, width, lines);
        // Most of what is tried is far too long, and wrapping it would take most of a figure's time.
        let most = (width + size) * lines as f64;
        let fits = |name: &str| {
            fonts::fits(Face::Text, size, name, most) && wrap(name, usize::MAX).len() <= lines
        };
        let names = shorten_apart(&self.own, &fits);
        names.iter().map(|name| wrap(name, lines)).collect()
    }

    /// The caption sentence about settings that all points share; empty if there are none.
    pub(super) fn note(&self) -> String {
        match self.shared.as_slice() {
            [] => String::new(),
            shared => format!(" Same for all points: {}.", shared.join(", ")),
        }
    }
}

/// The parts of a label: it is divided where a setting (`key = value`) begins.
fn settings(label: &str) -> Vec<&str> {
    const SEPARATOR: &str = ", ";
    let is_key = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '"');
    let begins = |at: &usize| {
        let key = label[at + SEPARATOR.len()..].split_once(" = ");
        key.is_some_and(|(key, _)| !key.is_empty() && key.chars().all(is_key))
    };
    let mut parts = vec![];
    let mut from = 0;
    let separators = label.match_indices(SEPARATOR).map(|(at, _)| at);
    for at in separators.filter(begins) {
        parts.push(&label[from..at]);
        from = at + SEPARATOR.len();
    }
    parts.push(&label[from..]);
    parts
}

/// Labels that differ only in characters that the fonts lack have these as code points: `U+1F980`.
fn spelled_apart(labels: Vec<String>) -> Vec<String> {
    let drawn = |label: &str| fonts::drawable(Face::Text, label).0;
    let mut meant: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for label in &labels {
        meant.entry(drawn(label)).or_default().push(label);
    }
    let is_ambiguous = |label: &String| meant[&drawn(label)].iter().any(|other| *other != label);
    let spelled = |c: char| match c.is_whitespace() || fonts::advance(Face::Text, c).is_some() {
        true => c.to_string(),
        false => format!("U+{:04X}", u32::from(c)),
    };
    let told = |label: &String| match is_ambiguous(label) {
        true => label.chars().map(spelled).collect(),
        false => label.clone(),
    };
    labels.iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(labels: &[&str]) -> PointLabels {
        PointLabels::of(labels.iter().copied())
    }

    #[test]
    fn shared_settings_are_only_in_the_caption() {
        let shared = names(&[
            "data.seed = 0, pretrain.epochs = 1",
            "data.seed = 1, pretrain.epochs = 1",
        ]);
        assert_eq!(shared.own, ["data.seed = 0", "data.seed = 1"]);
        assert_eq!(shared.note(), " Same for all points: pretrain.epochs = 1.");
        for untouched in [
            &["betas = [0.9, 0.95]", "betas = [0.9, 0.99]"][..],
            &["rope, small", "alibi, small"],
            &["a = 1", "a = 1, b = 2"],
            &["a = 1"],
            &[],
        ] {
            assert_eq!(names(untouched).own, untouched);
            assert_eq!(names(untouched).note(), "");
        }
    }

    #[test]
    fn characters_that_the_fonts_lack_tell_labels_apart() {
        let told = names(&["run 🦀", "run 🦊", "λ = 1", "一"]);
        assert_eq!(told.own, ["run U+1F980", "run U+1F98A", "λ = 1", "一"]);
    }

    #[test]
    fn names_fit_and_differ() {
        let long = |i: usize| {
            format!("attention.kind = a-kind-with-a-very-long-name-{i:02}-and-an-ending")
        };
        let labels: Vec<String> = (0..80).map(long).collect();
        let names = PointLabels::of(labels.iter().map(String::as_str));
        let fitted = names.fitted(14.0, 90.0);
        let different: std::collections::BTreeSet<_> = fitted.iter().collect();
        assert_eq!(different.len(), 80, "{fitted:?}");
        assert!(
            fitted
                .iter()
                .all(|name| fonts::width(Face::Text, 14.0, name) <= 90.0)
        );
        let wrapped = names.wrapped(14.0, 90.0, 2);
        let different: std::collections::BTreeSet<_> = wrapped.iter().collect();
        assert_eq!(different.len(), 80, "{wrapped:?}");
        assert!(wrapped.iter().all(|lines| lines.len() <= 2));
    }
}
