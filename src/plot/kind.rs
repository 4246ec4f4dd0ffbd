//! The interface of a kind of figure: its keys in a file, its rules, what it reads and how it is drawn.

use std::borrow::Cow;
use std::collections::BTreeSet;

use figment::value::Value;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Caption, Figure, Need};
use crate::error::{Error, Result};
use crate::kinds::{BrokenRule, Entry, Kinded, TableKind};
use crate::metrics::measured::Measured;

/// A kind of figure: what one of them shows, where that comes from, and how it is drawn.
pub(super) trait Plot: Sized {
    /// The keys that `[figures.NAME]` takes beside `kind` and `title`; each has a default.
    type Keys: DeserializeOwned + Serialize + JsonSchema;
    /// Its name in an experiment file.
    const NAME: &'static str;
    /// What it shows, for the manual.
    const SHOWS: &'static str;
    /// The default heading; kinds whose heading varies override [`Plot::title`].
    const TITLE: &'static str = "";
    /// What at least one point must make for it.
    const NEEDS: Need;
    /// Whether it is for explorations, and for nothing else.
    const IS_OF_EXPLORATION: bool = false;
    /// Sample figures, in which a test looks for overlapping texts.
    #[cfg(test)]
    const EXAMPLES: &'static [super::tests::gallery::Example];

    /// The default heading; explorations have their own.
    fn title(_keys: &Self::Keys, measured: &Measured) -> String {
        match &measured.exploration {
            Some(texts) => texts.heading.clone(),
            None => Self::TITLE.to_owned(),
        }
    }

    /// How its caption begins: where the numbers come from.
    fn origin(_keys: &Self::Keys, measured: &Measured) -> String {
        match &measured.exploration {
            Some(texts) => texts.caption.clone(),
            None => measured.asked(),
        }
    }

    /// [`Plot::NEEDS`], where that depends on the keys.
    fn needs(_keys: &Self::Keys) -> Need {
        Self::NEEDS
    }

    /// Whether it shows all candidates if points are chosen by validation, since it is about the keys that are `chosen`;
    /// otherwise it shows the chosen points.
    fn shows_candidates(_keys: &Self::Keys, _chosen: &[String]) -> bool {
        false
    }

    /// What is wrong with the keys for these points, beyond their ranges.
    fn check(_keys: &Self::Keys, _points: &Points<'_>) -> Option<BrokenRule> {
        None
    }

    /// Collects what it shows from the finished runs.
    ///
    /// # Errors
    /// A table cannot be read.
    fn gather(keys: &Self::Keys, measured: &Measured) -> Result<Gathered<Self>>;

    /// Draws it with its title and caption, to which it adds what its marks mean.
    ///
    /// # Errors
    /// Impossible numbers, such as more right answers than questions.
    fn draw(&self, caption: Caption) -> Result<Figure>;
}

/// The keys of a kind that has none of its own.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoKeys {}

/// What there is to draw, or why there is nothing.
pub enum Gathered<T> {
    /// The figure.
    Figure(T),
    /// The reason.
    Nothing(Cow<'static, str>),
}

/// The facts about an experiment's points that rules depend on.
#[derive(Default)]
pub struct Points<'a> {
    /// What the sweep sets at each point: keys and values as text. Empty where some point could not be read.
    pub values: Vec<Vec<(String, String)>>,
    /// Keys that the sweep sets to a number at every point.
    pub numbers: Vec<&'a str>,
    /// How many questions `evaluate.attention_maps` names, at the point that names most; absent where none does.
    pub mapped: Option<usize>,
    /// Keys that `choose` names.
    pub chosen: &'a [String],
    /// The measures that every point with an evaluation has in `evaluate.measures`.
    pub measures: BTreeSet<&'static str>,
    /// What the points make; absent where they could not be read.
    pub made: Option<BTreeSet<Need>>,
}

/// A kind of figure, as an entry of [`KINDS`](super::KINDS).
pub struct FigureKind {
    entry: Entry,
    /// Whether it is for explorations, and for nothing else.
    pub is_of_exploration: bool,
    /// See [`Plot::EXAMPLES`].
    #[cfg(test)]
    pub examples: &'static [super::tests::gallery::Example],
    check: fn(&Value, &Points<'_>) -> Option<BrokenRule>,
    shows_candidates: fn(&Value, &[String]) -> bool,
    draw: fn(&Value, Option<&str>, &Measured) -> Result<Gathered<Figure>>,
}

impl FigureKind {
    /// The entry of a kind.
    pub(super) const fn of<K: Plot>() -> Self {
        Self {
            entry: Entry::of::<K::Keys>(K::NAME, K::SHOWS),
            is_of_exploration: K::IS_OF_EXPLORATION,
            #[cfg(test)]
            examples: K::EXAMPLES,
            check: |keys, points| {
                let keys = K::Keys::deserialize(keys).ok()?;
                let need = K::needs(&keys);
                match &points.made {
                    Some(made) if !made.contains(&need) => Some(need.missing(K::NAME)),
                    _ => K::check(&keys, points),
                }
            },
            shows_candidates: |keys, chosen| {
                K::Keys::deserialize(keys).is_ok_and(|keys| K::shows_candidates(&keys, chosen))
            },
            draw: |keys, title, measured| {
                let keys = K::Keys::deserialize(keys).map_err(|e| Error::config(e.to_string()))?;
                let title = title.map_or_else(|| K::title(&keys, measured), str::to_owned);
                let mut caption = Caption::new(title, K::origin(&keys, measured));
                measured.choice.iter().for_each(|how| caption.say(how));
                Ok(match K::gather(&keys, measured)? {
                    Gathered::Figure(figure) => Gathered::Figure(figure.draw(caption)?),
                    Gathered::Nothing(why) => Gathered::Nothing(why),
                })
            },
        }
    }
}

impl TableKind for FigureKind {
    const TABLE: &'static str = "One figure of an experiment, drawn from its CSV files alone.";
    const CHOOSES: &'static str = "What it shows.";
    const TITLE: Option<&'static str> = Some("Heading. Default: from the kind.");

    fn kinds() -> &'static [Self] {
        &super::KINDS
    }

    fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl Kinded<FigureKind> {
    /// See `Plot::check`; nothing where the keys cannot be read.
    pub fn check(&self, points: &Points<'_>) -> Option<BrokenRule> {
        (self.kind.check)(&self.own, points)
    }

    /// Whether it shows all candidates of a choice by validation among the values of the keys `chosen`.
    pub fn shows_candidates(&self, chosen: &[String]) -> bool {
        (self.kind.shows_candidates)(&self.own, chosen)
    }

    /// Draws the finished runs.
    ///
    /// # Errors
    /// A table cannot be read, or has impossible numbers.
    pub fn draw(&self, measured: &Measured) -> Result<Gathered<Figure>> {
        (self.kind.draw)(&self.own, self.title.as_deref(), measured)
    }
}
