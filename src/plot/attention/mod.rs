//! What `kind = "attention-maps"` and `"answer-attention"` take and show: the map of every head, and what it attends to
//! when an answer begins, from `attention_maps.csv` of one run per point.

mod answer;
mod maps;
mod scale;
mod seen;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::fonts::{self, Face};
use super::text::{self, plural};
use super::theme::{MARGIN, TEXT_SIZE, WIDTH};
use super::{
    Canvas, Caption, Figure, Gathered, Need, Page, Plot, PointLabels, PointSubset, Points, Type,
};
use crate::error::Result;
use crate::kinds::BrokenRule;
use crate::metrics::artefacts::ATTENTION_MAPS;
use crate::metrics::measured::{Measured, MeasuredPoint, MeasuredRun};
use crate::metrics::rows::{AttentionRow, MOST_MAPPED};
use scale::Scale;
use seen::{Head, Seen};

/// The kind `attention-maps`.
pub type AttentionMaps = Attention<maps::Maps>;
/// The kind `answer-attention`.
pub type AnswerAttention = Attention<answer::Strips>;

/// The keys of both kinds.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Which of the questions of `evaluate.attention_maps`, counted from 1.
    #[schemars(range(min = 1, max = MOST_MAPPED))]
    question: usize,
}

impl Default for Keys {
    fn default() -> Self {
        Self { question: 1 }
    }
}

/// Space above the first model for the colour scale, in px.
const SCALE: f64 = 48.0;
/// Between two models, in px.
const GAP: f64 = 26.0;

impl<V: View> Plot for Attention<V> {
    type Keys = Keys;

    const NAME: &'static str = V::NAME;
    const SHOWS: &'static str = V::SHOWS;
    const TITLE: &'static str = V::TITLE;
    const NEEDS: Need = Need::AttentionMaps;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::tests::gallery::Example] = &[|points, label| {
        let figure: Self = tests::made_up(points, label);
        crate::plot::tests::drawn(&figure, "A figure of attention")
    }];

    /// `question` must be one of the mapped questions, if any point maps questions.
    fn check(keys: &Keys, points: &Points<'_>) -> Option<BrokenRule> {
        let question = keys.question;
        let is_beyond = |mapped: &usize| (*mapped + 1..=MOST_MAPPED).contains(&question);
        let mapped = points.mapped.filter(is_beyond)?;
        let plural = if mapped == 1 { "" } else { "s" };
        Some(BrokenRule {
            key: "question",
            reads: &[],
            message: format!(
                "= {question}, but `evaluate.attention_maps` names {mapped} question{plural}"
            ),
            help: None,
        })
    }

    fn origin(_: &Keys, measured: &Measured) -> String {
        format!("{}.", measured.origin)
    }

    fn gather(keys: &Keys, measured: &Measured) -> Result<Gathered<Self>> {
        let mut models = vec![];
        for point in &measured.points {
            models.extend(MappedModel::read(point, keys.question)?);
        }
        if models.is_empty() {
            return Ok(Gathered::Nothing(
                "no run has mapped that question (`evaluate.attention_maps`)".into(),
            ));
        }
        let view = PhantomData;
        Ok(Gathered::Figure(Self { models, view }))
    }

    fn draw(&self, caption: Caption) -> Result<Figure> {
        let seen = self.seen();
        let heights: Vec<f64> = seen.iter().map(V::height).collect();
        let tallest = heights.iter().copied().fold(0.0, f64::max);
        let shown = PointSubset::of_height(seen.len(), tallest + GAP);
        let page = Page::new(self.explained(caption, &seen, &shown), vec![]);
        let weights = self.models.iter().flat_map(|model| &model.rows);
        let scale = Scale::of(weights.map(|row| row.weight));
        let both = self.models.iter().zip(&seen);
        let rows: Vec<V::Row> = both
            .flat_map(|(model, seen)| V::rows(model, seen))
            .collect();
        let gaps = GAP * shown.points.len().saturating_sub(1) as f64;
        let height = SCALE + shown.among(&heights).iter().sum::<f64>() + gaps;
        page.figure(height, &rows, |canvas, area| {
            scale.draw(canvas, (MARGIN, area.top))?;
            let mut top = area.top + SCALE;
            for (heading, &model) in self.headings(&seen, &shown).iter().zip(&shown.points) {
                canvas.text(heading, (MARGIN, top + TEXT_SIZE), Type::LABEL)?;
                V::draw(canvas, &scale, &seen[model], top)?;
                top += heights[model] + GAP;
            }
            Ok(())
        })
    }
}

/// Attention weights of some models while they read and answer the same question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attention<V> {
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

    fn explained(&self, mut caption: Caption, seen: &[Seen], shown: &PointSubset) -> Caption {
        let names = self.names();
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
        caption.shown(shown, "points").labels(&names)
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
        let names = self.names().only(shown);
        let names = names.fitted(TEXT_SIZE, room - fonts::widest(TEXT_SIZE, &answers));
        let both = names.into_iter().zip(answers);
        both.map(|(name, answer)| name + &answer).collect()
    }
}

impl MappedModel {
    /// One run of the point, if any has mapped the question: heads of different seeds do not correspond to each
    /// other.
    fn read(point: &MeasuredPoint, question: usize) -> Result<Option<Self>> {
        let is_mapped = |run: &&MeasuredRun| run.path(&ATTENTION_MAPS, "").is_file();
        let Some(run) = point.runs.iter().find(is_mapped) else {
            return Ok(None);
        };
        let rows = run.read::<AttentionRow>(&ATTENTION_MAPS, "")?;
        let mut rows = rows.unwrap_or_default();
        rows.retain(|row| row.question == question);
        let (label, seed) = (point.label.clone(), run.seed);
        Ok((!rows.is_empty()).then_some(Self { label, seed, rows }))
    }

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
