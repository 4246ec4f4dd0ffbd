//! The learning rate as a pure function of time, measured in tokens.
//!
//! A form of the curve is one entry of `forms`.

pub mod forms;

use crate::config::schema::ScheduleSpec;

use forms::Moment;

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

/// Part of the time after warm-up in which a `warmup-stable-decay` falls, unless it is given.
const DECAY: f64 = 0.2;

/// The learning rate at the clock's time: linear warm-up, then the peak times the factor of the schedule's form.
pub fn learning_rate_at(schedule: &ScheduleSpec, peak: f64, clock: &Clock) -> f64 {
    let (form, warmup) = (schedule.form.0, schedule.warmup_tokens);
    let last = schedule.final_tokens.unwrap_or(clock.stage);
    let warm = match form.is_set_afterwards {
        true => clock.before,
        false => clock.through,
    };
    if form.is_set_afterwards && clock.before == 0 {
        return peak;
    }
    if warm < warmup {
        return peak * (warm as f64 / warmup.max(1) as f64);
    }
    let after_warmup = |tokens: u64| tokens.saturating_sub(warmup) as f64;
    let moment = Moment {
        progress: after_warmup(clock.before) / after_warmup(last).max(1.0),
        floor: schedule.floor,
        decay: schedule.decay.unwrap_or(DECAY),
    };
    peak * (form.factor)(&moment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Named;

    /// Factors at the first step of each named epoch of the assignment's pretraining.
    fn assignment_factors(form: &str, epochs: &[usize]) -> Vec<f64> {
        let schedule = ScheduleSpec {
            form: Named::of(form),
            warmup_tokens: 10_240,
            final_tokens: Some(75_212_800),
            ..ScheduleSpec::default()
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
        let factors = assignment_factors("cyclic-cosine", &[1, 100, 200, 404, 606, 650]);
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
        let factors = assignment_factors("cosine", &[1, 100, 300, 650]);
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

    /// The rates of a hundred steps with a peak of 2.
    fn rates(schedule: &ScheduleSpec) -> Vec<f64> {
        let mut clock = Clock::new(100, 8, 0);
        let rate = |_| {
            clock.begin_step(1);
            learning_rate_at(schedule, 2.0, &clock)
        };
        (0..100).map(rate).collect()
    }

    #[test]
    fn a_line_falls_evenly_to_its_floor() {
        let mut schedule = ScheduleSpec {
            form: Named::of("linear"),
            ..ScheduleSpec::default()
        };
        let to_zero = rates(&schedule);
        let close = |rate: f64, want: f64| assert!((rate - want).abs() < 1e-12, "{rate}");
        for (step, want) in [(0, 2.0), (50, 1.0), (99, 0.02)] {
            close(to_zero[step], want);
        }
        schedule.floor = Some(0.5);
        let to_floor = rates(&schedule);
        for (step, want) in [(0, 2.0), (50, 1.5), (99, 1.01)] {
            close(to_floor[step], want);
        }
        // Behind its end it stays there.
        schedule.final_tokens = Some(350);
        close(rates(&schedule)[60], 1.0);
    }

    #[test]
    fn a_plateau_falls_in_its_last_part() {
        let mut schedule = ScheduleSpec {
            form: Named::of("warmup-stable-decay"),
            warmup_tokens: 70,
            ..ScheduleSpec::default()
        };
        let close = |rate: f64, want: f64| assert!((rate - want).abs() < 1e-12, "{rate}");
        let all = rates(&schedule);
        // Ten steps of warm-up, then 90, of which the last 18 fall.
        for (step, want) in [(0, 0.2), (9, 2.0), (82, 2.0), (91, 1.0), (99, 1.0 / 9.0)] {
            close(all[step], want);
        }
        schedule.decay = Some(1.0);
        close(rates(&schedule)[55], 1.0);
    }

    #[test]
    fn warm_up_is_linear_and_ends_at_the_peak() {
        let schedule = ScheduleSpec {
            form: Named::of("constant"),
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
