//! The learning rate as a pure function of time, measured in tokens.

use std::f64::consts::PI;

use crate::config::schema::{ScheduleForm, ScheduleSpec};

/// The cosine never goes below this fraction of the peak.
const FLOOR: f64 = 0.1;

/// Counts tokens as the reference does: every document as `context - 1`, padding included.
#[derive(Clone, Debug, PartialEq)]
pub struct Clock {
    document_tokens: u64,
    /// Tokens of all steps before this one.
    before: u64,
    /// Tokens of all steps so far, including this one.
    pub through: u64,
    /// Tokens of the whole stage.
    stage: u64,
}

impl Clock {
    /// The clock of a stage with `documents` documents in total, over all epochs, after `through` tokens.
    pub fn new(documents: usize, context: usize, through: u64) -> Self {
        let document_tokens = context as u64 - 1;
        Self {
            document_tokens,
            before: 0,
            through,
            stage: documents as u64 * document_tokens,
        }
    }

    /// Advances by one step of `documents` documents.
    pub fn begin_step(&mut self, documents: usize) {
        self.before = self.through;
        self.through += documents as u64 * self.document_tokens;
    }
}

/// The learning rate at the clock's time.
///
/// * cosine: linear warm-up, then `max(0.1, (1 + cos πp) / 2)` with p clamped at 1 or, with a floor f,
///   `f + (1 - f) (1 + cos πp) / 2`;
/// * cyclic-cosine: the reference sets the rate *after* each step, so the first step runs at the
///   full rate and later ones at the rate of the tokens before them; p is not clamped, so the rate
///   rises again past `final_tokens`;
/// * constant: linear warm-up, then the peak.
///
/// Source: Loshchilov and Hutter 2017 (SGDR) for the cosine; minGPT's trainer for the cyclic form.
pub fn learning_rate_at(schedule: &ScheduleSpec, peak: f64, clock: &Clock) -> f64 {
    let warmup = schedule.warmup_tokens;
    let last = schedule.final_tokens.unwrap_or(clock.stage);
    let progress = |tokens: u64| {
        (tokens.saturating_sub(warmup)) as f64 / last.saturating_sub(warmup).max(1) as f64
    };
    let cosine = |p: f64| {
        let fall = 0.5 * (1.0 + (PI * p).cos());
        match schedule.floor {
            Some(floor) => floor + (1.0 - floor) * fall,
            None => fall.max(FLOOR),
        }
    };
    let warm = |tokens: u64| tokens as f64 / warmup.max(1) as f64;
    peak * match schedule.form {
        ScheduleForm::CyclicCosine if clock.before == 0 => 1.0,
        ScheduleForm::CyclicCosine if clock.before < warmup => warm(clock.before),
        ScheduleForm::CyclicCosine => cosine(progress(clock.before)),
        _ if clock.through < warmup => warm(clock.through),
        ScheduleForm::Cosine => cosine(progress(clock.before).min(1.0)),
        ScheduleForm::Constant => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Factors at the first step of each named epoch of the assignment's pretraining.
    fn assignment_factors(form: ScheduleForm, epochs: &[usize]) -> Vec<f64> {
        let schedule = ScheduleSpec {
            form,
            warmup_tokens: 10_240,
            final_tokens: Some(75_212_800),
            floor: None,
        };
        let mut factors = vec![];
        let mut clock = Clock::new(650 * 2938, 128, 0);
        for epoch in 1..=650 {
            for batch in 0..23 {
                clock.begin_step(if batch < 22 { 128 } else { 122 });
                if batch == 0 && epochs.contains(&epoch) {
                    factors.push(learning_rate_at(&schedule, 1.0, &clock));
                }
            }
        }
        factors
    }

    #[test]
    fn the_cyclic_cosine_rises_again_as_in_the_reference() {
        let factors = assignment_factors(ScheduleForm::CyclicCosine, &[1, 100, 200, 404, 606, 650]);
        let close = |i: usize, want: f64| assert!((factors[i] - want).abs() < 0.02, "{factors:?}");
        close(0, 1.0);
        close(1, 0.5);
        close(2, 0.1);
        close(3, 1.0);
        close(4, 0.1);
        close(5, 0.12);
    }

    #[test]
    fn the_clamped_form_stays_at_its_floor() {
        let factors = assignment_factors(ScheduleForm::Cosine, &[1, 100, 300, 650]);
        assert_eq!(factors[0], 1.0, "one step passes the whole warm-up");
        assert!((factors[1] - 0.5).abs() < 0.02);
        assert_eq!(factors[2..], [0.1, 0.1]);
    }

    #[test]
    fn with_a_floor_the_cosine_ends_at_it() {
        let schedule = ScheduleSpec {
            floor: Some(0.25),
            ..ScheduleSpec::default()
        };
        let mut clock = Clock::new(100, 8, 0);
        let mut rates = vec![];
        for _ in 0..100 {
            clock.begin_step(1);
            rates.push(learning_rate_at(&schedule, 2.0, &clock));
        }
        assert_eq!(rates[0], 2.0);
        assert!((rates[50] - 1.25).abs() < 1e-12, "{}", rates[50]);
        assert!(rates.is_sorted_by(|a, b| a > b) && rates[99] > 0.5 && rates[99] < 0.501);
    }

    #[test]
    fn warm_up_is_linear_and_ends_at_the_peak() {
        let schedule = ScheduleSpec {
            form: ScheduleForm::Constant,
            warmup_tokens: 70,
            ..ScheduleSpec::default()
        };
        let mut clock = Clock::new(100, 8, 0);
        let mut rate = || {
            clock.begin_step(4);
            learning_rate_at(&schedule, 2.0, &clock)
        };
        let rates = [rate(), rate(), rate(), rate()];
        assert_eq!(rates, [0.8, 1.6, 2.0, 2.0]);
    }
}
