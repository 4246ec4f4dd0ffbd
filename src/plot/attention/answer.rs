//! What each head attends to when the first character of the answer is predicted: one row per head, one
//! column per character of the question.

use serde::{Deserialize, Serialize};

use super::scale::Scale;
use super::seen::Seen;
use super::{AttentionMaps, GAP, MASK, SCALE, draw_heading, headings, latents};
use crate::error::Result;
use crate::plot::Figure;
use crate::plot::canvas::{Anchor, Canvas, Point, Type, paint};
use crate::plot::crowd::PointSubset;
use crate::plot::fonts::{self, Face};
use crate::plot::text::number;
use crate::plot::theme::{
    BLACK, GREY, GRID, LINE_HEIGHT, MARGIN, OURS, SMALL_SIZE, TEXT_SIZE, WIDTH,
};

/// Left of a row for its layer and head, in px.
const NAMES: f64 = 86.0;
/// Right of a row for its largest weight, in px.
const LARGEST: f64 = 90.0;
/// Height of a row, in px.
const ROW: f64 = SMALL_SIZE * LINE_HEIGHT;
/// Between two layers, in px.
const BETWEEN: f64 = 7.0;
/// Widest column, in px.
const WIDEST: f64 = 26.0;
/// Over the rows for heading and characters, in px.
const HEAD: f64 = TEXT_SIZE * LINE_HEIGHT + 34.0;

/// The weight of one head on one key position, a row of the figure's CSV.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct AnswerRow {
    label: String,
    seed: u64,
    layer: usize,
    head: usize,
    key_position: usize,
    key_character: String,
    weight: f32,
}

/// Draws a strip of weights for each head: what it attends to when the query is the mask after the question.
///
/// # Errors
/// None that the caller can cause; the renderer's own pass through.
pub fn draw_answer_attention(figure: &AttentionMaps) -> Result<Figure> {
    let (seen, scale) = (figure.seen(), figure.scale());
    let height = |seen: &Seen| HEAD + rows_height(seen);
    let tallest = seen.iter().map(height).fold(0.0, f64::max);
    let shown = PointSubset::of_height(seen.len(), tallest + GAP);
    let page = figure.page(
        &format!(
            "Each row is a head, as layer.head: its weights on the characters of the question when the query is \
             the mask that ends it, the blue sign, which predicts the first character of the answer. \
             On the right: the largest weight and its character.{}",
            latents(figure, &seen)
        ),
        &seen,
        &shown,
    );
    let heights: Vec<f64> = shown.points.iter().map(|&i| height(&seen[i])).collect();
    let gaps = GAP * heights.len().saturating_sub(1) as f64;
    let layout = page.layout_of(SCALE + heights.iter().sum::<f64>() + gaps);
    let drawing = paint(layout.height, |canvas| {
        page.draw_words(canvas, &layout)?;
        scale.draw(canvas, (MARGIN, layout.top))?;
        let mut top = layout.top + SCALE;
        for (heading, &model) in headings(figure, &seen, &shown).iter().zip(&shown.points) {
            draw_heading(canvas, heading, top)?;
            Strips::new(&seen[model], top + HEAD).draw(canvas, &scale)?;
            top += height(&seen[model]) + GAP;
        }
        Ok(())
    })?;
    Figure::finish(&drawing, &page.title, &page.caption, &rows(figure, &seen))
}

fn rows(figure: &AttentionMaps, seen: &[Seen]) -> Vec<AnswerRow> {
    let mut rows = vec![];
    for (model, seen) in figure.models.iter().zip(seen) {
        for (&(layer, head), weights) in &seen.heads {
            rows.extend(weights.from(seen.asking).map(|(place, weight)| AnswerRow {
                label: model.label.clone(),
                seed: model.seed,
                layer,
                head,
                key_position: place + 1,
                key_character: seen.character(place).to_string(),
                weight,
            }));
        }
    }
    rows
}

/// How many layers begin before a head's row, and the height of all rows, in px.
fn rows_height(seen: &Seen) -> f64 {
    let layers: Vec<usize> = seen.heads.keys().map(|(layer, _)| *layer).collect();
    let breaks = layers.windows(2).filter(|pair| pair[0] != pair[1]).count();
    layers.len() as f64 * ROW + breaks as f64 * BETWEEN
}

