//! The text of a line: its parts, times and numbers. Nothing here reads a clock.

use std::time::Duration;

use indicatif::HumanCount;

/// Joins the parts that are not empty with two spaces.
pub(super) fn joined(parts: &[&str]) -> String {
    let parts = parts.iter().filter(|part| !part.is_empty());
    parts.copied().collect::<Vec<_>>().join("  ")
}

/// A name or message as part of a line: without control characters, which could steer the terminal.
pub(super) fn printable(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// `1 min 5 s left` for `to_do` steps at the speed of the `done` steps, which took `elapsed`. Steps of an earlier
/// session are in neither number. Empty if nothing is done yet, or nothing is left.
pub(super) fn time_left(done: u64, to_do: u64, elapsed: Duration) -> String {
    let seconds = (elapsed.as_secs_f64() * to_do as f64 / done as f64).ceil();
    match Duration::try_from_secs_f64(seconds) {
        Err(_) | Ok(Duration::ZERO) => String::new(),
        Ok(left) if left.as_secs() < 60 => format!("{} s left", left.as_secs()),
        Ok(left) => format!("{} left", format_duration(left)),
    }
}

/// `took 32 s`, or `stopped after 32 s`.
pub(super) fn time_taken(finished: bool, elapsed: Duration) -> String {
    let how = if finished { "took" } else { "stopped after" };
    format!("{how} {}", format_duration(elapsed))
}

/// `0.4 s`, `42 s`, `2 min 5 s`, `3 h 20 min`.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, _) if duration < Duration::from_secs(10) => {
            format!("{:.1} s", duration.as_secs_f64())
        }
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// `3,323,392`.
pub fn thousands(n: usize) -> String {
    HumanCount(n as u64).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(printable("a\nb\x1b[31m\tc"), "a b [31m c");
    }

    #[test]
    fn durations_read_well() {
        let words = |seconds| format_duration(Duration::from_secs_f64(seconds));
        assert_eq!(words(0.42), "0.4 s");
        assert_eq!(words(42.4), "42 s");
        assert_eq!(words(125.0), "2 min 5 s");
        assert_eq!(words(12_000.0), "3 h 20 min");
    }

    #[test]
    fn what_is_left_goes_as_fast_as_what_is_done_and_is_told_in_whole_seconds() {
        assert_eq!(time_left(30, 60, 15 * SECOND), "30 s left");
        assert_eq!(time_left(10, 3, SECOND), "1 s left");
        assert_eq!(time_left(10, 592, SECOND), "1 min 0 s left");
        assert_eq!(time_left(30, 0, 15 * SECOND), "");
    }

    #[test]
    fn nothing_done_or_never_ending_is_not_known() {
        assert_eq!(time_left(0, 60, 15 * SECOND), "");
        assert_eq!(time_left(0, 0, Duration::ZERO), "");
        assert_eq!(time_left(1, u64::MAX, 1_000_000 * SECOND), "");
    }

    #[test]
    fn thousands_stand_apart() {
        let read = [0, 999, 1_000, 3_323_392].map(thousands);
        assert_eq!(read, ["0", "999", "1,000", "3,323,392"]);
    }
}
