//! Which tags may move, in ECR's words: `IMMUTABLE` is what nobody may move, `MUTABLE` everything else, and the filters name tags for
//! which it is the other way round. That only maintainers may move a tag has no word in ECR and is shown as `MUTABLE`.

use super::{not_found, own_registry, repository_name};
use crate::aws::fields::{Field, Rule};
use crate::context::RepositoryEntry;
use crate::error::EcsError;
use crate::operations::call::Call;
use api::aws::{ExclusionFilter, PutImageTagMutabilityRequest, PutImageTagMutabilityResponse};
use model::RepositoryName;
use model::access::{Resource, Role};
use model::repository::{RepositorySettings, SettingsError, TAG_EXCEPTIONS_MAX, TagOverwrite, TagPattern};

pub const FILTERS: Rule = Rule::Each(&[("filterType", Rule::Only(&["WILDCARD"])), ("filter", Rule::Required)]);
pub const FIELDS: &[Field] = &[
    ("registryId", Rule::Taken),
    ("repositoryName", Rule::Required),
    ("imageTagMutability", Rule::Required),
    ("imageTagMutabilityExclusionFilters", FILTERS),
];

/// Who may move tags, and for which it is the other way round.
pub type Mutability = (TagOverwrite, Vec<TagPattern>);

pub async fn put(call: &Call, request: PutImageTagMutabilityRequest) -> Result<PutImageTagMutabilityResponse, EcsError> {
    let name = repository_name(&request.repository_name)?;
    own_registry(call, request.registry_id.as_deref())?;
    call.require(Role::Admin, &Resource::repository(name.as_str()))?;
    let wish = parse(Some(&request.image_tag_mutability), request.image_tag_mutability_exclusion_filters)?;
    let changed = set(call, &name, wish.unwrap_or_default()).await?;
    let (image_tag_mutability, image_tag_mutability_exclusion_filters) = wire(&changed.settings);
    Ok(PutImageTagMutabilityResponse {
        registry_id: call.context.partition.account_id.clone(),
        repository_name: name.to_string(),
        image_tag_mutability,
        image_tag_mutability_exclusion_filters,
    })
}

pub async fn set(call: &Call, name: &RepositoryName, mutability: Mutability) -> Result<RepositoryEntry, EcsError> {
    let set = &call.context.registry.set_tag_mutability;
    let changed = set(name.clone(), call.caller.clone(), mutability).await.map_err(EcsError::Internal)?;
    changed.ok_or_else(|| not_found(call, name))
}

/// What a request says, if anything.
pub fn parse(mutability: Option<&str>, filters: Option<Vec<ExclusionFilter>>) -> Result<Option<Mutability>, EcsError> {
    let filters = filters.unwrap_or_default();
    let (overwrite, excludes) = match mutability.filter(|text| !text.is_empty()) {
        None if filters.is_empty() => return Ok(None),
        None | Some("MUTABLE") => (TagOverwrite::Push, false),
        Some("IMMUTABLE") => (TagOverwrite::Nobody, false),
        Some("MUTABLE_WITH_EXCLUSION") => (TagOverwrite::Push, true),
        Some("IMMUTABLE_WITH_EXCLUSION") => (TagOverwrite::Nobody, true),
        Some(_) => {
            let words = "MUTABLE, IMMUTABLE, MUTABLE_WITH_EXCLUSION or IMMUTABLE_WITH_EXCLUSION";
            return Err(EcsError::invalid(format!("imageTagMutability is {words}.")));
        }
    };
    if excludes == filters.is_empty() || filters.len() > TAG_EXCEPTIONS_MAX {
        let message = "imageTagMutabilityExclusionFilters belong to imageTagMutability …_WITH_EXCLUSION, and to nothing else;";
        return Err(EcsError::invalid(format!("{message} at most {TAG_EXCEPTIONS_MAX} of them.")));
    }
    let pattern = |filter: ExclusionFilter| filter.filter.parse().map_err(|error: SettingsError| EcsError::invalid(format!("{error}.")));
    Ok(Some((overwrite, filters.into_iter().map(pattern).collect::<Result<_, _>>()?)))
}

/// As ECR shows it.
pub fn wire(settings: &RepositorySettings) -> (String, Option<Vec<ExclusionFilter>>) {
    let word = match (settings.tag_overwrite, settings.tag_exceptions.is_empty()) {
        (TagOverwrite::Push, false) => "MUTABLE_WITH_EXCLUSION",
        (TagOverwrite::Nobody, false) => "IMMUTABLE_WITH_EXCLUSION",
        (TagOverwrite::Nobody, true) => "IMMUTABLE",
        (TagOverwrite::Push, true) | (TagOverwrite::Maintain, _) => "MUTABLE",
    };
    let filter = |pattern: &TagPattern| ExclusionFilter { filter_type: "WILDCARD".into(), filter: pattern.to_string() };
    let filters = word.ends_with("_WITH_EXCLUSION").then(|| settings.tag_exceptions.iter().map(filter).collect());
    (word.to_owned(), filters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(patterns: &[&str]) -> Option<Vec<ExclusionFilter>> {
        let filter = |text: &&str| ExclusionFilter { filter_type: "WILDCARD".into(), filter: (*text).to_owned() };
        (!patterns.is_empty()).then(|| patterns.iter().map(filter).collect())
    }

    #[test]
    fn what_ecr_says_comes_back_as_it_was_said() {
        for (word, patterns) in [
            ("MUTABLE", &[][..]),
            ("IMMUTABLE", &[]),
            ("IMMUTABLE_WITH_EXCLUSION", &["dev-*", "latest"]),
            ("MUTABLE_WITH_EXCLUSION", &["v*"]),
        ] {
            let (tag_overwrite, tag_exceptions) = parse(Some(word), filters(patterns)).unwrap().unwrap();
            let settings = RepositorySettings { tag_overwrite, tag_exceptions, ..RepositorySettings::default() };
            let (back, found) = wire(&settings);
            let found: Vec<String> = found.into_iter().flatten().map(|filter| filter.filter).collect();
            assert_eq!((back.as_str(), found), (word, patterns.iter().map(|text| (*text).to_owned()).collect()));
        }
        assert!(parse(None, None).unwrap().is_none());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (word, patterns) in [
            ("IMMUTABLE", &["v*"][..]),
            ("MUTABLE", &["v*"]),
            ("IMMUTABLE_WITH_EXCLUSION", &[]),
            ("immutable", &[]),
            ("IMMUTABLE_WITH_EXCLUSION", &["a/b"]),
        ] {
            assert!(parse(Some(word), filters(patterns)).is_err(), "{word} {patterns:?}");
        }
        assert!(parse(None, filters(&["v*"])).is_err());
    }
}
