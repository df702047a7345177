//! `Range`, `Content-Range` and pages: eight bytes of size, then text.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    registry::fuzzing::range(bytes);
});
