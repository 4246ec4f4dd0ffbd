//! Attention maps of all heads: one row of maps per layer, one column per head.

use serde::{Deserialize, Serialize};

use super::scale::Scale;
use super::seen::{Head, Seen};
use super::{MappedModel, View};
use crate::error::Result;
use crate::plot::fonts;
use crate::plot::theme::{GREY, GRID, LINE_HEIGHT, MARGIN, SMALL_SIZE, TEXT_SIZE, WIDTH};
use crate::plot::{Canvas, Point, Type};

/// Left of the maps for the layer and the beginnings of words, in px.
const NAMES: f64 = 46.0;
/// Over the maps for the numbers of the heads, in px.
const HEADS: f64 = SMALL_SIZE * LINE_HEIGHT + 4.0;
/// Below the maps for the beginnings of words, in px.
const BELOW: f64 = SMALL_SIZE * LINE_HEIGHT;
/// Between two maps, in px.
const BETWEEN: f64 = 9.0;
/// Widest map, in px.
const WIDEST: f64 = 190.0;
/// Minimum distance between two marked word beginnings, in px.
const APART: f64 = 12.0;
/// How far a cell reaches under the next ones, so that no seam shows between them, in px.
const UNDER: f64 = 0.3;

/// One weight, a line of the figure's CSV.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapRow {
    label: String,
    seed: u64,
    layer: usize,
    head: usize,
    query_position: usize,
    query_character: Option<String>,
    key_position: usize,
    key_character: Option<String>,
    weight: f32,
}

/// The attention map of every head: which query position attends to which key, and with what weight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Maps;

impl View for Maps {
    const NAME: &'static str = "attention-maps";
    const SHOWS: &'static str =
        "attention weights of every head in every layer, query position against key position";
    const TITLE: &'static str = "Where every head looks";
    const ABOUT: &'static str = "In each map a row is a query position, from the first character of the \
        question at the top to the answer at the bottom, and a column is a key position. Letters mark where words \
        begin, and the blue sign marks the mask: its row predicts the first character of the answer.";
    type Row = MapRow;

    fn rows(model: &MappedModel, _: &Seen) -> Vec<MapRow> {
        let rows = model.rows.iter().cloned().map(|row| MapRow {
            label: model.label.clone(),
            seed: model.seed,
            layer: row.layer,
            head: row.head,
            query_position: row.query_position,
            query_character: row.query_character,
            key_position: row.key_position,
            key_character: row.key_character,
            weight: row.weight,
        });
        rows.collect()
    }

    fn height(seen: &Seen) -> f64 {
        Sheet::new(seen).height()
    }

    fn draw(canvas: &mut Canvas<'_>, scale: &Scale, seen: &Seen, top: f64) -> Result<()> {
        Sheet::new(seen).draw(canvas, scale, top)
    }
}

/// The maps of one model.
struct Sheet<'a> {
    seen: &'a Seen,
    layers: Vec<usize>,
    /// The largest number of a head.
    heads: usize,
    /// Side of a map, in px.
    side: f64,
}

impl<'a> Sheet<'a> {
    fn new(seen: &'a Seen) -> Self {
        let mut layers: Vec<usize> = seen.heads.keys().map(|(layer, _)| *layer).collect();
        layers.dedup();
        let heads = seen.heads.keys().map(|(_, head)| *head).max().unwrap_or(0);
        let room = WIDTH - 2.0 * MARGIN - NAMES + BETWEEN;
        let side = (room / heads.max(1) as f64 - BETWEEN).min(WIDEST);
        Self {
            seen,
            layers,
            heads,
            side,
        }
    }

    /// Side of a cell, in px.
    fn cell(&self) -> f64 {
        self.side / self.seen.places().max(1) as f64
    }

    /// From the top of the model to its first map, in px.
    fn above(&self) -> f64 {
        let lines = 1 + self.seen.places().div_ceil(columns());
        lines as f64 * TEXT_SIZE * LINE_HEIGHT + 4.0 + HEADS
    }

    fn height(&self) -> f64 {
        self.above() + self.layers.len() as f64 * (self.side + BETWEEN) + BELOW
    }

    fn draw(&self, canvas: &mut Canvas<'_>, scale: &Scale, top: f64) -> Result<()> {
        self.draw_text(canvas, top + TEXT_SIZE * LINE_HEIGHT)?;
        let (left, first) = (MARGIN + NAMES, top + self.above());
        let x = |head: usize| left + head as f64 * (self.side + BETWEEN);
        let middle = Type::SMALL.middle();
        for head in 0..self.heads {
            let name = format!("head {}", head + 1);
            canvas.text(&name, (x(head) + self.side / 2.0, first - 7.0), middle)?;
        }
        for (row, &layer) in self.layers.iter().enumerate() {
            let y = first + row as f64 * (self.side + BETWEEN);
            let at = (MARGIN + SMALL_SIZE * 0.7, y + self.side / 2.0);
            canvas.upward_text(&format!("layer {layer}"), at, middle)?;
            for (place, offset) in self.marked() {
                let ground = y + offset + SMALL_SIZE * 0.34;
                self.draw_initial(canvas, place, (left - 10.0, ground))?;
            }
            let heads = self.seen.heads.range((layer, 0)..=(layer, usize::MAX));
            for (&(_, head), map) in heads {
                self.draw_map(canvas, scale, map, (x(head.saturating_sub(1)), y))?;
            }
        }
        let bottom = first + self.layers.len() as f64 * (self.side + BETWEEN) - BETWEEN;
        for head in 0..self.heads {
            for (place, offset) in self.marked() {
                let at = (x(head) + offset, bottom + SMALL_SIZE + 2.0);
                self.draw_initial(canvas, place, at)?;
            }
        }
        Ok(())
    }

