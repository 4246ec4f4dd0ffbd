//! What each head attends to when the first character of the answer is predicted: one row per head, one
//! column per character of the question.

use serde::{Deserialize, Serialize};

use super::scale::Scale;
use super::seen::Seen;
use super::{MappedModel, View};
use crate::error::Result;
use crate::plot::fonts;
use crate::plot::text::number;
use crate::plot::theme::{BLACK, GRID, LINE_HEIGHT, MARGIN, SMALL_SIZE, TEXT_SIZE, WIDTH};
use crate::plot::{Canvas, Point, Type};

/// Left end of the rows, in px; their layers and heads stand before it.
const LEFT: f64 = MARGIN + 86.0;
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
pub struct AnswerRow {
    label: String,
    seed: u64,
    layer: usize,
    head: usize,
    key_position: usize,
    key_character: String,
    weight: f32,
}

/// A strip of weights for each head: what it attends to when the query is the mask after the question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Strips;

impl View for Strips {
    const NAME: &'static str = "answer-attention";
    const SHOWS: &'static str =
        "what every head attends to when the first character of the answer is predicted";
    const TITLE: &'static str = "Where every head looks when the answer begins";
    const ABOUT: &'static str = "Each row is a head, as layer.head: its weights on the characters of the \
        question when the query is the mask that ends it, the blue sign, which predicts the first character of the \
        answer. On the right: the largest weight and its character.";
    type Row = AnswerRow;

    fn rows(model: &MappedModel, seen: &Seen) -> Vec<AnswerRow> {
        let mut rows = vec![];
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
        rows
    }

    fn height(seen: &Seen) -> f64 {
        let layers: Vec<usize> = seen.heads.keys().map(|(layer, _)| *layer).collect();
        let breaks = layers.windows(2).filter(|pair| pair[0] != pair[1]).count();
        HEAD + (layers.len() as f64 * ROW + breaks as f64 * BETWEEN)
    }

    fn draw(canvas: &mut Canvas<'_>, scale: &Scale, seen: &Seen, top: f64) -> Result<()> {
        let columns = (seen.asking + 1) as f64;
        let room = WIDTH - MARGIN - LARGEST - LEFT;
        let column = (room / columns).min(WIDEST);
        let (right, over) = (LEFT + column * columns, top + HEAD - 8.0);
        draw_characters(canvas, seen, column, over)?;
        canvas.text("layer.head", (MARGIN, over), Type::SMALL)?;
        canvas.text("largest", (right + 10.0, over), Type::SMALL)?;
        let (mut y, mut before) = (top + HEAD, None);
        for (&(layer, head), weights) in &seen.heads {
            if before.is_some_and(|before| before != layer) {
                y += BETWEEN;
            }
            before = Some(layer);
            let ground = y + ROW / 2.0 + SMALL_SIZE * 0.34;
            let name = Type::new(SMALL_SIZE, BLACK).end();
            canvas.text(&format!("{layer}.{head}"), (LEFT - 10.0, ground), name)?;
            let bottom = y + ROW - 1.0;
            canvas.rectangle((LEFT, y), (right, bottom), GRID.fade(0.45))?;
            for (place, weight) in weights.from(seen.asking) {
                let level = scale.level(weight);
                if level != 0 && place <= seen.asking {
                    let left = LEFT + place as f64 * column;
                    let corner = (left + column - 1.0, bottom);
                    canvas.rectangle((left, y), corner, Scale::ink(level))?;
                }
            }
            if let Some((place, weight)) = weights.largest(seen.asking) {
                draw_largest(canvas, (right, ground), seen.character(place), weight)?;
            }
            y += ROW;
        }
        Ok(())
    }
}

/// The question above its columns; if they are too narrow, only the first letters of its words.
fn draw_characters(canvas: &mut Canvas<'_>, seen: &Seen, column: f64, ground: f64) -> Result<()> {
    let initials = seen.initials();
    let is_wide = column >= fonts::column(TEXT_SIZE);
    for place in (0..=seen.asking).filter(|place| is_wide || initials.contains(place)) {
        let character = seen.character(place);
        let style = Type::mono(TEXT_SIZE, seen.ink(place)).middle();
        let middle = LEFT + (place as f64 + 0.5) * column;
        canvas.text(&character.to_string(), (middle, ground), style)?;
    }
    Ok(())
}

fn draw_largest(
    canvas: &mut Canvas<'_>,
    (right, ground): Point,
    character: char,
    weight: f32,
) -> Result<()> {
    let weight = number(f64::from(weight), 2);
    canvas.text(&weight, (right + 10.0, ground), Type::SMALL)?;
    let place = (right + 46.0, ground);
    match character.is_whitespace() {
        true => canvas.text("space", place, Type::new(SMALL_SIZE, BLACK)),
        false => canvas.text(&character.to_string(), place, Type::mono(SMALL_SIZE, BLACK)),
    }
}
