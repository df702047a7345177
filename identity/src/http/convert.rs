//! From what identity holds to what travels. Nothing secret has a field to go into.

use crate::caller::ScopeRule;
use crate::decide::NearMiss;
use crate::join_tokens::JoinToken;
use crate::operations::questions::{Able, Answer};
use crate::snapshot::{AccessKeyEntry, PrincipalEntry, TokenEntry};
use api::v1::access as wire;
use model::Timestamp;
use model::access::{Grant, Resource, Role};

pub(super) fn user(entry: PrincipalEntry) -> wire::User {
    wire::User {
        disabled: entry.disabled,
        has_password: entry.has_password(),
        created_at: entry.created_at.to_rfc3339(),
        created_by: entry.created_by,
        name: entry.principal.name,
    }
}

pub(super) fn robot(entry: PrincipalEntry) -> wire::Robot {
    wire::Robot {
        disabled: entry.disabled,
        created_at: entry.created_at.to_rfc3339(),
        created_by: entry.created_by,
        name: entry.principal.name,
    }
}

pub(super) fn grant(grant: Grant) -> wire::Grant {
    let Grant { id, principal, role, kind, pattern, created_at, created_by } = grant;
    wire::Grant { id, principal, role, kind, pattern, created_at: created_at.to_rfc3339(), created_by }
}

pub(super) fn token(token: TokenEntry) -> wire::Token {
    wire::Token {
        id: token.id,
        principal: token.principal,
        label: token.label,
        scope: token.scope.map(scope),
        created_at: token.created_at.to_rfc3339(),
        expires_at: token.expires_at.map(Timestamp::to_rfc3339),
    }
}

pub(super) fn scope(rules: Vec<ScopeRule>) -> Vec<wire::ScopeRule> {
    rules.into_iter().map(|ScopeRule { role, kind, pattern }| wire::ScopeRule { role, kind, pattern }).collect()
}

pub(super) fn scope_from(rules: Vec<wire::ScopeRule>) -> Vec<ScopeRule> {
    rules.into_iter().map(|wire::ScopeRule { role, kind, pattern }| ScopeRule { role, kind, pattern }).collect()
}

pub(super) fn access_key(key: AccessKeyEntry) -> wire::AccessKey {
    wire::AccessKey { id: key.id, principal: key.principal, created_at: key.created_at.to_rfc3339() }
}

pub(super) fn join_token(token: JoinToken) -> wire::JoinToken {
    wire::JoinToken {
        id: token.id,
        cluster: token.cluster.into(),
        created_at: token.created_at.to_rfc3339(),
        created_by: token.created_by,
        expires_at: token.expires_at.to_rfc3339(),
        used_at: token.used_at.map(Timestamp::to_rfc3339),
    }
}

pub(super) fn able(able: Able) -> wire::WhoCanEntry {
    wire::WhoCanEntry { principal: able.principal, disabled: able.disabled, via: able.via.into_iter().map(grant).collect() }
}

pub(super) fn answer(answer: Answer, role: Role, resource: &Resource) -> wire::AccessAnswer {
    let reason = reason(&answer, role, resource);
    let near = |(near, why)| wire::NearGrant {
        grant: grant(near),
        why: match why {
            NearMiss::RoleTooLow => wire::NearReason::RoleTooLow,
            NearMiss::PatternDoesNotMatch => wire::NearReason::PatternDoesNotMatch,
        },
    };
    wire::AccessAnswer {
        allowed: answer.allowed,
        via: answer.via.map(grant),
        reason,
        nearest: answer.nearest.into_iter().map(near).collect(),
    }
}

fn reason(answer: &Answer, role: Role, resource: &Resource) -> String {
    let who = &answer.principal;
    match &answer.via {
        Some(grant) => {
            format!("{who} may {role} {resource}, because grant {} gives {} on {}:{}", grant.id, grant.role, grant.kind, grant.pattern)
        }
        None if answer.disabled => format!("{who} may not {role} {resource}, because {who} is disabled"),
        None if answer.narrowed => format!("{who} may {role} {resource}, but the scope of this token does not allow it"),
        None => format!("{who} may not {role} {resource}, because no grant gives {role} on it"),
    }
}
