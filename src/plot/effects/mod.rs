//! What `kind = "effects"` takes and shows: how much each key of a sweep matters to a measure, and which pairs of keys do
//! more, or less, than the sum of both; from `summary.csv`.

mod drawing;
mod factors;

use std::cmp::Ordering;
use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::seed_values::{self, SeedValue};
use super::text::{self, count, plural};
use super::{Caption, Figure, Gathered, Need, Plot, Points};
use crate::error::Result;
use crate::eval::measures::{Better, Measure};
use crate::kinds::{BrokenRule, Listed as _, Named, joined};
use crate::metrics::artefacts::WEIGHTS;
use crate::metrics::measured::Measured;
use crate::metrics::statistics::factorial::{
    Change, Contrast, Effect, Effects, Model, Precision, Term,
};
use crate::metrics::steps::TrainingStage;
use factors::Factors;

/// More coefficients than this are refused: nobody reads so many effects, and the time to estimate them grows with the
/// square of their number.
const MOST_COEFFICIENTS: usize = 500;
/// Most main effects that are drawn.
const MOST_MAIN: usize = 150;

/// The keys of `kind = "effects"`.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Which of the measures in `evaluate.measures` is shown. Default: the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    measure: Option<Named<Measure>>,
    /// Terms of the linear model, besides an effect of each seed: main effects only, or two-way interactions too.
    terms: Terms,
    /// Number of two-way interactions shown, the largest first.
    #[schemars(range(min = 0, max = 40))]
    interactions: usize,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            measure: None,
            terms: Terms::default(),
            interactions: 8,
        }
    }
}

/// The terms of a linear model.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Terms {
    /// Main effects.
    Main,
    /// Main effects and two-way interactions.
    #[default]
    TwoWay,
}

impl Plot for EffectsFigure {
    type Keys = Keys;

    const NAME: &'static str = "effects";
    const SHOWS: &'static str = "how much each swept key changes a measure, such as accuracy, averaged over the others, and the largest two-way interactions, with 95 % intervals";
    const NEEDS: Need = Need::ModelPairs;
    #[cfg(test)]
    const EXAMPLES: &'static [crate::plot::tests::gallery::Example] = &[
        |points, label| tests::one_long_factor(points, label, 3),
        tests::many_factors,
        tests::losses,
    ];

    fn title(keys: &Keys, measured: &Measured) -> String {
        let measure = keys.measure.unwrap_or(measured.measure);
        format!("Effects on {}", measure.0.quantity)
    }

    /// A factorial design needs all of its points.
    fn shows_candidates(_: &Keys, _: &[String]) -> bool {
        true
    }

    fn check(keys: &Keys, points: &Points<'_>) -> Option<BrokenRule> {
        seed_values::check_measure(keys.measure, points).or_else(|| {
            // A figure that need not find anything to show may find keys that change together.
            let must_show = points.made.is_some() && !points.values.is_empty();
            let factors = Factors::of(&points.values);
            let (why, help) = must_show.then(|| keys.model(&factors, 1).err())??;
            Some(BrokenRule {
                key: "kind",
                reads: &[],
                message: format!("= {:?} has nothing to show: {why}", Self::NAME),
                help: Some(format!("{help}, or remove the figure")),
            })
        })
    }

    fn gather(keys: &Keys, measured: &Measured) -> Result<Gathered<Self>> {
        let measure = keys.measure.unwrap_or(measured.measure);
        let values: Vec<_> = (measured.points.iter())
            .map(|point| point.values.clone())
            .collect();
        let factors = Factors::of(&values);
        let model = match keys.model(&factors, measured.seeds.len()) {
            Ok(model) => model,
            Err((why, _)) => return Ok(Gathered::Nothing(why.into())),
        };
        let runs = match scored(measure.0, measured)? {
            Ok(runs) => runs,
            Err(why) => return Ok(Gathered::Nothing(why.into())),
        };
        let values: Vec<f64> = runs.iter().map(|run| run.estimate.value).collect();
        Ok(Gathered::Figure(Self {
            measure,
            seeds: measured.seeds.clone(),
            questions: runs.iter().map(|run| run.questions).collect(),
            has_interactions: keys.has_interactions(),
            most_interactions: keys.interactions,
            effects: model.fit(&values),
            inestimable: model.inestimable(),
            aliased: model.aliased(),
            shared: shared_training(&factors, measured),
            factors,
        }))
    }

    /// Dots with horizontal intervals around a line at 0.
    fn draw(&self, caption: Caption) -> Result<Figure> {
        let shown = self.shown();
        let caption = self.explained(caption, &shown);
        drawing::draw(self, &shown, caption)
    }
}

