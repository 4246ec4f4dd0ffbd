//! Properties of the statistics for arbitrary counts.

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
    fn mcnemar_is_symmetric_and_a_probability(a in 0usize..8_000, b in 0usize..8_000) {
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
    fn the_paired_difference_lies_in_its_interval_and_changes_sign_when_the_models_are_swapped(
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
        let runs: Vec<Estimate> =
            runs.iter().filter_map(|&(right, asked)| Estimate::of_counts(right, asked)).collect();
        let found = over_seeds(&runs, &(0.0..=1.0)).expect("asked");
        let (mean, (low, high)) = (found.mean.value, found.mean.ends());
        prop_assert!(found.mean.interval.is_some());
        prop_assert!(0.0 <= low && low <= mean && mean <= high && high <= 1.0);
    }

    #[test]
    fn calibration_errors_are_fractions_and_bins_lose_no_answer(
        answers in prop::collection::vec((0.0..=1.0f64, any::<bool>()), 1..200),
        bins in 1usize..30,
    ) {
        let filled = equal_width_bins(&answers, bins);
        prop_assert_eq!(filled.iter().map(|bin| bin.answers).sum::<usize>(), answers.len());
        for bin in &filled {
            let (low, high) = (bin.low - 1e-12, bin.high + 1e-12);
            prop_assert!(bin.mean_confidence.is_none_or(|mean| low <= mean && mean <= high));
        }
        let error = expected_calibration_error(&filled).expect("answers");
        prop_assert!((0.0..=1.0 + 1e-12).contains(&error));
        // Within one bin, errors of opposite sign cancel.
        let one = expected_calibration_error(&equal_width_bins(&answers, 1)).expect("answers");
        prop_assert!(one <= error + 1e-12, "{one} {error}");
    }

    #[test]
    fn auroc_counts_pairs_and_becomes_its_complement_when_the_groups_are_swapped(
        a in prop::collection::vec((0u8..20).prop_map(f64::from), 1..40),
        b in prop::collection::vec((0u8..20).prop_map(f64::from), 1..40),
    ) {
        let points = a.iter().flat_map(|x| b.iter().map(move |y| match x.total_cmp(y) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        }));
        let counted = points.sum::<f64>() / (a.len() * b.len()) as f64;
        let area = auroc(&a, &b).expect("both");
        prop_assert!((area - counted).abs() < 1e-12);
        prop_assert!((area + auroc(&b, &a).expect("both") - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_bootstrap_stays_within_the_sample(
        sample in prop::collection::vec(-5.0..5.0f64, 10..30),
        seed in any::<u64>(),
    ) {
        let (low, high) = bootstrap_95(&sample, seed, mean).expect("ten or more that differ");
        let least = sample.iter().copied().fold(f64::INFINITY, f64::min);
        let most = sample.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        prop_assert!(least - 1e-12 <= low && low <= high && high <= most + 1e-12);
    }
}
