//! The text of one line, fitted to the available width; formatting of durations and numbers.

use std::time::Duration;

use console::{measure_text_width as columns, truncate_str};

use super::name::shorten;
use super::run_name::RunName;

/// Between parts of a line, and of a message.
const GAP: &str = "  ";

/// Columns that a name keeps, even if bar and time are left out for it.
const SHORTEST_NAME: usize = 8;

/// Columns that a run keeps, even if parts of the message are left out for it.
const SHORTEST_RUN: usize = 20;

/// What a line says. Where there is no room for all of it, the run gets a shorter name first, then
/// the message from its last part on, the start of the name, the bar and the time. The count stays.
#[derive(Debug, Default)]
pub(super) struct Line<'a> {
    /// Columns left free.
    pub(super) indent: usize,
    /// The run that it is about, if that has to be said.
    pub(super) run: Option<&'a RunName>,
    /// The task; empty in a line that only names a run.
    pub(super) name: &'a str,
    /// The share done, 0 to 1, if it is to be drawn.
    pub(super) bar: Option<f64>,
    /// `300/1,500`, or nothing.
    pub(super) count: String,
    /// Its parts stand two spaces apart.
    pub(super) message: String,
    /// `1 min 5 s left`.
    pub(super) time: Option<String>,
}

impl Line<'_> {
    /// The line in at most `width` columns; escape codes only for a bar, and only if `coloured`.
    pub(super) fn fit(&self, width: usize, coloured: bool) -> String {
        let count = match self.count.as_str() {
            "" => String::new(),
            count => format!(" {count}"),
        };
        let mut room = width.saturating_sub(self.indent + columns(&count));
        let least_name = columns(self.name).min(SHORTEST_NAME);
        let mut time = String::new();
        if let Some(words) = &self.time {
            let needed = GAP.len() + columns(words);
            if needed + least_name <= room {
                room -= needed;
                time = format!("{GAP}{words}");
            }
        }
        let mut bar = String::new();
        let bar_columns = bar_columns(width);
        if let Some(share) = self.bar
            && bar_columns + 1 + least_name <= room
        {
            room -= bar_columns + 1;
            bar = format!(" {}", draw_bar(share, bar_columns, coloured));
        }
        let name = shorten(self.name, room);
        room -= columns(&name);
        let colon = if self.name.is_empty() { "" } else { ": " };
        let columns_of_run = self.run.map_or(0, |run| columns(run.full()) + colon.len());
        let mut room_of_run = columns_of_run.min(SHORTEST_RUN).min(room);
        room -= room_of_run;
        let mut message = String::new();
        for part in self.message.split(GAP).filter(|part| !part.is_empty()) {
            let needed = GAP.len() + columns(part);
            if needed > room {
                break;
            }
            room -= needed;
            message = message + GAP + part;
        }
        room_of_run += room;
        let run = self.run.map(|run| run.fit(colon, room_of_run));
        let run = run.unwrap_or_default();
        let indent = " ".repeat(self.indent);
        let line = format!("{indent}{run}{name}{bar}{count}{message}{time}");
        // Only a screen too narrow for the count gets here with more than fits.
        truncate_str(&line, width, "…").into_owned()
    }
}

/// The length of a bar depends on the screen alone, so that numbers beside it do not make it dance.
fn bar_columns(width: usize) -> usize {
    /// What the text of a stage takes.
    const TEXT: usize = 86;
    width.saturating_sub(TEXT).clamp(10, 30)
}

/// `████░░░░░░`.
fn draw_bar(share: f64, length: usize, coloured: bool) -> String {
    let full = (share.clamp(0.0, 1.0) * length as f64) as usize;
    let (done, to_do) = ("█".repeat(full), "░".repeat(length - full));
    if coloured {
        // Cyan, faint, and neither.
        format!("\x1b[36m{done}\x1b[0m\x1b[2m{to_do}\x1b[0m")
    } else {
        done + &to_do
    }
}

/// `300/1,500`; on a line that is drawn over and over, `aligned` keeps what follows in its place.
pub(super) fn count(done: u64, all: u64, aligned: bool) -> String {
    let (done, all) = (thousands(done as usize), thousands(all as usize));
    let width = if aligned { all.len() } else { 0 };
    format!("{done:>width$}/{all}")
}

