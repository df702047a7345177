//! A path below `/v2`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    registry::fuzzing::route(bytes);
});
