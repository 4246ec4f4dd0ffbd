//! Figures for reports: one SVG, a PNG of it, and a CSV with exactly the plotted numbers.
//!
//! A figure is drawn from values that were read from CSV files; nothing here depends on a model. The SVG
//! has outlines instead of text, so that it looks the same on a machine without any font, and the
//! PNG is rendered from that same SVG. The same input gives the same bytes.
//!
//! Everything about one kind of figure is in one module: its keys in an experiment file, its rules, what it
//! reads and how it is drawn. `kind` says what such a module has, `needs` what an experiment must make for it, and
//! [`KINDS`] lists them. `page`, `panels`, `chart` and `axis` place a drawing, `canvas` draws it, `render` finishes it;
//! `caption`, `point_labels`, `pooled`, `crowd`, `quantity`, `styles`, `theme`, `fonts` and `text` are shared; the `gallery` of the tests
//! draws every kind with few and many points.

mod accuracy_bars;
mod accuracy_scatter;
mod attention;
mod axis;
mod canvas;
mod caption;
mod chart;
mod commonest_answers;
mod confidence;
mod corruption_examples;
mod crowd;
mod effects;
mod exploration;
mod fonts;
mod kind;
mod learning_curves;
mod lines;
mod needs;
mod page;
mod paired_matrix;
mod panels;
mod point_labels;
mod pooled;
mod quantity;
mod reliability;
mod render;
mod seed_values;
mod smoothing;
mod styles;
#[cfg(test)]
mod tests;
mod text;
mod theme;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use corruption_examples::of_examples;
pub use kind::{FigureKind, Gathered, Points};
pub use needs::Need;

pub(crate) use text::significant;

// Used by every kind of figure.
use axis::Axis;
use canvas::{Canvas, Point, Type};
use caption::Caption;
use chart::{Area, Chart, draw_heading};
use crowd::PointSubset;
use kind::{NoKeys, Plot};
use page::{LEFT, Mark, Page, draw_lines};
use panels::Panels;
use point_labels::PointLabels;
use pooled::PooledPoint;

use crate::error::Result;
use crate::{files, metrics::table};

/// All kinds of figures.
pub static KINDS: [FigureKind; 16] = [
    FigureKind::of::<accuracy_bars::AccuracyBars>(),
    FigureKind::of::<accuracy_scatter::AccuracyScatter>(),
    FigureKind::of::<lines::ByKey>(),
    FigureKind::of::<lines::ByLength>(),
    FigureKind::of::<paired_matrix::PairedMatrix>(),
    FigureKind::of::<effects::EffectsFigure>(),
    FigureKind::of::<learning_curves::LearningCurves>(),
    FigureKind::of::<lines::ByStep>(),
    FigureKind::of::<corruption_examples::CorruptionExamples>(),
    FigureKind::of::<confidence::Confidence>(),
    FigureKind::of::<reliability::ReliabilityDiagram>(),
    FigureKind::of::<commonest_answers::CommonestAnswers>(),
    FigureKind::of::<attention::AttentionMaps>(),
    FigureKind::of::<attention::AnswerAttention>(),
    FigureKind::of::<exploration::ExplorationCurves>(),
    FigureKind::of::<exploration::ExplorationDistribution>(),
];

/// A drawn figure, not yet on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// The drawing, 900 px wide, text as outlines, titled and described for screen readers.
    pub svg: String,
    /// The same drawing at twice the size.
    pub png: Vec<u8>,
    /// The plotted numbers, with a header.
    pub csv: Vec<u8>,
}

impl Figure {
    /// Writes `<name>.svg`, `<name>.png` and `<name>.csv` into `folder` and returns their paths.
    pub fn write(&self, folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
        let parts = [
            ("svg", self.svg.as_bytes()),
            ("png", &self.png),
            ("csv", &self.csv),
        ];
        let write = |(extension, bytes)| {
            let path = folder.join(format!("{name}.{extension}"));
            files::write(&path, bytes).map(|()| path)
        };
        parts.into_iter().map(write).collect()
    }

    /// Finishes a drawing: outlines, PNG and table.
    fn finish<'a, Row: Serialize + Deserialize<'a>>(
        drawing: &str,
        title: &str,
        caption: &str,
        rows: &[Row],
    ) -> Result<Self> {
        let csv = table::to_bytes(rows, b',')?;
        #[cfg(test)]
        if tests::gallery::skips_rendering() {
            let (svg, png) = (drawing.to_owned(), vec![]);
            return Ok(Self { svg, png, csv });
        }
        let svg = render::outline(drawing, title, caption)?;
        let png = render::rasterise(&svg)?;
        Ok(Self { svg, png, csv })
    }
}
