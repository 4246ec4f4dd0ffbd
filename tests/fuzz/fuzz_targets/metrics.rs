//! A text is a table or an error that names the file; a table that was read is written and read
//! again without a change.
#![no_main]

use std::path::Path;

use attnlab::metrics::rows::{MeasureRow, PredictionRow, ScoreRow, StepRow, TimingRow};
use attnlab::metrics::table::{from_text, to_bytes};
use libfuzzer_sys::fuzz_target;

/// Reads `text` as a table of `$row`s.
macro_rules! check {
    ($row:ty, $text:expr, $name:expr, $delimiter:expr) => {
        match from_text::<$row>($text, Path::new($name)) {
            Ok(rows) => {
                let written = to_bytes(&rows, $delimiter).expect("rows are flat");
                let text = std::str::from_utf8(&written).expect("rows are text");
                let again = from_text::<$row>(text, Path::new($name)).expect("what was written");
                // As text, because not-a-number is not equal to itself.
                assert_eq!(format!("{rows:?}"), format!("{again:?}"));
            }
            Err(error) => assert!(error.message().contains($name), "{error}"),
        }
    };
}

fuzz_target!(|text: &str| {
    check!(StepRow, text, "t.csv", b',');
    check!(MeasureRow, text, "t.csv", b',');
    check!(ScoreRow, text, "t.csv", b',');
    check!(TimingRow, text, "t.csv", b',');
    check!(PredictionRow, text, "t.tsv", b'\t');
});
