//! From `attention_maps.csv` to figures of where heads look.

use std::path::Path;

use super::content::{Content, origin};
use crate::config::Experiment;
use crate::config::schema::FigureSpec;
use crate::error::Result;
use crate::metrics::rows::AttentionRow;
use crate::metrics::table;
use crate::pipeline::artefacts::ATTENTION_MAPS;
use crate::pipeline::directory::finished;
use crate::plot::{AttentionMaps, Figure, MappedModel};

/// One run of each point, drawn by `draw`: heads of different seeds have nothing to do with each other.
pub(super) fn gather(
    experiment: &Experiment,
    spec: &FigureSpec,
    results: &Path,
    (title, draw): (&str, fn(&AttentionMaps) -> Result<Figure>),
) -> Result<Content> {
    let question = spec.question.unwrap_or(1);
    let mut models = vec![];
    for point in &experiment.points {
        let runs = finished(experiment, point, results).into_iter();
        let mut mapped = runs.filter(|(_, run)| run.file(&ATTENTION_MAPS).is_file());
        let Some((seed, run)) = mapped.next() else {
            continue;
        };
        let mut rows: Vec<AttentionRow> = table::read(&run.file(&ATTENTION_MAPS))?;
        rows.retain(|row| row.question == question);
        if !rows.is_empty() {
            let label = point.label.clone();
            models.push(MappedModel { label, seed, rows });
        }
    }
    if models.is_empty() {
        return Ok(Content::Nothing(
            "no run has mapped that question (`evaluate.attention_maps`)",
        ));
    }
    let title = spec.title.as_deref().unwrap_or(title).to_owned();
    Ok(Content::Drawn(draw(&AttentionMaps {
        title,
        caption: format!("{}.", origin(experiment)),
        models,
    })?))
}
