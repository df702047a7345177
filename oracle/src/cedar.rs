//! A world as Cedar has it: entities, policies, and Cedar's answers. Reads the world's text on its own and uses nothing of `model` or of
//! `decide`; the rules are `berth.cedarschema` and the policies below.
//!
//! A grant is a `permit`, a token a `forbid` of all that none of its rules is about, and one `forbid` is for who is disabled or not on
//! record. Cedar's `like` knows no components (its `*` runs over `/`), so a name is an entity with its components as attributes, and
//! each component of a pattern is a `like` of its own.

use anyhow::{Context as _, Result, bail, ensure};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, Policy, PolicyId, PolicySet, Request, RestrictedExpression, Schema,
    ValidationMode, Validator,
};
use identity::testing::{Question, World};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write;

const SCHEMA: &str = include_str!("../berth.cedarschema");

/// Policies that are no grants have ids that are no numbers.
const NOT_ON_RECORD: &str = "not on record, or disabled";
const TOKEN: &str = "token ";

/// The vocabulary, read once.
pub struct Vocabulary {
    schema: Schema,
    validator: Validator,
    actions: HashSet<EntityUid>,
}

/// A world that Cedar can be asked about.
pub struct Cedar<'a> {
    vocabulary: &'a Vocabulary,
    policies: PolicySet,
    /// Without the resource: that comes with the question.
    entities: Entities,
}

/// What Cedar says, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub allowed: bool,
    /// Places of the grants that allow it, when it is allowed.
    pub grants: BTreeSet<usize>,
    pub why_not: WhyNot,
}

/// What stands against it. Cedar does not say whether a grant would have allowed it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhyNot {
    /// Not even a grant is for it; or it is allowed.
    #[default]
    NoGrant,
    NoSuchRole,
    Disabled,
    Token,
}

impl Vocabulary {
    pub fn read() -> Result<Self> {
        let (schema, _warnings) = Schema::from_cedarschema_str(SCHEMA).context("berth.cedarschema")?;
        let actions = schema.actions().cloned().collect();
        Ok(Self { validator: Validator::new(schema.clone()), schema, actions })
    }
}

impl<'a> Cedar<'a> {
    pub fn new(vocabulary: &'a Vocabulary, world: &World) -> Result<Self> {
        let mut policies = PolicySet::new();
        for (id, text) in policies_of(world)? {
            policies.add(Policy::parse(Some(PolicyId::new(id)), &text).with_context(|| text.clone())?)?;
        }
        let checked = vocabulary.validator.validate(&policies, ValidationMode::Strict);
        ensure!(checked.validation_passed(), "policies that do not fit the schema: {checked}");
        let entities = world.principals.iter().map(|who| principal(world, who)).collect::<Result<Vec<_>>>()?;
        Ok(Self { vocabulary, policies, entities: Entities::from_entities(entities, Some(&vocabulary.schema))? })
    }

    pub fn ask(&self, question: &Question) -> Result<Answer> {
        let (kind, name) = two(&question.resource, ':')?;
        let action: EntityUid = format!("Action::\"{kind} {}\"", question.role).parse()?;
        if !self.vocabulary.actions.contains(&action) {
            return Ok(Answer { why_not: WhyNot::NoSuchRole, ..Answer::default() });
        }
        let resource = resource(kind, name)?;
        let token = question.token.map(|at| Ok::<_, anyhow::Error>(("token".into(), RestrictedExpression::new_long(at.try_into()?))));
        let context = Context::from_pairs(token.transpose()?)?;
        let schema = Some(&self.vocabulary.schema);
        let request = Request::new(uid(&question.who)?, action, resource.uid(), context, schema)?;
        let entities = self.entities.clone().add_entities([resource], schema)?;
        let response = Authorizer::new().is_authorized(&request, &self.policies, &entities);
        if let Some(error) = response.diagnostics().errors().next() {
            bail!("{question}: {error}");
        }
        let reasons: Vec<&str> = response.diagnostics().reason().map(AsRef::as_ref).collect();
        Ok(match response.decision() {
            Decision::Allow => {
                let grants = reasons.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
                Answer { allowed: true, grants, why_not: WhyNot::default() }
            }
            Decision::Deny if reasons.contains(&NOT_ON_RECORD) => Answer { why_not: WhyNot::Disabled, ..Answer::default() },
            Decision::Deny if reasons.iter().any(|id| id.starts_with(TOKEN)) => Answer { why_not: WhyNot::Token, ..Answer::default() },
            Decision::Deny => Answer::default(),
        })
    }
}