impl Keys {
    fn has_interactions(&self) -> bool {
        self.terms == Terms::TwoWay
    }

    /// The model of these factors with so many seeds; or why there is none, and what to do about it.
    fn model(
        &self,
        factors: &Factors,
        seeds: usize,
    ) -> std::result::Result<Model, (String, String)> {
        let design = factors.design(seeds);
        let fewer = match self.terms {
            Terms::Main => "",
            Terms::TwoWay => ", or set `terms` = \"main\" to assume that there are no interactions",
        };
        let coefficients = design.coefficients(self.has_interactions());
        if coefficients > MOST_COEFFICIENTS {
            let (all, most) = (count(coefficients), count(MOST_COEFFICIENTS));
            let why = format!("its model has {all} coefficients, more than {most}");
            return Err((why, format!("sweep fewer keys or values{fewer}")));
        }
        let model = Model::of(&design, self.has_interactions());
        let lost = model.inestimable();
        let is_lost = |factor: usize, levels: usize| {
            let own = |one: &&Contrast| one.term() == Term::Main(factor);
            lost.iter().filter(own).count() == levels - 1
        };
        let mut numbered = factors.all.iter().enumerate();
        if numbered.all(|(i, factor)| is_lost(i, factor.levels.len())) {
            let why = match aliases(factors, &lost, &model.aliased()) {
                words if words.is_empty() => "no key of the sweep has two values".to_owned(),
                words => format!(
                    "no main effect can be estimated: over {} these are aliased: {words}",
                    plural(factors.points.len(), "point", "points")
                ),
            };
            return Err((why, format!("add points to the `[sweep]`{fewer}")));
        }
        Ok(model)
    }
}

/// The runs of every point with every seed; or which of them have no value. Runs may be missing because of their
/// settings, and an average over the rest would hide that.
fn scored(
    measure: &Measure,
    measured: &Measured,
) -> Result<std::result::Result<Vec<SeedValue>, String>> {
    let rows = seed_values::rows_of(measure, measured)?;
    let (mut runs, mut missing) = (vec![], vec![]);
    for point in &measured.points {
        let own = seed_values::own(&rows, "model", point);
        let own: Vec<SeedValue> = own
            .filter_map(|row| SeedValue::of(row, row.seed?))
            .collect();
        seed_values::check(&point.label, &own, measure)?;
        for seed in &measured.seeds {
            match own.iter().find(|run| run.seed == *seed) {
                Some(run) => runs.push(*run),
                None => missing.push((&point.label, seed)),
            }
        }
    }
    let Some((label, seed)) = missing.first() else {
        return Ok(Ok(runs));
    };
    let all = measured.points.len() * measured.seeds.len();
    Ok(Err(format!(
        "no {} of {} of {}, such as `{label}` with seed {seed}; an effect averages over all runs: finish them, or \
         remove that seed or value from the sweep",
        measure.name(),
        count(missing.len()),
        plural(all, "run", "runs"),
    )))
}

