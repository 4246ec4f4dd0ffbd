//! What `kind = "learning-curves"` takes and shows: `metrics.csv` of all runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::drawing::draw_curves;
use super::frame::Frame;
use super::styles::SeriesStyles;
use super::{LearningCurves, Series, Trace};
use crate::error::Result;
use crate::metrics::artefacts::METRICS;
use crate::metrics::measured::Measured;
use crate::metrics::steps::{TrainingStage, read_steps};
use crate::plot::theme::PLOT_HEIGHT;
use crate::plot::{Chart, Figure, Gathered, Page, Plot};

/// Its own keys.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Which stage.
    stage: TrainingStage,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            stage: TrainingStage::Pretrain,
        }
    }
}

impl Plot for LearningCurves {
    type Keys = Keys;

    const NAME: &'static str = "learning-curves";
    const SHOWS: &'static str = "loss against steps";
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::gallery::Example] = &[
        |points, label| super::tests::made_up(points, label, 1),
        |points, label| super::tests::made_up(points, label, 2),
    ];

    fn title(keys: &Keys, _: &Measured) -> String {
        let doing = match keys.stage {
            TrainingStage::Pretrain => "pretraining",
            TrainingStage::Finetune => "finetuning",
        };
        format!("Loss while {doing}")
    }

    fn gather(keys: &Keys, title: String, measured: &Measured) -> Result<Gathered<Self>> {
        let stage = keys.stage.name();
        let mut series = vec![];
        for point in &measured.points {
            let mut traces = vec![];
            for run in &point.runs {
                let rows = read_steps(&run.path(&METRICS, ""))?;
                let rows = rows.iter().filter(|row| row.stage == stage);
                let points: Vec<_> = rows.map(|row| (row.step as f64, row.loss_nats)).collect();
                if !points.is_empty() {
                    let seed = run.seed;
                    traces.push(Trace { seed, points });
                }
            }
            // Points that did not train in this stage stay in the list: a colour belongs to a point.
            let label = point.label.clone();
            series.push(Series { label, traces });
        }
        if series.iter().all(|series| series.traces.is_empty()) {
            return Ok(Gathered::Nothing("no run has trained in that stage"));
        }
        Ok(Gathered::Figure(Self {
            title,
            caption: format!("{}.", measured.origin),
            stage: stage.to_owned(),
            series,
        }))
    }

    /// Loss in nats against optimiser steps, linear on both axes.
    fn draw(&self) -> Result<Figure> {
        let (curves, left_out) = self.curves();
        let frame = Frame::around(&curves);
        let styles = SeriesStyles::of(self, &curves);
        let names = self.names();
        let caption = self.full_caption((&curves, left_out), &frame, (&styles, &names));
        let page = Page {
            right: 18.0,
            below: Chart::BELOW,
            ..Page::new(&self.title, caption, styles.legend(&names))
        };
        page.figure(PLOT_HEIGHT, &self.rows(&curves), |canvas, chart| {
            frame.draw_axes(canvas, chart, &self.stage)?;
            draw_curves(canvas, chart, self, &curves, (&frame, &styles))
        })
    }
}
