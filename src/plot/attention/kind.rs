//! What `kind = "attention-maps"` and `"answer-attention"` take and show: `attention_maps.csv` of one run
//! per point.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AttentionMaps, MappedModel, draw_answer_attention, draw_attention_maps};
use crate::error::Result;
use crate::kinds::BrokenRule;
use crate::metrics::artefacts::ATTENTION_MAPS;
use crate::metrics::measured::{Measured, MeasuredPoint, MeasuredRun};
use crate::metrics::rows::{AttentionRow, MOST_MAPPED};
use crate::plot::Figure;
use crate::plot::kind::{Gathered, Plot, Points};

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

/// The same models, shown by what their heads attend to when the answer begins.
pub struct AnswerAttention(AttentionMaps);

impl Plot for AttentionMaps {
    type Keys = Keys;

    const NAME: &'static str = "attention-maps";
    const SHOWS: &'static str =
        "attention weights of every head in every layer, query position against key position";
    const TITLE: &'static str = "Where every head looks";
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::gallery::Example] =
        &[|points, label| super::tests::made_up(points, label).draw().expect("drawn")];

    fn check(keys: &Keys, points: &Points<'_>) -> Option<BrokenRule> {
        unmapped(keys, points)
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
        }))
    }

    fn draw(&self) -> Result<Figure> {
        draw_attention_maps(self)
    }
}

impl Plot for AnswerAttention {
    type Keys = Keys;

    const NAME: &'static str = "answer-attention";
    const SHOWS: &'static str =
        "what every head attends to when the first character of the answer is predicted";
    const TITLE: &'static str = "Where every head looks when the answer begins";
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::gallery::Example] = &[|points, label| {
        Self(super::tests::made_up(points, label))
            .draw()
            .expect("drawn")
    }];

    fn check(keys: &Keys, points: &Points<'_>) -> Option<BrokenRule> {
        unmapped(keys, points)
    }

    fn gather(keys: &Keys, title: String, measured: &Measured) -> Result<Gathered<Self>> {
        Ok(match AttentionMaps::gather(keys, title, measured)? {
            Gathered::Figure(maps) => Gathered::Figure(Self(maps)),
            Gathered::Nothing(why) => Gathered::Nothing(why),
        })
    }

    fn draw(&self) -> Result<Figure> {
        draw_answer_attention(&self.0)
    }
}

/// The rule that `question` must be one of the mapped questions, if any point maps questions.
fn unmapped(keys: &Keys, points: &Points<'_>) -> Option<BrokenRule> {
    let question = keys.question;
    let mapped = points.mapped.filter(|mapped| question > *mapped)?;
    let plural = if mapped == 1 { "" } else { "s" };
    let names = format!("`evaluate.attention_maps` names {mapped} question{plural}");
    Some(BrokenRule::new(
        "question",
        format!("= {question}, but {names}"),
    ))
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
