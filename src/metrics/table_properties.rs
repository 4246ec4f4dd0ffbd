//! Damaged tables are read or rejected; they never cause a panic.

use std::fmt::Debug;

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::rows::{
    CalibrationRow, CorruptionRow, GroupRow, MeasureRow, PredictionRow, ScoreRow, StepRow,
    TimingRow, TrainingAnswerRow,
};
use super::table;

/// Reads bytes as a file of the given name.
fn read<R: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<Vec<R>, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("written");
    table::read(&path).map_err(|error| error.to_string())
}

/// Reads bytes as they are, and as rows under the header of the table.
fn read_anyhow<R>(bytes: &[u8])
where
    R: DeserializeOwned + Serialize + for<'a> Deserialize<'a> + Debug + PartialEq,
{
    for (name, delimiter) in [("t.csv", b','), ("t.tsv", b'\t')] {
        let header = table::to_bytes::<R>(&[], delimiter).expect("a header");
        assert_eq!(read::<R>(name, &header), Ok(vec![]));
        for bytes in [bytes.to_vec(), [&header, bytes].concat()] {
            match read::<R>(name, &bytes) {
                Err(message) => {
                    let start = format!("error: cannot read {}", std::env::temp_dir().display());
                    assert!(message.starts_with(&start), "{message}");
                }
                Ok(rows) => {
                    // What was read survives being written and read again.
                    let again = table::to_bytes(&rows, delimiter).expect("written");
                    let again = read::<R>(name, &again).expect("read");
                    assert_eq!(format!("{again:?}"), format!("{rows:?}"));
                }
            }
        }
    }
}

/// Bytes that resemble a table.
fn nearly_a_table() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(",".to_owned()),
        2 => Just("\t".to_owned()),
        2 => Just("\n".to_owned()),
        1 => Just("\"".to_owned()),
        1 => Just("\r".to_owned()),
        1 => Just("NaN".to_owned()),
        1 => Just("true".to_owned()),
        3 => any::<i64>().prop_map(|n| n.to_string()),
        2 => any::<f64>().prop_map(|x| x.to_string()),
        2 => "[a-z ]{0,6}",
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat().into_bytes())
}

fn read_as_every_table(bytes: &[u8]) {
    read_anyhow::<StepRow>(bytes);
    read_anyhow::<TimingRow>(bytes);
    read_anyhow::<MeasureRow>(bytes);
    read_anyhow::<GroupRow>(bytes);
    read_anyhow::<PredictionRow>(bytes);
    read_anyhow::<CorruptionRow>(bytes);
    read_anyhow::<TrainingAnswerRow>(bytes);
    read_anyhow::<CalibrationRow>(bytes);
    read_anyhow::<ScoreRow>(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_as_every_table(&bytes);
    }

    #[test]
    fn any_table_is_read_or_refused(bytes in nearly_a_table()) {
        read_as_every_table(&bytes);
    }

    #[test]
    fn any_answers_are_read_as_they_were_written(
        question in any::<String>(),
        predicted in any::<String>(),
        log_probability in prop::option::of(-1e6..0.0f64),
        correct in prop::option::of(any::<bool>()),
    ) {
        let gold = correct.map(|_| "London".to_owned());
        let row = PredictionRow { question, gold, predicted, correct, log_probability };
        for (name, delimiter) in [("t.csv", b','), ("t.tsv", b'\t')] {
            let bytes = table::to_bytes(std::slice::from_ref(&row), delimiter).expect("written");
            prop_assert_eq!(read(name, &bytes), Ok(vec![row.clone()]));
        }
    }
}