/// The rows of one model.
struct Strips<'a> {
    seen: &'a Seen,
    top: f64,
    left: f64,
    column: f64,
}

impl<'a> Strips<'a> {
    fn new(seen: &'a Seen, top: f64) -> Self {
        let left = MARGIN + NAMES;
        let room = WIDTH - MARGIN - LARGEST - left;
        let column = (room / (seen.asking + 1) as f64).min(WIDEST);
        Self {
            seen,
            top,
            left,
            column,
        }
    }

    fn draw(&self, canvas: &mut Canvas<'_>, scale: &Scale) -> Result<()> {
        self.draw_characters(canvas)?;
        let names = Type::new(SMALL_SIZE, GREY);
        canvas.text("layer.head", (MARGIN, self.top - 8.0), names)?;
        let right = self.left + self.column * (self.seen.asking + 1) as f64;
        canvas.text("largest", (right + 10.0, self.top - 8.0), names)?;
        let (mut y, mut before) = (self.top, None);
        for (&(layer, head), weights) in &self.seen.heads {
            if before.is_some_and(|before| before != layer) {
                y += BETWEEN;
            }
            before = Some(layer);
            let ground = y + ROW / 2.0 + SMALL_SIZE * 0.34;
            let name = Type::new(SMALL_SIZE, BLACK).anchored(Anchor::End);
            canvas.text(&format!("{layer}.{head}"), (self.left - 10.0, ground), name)?;
            let frame = (right, y + ROW - 1.0);
            canvas.rectangle((self.left, y), frame, GRID.fade(0.45))?;
            for (place, weight) in weights.from(self.seen.asking) {
                self.draw_cell(canvas, (place, y), scale.level(weight))?;
            }
            if let Some((place, weight)) = weights.largest(self.seen.asking) {
                self.draw_largest(canvas, (right, ground), (place, weight))?;
            }
            y += ROW;
        }
        Ok(())
    }

    /// The question over its columns; where they are too narrow, the beginnings of its words alone.
    fn draw_characters(&self, canvas: &mut Canvas<'_>) -> Result<()> {
        let wide = fonts::advance(Face::Mono, 'x').unwrap_or(0.6) * TEXT_SIZE;
        let initials = self.seen.initials();
        let shown = |place: &usize| self.column >= wide || initials.contains(place);
        for place in (0..=self.seen.asking).filter(shown) {
            let character = self.seen.character(place);
            let ink = if character == MASK { OURS } else { BLACK };
            let style = Type {
                face: Face::Mono,
                ..Type::new(TEXT_SIZE, ink).anchored(Anchor::Middle)
            };
            let middle = self.left + (place as f64 + 0.5) * self.column;
            canvas.text(&character.to_string(), (middle, self.top - 8.0), style)?;
        }
        Ok(())
    }

    fn draw_cell(
        &self,
        canvas: &mut Canvas<'_>,
        (place, y): (usize, f64),
        level: i32,
    ) -> Result<()> {
        if level == 0 || place > self.seen.asking {
            return Ok(());
        }
        let left = self.left + place as f64 * self.column;
        let right = left + self.column - 1.0;
        canvas.rectangle((left, y), (right, y + ROW - 1.0), Scale::ink(level))
    }

    fn draw_largest(
        &self,
        canvas: &mut Canvas<'_>,
        (right, ground): Point,
        (place, weight): (usize, f32),
    ) -> Result<()> {
        let weight = number(f64::from(weight), 2);
        canvas.text(&weight, (right + 10.0, ground), Type::new(SMALL_SIZE, GREY))?;
        let character = self.seen.character(place);
        let (face, words) = match character.is_whitespace() {
            true => (Face::Text, "space".to_owned()),
            false => (Face::Mono, character.to_string()),
        };
        let style = Type {
            face,
            ..Type::new(SMALL_SIZE, BLACK)
        };
        canvas.text(&words, (right + 46.0, ground), style)
    }
}
