//! `berth repository`: what a repository holds, and its settings.

use crate::failure::{Failure, Result};
use crate::session::Session;
use api::aws;
use api::v1::repositories::{Repository, RepositoryChange, RepositoryDetail, Settings, Sparse, TagOverwrite};
use clap::{Args, Subcommand};
use model::RepositoryName;
use model::repository::{SettingsError, TagPattern};

#[derive(Debug, Subcommand)]
pub enum RepositoryCommand {
    /// Make an empty repository (a push makes one, too)
    #[command(after_help = "\
Examples:
  berth repository create acme/web
  berth repository create acme/web --tag-overwrite nobody --except latest --except 'dev-*' --quota 20GB")]
    Create {
        name: RepositoryName,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Show a repository, what it holds and its settings
    #[command(after_help = "Examples:\n  berth repository show acme/web\n  berth repository show acme/web --json")]
    Show { name: RepositoryName },
    /// Change settings of a repository; takes admin on it
    #[command(after_help = "\
Examples:
  berth repository set acme/web --tag-overwrite nobody --except latest --except 'dev-*'
  berth repository set acme/web --tag-overwrite push --except 'v*'    tags like v1 are immutable, others move
  berth repository set acme/web --quota 20GB
  berth repository set acme/web --quota none
  berth repository set mirrors/debian --sparse accept                 manifests may come before what they name
  berth repository set acme/tools --public                            everybody may pull, without logging in

Tags that nobody may overwrite cannot be deleted either, nor can the manifests under them.")]
    Set {
        name: RepositoryName,
        #[command(flatten)]
        settings: SettingsArgs,
    },
}

#[derive(Debug, Args)]
pub struct SettingsArgs {
    /// Who may move a tag that stands: whoever may push, whoever holds maintain, or nobody
    #[arg(long, value_parser = parse_overwrite, value_name = "push|maintain|nobody")]
    pub tag_overwrite: Option<TagOverwrite>,
    /// Tags for which it is the other way round; may be given several times, and replaces those of before
    #[arg(long, value_name = "PATTERN")]
    pub except: Vec<TagPattern>,
    /// Most bytes of blobs and manifests, for example 20GB or 512MiB; `none` takes the limit away
    #[arg(long, value_parser = parse_quota, value_name = "SIZE|none")]
    pub quota: Option<Quota>,
    /// Whether manifests may name content that is not there
    #[arg(long, value_parser = parse_sparse, value_name = "refuse|accept")]
    pub sparse: Option<Sparse>,
    /// Everybody may pull, without logging in
    #[arg(long, conflicts_with = "private")]
    pub public: bool,
    /// Only who holds a grant may pull
    #[arg(long)]
    pub private: bool,
}

/// What `--quota` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota(Option<u64>);

pub async fn run(session: &Session, command: RepositoryCommand) -> Result<()> {
    match command {
        RepositoryCommand::Create { name, settings } => create(session, &name, settings).await,
        RepositoryCommand::Show { name } => show(session, &name).await,
        RepositoryCommand::Set { name, settings } => set(session, &name, settings).await,
    }
}

async fn create(session: &Session, name: &RepositoryName, settings: SettingsArgs) -> Result<()> {
    session.announce();
    let request = aws::CreateRepositoryRequest { repository_name: name.to_string(), ..aws::CreateRepositoryRequest::default() };
    let made = session.call(&request).await?.repository;
    if let Some(change) = settings.change() {
        let changed: Repository = session.v1.patch(&path(name), &change).await?;
        changed_sentence(session, "made", &changed);
    } else {
        let sentence = format!("made {name}; push to {}", made.repository_uri);
        session.out.done(name.as_str(), &sentence, &serde_json::json!({ "repository": made }));
    }
    Ok(())
}

async fn show(session: &Session, name: &RepositoryName) -> Result<()> {
    let nothing: [(&str, &str); 0] = [];
    let detail: RepositoryDetail = session.v1.get(&path(name), &nothing).await?;
    let RepositoryDetail { repository, used_bytes } = &detail;
    let quota = repository.settings.quota_bytes.map_or_else(|| "none".into(), size);
    let mut pairs = vec![
        ("Name", repository.name.clone()),
        ("Made", format!("{} by {}", repository.created_at, repository.created_by)),
        ("Holds", size(*used_bytes)),
        ("Quota", quota),
    ];
    pairs.extend(policies(&repository.settings));
    session.out.details(name.as_str(), &pairs, &detail);
    Ok(())
}

async fn set(session: &Session, name: &RepositoryName, settings: SettingsArgs) -> Result<()> {
    let change = settings.change().ok_or_else(|| {
        Failure::usage("nothing is to be changed")
            .next("give at least one of --tag-overwrite, --except, --quota, --sparse, --public, --private")
    })?;
    session.announce();
    let changed: Repository = session.v1.patch(&path(name), &change).await?;
    changed_sentence(session, "changed", &changed);
    Ok(())
}

fn changed_sentence(session: &Session, verb: &str, repository: &Repository) {
    let quota = ("quota", repository.settings.quota_bytes.map_or_else(|| "none".into(), size));
    let policies = policies(&repository.settings).into_iter().chain([quota]);
    let said: Vec<String> = policies.map(|(name, value)| format!("{} {value}", name.to_lowercase())).collect();
    let sentence = format!("{verb} {}: {}", repository.name, said.join("; "));
    session.out.done(&repository.name, &sentence, &serde_json::json!({ "repository": repository }));
}

/// The settings in words.
fn policies(settings: &Settings) -> Vec<(&'static str, String)> {
    let except = settings.tag_exceptions.join(" ");
    let tags = match (settings.tag_overwrite, except.is_empty()) {
        (TagOverwrite::Push, true) => "are moved by whoever may push".into(),
        (TagOverwrite::Push, false) => format!("are moved by whoever may push, except {except}, which are immutable"),
        (TagOverwrite::Maintain, true) => "are moved by whoever holds maintain".into(),
        (TagOverwrite::Maintain, false) => format!("are moved by whoever holds maintain, except {except}, by whoever may push"),
        (TagOverwrite::Nobody, true) => "are immutable".into(),
        (TagOverwrite::Nobody, false) => format!("are immutable, except {except}"),
    };
    let sparse = match settings.sparse {
        Sparse::Refuse => "are refused",
        Sparse::Accept => "are accepted",
    };
    let pulled = if settings.public { "by everybody" } else { "with a grant" };
    vec![("Tags", tags), ("Incomplete manifests", sparse.into()), ("Pulled", pulled.into())]
}

impl SettingsArgs {
    /// None when no flag was given.
    fn change(self) -> Option<RepositoryChange> {
        let texts = |patterns: Vec<TagPattern>| patterns.into_iter().map(String::from).collect();
        let change = RepositoryChange {
            tag_overwrite: self.tag_overwrite,
            tag_exceptions: (self.tag_overwrite.is_some() || !self.except.is_empty()).then(|| texts(self.except)),
            quota_bytes: self.quota.map(|Quota(bytes)| bytes),
            sparse: self.sparse,
            public: (self.public || self.private).then_some(self.public),
        };
        (change != RepositoryChange::default()).then_some(change)
    }
}

/// A name in a path.
fn path(name: &RepositoryName) -> String {
    format!("/api/v1/repositories/{}", name.as_str().replace('/', "%2F"))
}

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("B", 1),
];

