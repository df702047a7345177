//! The part of ECR that logs Docker in and makes repositories.

use super::{Tag, operations, wire};

wire! {
    pub struct AuthorizationData {
        /// Base64 of `AWS:<password>`.
        authorization_token: String,
        expires_at: f64,
        proxy_endpoint: String,
    }

    pub struct GetAuthorizationTokenRequest { registry_ids: Option<Vec<String>> }
    pub struct GetAuthorizationTokenResponse { authorization_data: Vec<AuthorizationData> }

    pub struct Repository {
        repository_arn: String,
        registry_id: String,
        repository_name: String,
        repository_uri: String,
        created_at: f64,
        /// `MUTABLE`, `IMMUTABLE`, `IMMUTABLE_WITH_EXCLUSION` or `MUTABLE_WITH_EXCLUSION`
        image_tag_mutability: String,
        /// Tags for which it is the other way round.
        image_tag_mutability_exclusion_filters: Option<Vec<ExclusionFilter>>,
        image_scanning_configuration: ImageScanningConfiguration,
        encryption_configuration: EncryptionConfiguration,
    }
    pub struct ImageScanningConfiguration { scan_on_push: bool }
    pub struct EncryptionConfiguration { encryption_type: String }

    /// `filter` is a pattern of tags, `filterType` is `WILDCARD`.
    pub struct ExclusionFilter { filter_type: String, filter: String }

    pub struct PutImageTagMutabilityRequest {
        registry_id: Option<String>,
        repository_name: String,
        image_tag_mutability: String,
        image_tag_mutability_exclusion_filters: Option<Vec<ExclusionFilter>>,
    }
    pub struct PutImageTagMutabilityResponse {
        registry_id: String,
        repository_name: String,
        image_tag_mutability: String,
        image_tag_mutability_exclusion_filters: Option<Vec<ExclusionFilter>>,
    }

    /// ECR writes the members of a tag in another case than ECS.
    pub struct EcrTag {
        #[serde(rename = "Key")]
        key: String,
        #[serde(rename = "Value")]
        value: String,
    }

    pub struct CreateRepositoryRequest {
        registry_id: Option<String>,
        repository_name: String,
        tags: Option<Vec<EcrTag>>,
        image_tag_mutability: Option<String>,
        image_tag_mutability_exclusion_filters: Option<Vec<ExclusionFilter>>,
    }
    pub struct CreateRepositoryResponse { repository: Repository }

    pub struct DescribeRepositoriesRequest {
        registry_id: Option<String>,
        repository_names: Option<Vec<String>>,
        next_token: Option<String>,
        max_results: Option<i64>,
    }
    pub struct DescribeRepositoriesResponse { repositories: Vec<Repository>, next_token: Option<String> }
}

operations! { Ecr:
    "GetAuthorizationToken" GetAuthorizationTokenRequest => GetAuthorizationTokenResponse,
    "CreateRepository" CreateRepositoryRequest => CreateRepositoryResponse,
    "DescribeRepositories" DescribeRepositoriesRequest => DescribeRepositoriesResponse,
    "PutImageTagMutability" PutImageTagMutabilityRequest => PutImageTagMutabilityResponse,
}

impl From<EcrTag> for Tag {
    fn from(tag: EcrTag) -> Self {
        Self { key: tag.key, value: tag.value }
    }
}
