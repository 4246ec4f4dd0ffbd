use proptest::prelude::*;
use serde::Deserialize;

use super::*;

/// A design and what `scripts/factorial_reference.py` computed of it with statsmodels 0.15.0.
#[derive(Deserialize)]
struct Case {
    name: String,
    levels: Vec<usize>,
    runs: Vec<Vec<usize>>,
    blocks: Vec<usize>,
    values: Vec<f64>,
    has_interactions: bool,
    freedom: usize,
    residual_deviation: f64,
    effects: Vec<ExpectedEffect>,
}

#[derive(Deserialize)]
struct ExpectedEffect {
    factors: Vec<usize>,
    levels: Vec<usize>,
    estimate: f64,
    standard_error: f64,
    own_95: (f64, f64),
    joint_95: (f64, f64),
}

fn recorded() -> Vec<Case> {
    let text = include_str!("../../../../tests/golden/factorial_statsmodels.json");
    serde_json::from_str(text).expect("recorded cases")
}

impl Case {
    fn design(&self) -> Design {
        Design {
            levels: self.levels.clone(),
            runs: self.runs.clone(),
            blocks: self.blocks.clone(),
        }
    }
}

/// All settings of factors with two levels each, in one block.
fn two_level_grid(factors: u32) -> Design {
    let run = |bits: usize| (0..factors).map(|factor| bits >> factor & 1).collect();
    Design {
        levels: vec![2; factors as usize],
        runs: (0..1 << factors).map(run).collect(),
        blocks: vec![0; 1 << factors],
    }
}

/// The settings of three factors and a fourth that is their product: 2^(4-1) of resolution IV.
fn half_of_four() -> Design {
    let mut design = two_level_grid(3);
    design.levels.push(2);
    for run in &mut design.runs {
        run.push((run.iter().sum::<usize>() + 1) % 2);
    }
    design
}

fn contrast_of(expected: &ExpectedEffect) -> Contrast {
    let change = |i: usize| Change {
        factor: expected.factors[i],
        level: expected.levels[i],
    };
    match expected.factors.len() {
        1 => Contrast::Main(change(0)),
        _ => Contrast::Interaction(change(0), change(1)),
    }
}

#[test]
fn effects_agree_with_statsmodels() {
    let cases = recorded();
    assert_eq!(cases.len(), 6);
    for case in &cases {
        let model = Model::of(&case.design(), case.has_interactions);
        let found = model.fit(&case.values);
        assert_eq!(found.freedom, case.freedom, "{}", case.name);
        assert_eq!(found.effects.len(), case.effects.len(), "{}", case.name);
        let close = |found: f64, expected: f64| {
            let error = (found - expected).abs() / expected.abs().max(1.0);
            assert!(error < 1e-9, "{}: {found} is not {expected}", case.name);
        };
        let deviation = found.residual_deviation.expect("residuals");
        close(deviation, case.residual_deviation);
        for (effect, expected) in found.effects.iter().zip(&case.effects) {
            assert_eq!(effect.contrast, contrast_of(expected), "{}", case.name);
            close(effect.estimate, expected.estimate);
            let precision = effect.precision.expect("degrees of freedom");
            close(precision.standard_error, expected.standard_error);
            close(precision.own_95.0, expected.own_95.0);
            close(precision.own_95.1, expected.own_95.1);
            close(precision.joint_95.0, expected.joint_95.0);
            close(precision.joint_95.1, expected.joint_95.1);
        }
        assert!(model.inestimable().is_empty() && model.aliased().is_empty());
    }
}

#[test]
fn in_a_grid_an_effect_is_a_difference_of_means() {
    let design = two_level_grid(2);
    let effects = Model::of(&design, true).fit(&[0.1, 0.3, 0.2, 0.9]);
    let estimates: Vec<f64> = effects.effects.iter().map(|one| one.estimate).collect();
    let by_hand = [0.6 - 0.15, 0.55 - 0.2, (0.9 - 0.2) - (0.3 - 0.1)];
    for (found, expected) in estimates.iter().zip(by_hand) {
        assert!((found - expected).abs() < 1e-12, "{estimates:?}");
    }
}

