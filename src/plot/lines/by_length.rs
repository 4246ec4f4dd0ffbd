//! What `kind = "accuracy-by-length"` takes and shows: how many held-out tokens are predicted correctly at each length or
//! distance, from `held_out/*.csv`.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Lines, Names, Spot};
use crate::error::Result;
use crate::eval::measures::TOKEN_ACCURACY;
use crate::kinds::{BrokenRule, Named};
use crate::metrics::artefacts::HELD_OUT;
use crate::metrics::measured::{Measured, MeasuredPoint, MeasuredRun};
use crate::metrics::rows::HeldOutRow;
use crate::metrics::statistics::Estimate;
use crate::plot::seed_values::SeedValue;
use crate::plot::{Caption, Figure, Gathered, Need, Plot, Points};

/// The keys of `kind = "accuracy-by-length"`.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// What the horizontal axis shows: the `"length"` of an example or document, or the `"distance"` in tokens between a
    /// query and its answer in the context.
    over: Over,
    /// A key of the sweep; each of its values gets a chart of its own. Default: one chart.
    #[serde(skip_serializing_if = "Option::is_none")]
    panels: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Over {
    #[default]
    Length,
    Distance,
}

/// The figure.
pub struct ByLength(pub(super) Lines);

/// Above this many distinct lengths, they are put into at most this many bins of equal width.
const MOST_LENGTHS: usize = 60;

impl Plot for ByLength {
    type Keys = Keys;

    const NAME: &'static str = "accuracy-by-length";
    const SHOWS: &'static str = "accuracy on held-out tokens against the length of an example, or against the distance between a query and its answer in the context";
    const NEEDS: Need = Need::HeldOutScores;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::tests::gallery::Example] = &[super::tests::by_length];

    fn title(keys: &Keys, _: &Measured) -> String {
        format!("{}, by {}", TOKEN_ACCURACY.title(), keys.over.word())
    }

    fn origin(_: &Keys, measured: &Measured) -> String {
        let (origin, splits) = (&measured.origin, &measured.splits);
        format!("{origin}, {splits} split.")
    }

    fn shows_candidates(keys: &Keys, chosen: &[String]) -> bool {
        keys.panels.iter().any(|key| chosen.contains(key))
    }

    fn check(keys: &Keys, points: &Points<'_>) -> Option<BrokenRule> {
        super::check_panels(keys.panels.as_deref(), points)
    }

    fn gather(keys: &Keys, measured: &Measured) -> Result<Gathered<Self>> {
        let mut at_points = vec![];
        for point in &measured.points {
            let mut runs = vec![];
            for run in &point.runs {
                runs.push((run.seed, counts(point, run, keys.over)?));
            }
            at_points.push((point, runs));
        }
        let lengths = at_points.iter().flat_map(|(_, runs)| runs);
        let lengths: BTreeSet<usize> = lengths
            .flat_map(|(_, counts)| counts.keys().copied())
            .collect();
        let Some((&shortest, &longest)) = lengths.first().zip(lengths.last()) else {
            return Ok(Gathered::Nothing(match keys.over {
                Over::Length => "no finished run has scored held-out tokens".into(),
                Over::Distance => "no finished run has held-out scores with a distance".into(),
            }));
        };
        let width = match lengths.len() > MOST_LENGTHS {
            true => (longest + 1 - shortest).div_ceil(MOST_LENGTHS),
            false => 1,
        };
        let names = Names::of(&measured.points, None, keys.panels.as_deref());
        let mut figure = Lines {
            measure: Named(&TOKEN_ACCURACY),
            horizontal: keys.over.axis().to_owned(),
            counted: keys.over.counted(),
            notes: (width > 1)
                .then(|| format!("{width} {}s to a bin.", keys.over.word()))
                .into_iter()
                .collect(),
            ..Lines::default()
        };
        for (point, runs) in at_points {
            for spot in spots(&runs, shortest, width) {
                figure.add(names.panel(point), names.line(point), spot);
            }
        }
        Ok(Gathered::Figure(Self(figure)))
    }

    fn draw(&self, caption: Caption) -> Result<Figure> {
        self.0.draw(caption)
    }
}

impl Over {
    fn word(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Distance => "distance",
        }
    }

    fn counted(self) -> &'static str {
        match self {
            Self::Length => " and length",
            Self::Distance => " and distance",
        }
    }

    fn axis(self) -> &'static str {
        match self {
            Self::Length => "length (tokens)",
            Self::Distance => "distance (tokens)",
        }
    }

    fn of(self, row: &HeldOutRow) -> Option<usize> {
        match self {
            Self::Length => Some(row.length),
            Self::Distance => row.distance,
        }
    }
}

/// Tokens of a run by length: those predicted correctly, and all that were scored.
type Counts = BTreeMap<usize, (usize, usize)>;

fn counts(point: &MeasuredPoint, run: &MeasuredRun, over: Over) -> Result<Counts> {
    let mut counts = Counts::new();
    let rows = point
        .split
        .map(|split| run.read(&HELD_OUT, split))
        .transpose()?;
    let rows: Vec<HeldOutRow> = rows.flatten().unwrap_or_default();
    for row in rows {
        if let Some(length) = over.of(&row) {
            let (right, scored) = counts.entry(length).or_default();
            *right += row.right;
            *scored += row.scored_tokens;
        }
    }
    Ok(counts)
}

/// The places of a line: the runs of a point in bins of this width, from the shortest length on.
fn spots(runs: &[(u64, Counts)], shortest: usize, width: usize) -> Vec<Spot> {
    let mut bins: BTreeMap<usize, Vec<SeedValue>> = BTreeMap::new();
    for (seed, counts) in runs {
        let mut binned = Counts::new();
        for (length, (right, scored)) in counts {
            let first = shortest + (length - shortest) / width * width;
            let (all_right, all_scored) = binned.entry(first).or_default();
            *all_right += right;
            *all_scored += scored;
        }
        for (first, (correct, questions)) in binned {
            let run = Estimate::of_counts(correct, questions).map(|estimate| SeedValue {
                seed: *seed,
                questions,
                correct: Some(correct),
                estimate,
            });
            bins.entry(first).or_default().extend(run);
        }
    }
    let spot = |(first, runs): (usize, Vec<SeedValue>)| {
        let (first, last) = (first as f64, (first + width - 1) as f64);
        let spot = Spot {
            x: (first + last) / 2.0,
            runs,
            reported: None,
            bin: (first < last).then_some((first, last)),
        };
        (!spot.runs.is_empty()).then_some(spot)
    };
    bins.into_iter().filter_map(spot).collect()
}
