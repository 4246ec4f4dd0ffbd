//! What every chart has around its plot area: title, legend, vertical axis, caption.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::canvas::{Canvas, Point, Type, paint};
use super::chart::Chart;
use super::fonts::{self, Face};
use super::theme::{
    BLACK, Ink, LINE_HEIGHT, MARGIN, Pen, REPORTED, SMALL_SIZE, Stroke, TEXT_SIZE, TITLE_SIZE,
    WIDTH,
};
use super::{Caption, Figure, text};
use crate::error::Result;
use crate::labels::shorten_apart;

/// What a legend's entry looks like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    /// A filled square: bars.
    Square(Ink),
    /// A line, whole or in dashes.
    Line(Pen),
    /// A small disc: one seed.
    Dot(Ink),
    /// A hollow diamond: a number reported by others.
    Diamond(Ink),
}

/// The words around a plot area, and the space it needs.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) title: String,
    /// The text under the plot.
    pub(super) caption: String,
    /// What the marks mean.
    pub(super) legend: Vec<(Mark, String)>,
    /// Space right of the plot area, in px.
    pub(super) right: f64,
    /// Space below the plot area for the labels of the horizontal axis, in px.
    pub(super) below: f64,
}

/// Positions of the elements of a [`Page`], in px.
struct Layout {
    title: Vec<String>,
    legend: Vec<(Point, Mark, String)>,
    caption: Vec<String>,
    caption_top: f64,
    /// The plot area.
    chart: Chart,
    /// Height of the whole figure.
    height: f64,
}

/// From the left end of a legend's mark to its text.
const MARK_WIDTH: f64 = 34.0;
const CAPTION_LINES: usize = 12;

/// From the left border of a page to a plot area with a vertical axis, in px.
pub(super) const LEFT: f64 = MARGIN + 64.0;

impl Page {
    pub(super) fn new(caption: Caption, legend: Vec<(Mark, String)>) -> Self {
        Self {
            title: caption.title.clone(),
            caption: caption.finish(),
            legend,
            ..Self::default()
        }
    }

    /// Lays out the page; long texts are wrapped, and cut if they would fill the page.
    fn layout(&self, plot_height: f64) -> Layout {
        let width = WIDTH - 2.0 * MARGIN;
        let title = text::wrap(Face::Text, TITLE_SIZE, &self.title, width, 2);
        let caption = text::wrap(Face::Text, SMALL_SIZE, &self.caption, width, CAPTION_LINES);
        let mut y = MARGIN - 4.0 + title.len() as f64 * TITLE_SIZE * LINE_HEIGHT;

        let mut legend = vec![];
        let mut x = MARGIN;
        let names: Vec<String> = self.legend.iter().map(|(_, name)| name.clone()).collect();
        let fits = |name: &str| fonts::fits(Face::Text, TEXT_SIZE, name, width - MARK_WIDTH);
        let names = shorten_apart(&names, &fits);
        for ((mark, _), label) in self.legend.iter().zip(names) {
            let needs = MARK_WIDTH + fonts::width(Face::Text, TEXT_SIZE, &label);
            if x > MARGIN && x + needs > WIDTH - MARGIN {
                (x, y) = (MARGIN, y + TEXT_SIZE * LINE_HEIGHT);
            }
            legend.push(((x, y + TEXT_SIZE * LINE_HEIGHT), *mark, label));
            x += needs + 26.0;
        }
        if !legend.is_empty() {
            y += TEXT_SIZE * LINE_HEIGHT;
        }

        let top = y + 20.0;
        let bottom = top + plot_height;
        let caption_top = bottom + self.below + 10.0;
        let height = caption_top + caption.len() as f64 * SMALL_SIZE * LINE_HEIGHT + MARGIN - 4.0;
        Layout {
            title,
            legend,
            caption,
            caption_top,
            chart: Chart {
                left: LEFT,
                right: WIDTH - MARGIN - self.right,
                top,
                bottom,
            },
            height,
        }
    }

    /// The figure: this page around a plot area of `plot_height` px, which `fill` draws; `rows` become its CSV.
    pub(super) fn figure<'a, Row: Serialize + Deserialize<'a>>(
        &self,
        plot_height: f64,
        rows: &[Row],
        fill: impl FnOnce(&mut Canvas<'_>, &Chart) -> Result<()>,
    ) -> Result<Figure> {
        let layout = self.layout(plot_height);
        let drawing = paint(layout.height, |canvas| {
            layout.draw_words(canvas)?;
            fill(canvas, &layout.chart)
        })?;
        Figure::finish(&drawing, &self.title, &self.caption, rows)
    }
}

impl Layout {
    /// Draws title, legend and caption.
    fn draw_words(&self, canvas: &mut Canvas<'_>) -> Result<()> {
        let title = Type::new(TITLE_SIZE, BLACK);
        draw_lines(canvas, &self.title, (MARGIN, MARGIN - 4.0), title)?;
        for ((x, y), mark, label) in &self.legend {
            mark.draw(canvas, (*x, *y))?;
            canvas.text(label, (x + MARK_WIDTH, *y), Type::LABEL)?;
        }
        let place = (MARGIN, self.caption_top);
        draw_lines(canvas, &self.caption, place, Type::SMALL)
    }
}

/// Lines one under another, from their top.
pub(super) fn draw_lines(
    canvas: &mut Canvas<'_>,
    lines: &[String],
    (x, top): Point,
    style: Type,
) -> Result<()> {
    for (i, line) in lines.iter().enumerate() {
        let baseline = top + style.size + i as f64 * style.size * LINE_HEIGHT;
        canvas.text(line, (x, baseline), style)?;
    }
    Ok(())
}

impl Mark {
    /// The entries of a legend for numbers reported elsewhere, one for each source.
    pub(super) fn reported(sources: BTreeSet<&str>) -> impl Iterator<Item = (Self, String)> {
        let words = |source: &str| match source {
            "" => "reported".to_owned(),
            source => format!("reported ({source})"),
        };
        let entry = move |source| (Self::Diamond(REPORTED), words(source));
        sources.into_iter().map(entry)
    }

    fn draw(self, canvas: &mut Canvas<'_>, (x, baseline): Point) -> Result<()> {
        let y = baseline - TEXT_SIZE * 0.34;
        let (middle, end) = (x + MARK_WIDTH / 2.0 - 4.0, x + MARK_WIDTH - 8.0);
        match self {
            Self::Square(ink) => {
                canvas.rectangle((middle - 7.0, y - 7.0), (middle + 7.0, y + 7.0), ink)
            }
            Self::Line(Pen { ink, width, stroke }) => match stroke {
                Stroke::Whole => canvas.polyline(&[(x, y), (end, y)], width, ink),
                Stroke::Dashed => canvas.dashes((x, y), (end, y), width, ink),
            },
            Self::Dot(ink) => canvas.dot((middle, y), 3.5, ink),
            Self::Diamond(ink) => canvas.hollow_diamond((middle, y), 6.5, ink),
        }
    }
}
