//! Bytes are weights or an error; weights that were read are written and read again without a change.
#![no_main]

use attnlab::model::weights::{Weight, from_bytes, to_bytes};
use libfuzzer_sys::fuzz_target;

/// To the bit, because not-a-number is not equal to itself.
fn bits(weights: &[Weight]) -> Vec<(&str, &[usize], Vec<u32>)> {
    let one = |w: &'_ Weight| w.values.iter().map(|value| value.to_bits()).collect();
    weights.iter().map(|w| (&*w.name, &*w.shape, one(w))).collect()
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok((weights, notes)) = from_bytes(bytes) {
        let written = to_bytes(&weights, &notes).expect("weights that were read");
        let (again, notes_again) = from_bytes(&written).expect("what was written");
        assert_eq!(bits(&weights), bits(&again));
        assert_eq!(notes, notes_again);
    }
});
