//! How markers are named: by a name beside each or, if there are many, by a number and a key below.

use super::AccuracyScatter;
use crate::error::Result;
use crate::plot::canvas::{Canvas, Type};
use crate::plot::fonts::{self, Face};
use crate::plot::point_labels::PointLabels;
use crate::plot::theme::{BLACK, LINE_HEIGHT, MARGIN, SMALL_SIZE, WIDTH};

/// Most names that fit beside their markers.
const BESIDE: usize = 12;
/// Longest name beside a marker, in px.
const NAME: f64 = 200.0;
/// Between two columns of the key, in px.
const GUTTER: f64 = 24.0;
/// Height of a line of the key, in px.
const LINE: f64 = SMALL_SIZE * LINE_HEIGHT;
/// Over the key, in px.
const ABOVE: f64 = 12.0;

/// Names of the spots, and where they are drawn.
#[derive(Debug)]
pub(super) struct Naming {
    pub(super) names: PointLabels,
    /// The text beside the marker of each spot that has a value, in order.
    pub(super) beside: Vec<String>,
    /// Number and name; empty if the names are beside the markers.
    key: Vec<(String, String)>,
    /// Columns of the key, and their width in px.
    columns: usize,
    column: f64,
    /// Room before a name for its number, in px.
    numbers: f64,
}

impl Naming {
    pub(super) fn of(figure: &AccuracyScatter) -> Self {
        let spots = figure.spots.iter().filter(|spot| !spot.runs.is_empty());
        let names = PointLabels::of(spots.map(|spot| spot.label.as_str()));
        let count = names.iter().count();
        let beside = match figure.named {
            true => names.fitted(SMALL_SIZE, NAME),
            false => vec![],
        };
        let mut naming = Self {
            names,
            beside,
            key: vec![],
            columns: 1,
            column: WIDTH - 2.0 * MARGIN,
            numbers: 10.0 + fonts::width(Face::Text, SMALL_SIZE, &count.to_string()),
        };
        if figure.named && count > BESIDE {
            let room = naming.column;
            let longest = fonts::widest(SMALL_SIZE, naming.names.iter());
            let needs = longest + naming.numbers + GUTTER;
            naming.columns = (((room + GUTTER) / needs) as usize).clamp(1, 4);
            naming.column = (room + GUTTER) / naming.columns as f64;
            let width = naming.column - GUTTER - naming.numbers;
            let called = naming.names.fitted(SMALL_SIZE, width);
            naming.beside = (1..=count).map(|number| number.to_string()).collect();
            naming.key = naming.beside.iter().cloned().zip(called).collect();
        }
        naming
    }

    /// Whether markers are numbered.
    pub(super) fn is_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// Height of the key, in px.
    pub(super) fn height(&self) -> f64 {
        match self.key.len().div_ceil(self.columns) {
            0 => 0.0,
            rows => ABOVE + rows as f64 * LINE,
        }
    }

    /// The key from `top` down, one column after the other.
    pub(super) fn draw(&self, canvas: &mut Canvas<'_>, top: f64) -> Result<()> {
        let rows = self.key.len().div_ceil(self.columns);
        for (i, (number, name)) in self.key.iter().enumerate() {
            let (column, row) = (i / rows, i % rows);
            let left = MARGIN + column as f64 * self.column + self.numbers;
            let ground = top + ABOVE + row as f64 * LINE + SMALL_SIZE;
            canvas.text(number, (left - 8.0, ground), Type::SMALL.end())?;
            canvas.text(name, (left, ground), Type::new(SMALL_SIZE, BLACK))?;
        }
        Ok(())
    }
}
