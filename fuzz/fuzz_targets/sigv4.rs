//! A signed request: `Authorization`, target, headers, an empty line, a body.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    identity::fuzzing::sigv4(bytes);
});
