//! Which tags a trigger follows: one pattern, and patterns that are left out. Pure.

use model::Tag;
use model::trigger::{TagKind, TagRule};
use regex::{Regex, RegexBuilder};
use semver::{Version, VersionReq};

/// Longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 256;
/// Most patterns that are left out.
pub const EXCLUDES_MAX: usize = 16;
/// Largest compiled regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 256 * 1024;
/// Deepest nesting in a regular expression.
const REGEX_NEST_MAX: u32 = 50;

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("a tag pattern has 1 to {PATTERN_BYTES_MAX} characters")]
    Length,
    #[error("at most {EXCLUDES_MAX} patterns can be left out")]
    TooManyExcludes,
    #[error("`{0}` can be no tag: letters, digits, `_`, `.` and `-`; with `*` or `?` it is a glob, with `^` or `>=` a range of versions")]
    NoTag(String),
    #[error("`{0}` is not a glob for tags: letters, digits, `_`, `.`, `-`, and `*` and `?`")]
    Glob(String),
    #[error("`{pattern}` is not a range of versions, like `^1.2` or `>=1.2, <3`: {why}")]
    Semver { pattern: String, why: String },
    #[error("`{pattern}` is not a regular expression that can be used: {why}")]
    Regex { pattern: String, why: String },
    #[error("what is left out can be no range of versions: write a tag, a glob or a regular expression")]
    SemverExclude,
}

/// A filter, ready to be asked.
#[derive(Debug)]
pub struct TagFilter {
    rule: Matcher,
    exclude: Vec<Matcher>,
}

/// What a filter says of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// With the version that a range of versions found in the tag.
    Match(Option<Version>),
    /// Why not.
    No(String),
}

#[derive(Debug)]
enum Matcher {
    Exact(String),
    Glob(String),
    Semver(String, VersionReq),
    Regex(String, Regex),
}

/// A pattern as people write it: its kind when they say it, else what it looks like. `/…/` is a regular expression, `^1.2` a range
/// of versions, `v*` a glob.
pub fn rule(text: &str, kind: Option<TagKind>) -> TagRule {
    let between_slashes = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')).filter(|inner| !inner.is_empty());
    let kind = kind.unwrap_or_else(|| match text.bytes().next() {
        _ if between_slashes.is_some() => TagKind::Regex,
        Some(b'^' | b'~' | b'>' | b'<' | b'=') => TagKind::Semver,
        _ if text.contains(['*', '?']) => TagKind::Glob,
        _ => TagKind::Exact,
    });
    let pattern = match (kind, between_slashes) {
        (TagKind::Regex, Some(inner)) => inner,
        _ => text,
    };
    TagRule { kind, pattern: pattern.to_owned() }
}

/// The version that a tag stands for: `1.2.3`, `v1.2.3-rc.1`.
pub fn version(tag: &Tag) -> Option<Version> {
    let text = tag.as_str();
    Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
}

impl TagFilter {
    pub fn new(rule: &TagRule, exclude: &[TagRule]) -> Result<Self, FilterError> {
        if exclude.len() > EXCLUDES_MAX {
            return Err(FilterError::TooManyExcludes);
        }
        if exclude.iter().any(|rule| rule.kind == TagKind::Semver) {
            return Err(FilterError::SemverExclude);
        }
        let exclude = exclude.iter().map(Matcher::new).collect::<Result<_, _>>()?;
        Ok(Self { rule: Matcher::new(rule)?, exclude })
    }

    pub fn test(&self, tag: &Tag) -> Answer {
        let found = match self.rule.test(tag) {
            Answer::Match(_) if !matches!(self.rule, Matcher::Exact(_)) && is_about_another(tag) => {
                return Answer::No("the tag is that of a signature or attestation".into());
            }
            Answer::Match(found) => found,
            no @ Answer::No(_) => return no,
        };
        match self.exclude.iter().find(|exclude| matches!(exclude.test(tag), Answer::Match(_))) {
            Some(exclude) => Answer::No(format!("tag {tag} is left out by `{}`", exclude.pattern())),
            None => Answer::Match(found),
        }
    }
}

