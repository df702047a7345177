//! What deploying an image takes of somebody: what UpdateService would take of them, were they to ask for it by hand. Pure.
//!
//! That is `deploy` on the service, `pull` on every image of this registry that the new revision names (a push does not bypass
//! pulling), and `admin` on the cluster when the definition reaches into the host.

use identity::{ScopeRule, Snapshot};
use model::access::{Resource, Role};
use model::service::Service;
use model::task_definition::TaskDefinition;
use model::trigger::Push;
use std::collections::BTreeSet;

/// What a deployment of `service` takes whose images are in `repositories`.
pub fn needed<'a>(
    service: &Service,
    definition: &TaskDefinition,
    repositories: impl IntoIterator<Item = &'a str>,
) -> Vec<(Role, Resource)> {
    let mut needed = vec![(Role::Deploy, Resource::service(service.cluster.as_str(), service.name.as_str()))];
    let repositories: BTreeSet<&str> = repositories.into_iter().collect();
    needed.extend(repositories.into_iter().map(|name| (Role::Pull, Resource::repository(name))));
    if crate::task_definition::wants_cluster_admin(definition).is_some() {
        needed.push((Role::Admin, Resource::cluster(service.cluster.as_str())));
    }
    needed
}

/// The first of `needed` that who pushed does not hold, in words; nothing when they hold it all.
pub fn lacking(snapshot: &Snapshot, push: &Push, needed: &[(Role, Resource)]) -> Option<String> {
    let scope = push.scope.as_deref().map(serde_json::from_str::<Vec<ScopeRule>>);
    let Ok(scope) = scope.transpose() else {
        return Some(format!("what the token of {} was narrowed to cannot be read", push.principal));
    };
    needed.iter().find_map(|(role, resource)| {
        if !identity::may(snapshot, &push.principal, *role, resource).allowed {
            return Some(format!("{} pushed, and no grant gives them {role} on {resource}", push.principal));
        }
        let narrowed = scope.as_ref().is_some_and(|rules| !rules.iter().any(|rule| rule.allows(*role, resource)));
        narrowed.then(|| format!("{} pushed with a token that was not given {role} on {resource}", push.principal))
    })
}