fn parse_quota(text: &str) -> std::result::Result<Quota, String> {
    if text == "none" {
        return Ok(Quota(None));
    }
    let unit = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (number, bytes) = unit.unwrap_or((text, 1));
    let size = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(bytes));
    size.map(|size| Quota(Some(size))).ok_or_else(|| "a size is a number and B, KB, MB, GB, TB, KiB, MiB, GiB or TiB; or none".to_owned())
}

fn size(bytes: u64) -> String {
    let (unit, per) = UNITS.iter().skip(4).find(|(_, per)| bytes >= *per).unwrap_or(&("B", 1));
    let tenths = u128::from(bytes) * 10 / u128::from(*per);
    if *per == 1 { format!("{bytes} B") } else { format!("{}.{} {unit}", tenths / 10, tenths % 10) }
}

fn parse_overwrite(text: &str) -> std::result::Result<TagOverwrite, SettingsError> {
    text.parse()
}

fn parse_sparse(text: &str) -> std::result::Result<Sparse, SettingsError> {
    text.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in
            [("0", 0), ("17", 17), ("17B", 17), ("20GB", 20_000_000_000), ("512MiB", 512 << 20), ("1 TB", 1_000_000_000_000)]
        {
            assert_eq!(parse_quota(text), Ok(Quota(Some(bytes))), "{text}");
        }
        assert_eq!(parse_quota("none"), Ok(Quota(None)));
        for bad in ["", "GB", "-1", "1.5GB", "1XB", "99999999999TB"] {
            assert!(parse_quota(bad).is_err(), "{bad}");
        }
        for (bytes, text) in [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (20_000_000_000, "20.0 GB"), (u64::MAX, "18446744.0 TB")] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn only_what_is_named_is_changed() {
        let none = || SettingsArgs { tag_overwrite: None, except: vec![], quota: None, sparse: None, public: false, private: false };
        assert_eq!(none().change(), None);
        let private = SettingsArgs { private: true, ..none() }.change();
        assert_eq!(private, Some(RepositoryChange { public: Some(false), ..RepositoryChange::default() }));
        // Saying anew who may move tags says anew for which it is otherwise.
        let overwrite = SettingsArgs { tag_overwrite: Some(TagOverwrite::Nobody), ..none() }.change().unwrap();
        assert_eq!(overwrite.tag_exceptions, Some(vec![]));
    }
}
