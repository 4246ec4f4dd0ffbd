//! Attention figures: the map of every head, and what it attends to when an answer begins.

mod answer;
mod kind;
mod maps;
mod scale;
mod seen;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use answer::draw_answer_attention;
pub use kind::AnswerAttention;
pub use maps::draw_attention_maps;

use super::canvas::{Canvas, Type};
use super::caption::Caption;
use super::crowd::PointSubset;
use super::fonts::{self, Face};
use super::page::Page;
use super::point_labels::PointLabels;
use super::text::{self, plural};
use super::theme::{BLACK, MARGIN, TEXT_SIZE, WIDTH};
use crate::error::Result;
use crate::metrics::rows::AttentionRow;
use scale::Scale;
use seen::{Head, MASK, Seen};

/// Attention weights of some models while they read and answer the same question.
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
    /// The attention weights of its heads for one question.
    pub rows: Vec<AttentionRow>,
}

/// Over the first model, for the scale, in px.
const SCALE: f64 = 48.0;
/// Between two models, in px.
const GAP: f64 = 26.0;
/// Most models for which the caption says what their heads attend to.
const TOLD: usize = 4;
/// Most positions that the caption names per model.
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

    fn names(&self) -> PointLabels {
        PointLabels::of(self.models.iter().map(|model| model.label.as_str()))
    }

    /// The page of the models that are shown.
    fn page(&self, own: &str, seen: &[Seen], shown: &PointSubset) -> Page {
        let names = self.names();
        let mut own = format!(
            "{own} Colour goes with the square root of a weight, so that small ones show. "
        );
        // With many models the caption would be longer than the figure; there each row shows it.
        let told = if self.models.len() > TOLD {
            &[][..]
        } else {
            seen
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
            own.push_str(&format!(
                "When the first character of the answer is asked for: {found}."
            ));
        }
        let characters = seen.iter().flat_map(|seen| seen.characters.values());
        let characters: String = characters.collect();
        let mut caption = Caption::new(&self.title, &self.caption);
        caption.say(own.trim_end());
        let caption = caption.draws_in(Face::Mono, [characters.as_str()]);
        Page {
            title: self.title.clone(),
            caption: caption.shown(shown, "points").labels(&names).finish(),
            legend: vec![],
            vertical: "",
            right: 0.0,
            below: 0.0,
        }
    }
}

/// The caption's note on models in which latents attend or are attended to.
fn latents(figure: &AttentionMaps, seen: &[Seen]) -> String {
    let has = |(_, seen): &(&MappedModel, &Seen)| seen.heads.values().any(Head::has_latents);
    let names = figure.names();
    let models = names.iter().zip(figure.models.iter().zip(seen));
    let models = models.filter(|(_, model)| has(model));
    let labels: Vec<&str> = models.map(|(name, _)| name.as_str()).collect();
    let of = match labels.len() {
        0 => return String::new(),
        with if with == figure.models.len() => String::new(),
        1..=TOLD => format!(" of {}", labels.join(" and ")),
        with => format!(" of {with} of the {} models", figure.models.len()),
    };
    format!(
        " In the first layer{of} latents look at characters, in the last one characters at latents, between \
         them latents at latents; a latent is shown at the last position that it has seen."
    )
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

/// A line for each model that is shown: its name, its seed, and what it answers.
fn headings(figure: &AttentionMaps, seen: &[Seen], shown: &PointSubset) -> Vec<String> {
    let width = |words: &str| fonts::width(Face::Text, TEXT_SIZE, words);
    let room = WIDTH - 2.0 * MARGIN;
    let answers = shown.points.iter().map(|&i| {
        let answer = figure.models[i].answer(&seen[i]);
        text::shorten(Face::Text, TEXT_SIZE, &answer, room / 2.0)
    });
    let answers: Vec<String> = answers.collect();
    let longest = answers
        .iter()
        .map(|answer| width(answer))
        .fold(0.0, f64::max);
    let names = figure.names().only(&shown.points);
    let names = names.fitted(TEXT_SIZE, room - longest);
    let both = names.into_iter().zip(answers);
    both.map(|(name, answer)| name + &answer).collect()
}

/// The characters on which most heads put their largest weight when the first character of the answer is
/// predicted; heads with latents are not counted.
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
fn draw_heading(canvas: &mut Canvas<'_>, words: &str, top: f64) -> Result<()> {
    let at = (MARGIN, top + TEXT_SIZE);
    canvas.text(words, at, Type::new(TEXT_SIZE, BLACK))
}
