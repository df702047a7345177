//! The canonical request: one text for what may arrive in several spellings.
//!
//! AWS's rules for every service but S3: the path is normalised and encoded once more than on the wire, the query sorted after
//! encoding, header values trimmed and their inner spaces folded.

use super::{AwsAuthError, SignedRequest, sha256_hex};
use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fmt::Write as _;

/// Everything but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a whole path.
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');

pub(super) fn request(request: SignedRequest<'_>, signed_headers: &[String]) -> Result<String, AwsAuthError> {
    let mut text = format!("{}\n{}\n{}\n", request.method, path(request.uri.path()), query(request.uri.query().unwrap_or_default()));
    for name in signed_headers {
        let _ = writeln!(text, "{name}:{}", header(request, name)?);
    }
    let _ = write!(text, "\n{}\n{}", signed_headers.join(";"), sha256_hex(request.body));
    Ok(text)
}

/// Normalised (RFC 3986 §5.2.4, double slashes folded) and encoded.
fn path(raw: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in raw.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    let end = if raw.ends_with('/') && !joined.is_empty() { "/" } else { "" };
    utf8_percent_encode(&format!("/{joined}{end}"), ENCODED_PATH).to_string()
}

fn query(raw: &str) -> String {
    let encode = |text: &str| percent_encoding::percent_encode(&percent_decode_str(text).collect::<Vec<u8>>(), ENCODED).to_string();
    let mut pairs: Vec<_> = raw
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// All values of a header, in order, joined by `,`. The host of HTTP/2 is in the URI.
fn header(request: SignedRequest<'_>, name: &str) -> Result<String, AwsAuthError> {
    let values = values(request.headers, if name == ":authority" { "host" } else { name });
    match (values.is_empty(), request.uri.authority()) {
        (false, _) => Ok(values.join(",")),
        (true, Some(authority)) if matches!(name, "host" | ":authority") => Ok(authority.as_str().to_owned()),
        _ => Err(AwsAuthError::InvalidSignature(format!("'{name}' is a signed header but is not in the request."))),
    }
}

fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    let all = headers.get_all(name).iter();
    all.map(|value| String::from_utf8_lossy(value.as_bytes()).split_ascii_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_and_encoded_again() {
        for (raw, canonical) in [
            ("/", "/"),
            ("", "/"),
            ("/example/..", "/"),
            ("/./", "/"),
            ("//example//", "/example/"),
            ("/a/./b", "/a/b"),
            ("/../../a", "/a"),
            ("/example%20space/", "/example%2520space/"),
            ("/-._~a0", "/-._~a0"),
        ] {
            assert_eq!(path(raw), canonical, "{raw}");
        }
    }

    #[test]
    fn queries_are_sorted_by_their_encoded_form() {
        for (raw, canonical) in [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1", "a=1&a=2"),
            ("flag", "flag="),
            ("a=b%20c", "a=b%20c"),
            ("a=%2f", "a=%2F"),
            ("a=x=y", "a=x%3Dy"),
            ("%C3%A4=%E1%88%B4", "%C3%A4=%E1%88%B4"),
            ("a=1&&b=2", "a=1&b=2"),
        ] {
            assert_eq!(query(raw), canonical, "{raw}");
        }
    }
}
