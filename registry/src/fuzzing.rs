//! What the fuzz targets reach (`make fuzz`): each function takes any bytes, and asserts what holds of whatever comes out.

use crate::manifest::validate::{MANIFEST_BYTES_MAX, validate};
use crate::query;
use crate::range::{self, Wanted};
use crate::route;

/// A path is parsed or refused, and what was parsed is read back from its canonical form.
pub fn route(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(parsed) = route::parse(text) {
        let canonical = parsed.to_string();
        assert_eq!(route::parse(&canonical), Ok(parsed), "{text} became {canonical}");
        assert!(!canonical.contains("..") || !canonical.contains("/../"), "{canonical} leads elsewhere");
    }
}

/// The first line is a Content-Type, the rest a body. What is taken is taken the same way again, and says what it is.
pub fn manifest(bytes: &[u8]) {
    let cut = bytes.iter().position(|b| *b == b'\n').unwrap_or(0);
    let (head, body) = (&bytes[..cut], bytes.get(cut + 1..).unwrap_or_default());
    if body.len() > MANIFEST_BYTES_MAX {
        return;
    }
    let content_type = std::str::from_utf8(head).ok().filter(|text| !text.is_empty());
    let Ok(manifest) = validate(content_type, body) else { return };
    assert_eq!(validate(Some(manifest.media_type.as_str()), body).as_ref(), Ok(&manifest));
    assert!(manifest.references.is_sorted(), "references are not in order");
    if let Some(annotations) = &manifest.annotations {
        assert!(serde_json::from_str::<std::collections::BTreeMap<String, String>>(annotations).is_ok(), "{annotations}");
    }
}

/// Eight bytes of size, then a header: `Range` of a download, `Content-Range` of a chunk, and a page of a list.
pub fn range(bytes: &[u8]) {
    let Some((size, text)) = bytes.split_first_chunk::<8>() else { return };
    let (size, Ok(text)) = (u64::from_le_bytes(*size), std::str::from_utf8(text)) else { return };
    if let Wanted::Part(part) = range::wanted(Some(text), size) {
        assert!(part.start() <= part.end() && *part.end() < size, "{text} of {size}: {part:?}");
    }
    if let Some(chunk) = range::chunk(text) {
        assert!(chunk.start() <= chunk.end(), "{text}");
        assert_eq!(range::chunk(&format!("{}-{}", chunk.start(), chunk.end())), Some(chunk));
    }
    if let Ok(page) = query::page(Some(text)) {
        assert!(page.entries <= query::PAGE_ENTRIES_MAX);
    }
    assert!(query::all(Some(text), "tag").count() <= text.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::corpus::replay;

    /// What `make fuzz` starts from; what it once found is in there too.
    #[test]
    fn the_corpus_of_every_target_passes() {
        replay("route", route);
        replay("manifest", manifest);
        replay("range", range);
    }
}
