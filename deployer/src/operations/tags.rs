//! Tags of resources: ECS's limits, and the way to and from the wire. Pure.

use crate::error::EcsError;
use api::aws::Tag;

/// Most tags on one resource.
pub const TAGS_MAX: usize = 50;
const KEY_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;

/// Tags as they are stored, when they keep ECS's limits.
pub fn checked(tags: Option<Vec<Tag>>) -> Result<Vec<(String, String)>, EcsError> {
    let tags = tags.unwrap_or_default();
    if tags.len() > TAGS_MAX {
        return Err(EcsError::invalid(format!("A resource can have at most {TAGS_MAX} tags.")));
    }
    let mut stored: Vec<(String, String)> = Vec::with_capacity(tags.len());
    for Tag { key, value } in tags {
        if key.is_empty() || key.chars().count() > KEY_CHARS_MAX || value.chars().count() > VALUE_CHARS_MAX {
            return Err(EcsError::invalid(format!(
                "The key of a tag has 1 to {KEY_CHARS_MAX} characters, its value at most {VALUE_CHARS_MAX}."
            )));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(EcsError::invalid("The key of a tag cannot begin with aws:."));
        }
        if stored.iter().any(|(known, _)| *known == key) {
            return Err(EcsError::invalid("Duplicate tag keys found. Each key has to be unique."));
        }
        stored.push((key, value));
    }
    Ok(stored)
}

pub fn wire(tags: &[(String, String)]) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag { key: key.clone(), value: value.clone() }).collect()
}

/// Whether `include` asks for `what` (`TAGS`), after checking that it asks for nothing that does not exist.
pub fn included(include: Option<&Vec<String>>, what: &str, known: &[&str]) -> Result<bool, EcsError> {
    let include = include.map_or(&[][..], Vec::as_slice);
    match include.iter().find(|asked| !known.contains(&asked.as_str())) {
        Some(_) => Err(EcsError::invalid(format!("include can hold {}.", known.join(", ")))),
        None => Ok(include.iter().any(|asked| asked == what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> Tag {
        Tag { key: key.into(), value: value.into() }
    }

    #[test]
    fn tags_keep_the_limits_of_ecs() {
        assert!(checked(None).unwrap().is_empty());
        assert_eq!(checked(Some(vec![tag("team", "")])).unwrap(), [("team".to_owned(), String::new())]);
        let many = (0..51).map(|n| tag(&n.to_string(), "x")).collect();
        for bad in [vec![tag("", "x")], vec![tag("a", "1"), tag("a", "2")], vec![tag("aws:x", "1")], vec![tag("a", &"v".repeat(257))], many]
        {
            assert!(checked(Some(bad)).is_err());
        }
    }
}