/// The factors that leave pretraining as it is, where others change it: their runs share a pretrained model.
fn shared_training(factors: &Factors, measured: &Measured) -> Vec<String> {
    let pretrained = WEIGHTS.in_run(TrainingStage::Pretrain.name(), "");
    let mut runs = measured.points.iter().flat_map(|point| &point.runs);
    if !runs.any(|run| run.folder.join(&pretrained).is_file()) {
        return vec![];
    }
    let is_later = |key: &str| key.starts_with("finetune.") || key.starts_with("evaluate.");
    let names = factors.all.iter().map(|factor| &factor.name);
    let (later, earlier): (Vec<&String>, Vec<&String>) =
        names.partition(|name| name.split(", ").all(is_later));
    match earlier.is_empty() {
        true => vec![],
        false => later.into_iter().cloned().collect(),
    }
}

/// The effects of the keys of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EffectsFigure {
    measure: Named<Measure>,
    factors: Factors,
    seeds: Vec<u64>,
    /// The different numbers of questions of the runs.
    questions: BTreeSet<usize>,
    has_interactions: bool,
    most_interactions: usize,
    effects: Effects,
    /// What the runs cannot estimate, and the terms that they cannot tell apart.
    inestimable: Vec<Contrast>,
    aliased: Vec<BTreeSet<Term>>,
    /// Keys whose runs share a pretrained model.
    shared: Vec<String>,
}

/// The effects that are drawn.
struct Shown<'a> {
    /// Those of each key, the key with the largest one first.
    main: Vec<Vec<&'a Effect>>,
    /// The largest first.
    interactions: Vec<&'a Effect>,
    /// How many of each there are in all.
    all_main: usize,
    all_interactions: usize,
}

/// One line of the figure's CSV; effects on accuracies are fractions, others are in the unit of the measure.
#[derive(Debug, Default, Serialize, Deserialize)]
struct EffectRow<'a> {
    /// `main` or `interaction`.
    kind: &'static str,
    key: &'a str,
    /// The baseline, which is the first value of the key, and the value that is compared with it.
    from: &'a str,
    to: &'a str,
    /// The second key of an interaction.
    other_key: Option<&'a str>,
    other_from: Option<&'a str>,
    other_to: Option<&'a str>,
    /// Empty if the runs cannot estimate it.
    effect: Option<f64>,
    standard_error: Option<f64>,
    /// Student's interval of this effect alone.
    low_95: Option<f64>,
    high_95: Option<f64>,
    /// The interval that holds together with those of all other effects.
    joint_low_95: Option<f64>,
    joint_high_95: Option<f64>,
    degrees_of_freedom: usize,
    /// The key, or pair of keys, that it cannot be told apart from.
    aliased_with: String,
    is_shown: bool,
    measure: &'static str,
}