/// Ids and texts of a world's policies; the id of a grant is its place.
pub fn policies_of(world: &World) -> Result<Vec<(String, String)>> {
    let on_record = "forbid (principal, action, resource) unless { principal has disabled && principal.disabled == false };";
    let mut policies = vec![(NOT_ON_RECORD.to_owned(), on_record.to_owned())];
    for (at, grant) in world.grants.iter().enumerate() {
        let (who, rule) = two(grant, ' ')?;
        let whose = if who.starts_with("team:") { "in" } else { "==" };
        let text = format!("permit (principal {whose} {}, action, resource) when {{ {} }};", uid(who)?, about(rule)?);
        policies.push((at.to_string(), text));
    }
    for (at, rules) in world.tokens.iter().enumerate() {
        let rules =
            rules.iter().map(|rule| Ok(format!("({})", about(rule)?))).chain([Ok("false".to_owned())]).collect::<Result<Vec<_>>>()?;
        let shown = format!("context has token && context.token == {at}");
        let text = format!("forbid (principal, action, resource) when {{ {shown} }} unless {{ {} }};", rules.join(" || "));
        policies.push((format!("{TOKEN}{at}"), text));
    }
    Ok(policies)
}

/// What `push repository:acme/*` is about, as a condition: this role and what it includes, on this kind, on names that fit.
fn about(rule: &str) -> Result<String> {
    let (role, on) = two(rule, ' ')?;
    let (kind, pattern) = two(on, ':')?;
    let mut text = format!("resource is {} && action in Action::\"{kind} {role}\"", entity_type(kind)?);
    let components: Vec<&str> = pattern.split('/').collect();
    for (at, component) in components.iter().enumerate() {
        if *component == "**" {
            // The rest, which is one component or more; a pattern ends with it.
            write!(text, " && resource has c{at}")?;
            return Ok(text);
        }
        write!(text, " && resource has c{at} && resource.c{at} like \"{component}\"")?;
    }
    write!(text, " && !(resource has c{})", components.len())?;
    Ok(text)
}

fn principal(world: &World, who: &String) -> Result<Entity> {
    let teams = world.members.iter().filter(|(_, member)| member == who).map(|(team, _)| uid(team)).collect::<Result<_>>()?;
    if who.starts_with("team:") {
        return Ok(Entity::new_no_attrs(uid(who)?, teams));
    }
    let disabled = RestrictedExpression::new_bool(world.disabled.contains(who));
    Ok(Entity::new(uid(who)?, HashMap::from([("disabled".to_owned(), disabled)]), teams)?)
}

fn resource(kind: &str, name: &str) -> Result<Entity> {
    let components = name.split('/').enumerate();
    let components = components.map(|(at, text)| (format!("c{at}"), RestrictedExpression::new_string(text.to_owned()))).collect();
    let uid = format!("{}::\"{name}\"", entity_type(kind)?).parse()?;
    Ok(Entity::new(uid, components, HashSet::new())?)
}

/// `user:amy` is `User::"amy"`.
fn uid(who: &str) -> Result<EntityUid> {
    let (kind, name) = two(who, ':')?;
    Ok(format!("{}::\"{name}\"", entity_type(kind)?).parse()?)
}

fn entity_type(kind: &str) -> Result<&'static str> {
    Ok(match kind {
        "user" => "User",
        "robot" => "Robot",
        "team" => "Team",
        "repository" => "Repository",
        "service" => "Service",
        "cluster" => "Cluster",
        "family" => "Family",
        "server" => "Server",
        other => bail!("{other} is no kind of anything"),
    })
}

fn two(text: &str, between: char) -> Result<(&str, &str)> {
    text.split_once(between).with_context(|| format!("`{text}` has no `{between}`"))
}
