//! Identity on real databases: what is stored, what is refused, and that removal acts on the next request.

mod authentication;
mod authority;
mod http;
mod operations;
mod teams;

use crate::operations::grants::{self, Made, Wish};
use crate::operations::{principals, tokens};
use crate::{BootstrapAdmin, Bootstrapped, Caller, Credential, Identity, IdentityConfig, bootstrap};
use ::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use model::access::{Grant, Principal, Role};
use model::clock::ManualClock;
use model::{Clock, Timestamp};
use platform::db::Db;
use platform::db::testing::on_each_database;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// An identity with a first administrator, and its clock.
pub(super) struct Fixture {
    pub identity: Identity,
    pub clock: Arc<ManualClock>,
    pub admin: Caller,
    pub first: Bootstrapped,
    pub db: Db,
    folder: Arc<tempfile::TempDir>,
}

pub(super) const START: Timestamp = Timestamp::from_secs(1_900_000_000);

/// Runs `test` on every kind of database.
pub(super) async fn on_each<F, T>(test: F)
where
    F: Fn(Fixture) -> T,
    T: Future<Output = ()>,
{
    on_each_database(|db| async { test(fixture(db).await).await }).await;
}

/// A fixture on SQLite alone, for what is not about SQL.
pub(super) async fn sqlite() -> (Fixture, tempfile::TempDir) {
    let (db, folder) = platform::db::testing::sqlite().await;
    (fixture(db).await, folder)
}

async fn fixture(db: Db) -> Fixture {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let clock = Arc::new(ManualClock::at(START));
    let identity = open(&db, &folder, &clock).await.unwrap();
    let given = BootstrapAdmin { password: Some("first password".into()), ..BootstrapAdmin::default() };
    let first = bootstrap(&identity, given).await.unwrap().unwrap();
    let admin = Caller::new("user:admin".parse().unwrap(), Credential::Password);
    Fixture { identity, clock, admin, first, db, folder }
}

async fn open(db: &Db, folder: &tempfile::TempDir, clock: &Arc<ManualClock>) -> Result<Identity, crate::IdentityError> {
    let config = IdentityConfig { master_key_file: folder.path().join("master.key") };
    let clock: Arc<dyn Clock> = clock.clone();
    Identity::open(config, db.clone(), clock).await
}

impl Fixture {
    /// Another server on the same database and master key.
    pub async fn second_server(&self) -> Identity {
        open(&self.db, &self.folder, &self.clock).await.unwrap()
    }

    pub async fn principal(&self, text: &str) -> Caller {
        let principal: Principal = text.parse().unwrap();
        principals::create(&self.identity, &self.admin, &principal, None).await.unwrap();
        Caller::new(principal, Credential::Password)
    }

    pub async fn user_with_password(&self, name: &str, password: &str) -> Caller {
        let principal: Principal = format!("user:{name}").parse().unwrap();
        principals::create(&self.identity, &self.admin, &principal, Some(password)).await.unwrap();
        Caller::new(principal, Credential::Password)
    }

    pub async fn grant(&self, caller: &Caller, role: Role, on: &str) -> Grant {
        match grants::create(&self.identity, &self.admin, wish(caller, role, on)).await.unwrap() {
            Made::New(grant) | Made::Stood(grant) => grant,
        }
    }

    pub async fn token(&self, owner: &Caller, life: Option<Duration>) -> (String, String) {
        let wish = tokens::Wish { owner: owner.principal.clone(), label: "test".into(), scope: None, life };
        let (token, secret) = tokens::create(&self.identity, &self.admin, wish).await.unwrap();
        (token.id, secret)
    }
}

pub(super) fn wish(caller: &Caller, role: Role, on: &str) -> Wish {
    let (kind, pattern) = on.split_once(':').unwrap();
    Wish { principal: caller.principal.clone(), role, kind: kind.parse().unwrap(), pattern: pattern.parse().unwrap() }
}

pub(super) fn basic(user: &str, password: &str) -> HeaderMap {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    authorization(&format!("Basic {encoded}"))
}

pub(super) fn bearer(secret: &str) -> HeaderMap {
    authorization(&format!("Bearer {secret}"))
}

pub(super) fn authorization(value: &str) -> HeaderMap {
    HeaderMap::from_iter([(::http::header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
}
