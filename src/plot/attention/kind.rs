//! What `kind = "attention-maps"` and `"answer-attention"` take and show: `attention_maps.csv` of one run
//! per point.

use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scale::Scale;
use super::{Attention, MappedModel, View};
use crate::error::Result;
use crate::kinds::BrokenRule;
use crate::metrics::artefacts::ATTENTION_MAPS;
use crate::metrics::measured::{Measured, MeasuredPoint, MeasuredRun};
use crate::metrics::rows::{AttentionRow, MOST_MAPPED};
use crate::plot::theme::{MARGIN, TEXT_SIZE};
use crate::plot::{Figure, Gathered, Page, Plot, PointSubset, Points, Type};

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
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::gallery::Example] = &[|points, label| {
        let figure: Self = super::tests::made_up(points, label);
        figure.draw().expect("drawn")
    }];

    /// `question` must be one of the mapped questions, if any point maps questions.
    fn check(keys: &Keys, points: &Points<'_>) -> Option<BrokenRule> {
        let question = keys.question;
        let mapped = points.mapped.filter(|mapped| question > *mapped)?;
        let plural = if mapped == 1 { "" } else { "s" };
        Some(BrokenRule {
            key: "question",
            message: format!(
                "= {question}, but `evaluate.attention_maps` names {mapped} question{plural}"
            ),
            help: None,
        })
    }

    fn gather(keys: &Keys, title: String, measured: &Measured) -> Result<Gathered<Self>> {
        let mut models = vec![];
        for point in &measured.points {
            models.extend(MappedModel::read(point, keys.question)?);
        }
        if models.is_empty() {
            return Ok(Gathered::Nothing(
                "no run has mapped that question (`evaluate.attention_maps`)",
            ));
        }
        Ok(Gathered::Figure(Self {
            title,
            caption: format!("{}.", measured.origin),
            models,
            view: PhantomData,
        }))
    }

    fn draw(&self) -> Result<Figure> {
        let seen = self.seen();
        let heights: Vec<f64> = seen.iter().map(V::height).collect();
        let tallest = heights.iter().copied().fold(0.0, f64::max);
        let shown = PointSubset::of_height(seen.len(), tallest + GAP);
        let page = Page::new(&self.title, self.full_caption(&seen, &shown), vec![]);
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
}
