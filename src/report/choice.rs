//! The table of points chosen by validation: what was chosen, of how many, and both numbers of the chosen one.

use super::measures::{heading, value};
use super::results::Results;
use super::table::{Cell, Field, Table, count, maybe, words};
use crate::eval::measures::Measure;
use crate::kinds::Listed as _;
use crate::metrics::rows::{ChoiceRow, GroupRow};

/// One row per group of candidates; absent without a choice.
pub(super) fn table(results: &Results) -> Option<Table> {
    let first = results.choice.first()?;
    let validated = Measure::named(&first.measure)?;
    let scored = results.groups.iter().find(|row| row.subject == "model");
    let measure = scored.and_then(|row| Measure::named(&row.measure));
    let split = scored.map_or("", |row| &row.split);
    let caption = format!(
        "Points chosen by validation: of the candidates, which differ in the values chosen among, the best by {} on the dev \
         split.{}",
        first.measure,
        match split {
            "" => String::new(),
            split => format!(" The scores on the {split} split had no part in the choice."),
        }
    );
    let groups = results.choice.chunk_by(|a, b| a.group == b.group);
    let score = |group: &&[ChoiceRow]| {
        let scored = measure.zip(chosen(group).and_then(|row| score(results, row)));
        scored.map_or_else(Cell::default, |(measure, row)| value(measure, row.mean))
    };
    let failed = |group: &&[ChoiceRow]| group.iter().filter(|row| row.state == "failed").count();
    let score_heading = measure.map_or_else(String::new, |one| {
        heading(one, &format!("{} on {split}", one.title()))
    });
    let fields: [Field<'_, &[ChoiceRow]>; 6] = [
        ("Point", &|group| words(&group[0].group)),
        ("Chosen", &|group| {
            words(chosen(group).map_or("not chosen yet", |row| &row.values))
        }),
        ("Candidates", &|group| count(group.len())),
        ("Failed", &|group| {
            maybe(Some(failed(group)).filter(|&one| one > 0), count)
        }),
        (
            &heading(validated, &format!("{} on dev", validated.title())),
            &|group| {
                let best = chosen(group).and_then(|row| row.validation);
                maybe(best, |best| value(validated, best))
            },
        ),
        (&score_heading, &score),
    ];
    Some(Table::of("choice", caption, groups, &fields).without_empty_columns())
}

fn chosen(group: &[ChoiceRow]) -> Option<&ChoiceRow> {
    group.iter().find(|row| row.is_chosen == Some(true))
}

/// The first measure of a chosen point.
fn score<'a>(results: &'a Results, row: &ChoiceRow) -> Option<&'a GroupRow> {
    let mut groups = results.groups.iter();
    groups.find(|group| group.subject == "model" && group.point == row.point)
}
