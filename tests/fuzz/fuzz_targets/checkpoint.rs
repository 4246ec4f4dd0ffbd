//! Bytes are a checkpoint that is whole, or an error.
#![no_main]

use attnlab::train::checkpoint::Checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Checkpoint::from_bytes(bytes);
});