#[test]
fn without_degrees_of_freedom_there_are_estimates_but_no_intervals() {
    let saturated = Model::of(&two_level_grid(2), true).fit(&[0.1, 0.3, 0.2, 0.9]);
    assert_eq!((saturated.freedom, saturated.effects.len()), (0, 3));
    assert_eq!(saturated.residual_deviation, None);
    assert!(saturated.effects.iter().all(|one| one.precision.is_none()));
    // Equal values leave nothing to estimate the error from either.
    let equal = Model::of(&two_level_grid(3), true).fit(&[0.3; 8]);
    assert_eq!((equal.freedom, equal.residual_deviation), (1, None));
    assert!(equal.effects.iter().all(|one| one.estimate.abs() < 1e-12));
}

#[test]
fn a_fraction_says_what_is_aliased_with_what() {
    let model = Model::of(&half_of_four(), true);
    let pairs = [[(0, 1), (2, 3)], [(0, 2), (1, 3)], [(0, 3), (1, 2)]];
    let pairs = pairs.map(|two| BTreeSet::from(two.map(|(a, b)| Term::Interaction(a, b))));
    assert_eq!(model.aliased(), pairs);
    let lost = model.inestimable();
    assert_eq!(lost.len(), 6);
    assert!(
        lost.iter()
            .all(|one| matches!(one, Contrast::Interaction(..)))
    );
    // Resolution IV: main effects are clear of two-way interactions.
    assert_eq!(model.fit(&[0.0; 8]).effects.len(), 4);
    assert!(Model::of(&half_of_four(), false).aliased().is_empty());
}

#[test]
fn with_an_empty_cell_no_average_over_both_factors_can_be_estimated() {
    let mut design = two_level_grid(2);
    design.runs.pop();
    design.blocks.pop();
    let model = Model::of(&design, true);
    assert_eq!(model.inestimable().len(), 3);
    let group = BTreeSet::from([
        Term::Mean,
        Term::Main(0),
        Term::Main(1),
        Term::Interaction(0, 1),
    ]);
    assert_eq!(model.aliased(), [group]);
    assert!(Model::of(&design, false).inestimable().is_empty());
}

#[test]
fn a_factor_that_is_constant_or_missing_is_no_panic() {
    let none = Model::of(&Design::default(), true);
    assert!(none.fit(&[]).effects.is_empty());
    let constant = Design {
        levels: vec![2],
        runs: vec![vec![0]; 3],
        blocks: vec![0, 1, 2],
    };
    assert_eq!(Model::of(&constant, true).inestimable().len(), 1);
}

proptest! {
    /// Whatever the runs, effects of values that the model can make are those that made them.
    #[test]
    fn estimable_effects_are_unbiased(
        runs in prop::collection::vec((0usize..2, 0usize..3, 0usize..2, 0usize..2), 1..40),
        main in prop::collection::vec(-1.0..1.0f64, 5),
        block in -1.0..1.0f64,
    ) {
        let design = Design {
            levels: vec![2, 3, 2],
            runs: runs.iter().map(|&(a, b, c, _)| vec![a, b, c]).collect(),
            blocks: runs.iter().map(|run| run.3).collect(),
        };
        let sizes = [[0.0, main[0], 0.0], [0.0, main[1], main[2]], [0.0, main[3], 0.0]];
        let value = |run: &Vec<usize>, of_block: usize| {
            let sum: f64 = run.iter().enumerate().map(|(factor, &level)| sizes[factor][level]).sum();
            // The first two factors interact when both are at their second level.
            sum + block * of_block as f64 + main[4] * f64::from(u8::from(run[0] == 1 && run[1] == 1))
        };
        let values: Vec<f64> = design.runs.iter().zip(&design.blocks).map(|(run, &of)| value(run, of)).collect();
        let model = Model::of(&design, true);
        let effects = model.fit(&values);
        prop_assert_eq!(effects.effects.len() + model.inestimable().len(), 4 + 2 + 1 + 2);
        for effect in effects.effects {
            let expected = match effect.contrast {
                Contrast::Main(Change { factor: 0, .. }) => main[0] + main[4] / 3.0,
                Contrast::Main(Change { factor: 1, level }) => {
                    sizes[1][level] + if level == 1 { main[4] / 2.0 } else { 0.0 }
                }
                Contrast::Main(Change { factor, level }) => sizes[factor][level],
                Contrast::Interaction(one, other) => {
                    let both = (one.factor, other.factor, other.level) == (0, 1, 1);
                    if both { main[4] } else { 0.0 }
                }
            };
            prop_assert!((effect.estimate - expected).abs() < 1e-8, "{:?}: {}", effect, expected);
        }
    }
}
