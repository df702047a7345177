//! What a grown registry holds, by number: repositories with so many images each, an image being a manifest under a tag of its own, with a
//! config of its own and the layer of its repository. Pure.

use crate::lanes::manifests::MEDIA_TYPE;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::ops::Range;

/// Images per repository of the grown registry, and of the small one it is compared with.
const PER_REPOSITORY: usize = 100;
const PER_REPOSITORY_OF_SMALL: usize = 10;
/// Manifests of the small one: as few as fill a page of the catalog.
pub const SMALL: usize = 1000;
const CONFIG_BYTES: i64 = 1500;
const LAYER_BYTES: i64 = 3_000_000;

/// How many images a repository has.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub per_repository: usize,
}

/// A manifest under its tag.
#[derive(Debug, Clone)]
pub struct Image {
    pub tag: String,
    pub digest: String,
    pub body: String,
    pub config: Part,
}

/// A blob as the database knows it.
#[derive(Debug, Clone)]
pub struct Part {
    pub digest: String,
    pub size: i64,
    /// Where its bytes would be: there are none, since nobody asks for them.
    pub key: String,
}

impl Shape {
    pub const GROWN: Self = Self { per_repository: PER_REPOSITORY };
    pub const SMALL: Self = Self { per_repository: PER_REPOSITORY_OF_SMALL };

    pub fn repositories(self, manifests: usize) -> usize {
        manifests / self.per_repository
    }

    /// The name of a repository by its number; in byte order as they are numbered.
    pub fn repository(number: usize) -> String {
        format!("grown/r{number:06}")
    }

    /// The images of a repository.
    pub fn images(self, repository: usize) -> Range<usize> {
        repository * self.per_repository..(repository + 1) * self.per_repository
    }

    /// The layer of a repository.
    pub fn layer(repository: usize) -> Part {
        Part::of(&format!("layer {repository}"), LAYER_BYTES)
    }

    pub fn image(self, number: usize) -> Image {
        let config = Part::of(&format!("config {number}"), CONFIG_BYTES);
        let layer = Self::layer(number / self.per_repository);
        let body = json!({
            "schemaVersion": 2,
            "mediaType": MEDIA_TYPE,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.digest, "size": config.size},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer.digest, "size": layer.size}],
        })
        .to_string();
        Image { tag: format!("v{number}"), digest: format!("sha256:{}", hex::encode(Sha256::digest(&body))), body, config }
    }

    /// `count` images of `manifests`, from all over them; others for each of `rounds` rounds, as long as there are enough.
    pub fn sample(manifests: usize, count: usize, round: usize) -> impl Iterator<Item = usize> {
        (round * count..).take(count).map(move |at| at * stride(manifests) % manifests)
    }

    /// Path of the manifest of an image, by its tag.
    pub fn path(self, image: usize) -> String {
        format!("/v2/{}/manifests/v{image}", Self::repository(image / self.per_repository))
    }
}

impl Part {
    fn of(text: &str, size: i64) -> Self {
        let hash = hex::encode(Sha256::digest(text));
        Self { key: format!("{}/{}", &hash[..2], &hash[..32]), digest: format!("sha256:{hash}"), size }
    }
}

/// The sizes of the curve up to `most`: powers of ten, and `most` itself; whole repositories all of them.
pub fn sizes(most: usize) -> Vec<usize> {
    let most = most.next_multiple_of(PER_REPOSITORY).max(SMALL);
    let powers = std::iter::successors(Some(10 * SMALL), |size| size.checked_mul(10));
    powers.take_while(|size| *size < most).chain([most]).collect()
}

/// A step that comes by every number below `all` before it repeats one: about 0.6 of it, with no divisor in common.
fn stride(all: usize) -> usize {
    (all * 618 / 1000..all).find(|step| greatest_common_divisor(*step, all) == 1).unwrap_or(1)
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_sample_repeats_nothing_before_it_has_everything() {
        for all in [1000, 1100, 10_000, 12_300] {
            let taken: BTreeSet<usize> = (0..5).flat_map(|round| Shape::sample(all, 200, round)).collect();
            assert_eq!(taken.len(), 1000, "of {all}");
            assert!(taken.iter().all(|image| *image < all));
        }
        let repositories: BTreeSet<usize> = Shape::sample(100_000, 200, 0).map(|image| image / PER_REPOSITORY).collect();
        assert!(repositories.len() > 150, "from {} repositories", repositories.len());
    }

    #[test]
    fn the_curve_ends_with_what_was_asked_for() {
        assert_eq!(sizes(1_000_000), [10_000, 100_000, 1_000_000]);
        assert_eq!(sizes(62_550), [10_000, 62_600]);
        assert_eq!(sizes(7), [1000]);
    }

    #[test]
    fn images_are_in_their_repository() {
        let shape = Shape::GROWN;
        assert_eq!((shape.repositories(1_000_000), shape.images(1)), (10_000, 100..200));
        assert_eq!(shape.path(199), "/v2/grown/r000001/manifests/v199");
        let image = shape.image(199);
        assert!(image.body.contains(&Shape::layer(1).digest) && image.body.contains(&image.config.digest));
        assert_ne!(image.digest, shape.image(198).digest);
    }
}
