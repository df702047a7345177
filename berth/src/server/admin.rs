//! The first administrator: made at the first start, its credentials kept in `DIR/admin.json` (0600) and printed once.
//!
//! The file is written before the database knows them, and completed after, so that no crash in between loses a password.

use crate::context::write_private;
use crate::failure::{Exit, Failure, Result};
use identity::{BootstrapAdmin, Identity};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// `DIR/admin.json`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminFile {
    pub user: String,
    pub password: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    /// For the local command line; missing when the first start was cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl AdminFile {
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("admin.json")
    }

    /// Reads the file; `None` when this data folder has none.
    pub fn load(data_dir: &Path) -> Result<Option<Self>> {
        let path = Self::path(data_dir);
        let failed = |error: &dyn std::fmt::Display| Failure::error(format!("cannot read {}", path.display())).why(error);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(&error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    fn save(&self, data_dir: &Path) -> Result<()> {
        let path = Self::path(data_dir);
        let bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        write_private(&path, &bytes).map_err(|error| Failure::error(format!("cannot write {}", path.display())).why(error))
    }
}

/// Makes the first administrator when there is nobody yet.
pub async fn ensure(identity: &Identity, data_dir: &Path) -> Result<()> {
    let snapshot = identity.snapshot().await.map_err(super::failed("cannot read who there is"))?;
    if snapshot.principals().next().is_some() {
        return Ok(());
    }
    let mut file = match AdminFile::load(data_dir)? {
        Some(file) => file,
        None => chosen(|name| std::env::var(name).ok().filter(|value| !value.is_empty())),
    };
    file.token = None;
    file.save(data_dir)?;
    let admin = BootstrapAdmin {
        user: Some(file.user.clone()),
        password: Some(file.password.clone()),
        access_key_id: Some(file.access_key_id.clone()),
        secret_access_key: Some(file.secret_access_key.clone()),
    };
    let made = identity::bootstrap(identity, admin).await.map_err(|error| {
        let _ = std::fs::remove_file(AdminFile::path(data_dir));
        Failure::new(Exit::Usage, "cannot make the first administrator")
            .why(error)
            .next("correct BERTH_ADMIN_USER, BERTH_ADMIN_PASSWORD, BERTH_ADMIN_ACCESS_KEY_ID or BERTH_ADMIN_SECRET_ACCESS_KEY")
    })?;
    match made {
        Some(made) => {
            file.token = Some(made.token);
            file.save(data_dir)?;
            announce(&file, data_dir);
        }
        // Another server on this database was first.
        None => std::fs::remove_file(AdminFile::path(data_dir))?,
    }
    Ok(())
}

/// What the environment says, and random values for the rest.
fn chosen(variable: impl Fn(&str) -> Option<String>) -> AdminFile {
    let random = |bytes: &[u8]| hex::encode(bytes);
    AdminFile {
        user: variable("BERTH_ADMIN_USER").unwrap_or_else(|| "admin".into()),
        password: variable("BERTH_ADMIN_PASSWORD").unwrap_or_else(|| random(&platform::random::bytes::<12>())),
        access_key_id: variable("BERTH_ADMIN_ACCESS_KEY_ID").unwrap_or_else(|| format!("AKIA{:016X}", platform::random::bits64())),
        secret_access_key: variable("BERTH_ADMIN_SECRET_ACCESS_KEY").unwrap_or_else(|| random(&platform::random::bytes::<20>())),
        token: None,
    }
}

/// Once, at the first start. Not through the log, which may be kept; and only a password that nobody chose.
fn announce(file: &AdminFile, data_dir: &Path) {
    let chosen = std::env::var("BERTH_ADMIN_PASSWORD").is_ok_and(|password| password == file.password);
    let password = if chosen { "that was given" } else { file.password.as_str() };
    crate::output::remark(&format!(
        "first administrator: {} with password {}   (shown this once; saved in {})",
        file.user,
        password,
        AdminFile::path(data_dir).display()
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_environment_wins_over_random_values() {
        let file = chosen(|name| (name == "BERTH_ADMIN_PASSWORD").then(|| "correct horse".into()));
        assert_eq!((file.user.as_str(), file.password.as_str()), ("admin", "correct horse"));
        assert_eq!(file.access_key_id.len(), 20);
        assert_eq!(file.secret_access_key.len(), 40);
    }

    #[tokio::test]
    async fn the_first_administrator_is_made_once_and_kept_privately() {
        let dir = std::env::temp_dir().join(format!("berth-admin-{}", platform::random::bits64()));
        std::fs::create_dir_all(&dir).unwrap();
        let db = platform::db::Db::open(&platform::db::DatabaseUrl::Sqlite(dir.join("berth.db"))).await.unwrap();
        let config = identity::IdentityConfig { master_key_file: dir.join("master.key") };
        let clock = std::sync::Arc::new(model::clock::SystemClock);
        let identity = Identity::open(config, db, clock).await.unwrap();
        // A first start that was cut off: the file stands, the database knows nobody.
        let cut_off = AdminFile { password: "kept password".into(), ..chosen(|_| None) };
        cut_off.save(&dir).unwrap();
        ensure(&identity, &dir).await.unwrap();
        let made = AdminFile::load(&dir).unwrap().unwrap();
        assert_eq!(made.password, "kept password");
        assert!(made.token.is_some());
        assert_eq!(std::fs::metadata(AdminFile::path(&dir)).unwrap().permissions().mode() & 0o777, 0o600);
        ensure(&identity, &dir).await.unwrap();
        assert_eq!(AdminFile::load(&dir).unwrap().unwrap().token, made.token);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
