//! Whose an image is, from the way it is written. Pure.

use model::name::NameError;
use model::{ImageReference, Reference, RepositoryName};

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A repository of this registry, named by one of its hosts.
    Own(RepositoryName),
    /// No host: this registry's, if it has a repository of that name, else Docker Hub's.
    Unhosted(RepositoryName),
    /// Another registry's; pulled as it is written.
    Foreign,
}

/// Tells where `image` comes from. An own host with a path that cannot name a repository is an error.
pub fn origin(image: &ImageReference, own_hosts: &[String]) -> Result<Origin, NameError> {
    match &image.host {
        Some(host) if own_hosts.iter().any(|own| own.eq_ignore_ascii_case(host)) => image.path.parse().map(Origin::Own),
        Some(_) => Ok(Origin::Foreign),
        None => Ok(image.path.parse().map_or(Origin::Foreign, Origin::Unhosted)),
    }
}

/// What is asked of the registry for `image`: its digest if it names one, else its tag, else `latest`.
pub fn reference(image: &ImageReference) -> Reference {
    match (&image.digest, &image.tag) {
        (Some(digest), _) => Reference::Digest(digest.clone()),
        (None, Some(tag)) => Reference::Tag(tag.clone()),
        (None, None) => Reference::Tag("latest".parse().expect("a tag")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_ours_by_host() {
        let hosts = ["127.0.0.1:5000".to_owned(), "registry.example.com".to_owned()];
        let own = |name: &str| Ok(Origin::Own(name.parse().unwrap()));
        for (image, expected) in [
            ("127.0.0.1:5000/acme/web:v1", own("acme/web")),
            ("Registry.Example.com/web", own("web")),
            ("docker.io/library/nginx", Ok(Origin::Foreign)),
            ("127.0.0.1:5001/acme/web", Ok(Origin::Foreign)),
            ("acme/web:v1", Ok(Origin::Unhosted("acme/web".parse().unwrap()))),
            ("a___b", Ok(Origin::Foreign)),
        ] {
            assert_eq!(origin(&image.parse().unwrap(), &hosts), expected, "{image}");
        }
        assert!(origin(&"registry.example.com/a___b".parse().unwrap(), &hosts).is_err());
    }

    #[test]
    fn a_digest_wins_over_a_tag() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let asked = |image: &str| reference(&image.parse().unwrap()).to_string();
        assert_eq!(asked("a"), "latest");
        assert_eq!(asked("a:v1"), "v1");
        assert_eq!(asked(&format!("a:v1@{digest}")), digest);
    }
}
