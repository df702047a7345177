//! Scopes of the registry's token protocol: `repository:acme/web:pull,push`, several of them, space-separated or repeated.
//!
//! Pure. What is not understood is dropped and never an error, as the protocol wants: clients ask for more than they need.

use crate::registry_token::{Granted, RegistryAction};
use model::RepositoryName;

/// Most scopes in one request.
pub(super) const SCOPES_MAX: usize = 100;

/// What was asked for, and understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Each repository once, with its actions in order, each once.
    pub repositories: Vec<(RepositoryName, Vec<RegistryAction>)>,
    pub catalog: bool,
}

/// More scopes than one request may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TooMany;

pub(super) fn parse<'a>(parameters: impl Iterator<Item = &'a str>) -> Result<Asked, TooMany> {
    let mut asked = Asked::default();
    for (at, scope) in parameters.flat_map(str::split_ascii_whitespace).enumerate() {
        if at >= SCOPES_MAX {
            return Err(TooMany);
        }
        asked.add(scope);
    }
    Ok(asked)
}

impl Asked {
    /// `TYPE[(CLASS)]:NAME:ACTIONS`. A name may hold `:`, so the actions are cut off from the right.
    fn add(&mut self, scope: &str) {
        let Some((kind, name, actions)) = split(scope) else { return };
        match kind.split_once('(').map_or(kind, |(kind, _class)| kind) {
            "repository" => {
                if let Ok(name) = name.parse() {
                    self.add_repository(name, actions);
                }
            }
            "registry" if name == "catalog" => self.catalog |= actions.split(',').any(|action| action == "*"),
            _ => {}
        }
    }

    fn add_repository(&mut self, name: RepositoryName, actions: &str) {
        let at = self.repositories.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.repositories.push((name, Vec::new()));
            self.repositories.len() - 1
        });
        let list = &mut self.repositories[at].1;
        for action in actions.split(',') {
            list.extend(RegistryAction::ALL.into_iter().filter(|known| action == "*" || action == known.as_str()));
        }
        list.sort_unstable();
        list.dedup();
    }

    /// The part of it that `may` allows.
    pub fn intersect(&self, mut may: impl FnMut(&RepositoryName, RegistryAction) -> bool, may_catalog: bool) -> Granted {
        let allowed = |(name, actions): &(RepositoryName, Vec<RegistryAction>)| {
            let actions: Vec<_> = actions.iter().copied().filter(|action| may(name, *action)).collect();
            (!actions.is_empty()).then(|| (name.clone(), actions))
        };
        Granted { access: self.repositories.iter().filter_map(allowed).collect(), catalog: self.catalog && may_catalog }
    }
}

/// The granted scopes, as an `OAuth2` answer names them.
pub(super) fn text(granted: &Granted) -> String {
    let repository = |(name, actions): &(RepositoryName, Vec<RegistryAction>)| {
        let actions: Vec<_> = actions.iter().map(|action| action.as_str()).collect();
        format!("repository:{name}:{}", actions.join(","))
    };
    let catalog = granted.catalog.then(|| "registry:catalog:*".to_owned());
    granted.access.iter().map(repository).chain(catalog).collect::<Vec<_>>().join(" ")
}

/// What is granted of everything that was asked reads back as the same.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzzing(asked: &str) {
    let Ok(asked) = parse([asked].into_iter()) else { return };
    let granted = text(&asked.intersect(|_, _| true, true));
    let again = parse([granted.as_str()].into_iter()).expect("what was granted is no more than what was asked");
    assert_eq!(text(&again.intersect(|_, _| true, true)), granted);
}

fn split(scope: &str) -> Option<(&str, &str, &str)> {
    let (rest, actions) = scope.rsplit_once(':')?;
    let (kind, name) = rest.split_once(':')?;
    Some((kind, name, actions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use RegistryAction::{Delete, Pull, Push};

    fn asked(scopes: &[&str]) -> Vec<(String, Vec<RegistryAction>)> {
        let asked = parse(scopes.iter().copied()).unwrap();
        asked.repositories.into_iter().map(|(name, actions)| (name.to_string(), actions)).collect()
    }

    #[test]
    fn scopes_are_read_in_every_form_clients_write() {
        for (scopes, expected) in [
            (&["repository:acme/web:pull"][..], vec![("acme/web", vec![Pull])]),
            (&["repository:acme/web:push,pull"], vec![("acme/web", vec![Pull, Push])]),
            (&["repository:a:pull repository:b:push,pull"], vec![("a", vec![Pull]), ("b", vec![Pull, Push])]),
            (&["repository:a:pull", "repository:b:push"], vec![("a", vec![Pull]), ("b", vec![Push])]),
            (&["repository:a:pull", "repository:a:push"], vec![("a", vec![Pull, Push])]),
            (&["repository(plugin):a:pull"], vec![("a", vec![Pull])]),
            (&["repository:a:*"], vec![("a", vec![Pull, Push, Delete])]),
            (&["repository:a:pull,fly"], vec![("a", vec![Pull])]),
            (&["repository:a:"], vec![("a", vec![])]),
            // Not names of this registry.
            (&["repository:host:5000/a:pull", "repository:A:pull", "repository:../a:pull"], vec![]),
            (&["", " ", "repository", "repository:a", "secret:a:pull", ":::"], vec![]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(name, actions)| (name.to_owned(), actions)).collect();
            assert_eq!(asked(scopes), expected, "{scopes:?}");
        }
        assert!(parse(["registry:catalog:*"].into_iter()).unwrap().catalog);
        assert!(!parse(["registry:catalog:pull registry:other:*"].into_iter()).unwrap().catalog);
    }

    #[test]
    fn names_are_split_from_the_right() {
        assert_eq!(split("repository:host:5000/a:pull"), Some(("repository", "host:5000/a", "pull")));
    }

    #[test]
    fn the_intersection_is_granted_and_empty_rests_are_left_out() {
        let asked = parse(["repository:a:pull,push repository:b:push registry:catalog:*"].into_iter()).unwrap();
        let granted = asked.intersect(|_, action| action == Pull, false);
        assert_eq!(text(&granted), "repository:a:pull");
        assert_eq!(text(&asked.intersect(|_, _| true, true)), "repository:a:pull,push repository:b:push registry:catalog:*");
    }

    #[test]
    fn scopes_are_limited() {
        let many = "repository:a:pull ".repeat(SCOPES_MAX + 1);
        assert_eq!(parse([many.as_str()].into_iter()), Err(TooMany));
    }
}