impl EffectsFigure {
    /// Groups by key, the one with the largest effect first. Within a key, numbers keep the order of the file, and other
    /// values begin with the best.
    fn shown(&self) -> Shown<'_> {
        let mut all: Vec<&Effect> = self.effects.effects.iter().collect();
        all.sort_by(|a, b| b.estimate.abs().total_cmp(&a.estimate.abs()));
        let is_main = |one: &&Effect| matches!(one.contrast, Contrast::Main(_));
        let (main, interactions): (Vec<&Effect>, Vec<&Effect>) = all.into_iter().partition(is_main);
        let (all_main, all_interactions) = (main.len(), interactions.len());
        let mut groups: Vec<Vec<&Effect>> = vec![];
        for effect in main.into_iter().take(MOST_MAIN) {
            let mut known = groups.iter_mut();
            match known.find(|group| group[0].contrast.term() == effect.contrast.term()) {
                Some(group) => group.push(effect),
                None => groups.push(vec![effect]),
            }
        }
        for group in &mut groups {
            match self.is_ordered(group[0]) {
                true => group.sort_by_key(|effect| effect.contrast),
                false => group.sort_by(|a, b| self.better_first(a, b)),
            }
        }
        Shown {
            main: groups,
            interactions: interactions
                .into_iter()
                .take(self.most_interactions)
                .collect(),
            all_main,
            all_interactions,
        }
    }

    fn better_first(&self, one: &Effect, other: &Effect) -> Ordering {
        match self.measure.0.better {
            Better::Higher => other.estimate.total_cmp(&one.estimate),
            Better::Lower => one.estimate.total_cmp(&other.estimate),
        }
    }

    /// Whether an effect is one of a key whose values are numbers.
    fn is_ordered(&self, effect: &Effect) -> bool {
        match effect.contrast {
            Contrast::Main(change) => self.factors.all[change.factor].is_numeric(),
            Contrast::Interaction(..) => false,
        }
    }

    /// An interval without values that no difference can have; one of an interaction is a difference of differences.
    fn possible(&self, contrast: &Contrast, (low, high): (f64, f64)) -> (f64, f64) {
        let possible = self.measure.0.unit.differences();
        let times = match contrast {
            Contrast::Main(_) => 1.0,
            Contrast::Interaction(..) => 2.0,
        };
        let within = |end: f64| end.clamp(times * possible.start(), times * possible.end());
        (within(low), within(high))
    }

    fn row(&self, contrast: &Contrast) -> EffectRow<'_> {
        let (kind, one, other) = match *contrast {
            Contrast::Main(change) => ("main", change, None),
            Contrast::Interaction(one, other) => ("interaction", one, Some(other)),
        };
        let key = |change: Change| self.factors.all[change.factor].name.as_str();
        let (from, to) = self.factors.values(one);
        EffectRow {
            kind,
            key: key(one),
            from,
            to,
            other_key: other.map(key),
            other_from: other.map(|other| self.factors.values(other).0),
            other_to: other.map(|other| self.factors.values(other).1),
            degrees_of_freedom: self.effects.freedom,
            measure: self.measure.0.name(),
            ..EffectRow::default()
        }
    }

    fn rows(&self, shown: &Shown<'_>) -> Vec<EffectRow<'_>> {
        let is_shown = |effect: &Effect| {
            let mut drawn = shown.main.iter().flatten().chain(&shown.interactions);
            drawn.any(|other| other.contrast == effect.contrast)
        };
        let estimated = self.effects.effects.iter().map(|effect| {
            let precision = effect.precision.as_ref();
            let ends = |of: fn(&Precision) -> (f64, f64)| {
                precision.map(|one| self.possible(&effect.contrast, of(one)))
            };
            let (own, joint) = (ends(|one| one.own_95), ends(|one| one.joint_95));
            EffectRow {
                effect: Some(effect.estimate),
                standard_error: precision.map(|one| one.standard_error),
                low_95: own.map(|(low, _)| low),
                high_95: own.map(|(_, high)| high),
                joint_low_95: joint.map(|(low, _)| low),
                joint_high_95: joint.map(|(_, high)| high),
                is_shown: is_shown(effect),
                ..self.row(&effect.contrast)
            }
        });
        let lost = self.inestimable.iter().map(|contrast| {
            let own = contrast.term();
            let group = self.aliased.iter().find(|group| group.contains(&own));
            let others = group.into_iter().flatten().filter(|term| **term != own);
            let others = others.filter_map(|term| self.factors.name(*term));
            EffectRow {
                aliased_with: joined(others, "and"),
                ..self.row(contrast)
            }
        });
        estimated.chain(lost).collect()
    }

    /// How many runs, what the marks mean, and how far the intervals reach.
    fn explained(&self, mut caption: Caption, shown: &Shown<'_>) -> Caption {
        caption.say(self.counted());
        if self.measure.0.better == Better::Lower {
            caption.say("Lower is better.");
        }
        caption.say(
            "Dot: change from the first value of a key to another, averaged equally over all other keys and the seeds.",
        );
        if !shown.interactions.is_empty() {
            caption.say(
                "Interaction: how much larger the effect of one change is once the other has been made.",
            );
        }
        caption.say(self.model_in_words());
        caption.say(self.intervals_in_words());
        let main = shown.main.iter().flatten().count();
        if main < shown.all_main {
            let (main, all) = (count(main), count(shown.all_main));
            caption.say(format!(
                "The {main} largest of {all} main effects are shown."
            ));
        }
        if main < shown.all_main || shown.interactions.len() < shown.all_interactions {
            caption.say("The largest of many estimates tend to be too large; the CSV has all.");
        }
        if !self.inestimable.is_empty() {
            let words = aliases(&self.factors, &self.inestimable, &self.aliased);
            caption.say(format!(
                "Not shown, because these points cannot tell them apart (aliased): {words}."
            ));
        }
        if !self.shared.is_empty() {
            let keys = joined(&self.shared, "and");
            caption.say(format!(
                "Runs that differ only in {keys} share a pretrained model: intervals of other keys are too narrow."
            ));
        }
        caption.draws(self.factors.all.iter().flat_map(|factor| {
            let levels = factor.levels.iter().map(String::as_str);
            levels.chain([factor.name.as_str()])
        }))
    }

    /// `n = 96 runs, 32 points with seeds 1, 2, 3, and 60 questions a run.`
    fn counted(&self) -> String {
        let points = self.factors.points.len();
        let runs = plural(points * self.seeds.len(), "run", "runs");
        let questions = match (self.questions.first(), self.questions.last()) {
            (Some(few), Some(many)) if few < many => {
                format!("{} to {}", count(*few), self.measure.0.counted(*many))
            }
            (all, _) => self.measure.0.counted(all.copied().unwrap_or(0)),
        };
        let seeds = text::seeds(&self.seeds);
        format!(
            "n = {runs}: {} with {seeds}, {questions} a run.",
            plural(points, "point", "points")
        )
    }

    fn model_in_words(&self) -> String {
        let terms = match (self.has_interactions, self.seeds.len()) {
            (true, 1) => "main effects and all two-way interactions",
            (true, _) => "main effects, all two-way interactions and an effect of each seed",
            (false, 1) => "main effects",
            (false, _) => "main effects and an effect of each seed",
        };
        format!("Least squares with {terms}, sum-coded.")
    }

    fn intervals_in_words(&self) -> String {
        let freedom =
            plural(self.effects.freedom, "residual degree", "residual degrees") + " of freedom";
        let Some(deviation) = self.effects.residual_deviation else {
            return match self.effects.freedom {
                0 => "No intervals: the model has as many coefficients as there are runs; more seeds would give some.".to_owned(),
                _ => format!("No intervals: the model fits all runs exactly, with {freedom}."),
            };
        };
        let deviation = self.measure.0.unit.show_distance(deviation);
        let effects = match self.effects.effects.len() {
            1 => {
                return format!(
                    "Line: 95 % t-interval, {freedom}, residual standard deviation {deviation}; over seeds, not over {}.",
                    self.measure.0.counts
                );
            }
            effects => count(effects),
        };
        format!(
            "Thick line: 95 % t-interval of each effect, not adjusted for multiple comparisons; thin line: 95 % for all {effects} effects \
             together (Bonferroni); {freedom}, residual standard deviation {deviation}. Coloured: the thin line misses 0. \
             Both intervals cover variation over seeds, not over {}.",
            self.measure.0.counts
        )
    }
}

/// Which terms cannot be told apart: `a and b × c; d and e × f`. Only of groups that lose a contrast.
fn aliases(factors: &Factors, lost: &[Contrast], groups: &[BTreeSet<Term>]) -> String {
    const MOST: usize = 4;
    let lost: BTreeSet<Term> = lost.iter().map(Contrast::term).collect();
    let losing = groups.iter().filter(|group| !lost.is_disjoint(group));
    let mut names: Vec<String> = losing.map(|group| factors.names(group)).collect();
    if names.len() > MOST {
        let more = names.split_off(MOST).len();
        names.push(format!("and {more} more groups"));
    }
    names.join("; ")
}

#[cfg(test)]
mod tests;
