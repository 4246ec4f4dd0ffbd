//! The table of points chosen by validation: what was chosen, among how many, the dev score it was selected by, and its
//! score on the split evaluated.

use super::measures::{heading, value};
use super::results::Results;
use super::table::{Cell, Field, Table, maybe, words};
use crate::eval::measures::Measure;
use crate::kinds::Listed as _;
use crate::metrics::rows::ChoiceRow;
use crate::pipeline::summary::choice::{by_group, tried, why_undecided, winner};

/// One row per group of candidates; absent without a choice. The score is that of the first measure that was evaluated.
pub(super) fn table(results: &Results) -> Option<Table> {
    let validated = Measure::named(&results.choice.first()?.measure)?;
    let scored = results.groups.iter().find(|row| row.subject == "model");
    let scored = scored.and_then(|row| Some((Measure::named(&row.measure)?, &row.split)));
    let scores = scored.map_or_else(String::new, |(_, split)| {
        format!(" The scores on the {split} split were not used for selection.")
    });
    let split = validated.validation_split().name();
    let caption = format!(
        "Points chosen by validation: of the candidates, which differ in the values that are chosen, the best by {} on the \
         {split} split.{scores}",
        validated.name(),
    );
    let score = |group: &&[ChoiceRow]| {
        let (measure, split) = scored?;
        let row = winner(group)?;
        let groups = results.groups.iter().filter(|one| one.subject == "model");
        let mut own = groups.filter(|one| one.split == *split && one.measure == measure.name());
        let own = own.find(|one| one.point == row.point)?;
        Some(value(measure, own.mean))
    };
    let title = |measure: &Measure, split: &str| {
        heading(measure, &format!("{} on {split}", measure.title()))
    };
    let score_title = scored.map_or_else(String::new, |(measure, split)| title(measure, split));
    let fields: [Field<'_, &[ChoiceRow]>; 5] = [
        ("Point", &|group| words(&group[0].group)),
        ("Chosen values", &|group| match winner(group) {
            Some(row) => words(&row.values),
            None => words(format!("none ({})", why_undecided(group))),
        }),
        ("Best of", &|group| words(tried(group))),
        (&title(validated, "dev"), &|group| {
            let best = winner(group).and_then(|row| row.validation);
            maybe(best, |best| value(validated, best))
        }),
        (&score_title, &|group| {
            score(group).unwrap_or_else(Cell::default)
        }),
    ];
    Some(Table::of("choice", caption, by_group(&results.choice), &fields).without_empty_columns())
}
