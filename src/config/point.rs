//! One point of an experiment: its settings, its name, its identity.

use std::collections::BTreeMap;

use figment::value::Value;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::layers::Fault;
use super::schema::{ExplorationSettings, Settings};
use super::sweep::PointValues;
use crate::error::{Error, Result};
use crate::explore::QuestionKind;
use crate::kinds::Kinded;

/// The longest slug, so that whole paths stay within what file systems take.
const SLUG_CHARACTERS: usize = 60;

/// What a point does: it trains, or it explores.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PointSettings {
    /// Data, model and stages.
    Training(Box<Settings>),
    /// A question about attention itself.
    Exploration(Box<ExplorationSettings>),
}

impl PointSettings {
    /// The settings of a point that trains or evaluates.
    pub fn training(&self) -> Option<&Settings> {
        match self {
            Self::Training(settings) => Some(settings),
            Self::Exploration(_) => None,
        }
    }

    /// The question of a point that explores.
    pub fn exploration(&self) -> Option<&Kinded<QuestionKind>> {
        match self {
            Self::Training(_) => None,
            Self::Exploration(settings) => Some(&settings.explore),
        }
    }

    /// Like [`Self::training`], but an exploration is an error: `place` names it, and `lacks` is what it does not have,
    /// such as `model to ask`.
    pub fn needed(&self, place: impl std::fmt::Display, lacks: &str) -> Result<&Settings> {
        self.training().ok_or_else(|| {
            Error::usage(format!("{place} is an exploration: it has no {lacks}"))
                .help("its results are tables and figures: see `attnlab run` and `attnlab plot`")
        })
    }
}

/// One point of the sweep, with everything that its runs depend on but the seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its settings, all layers merged.
    pub settings: PointSettings,
    /// What the grid of the sweep sets here: keys and values as text, in the order of the axes.
    pub axes: Vec<(String, String)>,
    /// What was drawn for it; absent without a random search.
    pub draw: Option<Draw>,
    /// Its display name, unique within the experiment.
    pub label: String,
    /// Keys of the sweep whose values here the file names, each with that name.
    pub names: BTreeMap<String, String>,
    /// A readable folder name, such as `pretrain-epochs-60` or `draw-3`; `base` without a sweep.
    pub slug: String,
}

/// One draw of a random search.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    /// Its number, from 1. The number of a draw that repeats an earlier one stays free.
    pub number: usize,
    /// What it sets: keys and values as text, in the alphabetical order of the keys.
    pub values: Vec<(String, String)>,
}

impl Point {
    pub(super) fn new(
        settings: PointSettings,
        values: &PointValues,
        label: String,
        names: BTreeMap<String, String>,
    ) -> Self {
        let axes = values.texts(false);
        let draw = values.draw.map(|number| Draw {
            number,
            values: values.texts(true),
        });
        let slug = slug(&axes, values.draw);
        Self {
            settings,
            axes,
            draw,
            label,
            names,
            slug,
        }
    }

    /// All that the sweep sets here: what its grid does, then what was drawn.
    pub fn values(&self) -> impl Iterator<Item = &(String, String)> {
        let drawn = self.draw.iter().flat_map(|draw| &draw.values);
        self.axes.iter().chain(drawn)
    }

    /// The first 8 hexadecimal digits of the SHA-256 of the settings, so that two points share a
    /// folder only if they are the same. Comments, the order of keys, values equal to a default
    /// and the seed of training do not matter.
    pub fn hash(&self) -> String {
        let digest = Sha256::digest(canonical(&self.settings).as_bytes());
        let bytes = digest.iter().take(4);
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }

    /// The name of the point's folder below the experiment's: `slug-hash`.
    pub fn folder(&self) -> String {
        format!("{}-{}", self.slug, self.hash())
    }
}

/// The settings and seed of one run as TOML, as in `resolved.toml`: complete with defaults, except for
/// keys of `[data]` that were not given. The text is itself an experiment file, of one point with the same hash.
pub fn to_toml(settings: &PointSettings, seed: u64) -> String {
    let settings = toml::to_string(settings);
    let settings = settings.expect("settings are tables of numbers that TOML has, and UTF-8 text");
    format!("seeds = [{seed}]\n{settings}")
}

/// JSON with sorted keys, because figment's tables are sorted. Settings that no result depends on are
/// left out: the checkpoint interval, numbers reported elsewhere, and measures, which are computed from answers.
fn canonical(settings: &PointSettings) -> String {
    let mut settings = settings.clone();
    if let PointSettings::Training(settings) = &mut settings {
        let pretrain = settings.pretrain.iter_mut();
        pretrain.for_each(|stage| stage.checkpoint_steps = None);
        let finetune = settings.finetune.iter_mut();
        finetune.for_each(|stage| stage.checkpoint_steps = None);
        let evaluate = settings.evaluate.iter_mut();
        evaluate.for_each(|stage| {
            stage.reported = None;
            stage.measures.clear();
        });
    }
    let tree = Value::serialize(&settings).expect("settings are plain numbers, text and tables");
    serde_json::to_string(&tree).expect("a tree with text keys is JSON")
}

/// A fault for every point that has the same settings as an earlier one.
pub(super) fn duplicates(points: &[Point]) -> Vec<Fault> {
    let mut seen = BTreeMap::new();
    let mut faults = Vec::new();
    for (i, point) in points.iter().enumerate() {
        let first = *seen.entry(canonical(&point.settings)).or_insert(i);
        if first != i {
            let axes: Vec<String> = point.values().map(|(k, v)| format!("{k} = {v}")).collect();
            let (one, other, axes) = (first + 1, i + 1, axes.join(", "));
            let message = format!("points {one} and {other} of the sweep are the same: {axes}");
            faults.push(Fault::at_key(&["sweep"], message));
        }
    }
    faults
}

/// Lower-case letters, digits, `_`, `.` within, and `-` for everything else. What was drawn is known
/// by its number.
fn slug(axes: &[(String, String)], draw: Option<usize>) -> String {
    let draw = draw.map(|number| format!("draw-{number}"));
    match (slug_of_axes(axes), draw) {
        (None, draw) => draw.unwrap_or_else(|| "base".to_owned()),
        (Some(axes), None) => axes,
        (Some(mut axes), Some(draw)) => {
            axes.truncate(SLUG_CHARACTERS - draw.len() - 1);
            format!("{}-{draw}", axes.trim_end_matches(['-', '.']))
        }
    }
}

/// Whether a key of the sweep can change a result. What others reported cannot, so it names no point.
pub fn decides(key: &str) -> bool {
    !key.starts_with("evaluate.reported")
}

fn slug_of_axes(axes: &[(String, String)]) -> Option<String> {
    let axes: Vec<&(String, String)> = axes.iter().filter(|(key, _)| decides(key)).collect();
    if axes.is_empty() {
        return None;
    }
    let text = |(key, value): &&(String, String)| format!("{}-{value}-", key.replace('.', "-"));
    let mut slug = String::new();
    for c in axes.iter().map(text).collect::<String>().chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() || c == '_' => slug.push(c),
            '.' if slug.ends_with(|c: char| c.is_ascii_digit()) => slug.push('.'),
            _ if !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    slug.truncate(SLUG_CHARACTERS);
    Some(slug.trim_matches(['-', '.']).to_owned())
}