/// `took 32 s`, or `stopped after 32 s`.
pub(super) fn time_taken(finished: bool, elapsed: Duration) -> String {
    let how = if finished { "took" } else { "stopped after" };
    format!("{how} {}", format_duration(elapsed))
}

/// `1 min 5 s left`, in whole seconds; nothing once there is nothing left.
pub(super) fn time_to_come(left: Duration) -> Option<String> {
    let seconds = left.as_secs_f64().ceil();
    let left = Duration::from_secs_f64(seconds);
    (seconds > 0.0).then(|| match seconds as u64 {
        seconds @ 0..60 => format!("{seconds} s left"),
        _ => format!("{} left", format_duration(left)),
    })
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
    let digits = n.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).expect("digits are ASCII"))
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage() -> Line<'static> {
        Line {
            indent: 2,
            run: None,
            name: "pretrain",
            bar: Some(0.2),
            count: count(300, 1500, true),
            message: "epoch 20  loss 2.345 nats  6,512 tokens/s".to_owned(),
            time: time_to_come(Duration::from_secs(65)),
        }
    }

    #[test]
    fn parts_go_in_the_order_of_their_worth() {
        let fit = |width| stage().fit(width, false);
        assert_eq!(
            fit(100),
            "  pretrain ██░░░░░░░░░░░░   300/1,500  epoch 20  loss 2.345 nats  6,512 tokens/s  1 min 5 s left"
        );
        assert_eq!(
            fit(80),
            "  pretrain ██░░░░░░░░   300/1,500  epoch 20  loss 2.345 nats  1 min 5 s left"
        );
        assert_eq!(
            fit(60),
            "  pretrain ██░░░░░░░░   300/1,500  epoch 20  1 min 5 s left"
        );
        assert_eq!(fit(40), "  pretrain   300/1,500  1 min 5 s left");
        assert_eq!(fit(30), "  pretrain   300/1,500");
        assert_eq!(fit(16), "  …n   300/1,500");
        for width in 1..120 {
            assert!(columns(&fit(width)) <= width, "{}", fit(width));
        }
    }

    #[test]
    fn a_run_gives_way_to_the_message_but_keeps_what_is_its_own() {
        let line = |width| {
            let runs = [1, 2].map(|seed| format!("quickstart / pretrained / seed {seed}"));
            let runs = RunName::of_all(&runs);
            let run = Some(&runs[0]);
            let (indent, bar) = (0, None);
            Line {
                indent,
                run,
                bar,
                ..stage()
            }
            .fit(width, false)
        };
        assert_eq!(
            line(usize::MAX),
            "quickstart / pretrained / seed 1: pretrain   300/1,500  epoch 20  loss 2.345 nats  6,512 tokens/s  1 min 5 s left"
        );
        assert_eq!(
            line(90),
            "…t / pretrained / seed 1: pretrain   300/1,500  epoch 20  loss 2.345 nats  1 min 5 s left"
        );
        assert_eq!(
            line(80),
            "quickstart / pretrained / seed 1: pretrain   300/1,500  epoch 20  1 min 5 s left"
        );
        assert_eq!(
            line(50),
            "…ed / seed 1: pretrain   300/1,500  1 min 5 s left"
        );
        assert_eq!(line(40), "…1: pretrain   300/1,500  1 min 5 s left");
    }

    #[test]
    fn colour_takes_no_room() {
        let coloured = stage().fit(100, true);
        assert!(
            coloured.contains("\x1b[36m██\x1b[0m\x1b[2m░░"),
            "{coloured:?}"
        );
        assert_eq!(
            console::strip_ansi_codes(&coloured),
            stage().fit(100, false)
        );
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
    fn what_is_left_is_told_in_whole_seconds_until_nothing_is() {
        let words = |seconds| time_to_come(Duration::from_secs_f64(seconds));
        assert_eq!(words(0.0), None);
        assert_eq!(words(0.3).as_deref(), Some("1 s left"));
        assert_eq!(words(59.2).as_deref(), Some("1 min 0 s left"));
    }

    #[test]
    fn thousands_stand_apart() {
        let read = [0, 999, 1_000, 3_323_392].map(thousands);
        assert_eq!(read, ["0", "999", "1,000", "3,323,392"]);
    }
}
