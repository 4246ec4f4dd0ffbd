//! Where heads look: every head's map, and what it looks at when an answer begins.

mod answer;
mod maps;
mod scale;
mod seen;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use answer::draw_answer_attention;
pub use maps::draw_attention_maps;

use super::canvas::{Canvas, Point, Type};
use super::fonts::{self, Face};
use super::page::Page;
use super::text::{self, plural};
use super::theme::{BLACK, TEXT_SIZE};
use crate::error::Result;
use crate::metrics::rows::AttentionRow;
use scale::Scale;
use seen::{Head, MASK, Seen};

/// Where the heads of some models look while they read the same question and answer it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttentionMaps {
    /// The heading.
    pub title: String,
    /// How the caption begins; what is shown and what is found is added.
    pub caption: String,
    /// One below the other.
    pub models: Vec<MappedModel>,
}

/// One model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MappedModel {
    /// What it is called.
    pub label: String,
    /// The seed of its run.
    pub seed: u64,
    /// What its heads look at, for one question.
    pub rows: Vec<AttentionRow>,
}

/// Over the first model, for the scale, in px.
const SCALE: f64 = 48.0;
/// Between two models, in px.
const GAP: f64 = 26.0;
/// Places that a caption names.
const NAMED: usize = 3;

impl AttentionMaps {
    fn seen(&self) -> Vec<Seen> {
        let models = self.models.iter();
        models.map(|model| Seen::of(&model.rows)).collect()
    }

    fn scale(&self) -> Scale {
        let rows = self.models.iter().flat_map(|model| &model.rows);
        Scale::of(rows.map(|row| row.weight))
    }

    fn page(&self, own: &str, seen: &[Seen]) -> Page {
        let mut own = format!(
            "{own} Colour goes with the square root of a weight, so that small ones show. "
        );
        let found = self.models.iter().zip(seen).filter_map(|(model, seen)| {
            let found = finding(seen)?;
            Some(match self.models.len() {
                1 => found,
                _ => format!("{}, {found}", model.label),
            })
        });
        let found: Vec<String> = found.collect();
        if !found.is_empty() {
            let found = found.join("; ");
            own.push_str(&format!(
                "When the first character of the answer is asked for: {found}."
            ));
        }
        let characters = seen.iter().flat_map(|seen| seen.characters.values());
        let characters: String = characters.collect();
        let words = self.models.iter().map(|model| &model.label);
        let words = words.chain([&self.title, &self.caption]);
        let missing: usize = words
            .map(|words| fonts::drawable(Face::Text, words).1)
            .sum();
        let missing = missing + fonts::drawable(Face::Mono, &characters).1;
        Page {
            title: self.title.clone(),
            caption: super::join_caption(
                &self.caption,
                &(own.trim_end().to_owned() + &fonts::note(missing)),
            ),
            legend: vec![],
            vertical: "",
            right: 0.0,
            below: 0.0,
        }
    }
}

/// What a reader has to know of the models in which latents look or are looked at.
fn latents(figure: &AttentionMaps, seen: &[Seen]) -> String {
    let has = |(_, seen): &(&MappedModel, &Seen)| seen.heads.values().any(Head::has_latents);
    let models = figure.models.iter().zip(seen).filter(has);
    let labels: Vec<&str> = models.map(|(model, _)| model.label.as_str()).collect();
    if labels.is_empty() {
        return String::new();
    }
    let of = match labels.len() == figure.models.len() {
        true => String::new(),
        false => format!(" of {}", labels.join(" and ")),
    };
    format!(
        " In the first layer{of} latents look at characters, in the last one characters at latents, between \
         them latents at latents; a latent stands at the last place that it has seen."
    )
}

impl MappedModel {
    /// Name and seed, and what the model answers.
    fn heading(&self, seen: &Seen) -> String {
        let answer = match seen.answer() {
            answer if answer.is_empty() => "nothing".to_owned(),
            answer => format!("\u{201c}{answer}\u{201d}"),
        };
        let seed = text::seeds(&[self.seed]);
        format!("{}, {seed}, answers {answer}", self.label)
    }
}

/// Which characters most heads look at most when the first character of the answer is asked for; of heads
/// with latents nothing is told.
fn finding(seen: &Seen) -> Option<String> {
    let mut favourites: BTreeMap<usize, usize> = BTreeMap::new();
    let heads: Vec<&Head> = seen
        .heads
        .values()
        .filter(|head| !head.has_latents())
        .collect();
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

/// A line over a model.
fn draw_heading(canvas: &mut Canvas<'_>, words: &str, at: Point, width: f64) -> Result<()> {
    let words = text::shorten(Face::Text, TEXT_SIZE, words, width);
    canvas.text(&words, at, Type::new(TEXT_SIZE, BLACK))
}