/// OCI dist-spec §"Referrers Tag Schema", and cosign's tags made of it: `sha256-<hex>`, `sha256-<hex>.sig`.
fn is_about_another(tag: &Tag) -> bool {
    let hex = tag.as_str().strip_prefix("sha256-").or_else(|| tag.as_str().strip_prefix("sha512-"));
    hex.is_some_and(|rest| rest.len() >= 64 && rest.as_bytes()[..64].iter().all(u8::is_ascii_hexdigit))
}

impl Matcher {
    fn new(rule: &TagRule) -> Result<Self, FilterError> {
        let pattern = rule.pattern.clone();
        if pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX {
            return Err(FilterError::Length);
        }
        match rule.kind {
            TagKind::Exact if pattern.parse::<Tag>().is_err() => Err(FilterError::NoTag(pattern)),
            TagKind::Exact => Ok(Self::Exact(pattern)),
            TagKind::Glob if pattern.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-*?".contains(&b)) => Ok(Self::Glob(pattern)),
            TagKind::Glob => Err(FilterError::Glob(pattern)),
            TagKind::Semver => match VersionReq::parse(&pattern) {
                Ok(range) => Ok(Self::Semver(pattern, range)),
                Err(error) => Err(FilterError::Semver { pattern, why: error.to_string() }),
            },
            TagKind::Regex => match whole(&pattern) {
                Ok(regex) => Ok(Self::Regex(pattern, regex)),
                Err(why) => Err(FilterError::Regex { pattern, why }),
            },
        }
    }

    fn pattern(&self) -> &str {
        match self {
            Self::Exact(pattern) | Self::Glob(pattern) | Self::Semver(pattern, _) | Self::Regex(pattern, _) => pattern,
        }
    }

    fn test(&self, tag: &Tag) -> Answer {
        let no = || Answer::No(format!("tag {tag} does not match `{}`", self.pattern()));
        let matches = match self {
            Self::Exact(pattern) => pattern == tag.as_str(),
            Self::Glob(pattern) => glob(pattern.as_bytes(), tag.as_str().as_bytes()),
            Self::Regex(_, regex) => regex.is_match(tag.as_str()),
            Self::Semver(_, range) => {
                return match version(tag) {
                    None => Answer::No(format!("tag {tag} is no version MAJOR.MINOR.PATCH")),
                    Some(version) if range.matches(&version) => Answer::Match(Some(version)),
                    Some(_) => no(),
                };
            }
        };
        if matches { Answer::Match(None) } else { no() }
    }
}

/// `pattern` for the whole of a tag.
fn whole(pattern: &str) -> Result<Regex, String> {
    // Alone first: `a)|(b` would be good between the brackets that are put around it.
    let build = |text: &str| {
        let mut builder = RegexBuilder::new(text);
        builder.size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).nest_limit(REGEX_NEST_MAX).build()
    };
    let last_line = |error: regex::Error| error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    build(pattern).map_err(last_line)?;
    build(&format!("^(?:{pattern})$")).map_err(last_line)
}

