//! Scopes of the token protocol.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    identity::fuzzing::scopes(bytes);
});
