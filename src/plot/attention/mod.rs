//! Attention figures: the map of every head, and what it attends to when an answer begins.

mod answer;
mod kind;
mod maps;
mod scale;
mod seen;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fonts::{self, Face};
use super::text::{self, plural};
use super::theme::{MARGIN, TEXT_SIZE, WIDTH};
use super::{Canvas, Caption, PointLabels, PointSubset};
use crate::error::Result;
use crate::metrics::rows::AttentionRow;
use scale::Scale;
use seen::{Head, MASK, Seen};

/// The kind `attention-maps`.
pub type AttentionMaps = Attention<maps::Maps>;
/// The kind `answer-attention`.
pub type AnswerAttention = Attention<answer::Strips>;

/// Attention weights of some models while they read and answer the same question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attention<V> {
    title: String,
    /// Start of the caption; what is shown and what was found is appended.
    caption: String,
    /// One below the other.
    models: Vec<MappedModel>,
    view: PhantomData<V>,
}

/// One model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MappedModel {
    label: String,
    /// The seed of its run.
    seed: u64,
    /// The attention weights of its heads for one question.
    rows: Vec<AttentionRow>,
}

/// How a figure shows each model.
pub trait View {
    const NAME: &'static str;
    const SHOWS: &'static str;
    const TITLE: &'static str;
    /// What the caption says about it.
    const ABOUT: &'static str;
    /// A line of the figure's CSV.
    type Row: Serialize + DeserializeOwned;

    /// The lines of a model.
    fn rows(model: &MappedModel, seen: &Seen) -> Vec<Self::Row>;
    /// Height of a model with its heading, in px.
    fn height(seen: &Seen) -> f64;
    /// Draws a model whose heading begins at `top`, without the heading.
    fn draw(canvas: &mut Canvas<'_>, scale: &Scale, seen: &Seen, top: f64) -> Result<()>;
}

/// Most models for which the caption says what their heads attend to.
const TOLD: usize = 4;
/// Most positions that the caption names per model.
const NAMED: usize = 3;

impl<V: View> Attention<V> {
    fn seen(&self) -> Vec<Seen> {
        let models = self.models.iter();
        models.map(|model| Seen::of(&model.rows)).collect()
    }

    fn names(&self) -> PointLabels {
        PointLabels::of(self.models.iter().map(|model| model.label.as_str()))
    }

    fn full_caption(&self, seen: &[Seen], shown: &PointSubset) -> String {
        let names = self.names();
        let mut caption = Caption::new(&self.title, &self.caption);
        caption.say(V::ABOUT);
        self.latents(seen)
            .into_iter()
            .for_each(|latents| caption.say(latents));
        caption.say("Colour follows the square root of a weight, so that small ones show.");
        // With many models the caption would be longer than the figure; there each row shows it.
        let told = match self.models.len() {
            ..=TOLD => seen,
            _ => &[],
        };
        let found = names.iter().zip(told).filter_map(|(name, seen)| {
            let found = finding(seen)?;
            Some(match self.models.len() {
                1 => found,
                _ => format!("{name}, {found}"),
            })
        });
        let found: Vec<String> = found.collect();
        if !found.is_empty() {
            let found = found.join("; ");
            caption.say(format!(
                "When the first character of the answer is asked for: {found}."
            ));
        }
        let characters = seen.iter().flat_map(|seen| seen.characters.values());
        let characters: String = characters.collect();
        let caption = caption.draws_in(Face::Mono, [characters.as_str()]);
        caption.shown(shown, "points").labels(&names).finish()
    }

    /// The caption's note on models in which latents attend or are attended to.
    fn latents(&self, seen: &[Seen]) -> Option<String> {
        let names = self.names();
        let has = |seen: &Seen| seen.heads.values().any(Head::has_latents);
        let models = names.iter().zip(seen).filter(|(_, seen)| has(seen));
        let labels: Vec<&str> = models.map(|(name, _)| name.as_str()).collect();
        let of = match labels.len() {
            0 => return None,
            with if with == self.models.len() => String::new(),
            1..=TOLD => format!(" of {}", labels.join(" and ")),
            with => format!(" of {with} of the {} models", self.models.len()),
        };
        Some(format!(
            "In the first layer{of} latents look at characters, in the last one characters at latents, between \
             them latents at latents; a latent is shown at the last position that it has seen."
        ))
    }

    /// A heading for each model shown: its name, its seed, and what it answers.
    fn headings(&self, seen: &[Seen], shown: &PointSubset) -> Vec<String> {
        let room = WIDTH - 2.0 * MARGIN;
        let answers = shown.points.iter().map(|&i| {
            let answer = self.models[i].answer(&seen[i]);
            text::shorten(Face::Text, TEXT_SIZE, &answer, room / 2.0)
        });
        let answers: Vec<String> = answers.collect();
        let names = self.names().only(&shown.points);
        let names = names.fitted(TEXT_SIZE, room - fonts::widest(TEXT_SIZE, &answers));
        let both = names.into_iter().zip(answers);
        both.map(|(name, answer)| name + &answer).collect()
    }
}

impl MappedModel {
    /// The part of its heading after the name: the seed and the model's answer.
    fn answer(&self, seen: &Seen) -> String {
        let answer = match seen.answer() {
            answer if answer.is_empty() => "nothing".to_owned(),
            answer => format!("\u{201c}{answer}\u{201d}"),
        };
        format!(", {}, answers {answer}", text::seeds(&[self.seed]))
    }
}

/// The characters on which most heads put their largest weight when the first character of the answer is
/// predicted; heads with latents are not counted.
fn finding(seen: &Seen) -> Option<String> {
    let mut favourites: BTreeMap<usize, usize> = BTreeMap::new();
    let plain = seen.heads.values().filter(|head| !head.has_latents());
    let heads: Vec<&Head> = plain.collect();
    let largest = heads.iter().filter_map(|head| head.largest(seen.asking));
    for (place, _) in largest {
        *favourites.entry(place).or_default() += 1;
    }
    let mut favourites: Vec<(usize, usize)> = favourites.into_iter().collect();
    favourites.sort_by_key(|&(place, count)| (std::cmp::Reverse(count), place));
    let heads = plural(heads.len(), "head", "heads");
    let named = favourites.iter().take(NAMED).enumerate();
    let named = named.map(|(i, &(place, count))| {
        let (count, character) = (text::count(count), seen.quoted(place));
        let place = place + 1;
        match i {
            0 => {
                format!("{character} (place {place}) has the largest weight in {count} of {heads}")
            }
            _ => format!("{character} (place {place}) in {count}"),
        }
    });
    let named: Vec<String> = named.collect();
    (!named.is_empty()).then(|| named.join(", "))
}
