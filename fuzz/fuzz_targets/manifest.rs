//! A manifest: a Content-Type, a line feed, a body.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    registry::fuzzing::manifest(bytes);
});
