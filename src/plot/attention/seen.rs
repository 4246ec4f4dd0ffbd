//! The attention weights of one model, position by position.

use std::collections::BTreeMap;

use crate::metrics::rows::AttentionRow;
use crate::plot::fonts::SUBSTITUTE;
use crate::plot::theme::{BLACK, Ink, OURS};

/// The mask sign: after it the answer begins.
pub(super) const MASK: char = '\u{2047}';

/// More layers, heads or places than any model has.
const MOST: usize = 4096;

/// All heads of a model over one text; places are counted from 0.
#[derive(Debug, Default)]
pub struct Seen {
    /// The text: question, mask, answer.
    pub(super) characters: BTreeMap<usize, char>,
    /// The position that predicts the first character of the answer.
    pub(super) asking: usize,
    /// By layer and head, both from 1.
    pub(super) heads: BTreeMap<(usize, usize), Head>,
}

/// One head.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Whether the queries are latents, and whether the keys are.
    pub(super) latents: [bool; 2],
    /// For each query position, the weights of the key positions it sees.
    pub(super) looks: BTreeMap<usize, BTreeMap<usize, f32>>,
}

impl Seen {
    /// Rows with a number that no model has are left out.
    pub(super) fn of(rows: &[AttentionRow]) -> Self {
        let possible = |row: &&AttentionRow| {
            let numbers = [row.layer, row.head, row.query_position, row.key_position];
            numbers.iter().all(|number| (1..=MOST).contains(number))
        };
        let mut seen = Self::default();
        for row in rows.iter().filter(possible) {
            let (query, key) = (row.query_position - 1, row.key_position - 1);
            let head = seen.heads.entry((row.layer, row.head)).or_default();
            head.looks.entry(query).or_default().insert(key, row.weight);
            let sides = [(query, &row.query_character), (key, &row.key_character)];
            for (side, (place, character)) in sides.into_iter().enumerate() {
                match character.as_ref().and_then(|text| text.chars().next()) {
                    Some(character) => _ = seen.characters.insert(place, character),
                    None => head.latents[side] = true,
                }
            }
        }
        let mask = seen.characters.iter().rfind(|(_, c)| **c == MASK);
        let asking = mask.or(seen.characters.last_key_value());
        seen.asking = asking.map_or(0, |(place, _)| *place);
        seen
    }

    /// Number of places.
    pub(super) fn places(&self) -> usize {
        let last = self.characters.last_key_value();
        last.map_or(0, |(last, _)| last + 1)
    }

    pub(super) fn character(&self, place: usize) -> char {
        *self.characters.get(&place).unwrap_or(&SUBSTITUTE)
    }

    /// The colour of a character: the mask stands out.
    pub(super) fn ink(&self, place: usize) -> Ink {
        match self.character(place) {
            MASK => OURS,
            _ => BLACK,
        }
    }

    /// As far as it has been read.
    pub(super) fn answer(&self) -> String {
        let after = self.characters.range(self.asking + 1..);
        after.map(|(_, character)| character).collect()
    }

    /// The character at a place, in the word in which it stands: `“L” of “Lovelace”`, `the mask`.
    pub(super) fn quoted(&self, place: usize) -> String {
        let character = self.character(place);
        let in_word = |place: &usize| {
            let character = self.characters.get(place);
            character.is_some_and(|c| c.is_alphanumeric())
        };
        let word_from = |first: usize| -> String {
            let word = (first..).take_while(in_word);
            word.map(|place| self.character(place)).collect()
        };
        if !in_word(&place) {
            return match character {
                MASK => "the mask".to_owned(),
                _ if character.is_whitespace() => match word_from(place + 1) {
                    word if word.is_empty() => "a space".to_owned(),
                    word => format!("the space before \u{201c}{word}\u{201d}"),
                },
                _ => format!("\u{201c}{character}\u{201d}"),
            };
        }
        let first = (0..=place).rev().take_while(in_word).last();
        let word = word_from(first.unwrap_or(place));
        format!("\u{201c}{character}\u{201d} of \u{201c}{word}\u{201d}")
    }

    /// The places where words begin, the mask among them.
    pub(super) fn initials(&self) -> Vec<usize> {
        let starts = |(&place, &character): (&usize, &char)| {
            let before = place.checked_sub(1).map(|before| self.character(before));
            let begins = before.is_none_or(|c| c.is_whitespace() || c == MASK);
            (character == MASK || begins && !character.is_whitespace()).then_some(place)
        };
        self.characters.iter().filter_map(starts).collect()
    }
}

impl Head {
    pub(super) fn has_latents(&self) -> bool {
        self.latents != [false; 2]
    }

    /// The weights of the query at a position, or of the last one before it if latents have fewer positions.
    pub(super) fn from(&self, place: usize) -> impl Iterator<Item = (usize, f32)> {
        let row = self.looks.range(..=place).next_back();
        let row = row.into_iter().flat_map(|(_, row)| row);
        row.map(|(&key, &weight)| (key, weight))
    }

    /// The place with the largest weight from there.
    pub(super) fn largest(&self, place: usize) -> Option<(usize, f32)> {
        let finite = self.from(place).filter(|(_, weight)| weight.is_finite());
        finite.max_by(|a, b| a.1.total_cmp(&b.1))
    }
}
