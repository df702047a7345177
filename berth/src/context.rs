//! The client's contexts: which server, with which token. A TOML file of mode 0600, `~/.config/berth/config.toml`.
//!
//! `BERTH_CONFIG` names another file; `BERTH_CONTEXT`, `BERTH_SERVER` and `BERTH_TOKEN` (or the flags) override what it says.
//! A token is never sent to another server than the one it was made for.

use crate::failure::{Exit, Failure, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Name of the context that `berth up` writes.
pub const LOCAL: &str = "local";

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

/// One server and who we are there.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    pub server: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Id of the token, so that logging out can revoke it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// `user:alice`, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Certificate of the server's private authority, PEM, when its name is not certified publicly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("server", &self.server).field("token_id", &self.token_id).finish_non_exhaustive()
    }
}

/// What flags and environment say.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    pub context: Option<String>,
    pub server: Option<String>,
    pub token: Option<String>,
}

/// The file's path: `BERTH_CONFIG`, else below `XDG_CONFIG_HOME`, else below `HOME`.
pub fn path() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("BERTH_CONFIG").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let base = std::env::var_os("XDG_CONFIG_HOME").filter(|base| !base.is_empty()).map(PathBuf::from);
    let home = || std::env::home_dir().map(|home| home.join(".config"));
    let base = base
        .or_else(home)
        .ok_or_else(|| Failure::error("there is no home folder for the configuration").next("set BERTH_CONFIG to a file"))?;
    Ok(base.join("berth").join("config.toml"))
}

impl ContextFile {
    /// Reads the file; an absent one is empty.
    pub fn load(path: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::error(format!("cannot read {}", path.display())).why(error)),
        };
        toml::from_str(&text).map_err(|error| {
            Failure::error(format!("cannot read {}", path.display()))
                .why(error)
                .next("correct the file, or move it away and run `berth login`")
        })
    }

    /// Writes the file whole or not at all, readable by its owner only.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = toml::to_string(self).map_err(|error| Failure::error("cannot write the configuration").why(error))?;
        write_private(path, text.as_bytes()).map_err(|error| Failure::error(format!("cannot write {}", path.display())).why(error))
    }

    /// What to connect to, by flags, then environment (both in `overrides`), then the current context.
    pub fn select(&self, overrides: &Overrides) -> Result<(String, Context)> {
        let (name, mut context) = match (&overrides.context, &overrides.server) {
            (Some(name), _) => (name.clone(), self.named(name)?.clone()),
            (None, Some(server)) => self.of_server(server),
            (None, None) => self.current_context()?,
        };
        if let Some(server) = &overrides.server
            && !same_server(server, &context.server)
        {
            context = Context { server: server.clone(), ..Context::default() };
        }
        if let Some(token) = &overrides.token {
            context.token = Some(token.clone());
        }
        Ok((name, context))
    }

    pub fn named(&self, name: &str) -> Result<&Context> {
        self.contexts.get(name).ok_or_else(|| {
            Failure::new(Exit::NotFound, format!("there is no context `{name}`"))
                .next("`berth context ls` lists them, `berth login SERVER` makes one")
        })
    }

    fn of_server(&self, server: &str) -> (String, Context) {
        let known = self.contexts.iter().find(|(_, context)| same_server(&context.server, server));
        known.map_or_else(
            || (server.to_owned(), Context { server: server.to_owned(), ..Context::default() }),
            |(name, context)| (name.clone(), context.clone()),
        )
    }

    fn current_context(&self) -> Result<(String, Context)> {
        let Some(name) = &self.current else {
            return Err(Failure::new(Exit::Denied, "there is no server to talk to")
                .why("no context is chosen, and neither --server nor BERTH_SERVER is set")
                .next("`berth up` starts a server here; `berth login http://HOST:PORT` logs in to one"));
        };
        Ok((name.clone(), self.named(name)?.clone()))
    }
}

fn same_server(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// Writes `bytes` to a new file beside `path` (mode 0600, folders 0700), syncs it and moves it into place.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = folder.join(name);
    let _ = std::fs::remove_file(&beside);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn file() -> ContextFile {
        let context = |server: &str, token: &str| Context { server: server.into(), token: Some(token.into()), ..Context::default() };
        ContextFile {
            current: Some("local".into()),
            contexts: [("local".into(), context("http://127.0.0.1:5000", "a")), ("prod".into(), context("https://prod", "b"))].into(),
        }
    }

    fn selected(overrides: &Overrides) -> (String, String, Option<String>) {
        let (name, context) = file().select(overrides).unwrap();
        (name, context.server, context.token)
    }

    #[test]
    fn flags_win_over_the_current_context() {
        let none = Overrides::default();
        assert_eq!(selected(&none), ("local".into(), "http://127.0.0.1:5000".into(), Some("a".into())));
        let named = Overrides { context: Some("prod".into()), ..none.clone() };
        assert_eq!(selected(&named), ("prod".into(), "https://prod".into(), Some("b".into())));
        let server = Overrides { server: Some("https://prod/".into()), ..none.clone() };
        assert_eq!(selected(&server).2, Some("b".into()));
        let token = Overrides { token: Some("c".into()), ..none };
        assert_eq!(selected(&token).2, Some("c".into()));
    }

    #[test]
    fn a_token_is_not_sent_to_another_server() {
        let elsewhere = Overrides { server: Some("http://evil".into()), ..Overrides::default() };
        assert_eq!(selected(&elsewhere), ("http://evil".into(), "http://evil".into(), None));
        let mixed = Overrides { context: Some("prod".into()), server: Some("http://evil".into()), token: None };
        assert_eq!(selected(&mixed).2, None);
    }

    #[test]
    fn unknown_contexts_and_none_at_all_are_told_apart() {
        let unknown = Overrides { context: Some("x".into()), ..Overrides::default() };
        assert_eq!(file().select(&unknown).unwrap_err().exit(), Exit::NotFound);
        assert_eq!(ContextFile::default().select(&Overrides::default()).unwrap_err().exit(), Exit::Denied);
    }

    #[test]
    fn the_file_is_private_and_round_trips() {
        let folder = std::env::temp_dir().join(format!("berth-context-{}", platform::random::bits64()));
        let path = folder.join("deep/config.toml");
        assert_eq!(ContextFile::load(&path).unwrap(), ContextFile::default());
        file().save(&path).unwrap();
        file().save(&path).unwrap();
        assert_eq!(ContextFile::load(&path).unwrap(), file());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "current = 3").unwrap();
        assert!(ContextFile::load(&path).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn tokens_are_not_debug_printed() {
        assert!(!format!("{:?}", file()).contains("\"a\""));
    }
}
