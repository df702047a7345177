//! What the fuzz targets reach (`make fuzz`): each function takes any bytes, and asserts what holds of whatever comes out.

use crate::triggers::filter::{self, Answer, TagFilter};
use model::Tag;
use model::repository::TagPattern;

/// Tag filters of triggers and patterns of tags: a pattern, a tag, and patterns that are left out, each on a line.
pub fn tag_filter(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.lines();
    let (Some(pattern), Some(Ok(tag))) = (lines.next(), lines.next().map(str::parse::<Tag>)) else { return };
    if let Ok(pattern) = pattern.parse::<TagPattern>() {
        // A pattern without a star is the tag itself.
        assert!(pattern.as_str().contains('*') || pattern.matches(&tag) == (pattern.as_str() == tag.as_str()));
    }
    let excludes: Vec<_> = lines.map(|line| filter::rule(line, None)).collect();
    let Ok(all) = TagFilter::new(&filter::rule(pattern, None), &[]) else { return };
    if let Ok(some) = TagFilter::new(&filter::rule(pattern, None), &excludes) {
        // What is left out can only take away.
        assert!(matches!(some.test(&tag), Answer::No(_)) || matches!(all.test(&tag), Answer::Match(_)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::corpus::replay;

    /// What `make fuzz` starts from; what it once found is in there too.
    #[test]
    fn the_corpus_of_every_target_passes() {
        replay("tag_filter", tag_filter);
    }
}
