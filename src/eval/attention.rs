//! Attention maps of a model reading a question and its own answer.

use crate::data::vocabulary::Vocabulary;
use crate::data::{Question, questions};
use crate::error::Result;
use crate::eval::{are_finite, decode, not_finite};
use crate::metrics::rows::AttentionRow;
use crate::model::Trainable;
use crate::model::maps::{LayerMaps, MapAxis};

/// The attention weights of every head for each question: over its text, the mask, and the part of the
/// model's own answer that is fed back to it.
///
/// `progress` is called with the number of questions done so far; its error stops the evaluation.
pub fn attention_maps(
    model: &dyn Trainable,
    vocabulary: &Vocabulary,
    asked: &[Question],
    most_characters: usize,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<AttentionRow>> {
    let mut rows = vec![];
    for (number, question) in (1..).zip(asked) {
        let prompt = questions::prompt(question, vocabulary)?;
        let prompts = std::slice::from_ref(&prompt);
        let answers = decode::greedy(model, prompts, most_characters, &mut |_| Ok(()))?;
        let mut read = [&prompt[..], &answers[0].tokens].concat();
        // The last character of the longest answer is never read back.
        read.truncate(prompt.len() + most_characters - 1);
        let maps = model.attention_maps(&read)?;
        let mut heads = maps.iter().flat_map(|layer| &layer.heads);
        let is_sound =
            answers[0].log_probability.is_finite() && heads.all(|head| are_finite(&head.weights));
        if !is_sound {
            return Err(not_finite("question", number, &question.text));
        }
        let text: Vec<String> = read.iter().map(|&id| vocabulary.decode(&[id])).collect();
        rows.extend(rows_of(number, &text, &maps));
        progress(number)?;
    }
    Ok(rows)
}

/// The rows of one question; a query has no rows for the keys after it, which are masked.
fn rows_of(question: usize, text: &[String], maps: &[LayerMaps]) -> Vec<AttentionRow> {
    let character = |side, place: usize| match side {
        MapAxis::Tokens => text.get(place).cloned(),
        MapAxis::Latents => None,
    };
    let mut rows = vec![];
    for (layer, maps) in (1..).zip(maps) {
        for (head, map) in (1..).zip(&maps.heads) {
            for query in 0..map.queries {
                rows.extend((0..map.keys.min(query + 1)).map(|key| AttentionRow {
                    question,
                    layer,
                    head,
                    query_position: query + 1,
                    query_character: character(maps.queries, query),
                    key_position: key + 1,
                    key_character: character(maps.keys, key),
                    weight: map.weights[query * map.keys + key],
                }));
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::maps::HeadMap;

    #[test]
    fn every_head_has_a_row_for_each_key_that_a_query_sees() {
        let text: Vec<String> = ["a", "?", "\u{2047}"].map(str::to_owned).to_vec();
        let map = |keys: usize| HeadMap {
            queries: 3,
            keys,
            weights: (0..3 * keys).map(|i| i as f32).collect(),
        };
        let maps = [
            LayerMaps {
                queries: MapAxis::Tokens,
                keys: MapAxis::Tokens,
                heads: vec![map(3), map(3)],
            },
            LayerMaps {
                queries: MapAxis::Tokens,
                keys: MapAxis::Latents,
                heads: vec![map(2)],
            },
        ];
        let rows = rows_of(4, &text, &maps);
        assert_eq!(rows.len(), 6 + 6 + 5);
        let last = AttentionRow {
            question: 4,
            layer: 2,
            head: 1,
            query_position: 3,
            query_character: Some("\u{2047}".to_owned()),
            key_position: 2,
            key_character: None,
            weight: 5.0,
        };
        assert_eq!(rows[16], last);
        let second_head = &rows[6 + 2];
        assert_eq!((second_head.layer, second_head.head), (1, 2));
        assert_eq!(second_head.key_character.as_deref(), Some("?"));
        assert_eq!(second_head.weight, 4.0);
    }
}
