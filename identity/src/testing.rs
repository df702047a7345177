//! Worlds as text: who is there, who is in which team, what was granted, what tokens are narrowed to, and questions about it. The oracle
//! (`make oracle`) makes them up, asks `decide` and Cedar, and writes some down; the test below asks `decide` again what was written down.
//!
//! Text, in the words of the command line, so that the oracle reads it on its own, without the types and rules it is to check.

use crate::caller::{Caller, Credential, ScopeRule};
use crate::decide::{self, Decision, WhoCan};
use crate::snapshot::{PrincipalEntry, Snapshot};
use model::Timestamp;
use model::access::{AccessError, Grant, Membership, Pattern, ResourceKind, Role};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What there is to decide by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    /// `user:amy`, `robot:ci`, `team:core`.
    pub principals: Vec<String>,
    pub disabled: Vec<String>,
    /// A team, and who is in it.
    pub members: Vec<(String, String)>,
    /// `user:amy push repository:acme/**`; its place here is its id.
    pub grants: Vec<String>,
    /// What a token is narrowed to: `pull repository:acme/*`, all that one of its rules allows.
    pub tokens: Vec<Vec<String>>,
}

/// May they? Written `user:amy push repository:acme/web`, and ` token:0` behind it of who shows that token of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub who: String,
    pub role: String,
    pub resource: String,
    pub token: Option<usize>,
}

/// A world and the answers that are right in it: a line of `vectors.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vector {
    #[serde(flatten)]
    pub world: World,
    pub allowed: Vec<String>,
    pub denied: Vec<String>,
}

/// A world, read: `decide` can be asked about it.
#[derive(Debug)]
pub struct Asked {
    snapshot: Snapshot,
    tokens: Vec<Vec<ScopeRule>>,
}

impl World {
    pub fn read(&self) -> Result<Asked, AccessError> {
        let now = Timestamp::from_secs(0);
        let entry = |text: &String| {
            let disabled = self.disabled.contains(text);
            Ok(PrincipalEntry::new(text.parse()?, disabled, None, now, "oracle".into()))
        };
        let grant = |(at, text): (usize, &String)| {
            let (who, rule) = text.split_once(' ').ok_or_else(|| AccessError::Principal(text.clone()))?;
            let ScopeRule { role, kind, pattern } = rule_of(rule)?;
            Ok(Grant { id: at.to_string(), principal: who.parse()?, role, kind, pattern, created_at: now, created_by: "oracle".into() })
        };
        let member = |(team, member): &(String, String)| Ok(Membership { team: team.parse()?, member: member.parse()? });
        let principals = self.principals.iter().map(entry).collect::<Result<_, AccessError>>()?;
        let grants = self.grants.iter().enumerate().map(grant).collect::<Result<_, AccessError>>()?;
        let members = self.members.iter().map(member).collect::<Result<_, AccessError>>()?;
        let tokens = self.tokens.iter().map(|rules| rules.iter().map(|rule| rule_of(rule)).collect::<Result<_, _>>());
        Ok(Asked {
            tokens: tokens.collect::<Result<_, _>>()?,
            snapshot: Snapshot::new(1, principals, grants, members, Vec::new(), Vec::new()),
        })
    }
}

/// `push repository:acme/**`, as grants and scopes have it.
fn rule_of(text: &str) -> Result<ScopeRule, AccessError> {
    let (role, on) = text.split_once(' ').ok_or_else(|| AccessError::Role(text.into()))?;
    let (kind, pattern) = on.split_once(':').ok_or_else(|| AccessError::Resource(on.into()))?;
    let (role, kind): (Role, ResourceKind) = (role.parse()?, kind.parse()?);
    if role.applies_to(kind) {
        Ok(ScopeRule { role, kind, pattern: pattern.parse::<Pattern>()? })
    } else {
        Err(AccessError::RoleOnKind { role, kind })
    }
}

impl Asked {
    /// What `decide` says. A token that the world does not have is one that allows nothing.
    pub fn decide(&self, question: &Question) -> Result<Decision, AccessError> {
        let scope = question.token.map(|at| self.tokens.get(at).cloned().unwrap_or_default());
        let credential = question.token.map_or(Credential::Password, |at| Credential::Token { id: at.to_string() });
        let caller = Caller { scope, ..Caller::new(question.who.parse()?, credential) };
        Ok(decide::decide(&self.snapshot, &caller, question.role.parse()?, &question.resource.parse()?))
    }

    /// What `who_can` says.
    pub fn who_can(&self, role: &str, resource: &str) -> Result<Vec<WhoCan<'_>>, AccessError> {
        Ok(decide::who_can(&self.snapshot, role.parse()?, &resource.parse()?))
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.who, self.role, self.resource)?;
        self.token.map_or(Ok(()), |at| write!(f, " token:{at}"))
    }
}

impl FromStr for Question {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        let refuse = || AccessError::Resource(text.into());
        let mut words = text.split(' ').map(str::to_owned);
        let (Some(who), Some(role), Some(resource)) = (words.next(), words.next(), words.next()) else { return Err(refuse()) };
        let token = words.next().map(|word| word.strip_prefix("token:").and_then(|at| at.parse().ok()).ok_or_else(refuse)).transpose()?;
        Ok(Self { who, role, resource, token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: &str = include_str!("decide/vectors.jsonl");

    fn vectors() -> impl Iterator<Item = Vector> {
        VECTORS.lines().map(|line| serde_json::from_str(line).unwrap())
    }

    #[test]
    fn what_cedar_answered_decide_answers() {
        for (at, vector) in vectors().enumerate() {
            let asked = vector.world.read().unwrap();
            let answers = vector.allowed.iter().map(|text| (text, true)).chain(vector.denied.iter().map(|text| (text, false)));
            for (text, allowed) in answers {
                let question: Question = text.parse().unwrap();
                assert_eq!(question.to_string(), *text);
                assert_eq!(asked.decide(&question).unwrap().allowed, allowed, "line {}: {text}, in {:?}", at + 1, vector.world);
            }
        }
    }

    /// Vectors that leave out what can go wrong would show nothing.
    #[test]
    fn the_vectors_ask_about_everything_that_counts() {
        let (mut allowed, mut denied, mut by_team, mut by_token, mut disabled) = (0, 0, 0, 0, 0);
        for vector in vectors() {
            let questions = |texts: &[String]| texts.iter().map(|text| text.parse::<Question>().unwrap()).collect::<Vec<_>>();
            let (yes, no) = (questions(&vector.allowed), questions(&vector.denied));
            let in_team = |question: &&Question| vector.world.members.iter().any(|(_, member)| *member == question.who);
            by_team += yes.iter().filter(in_team).count();
            by_token += no.iter().filter(|question| question.token.is_some()).count();
            disabled += no.iter().filter(|question| vector.world.disabled.contains(&question.who)).count();
            (allowed, denied) = (allowed + yes.len(), denied + no.len());
        }
        for (what, count) in [("allowed", allowed), ("denied", denied)] {
            assert!(count >= 400, "{what}: {count}");
        }
        for (what, count) in
            [("allowed to who is in a team", by_team), ("denied with a token", by_token), ("denied to the disabled", disabled)]
        {
            assert!(count >= 50, "{what}: {count}");
        }
    }
}
