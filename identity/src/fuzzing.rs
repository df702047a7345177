//! What the fuzz targets reach (`make fuzz`): each function takes any bytes, and asserts what holds of whatever comes out.

/// Scopes of the token protocol.
pub fn scopes(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        crate::http::fuzzing_scopes(text);
    }
}

/// A signed request: `Authorization`, request target, headers and body, each on a line of its own.
pub fn sigv4(bytes: &[u8]) {
    crate::sigv4::fuzzing(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::corpus::replay;

    /// What `make fuzz` starts from; what it once found is in there too.
    #[test]
    fn the_corpus_of_every_target_passes() {
        replay("scopes", scopes);
        replay("sigv4", sigv4);
    }
}