/// `*` stands for any characters, `?` for one. Goes back only to the last `*`, so it takes at most pattern times text steps.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(pattern: &str, exclude: &[&str]) -> Result<TagFilter, FilterError> {
        let exclude: Vec<TagRule> = exclude.iter().map(|text| rule(text, None)).collect();
        TagFilter::new(&rule(pattern, None), &exclude)
    }

    fn matches(pattern: &str, exclude: &[&str], tag: &str) -> bool {
        matches!(filter(pattern, exclude).unwrap().test(&tag.parse().unwrap()), Answer::Match(_))
    }

    #[test]
    fn the_kind_is_what_the_pattern_looks_like() {
        for (text, kind, pattern) in [
            ("v1", TagKind::Exact, "v1"),
            ("v*", TagKind::Glob, "v*"),
            ("v?", TagKind::Glob, "v?"),
            ("^1.2", TagKind::Semver, "^1.2"),
            (">=1, <3", TagKind::Semver, ">=1, <3"),
            ("~1.2.3", TagKind::Semver, "~1.2.3"),
            ("/v[0-9]+/", TagKind::Regex, "v[0-9]+"),
            ("/", TagKind::Exact, "/"),
            ("//", TagKind::Exact, "//"),
        ] {
            assert_eq!(rule(text, None), TagRule { kind, pattern: pattern.into() }, "{text}");
        }
        assert_eq!(rule("v.*", Some(TagKind::Regex)).pattern, "v.*");
        assert_eq!(rule("1.*", Some(TagKind::Semver)).kind, TagKind::Semver);
    }

    #[test]
    fn patterns_match_whole_tags() {
        for (pattern, exclude, tag, expected) in [
            ("v1", &[][..], "v1", true),
            ("v1", &[], "v10", false),
            ("v*", &[], "v1.2.3", true),
            ("v*", &[], "latest", false),
            ("v*", &["v*-rc*"], "v1.2.3-rc1", false),
            ("v*", &["v*-rc*"], "v1.2.3", true),
            ("v*", &["v13", "/v9.*/"], "v13", false),
            ("v*", &["v13", "/v9.*/"], "v99", false),
            ("*", &[], "anything", true),
            ("*-a*b", &[], "x-aab", true),
            ("*-a*b", &[], "x-aabc", false),
            ("?", &[], "ab", false),
            ("/v[0-9]+/", &[], "v12", true),
            ("/v[0-9]+/", &[], "xv12", false),
            ("/v[0-9]+/", &[], "v12x", false),
            ("/a|b/", &[], "b", true),
            ("/a|b/", &[], "bc", false),
            ("^1.2", &[], "1.2.0", true),
            ("^1.2", &[], "v1.9.9", true),
            ("^1.2", &[], "v2.0.0", false),
            ("^1.2", &[], "v1.3.0-rc.1", false),
            (">=1.3.0-rc.1", &[], "v1.3.0-rc.2", true),
            ("^1.2", &["*3*"], "v1.3.0", false),
            ("^1.2", &[], "latest", false),
            ("^1.2", &[], "1.2", false),
        ] {
            assert_eq!(matches(pattern, exclude, tag), expected, "{pattern} without {exclude:?} on {tag}");
        }
    }

    #[test]
    fn tags_of_signatures_match_only_when_they_are_named() {
        let tag = format!("sha256-{}.sig", "a".repeat(64));
        assert!(!matches("*", &[], &tag) && !matches("/.*/", &[], &tag) && matches(&tag, &[], &tag));
        assert!(matches("*", &[], "sha256-abc"));
    }

    #[test]
    fn a_refusal_says_why() {
        let said = |pattern: &str, exclude: &[&str], tag: &str| match filter(pattern, exclude).unwrap().test(&tag.parse().unwrap()) {
            Answer::No(why) => why,
            Answer::Match(_) => String::new(),
        };
        assert_eq!(said("v*", &[], "main"), "tag main does not match `v*`");
        assert_eq!(said("v*", &["*rc*"], "v1-rc1"), "tag v1-rc1 is left out by `*rc*`");
        assert_eq!(said("^1", &[], "main"), "tag main is no version MAJOR.MINOR.PATCH");
    }

    #[test]
    fn bad_patterns_are_refused() {
        let long = "a".repeat(257);
        let large = format!("/({}){{1000}}/", "[a-z]{100}");
        let deep = format!("/{}a{}/", "(".repeat(60), ")".repeat(60));
        for bad in ["", "a b", "a/b", "v*/x", "^x", ">=", "/[/", "/a)|(b/", &long, &large, &deep] {
            assert!(filter(bad, &[]).is_err(), "{bad}");
        }
        assert_eq!(filter("v*", &["^1"]).unwrap_err(), FilterError::SemverExclude);
        assert_eq!(filter("v*", &["a"; 17]).unwrap_err(), FilterError::TooManyExcludes);
    }

    #[test]
    fn a_glob_with_many_stars_ends_soon() {
        let pattern = "a*".repeat(100) + "b";
        let text = "a".repeat(128);
        assert!(!glob(pattern.as_bytes(), text.as_bytes()));
    }
}
