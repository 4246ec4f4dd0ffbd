//! What holds of the statistics whatever the counts are.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn wilson_is_within_0_to_1_and_around_the_fraction(
        questions in 1usize..20_000,
        share in 0.0..=1.0f64,
    ) {
        let correct = (share * questions as f64).round() as usize;
        let (low, high) = wilson_95(correct, questions);
        let fraction = correct as f64 / questions as f64;
        prop_assert!(0.0 <= low && low <= fraction && fraction <= high && high <= 1.0);
        prop_assert!(low < high);
    }

    #[test]
    fn mcnemar_does_not_care_who_is_a_and_is_a_probability(a in 0usize..8_000, b in 0usize..8_000) {
        let p = mcnemar_exact(a, b);
        prop_assert!(p > 0.0 && p <= 1.0, "{p}");
        prop_assert_eq!(p, mcnemar_exact(b, a));
    }

    #[test]
    fn mcnemar_falls_as_the_split_grows_uneven(all in 2usize..4_000, share in 0.0..1.0f64) {
        let fewer = (share * (all / 2) as f64) as usize;
        let less_even = mcnemar_exact(fewer, all - fewer);
        let more_even = mcnemar_exact(fewer + 1, all - fewer - 1);
        prop_assert!(less_even <= more_even, "{less_even} {more_even}");
    }

    #[test]
    fn the_difference_of_pairs_lies_in_its_interval_and_turns_its_sign_with_the_models(
        both in 0usize..3_000, a in 0usize..3_000, b in 0usize..3_000, neither in 0usize..3_000,
    ) {
        prop_assume!(both + a + b + neither > 0);
        let difference = (b as f64 - a as f64) / (both + a + b + neither) as f64;
        let (low, high) = paired_difference_95(both, a, b, neither);
        prop_assert!(-1.0 <= low && low <= difference && difference <= high && high <= 1.0);
        let (other_low, other_high) = paired_difference_95(both, b, a, neither);
        prop_assert!((low + other_high).abs() < 1e-12 && (high + other_low).abs() < 1e-12);
    }

    #[test]
    fn the_mean_over_seeds_lies_in_its_interval(
        runs in prop::collection::vec((0usize..=60).prop_map(|right| (right, 60)), 1..8),
    ) {
        let found = accuracy_over_seeds(&runs).expect("asked");
        prop_assert!(0.0 <= found.low_95 && found.low_95 <= found.mean);
        prop_assert!(found.mean <= found.high_95 && found.high_95 <= 1.0);
    }
}
