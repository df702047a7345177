//! Tag filters of triggers and patterns of tags: a pattern, a tag and patterns that are left out, each on a line.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    deployer::fuzzing::tag_filter(bytes);
});
