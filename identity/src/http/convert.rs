//! From what identity holds to what travels. Nothing secret has a field to go into.

use crate::audit::query::{Actor, Found};
use crate::caller::ScopeRule;
use crate::decide::NearMiss;
use crate::join_tokens::JoinToken;
use crate::operations::grants;
use crate::operations::preview::Wish;
use crate::operations::questions::{Able, Answer};
use crate::preview::Difference;
use crate::snapshot::{AccessKeyEntry, PrincipalEntry, TokenEntry};
use crate::store::last_pulls::LastPull;
use api::v1::access as wire;
use api::v1::audit as wire_audit;
use api::v1::teams::{MembershipChange, PreviewLine, PreviewQuestion, Team};
use model::Timestamp;
use model::access::{Grant, Membership, PrincipalKind, Resource, Role};

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

pub(super) fn team(entry: PrincipalEntry) -> Team {
    Team {
        members: entry.members().len(),
        created_at: entry.created_at.to_rfc3339(),
        created_by: entry.created_by,
        name: entry.principal.name,
    }
}

/// Changes in the order in which they are thought of: what is taken away first.
pub(super) fn wishes(question: PreviewQuestion) -> Vec<Wish> {
    let membership = |MembershipChange { team, member }| Membership { team, member };
    let wish = |wire::NewGrant { principal, role, kind, pattern }| grants::Wish { principal, role, kind, pattern };
    let PreviewQuestion { grant, revoke, join, leave, remove } = question;
    let gone = remove.into_iter().map(Wish::Remove).chain(revoke.into_iter().map(Wish::Revoke));
    let left = gone.chain(leave.into_iter().map(membership).map(Wish::Leave));
    left.chain(join.into_iter().map(membership).map(Wish::Join)).chain(grant.into_iter().map(wish).map(Wish::Grant)).collect()
}

pub(super) fn difference(difference: Difference) -> PreviewLine {
    let Difference { principal, via, otherwise, effect: _ } = difference;
    PreviewLine { principal, via: grant(via), otherwise }
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

pub(super) fn actor(actor: wire_audit::Actor) -> Actor {
    match actor {
        wire_audit::Actor::Person => Actor::Person,
        wire_audit::Actor::Robot => Actor::Robot,
        wire_audit::Actor::Agent => Actor::Agent,
        wire_audit::Actor::Nobody => Actor::Nobody,
    }
}

pub(super) fn audit_record(found: Found) -> wire_audit::AuditRecord {
    let Found { place, line, message } = found;
    wire_audit::AuditRecord {
        id: place.to_string(),
        at: line.at.to_rfc3339(),
        until: line.until.map(Timestamp::to_rfc3339),
        times: line.times,
        actor: match Actor::of(line.principal.as_deref()) {
            Actor::Person => wire_audit::Actor::Person,
            Actor::Robot => wire_audit::Actor::Robot,
            Actor::Agent => wire_audit::Actor::Agent,
            Actor::Nobody => wire_audit::Actor::Nobody,
        },
        outcome: match line.outcome.as_str() {
            "denied" => wire_audit::AuditOutcome::Denied,
            "refused" => wire_audit::AuditOutcome::Refused,
            "failed" => wire_audit::AuditOutcome::Failed,
            _ => wire_audit::AuditOutcome::Done,
        },
        reason: line.reason,
        action: line.action,
        principal: line.principal,
        credential: line.credential,
        address: line.address,
        target: line.target,
        reference: line.reference,
        digest: line.digest,
        message,
    }
}

pub(super) fn last_pull(pull: LastPull) -> wire_audit::LastPull {
    let LastPull { repository, reference, principal, at, digest, credential, address } = pull;
    let tag = Some(reference).filter(|tag| !tag.is_empty());
    wire_audit::LastPull { repository, tag, principal, at: at.to_rfc3339(), digest, credential, address }
}

fn reason(answer: &Answer, role: Role, resource: &Resource) -> String {
    let who = &answer.principal;
    match &answer.via {
        Some(grant) => {
            let team = grant.principal.kind == PrincipalKind::Team && grant.principal != *who;
            let to = if team { format!(" to {}, which {who} is in", grant.principal) } else { String::new() };
            format!("{who} may {role} {resource}, because grant {} gives {} on {}:{}{to}", grant.id, grant.role, grant.kind, grant.pattern)
        }
        None if answer.disabled => format!("{who} may not {role} {resource}, because {who} is disabled"),
        None if answer.narrowed => format!("{who} may {role} {resource}, but the scope of this token does not allow it"),
        None => format!("{who} may not {role} {resource}, because no grant gives {role} on it"),
    }
}
