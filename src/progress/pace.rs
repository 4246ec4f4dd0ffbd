//! Time left, and how often to print a line. Nothing here reads a clock: durations are arguments.

use std::time::Duration;

/// Between two plain lines of the same task.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// How long `to_do` steps take if they go as the `done` steps did, which took `elapsed`.
///
/// Steps of an earlier session are in neither number. `None` if nothing is done yet.
pub(super) fn time_left(done: u64, to_do: u64, elapsed: Duration) -> Option<Duration> {
    let seconds = elapsed.as_secs_f64() * to_do as f64 / done as f64;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Lets a line pass now and then.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// Since the task began.
    passed: Duration,
}

impl Throttle {
    /// Whether it is time for a line, `elapsed` after the task began.
    pub(super) fn lets_pass(&mut self, elapsed: Duration) -> bool {
        let due = elapsed >= self.passed + LINE_EVERY;
        if due {
            self.passed = elapsed;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_left_goes_as_fast_as_what_is_done() {
        assert_eq!(time_left(30, 60, 15 * SECOND), Some(30 * SECOND));
        assert_eq!(time_left(30, 0, 15 * SECOND), Some(Duration::ZERO));
    }

    #[test]
    fn nothing_done_or_never_ending_is_not_known() {
        assert_eq!(time_left(0, 60, 15 * SECOND), None);
        assert_eq!(time_left(0, 0, Duration::ZERO), None);
        assert_eq!(time_left(1, u64::MAX, 1_000_000 * SECOND), None);
    }

    #[test]
    fn a_line_passes_every_fifteen_seconds_and_late_ones_do_not_pile_up() {
        let mut throttle = Throttle::default();
        let passed: Vec<u32> = (0..100)
            .filter(|second| !(31..50).contains(second))
            .filter(|second| throttle.lets_pass(*second * SECOND))
            .collect();
        assert_eq!(passed, [15, 30, 50, 65, 80, 95]);
    }
}