    /// Places with a letter at the axes, and how far along they stand: the mask, and beginnings of words
    /// that are far enough from it and each other.
    fn marked(&self) -> Vec<(usize, f64)> {
        let along = |place: usize| (place as f64 + 0.5) * self.cell();
        let mut marked = vec![(self.seen.asking, along(self.seen.asking))];
        for place in self.seen.initials() {
            let here = along(place);
            let mut others = marked.iter();
            if others.all(|(_, there)| (there - here).abs() >= APART) {
                marked.push((place, here));
            }
        }
        marked
    }

    fn draw_initial(&self, canvas: &mut Canvas<'_>, place: usize, at: Point) -> Result<()> {
        let style = Type::mono(SMALL_SIZE, self.seen.ink(place)).middle();
        canvas.text(&self.seen.character(place).to_string(), at, style)
    }

    /// What is read, with the beginnings of its words in black as at the axes.
    fn draw_text(&self, canvas: &mut Canvas<'_>, top: f64) -> Result<()> {
        let initials = self.seen.initials();
        for place in 0..self.seen.places() {
            let ink = match initials.contains(&place) {
                true => self.seen.ink(place),
                false => GREY.fade(0.75),
            };
            let (line, column) = (place / columns(), place % columns());
            let x = MARGIN + column as f64 * fonts::column(TEXT_SIZE);
            let y = top + TEXT_SIZE + line as f64 * TEXT_SIZE * LINE_HEIGHT;
            let character = self.seen.character(place).to_string();
            canvas.text(&character, (x, y), Type::mono(TEXT_SIZE, ink))?;
        }
        Ok(())
    }

    fn draw_map(
        &self,
        canvas: &mut Canvas<'_>,
        scale: &Scale,
        map: &Head,
        (left, top): Point,
    ) -> Result<()> {
        let (cell, end) = (self.cell(), self.side);
        let begins = self.seen.asking as f64 * cell;
        canvas.frame((left, top), (left + end, top + end), 1.0, GRID)?;
        let (x, y) = (left + begins, top + begins);
        canvas.polyline(&[(left, y), (left + end, y)], 1.0, GRID)?;
        canvas.polyline(&[(x, top), (x, top + end)], 1.0, GRID)?;
        for patch in patches(map, scale) {
            let along = |place: usize| place as f64 * cell;
            let under = |place: usize| (along(place) + UNDER).min(end);
            let from = (left + along(patch.keys[0]), top + along(patch.queries[0]));
            let to = (left + under(patch.keys[1]), top + under(patch.queries[1]));
            canvas.rectangle(from, to, Scale::ink(patch.level))?;
        }
        Ok(())
    }
}

/// Adjacent cells of one colour, merged into a rectangle: half-open ranges of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Patch {
    queries: [usize; 2],
    keys: [usize; 2],
    level: i32,
}

/// A map as few rectangles, from the top; cells without a colour are left out.
fn patches(map: &Head, scale: &Scale) -> Vec<Patch> {
    let mut patches: Vec<Patch> = vec![];
    // Those that end right above the row at hand.
    let mut above: Vec<usize> = vec![];
    for (&query, row) in &map.looks {
        let mut runs: Vec<Patch> = vec![];
        for (&key, &weight) in row {
            let level = scale.level(weight);
            match runs.last_mut() {
                Some(run) if run.level == level && run.keys[1] == key => run.keys[1] += 1,
                _ => runs.push(Patch {
                    queries: [query, query + 1],
                    keys: [key, key + 1],
                    level,
                }),
            }
        }
        let mut here = vec![];
        for run in runs.into_iter().filter(|run| run.level != 0) {
            let same = above.iter().copied().find(|&index| {
                let patch = &patches[index];
                patch.queries[1] == query && (patch.keys, patch.level) == (run.keys, run.level)
            });
            let index = same.unwrap_or_else(|| {
                patches.push(run);
                patches.len() - 1
            });
            patches[index].queries[1] = query + 1;
            here.push(index);
        }
        above = here;
    }
    patches
}

/// Characters in a line of the text.
fn columns() -> usize {
    ((WIDTH - 2.0 * MARGIN) / fonts::column(TEXT_SIZE))
        .floor()
        .max(1.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_cover_what_has_a_colour_and_nothing_twice() {
        let mut map = Head::default();
        // Bands of one weight, a cell that differs, and none.
        let weight = |query: usize, key: usize| match (query, key) {
            (5, 3) => 0.9,
            (_, 7..) => 0.0,
            (_, key) => [0.0, 0.2, 0.2, 0.5][key % 4],
        };
        for query in 0..12 {
            let row = (0..=query).map(|key| (key, weight(query, key)));
            map.looks.insert(query, row.collect());
        }
        let scale = Scale::of([1.0].into_iter());
        let patches = patches(&map, &scale);
        for query in 0..12 {
            for key in 0..12 {
                let covers = |patch: &&Patch| {
                    (patch.queries[0]..patch.queries[1]).contains(&query)
                        && (patch.keys[0]..patch.keys[1]).contains(&key)
                };
                let levels: Vec<i32> = patches.iter().filter(covers).map(|p| p.level).collect();
                let level = if key <= query {
                    scale.level(weight(query, key))
                } else {
                    0
                };
                let wanted = if level == 0 { vec![] } else { vec![level] };
                assert_eq!(levels, wanted, "{query}, {key}");
            }
        }
        let cells: usize = map.looks.values().map(|row| row.len()).sum();
        assert!(patches.len() * 3 < cells, "{} of {cells}", patches.len());
    }
}
