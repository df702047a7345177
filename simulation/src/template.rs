//! What every run begins from: a database with an administrator, hosts that have joined, and the task definitions. Made once per
//! process and copied, since hashing a password and signing certificates takes longer than playing a seed.

use crate::kinds::KINDS;
use crate::server::Machine;
use anyhow::{Context as _, Result};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use std::path::Path;
use std::sync::OnceLock;

/// Hosts that have joined; a run starts agents on some of them.
pub const HOSTS_MAX: usize = 4;
/// Ids of the template are the same in every process.
const SEED: u64 = 0xBE57;

/// A host that has joined.
#[derive(Debug, Clone)]
pub struct Membership {
    pub instance: model::ids::InstanceId,
    pub certificate: CertificateDer<'static>,
}

pub struct Template {
    folder: tempfile::TempDir,
    pub token: String,
    pub hosts: Vec<Membership>,
    /// What of the API is there, since it grows: the deployment circuit breaker.
    pub has_breaker: bool,
}

/// The template of this process.
pub fn get() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| std::thread::spawn(make).join().expect("the template is made").expect("the template can be made"))
}

/// A folder of its own for a run, in memory where the system has such a folder: a database syncs with every commit.
pub fn folder() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.context("making a folder")
}

impl Template {
    /// Puts a copy of the database and the master key into `folder`.
    pub fn copy_to(&self, folder: &Path) -> Result<()> {
        for name in ["berth.db", "master.key"] {
            std::fs::copy(self.folder.path().join(name), folder.join(name)).with_context(|| format!("copying {name}"))?;
        }
        Ok(())
    }
}

fn make() -> Result<Template> {
    let folder = folder()?;
    let runtime = crate::server::runtime()?;
    platform::random::seeded::begin(SEED);
    runtime.block_on(async {
        let mut machine = Machine::open(folder.path(), None).await?;
        let mut hosts = Vec::new();
        for at in 0..HOSTS_MAX {
            hosts.push(join(&mut machine, at).await?);
        }
        for (at, kind) in KINDS.iter().enumerate() {
            machine.ecs("RegisterTaskDefinition", &kind.document(at)).await.map_err(anyhow::Error::msg)?;
        }
        let has_breaker = probe_breaker(&machine).await;
        let token = machine.token.clone();
        machine.close().await;
        Ok(Template { folder, token, hosts, has_breaker })
    })
}

async fn join(machine: &mut Machine, at: usize) -> Result<Membership> {
    let token = machine.join_token().await?;
    let key = rcgen::KeyPair::generate()?;
    let request = rcgen::CertificateParams::default().serialize_request(&key)?;
    let body = json!({"token": token, "certificate_request": request.pem()?, "name": format!("host-{at}"),
        "zone": format!("zone-{}", at % 2), "attributes": {}});
    let answer = machine.agent(None, "join", serde_json::to_vec(&body)?).await.map_err(|code| anyhow::anyhow!("join: {code:?}"))?;
    let joined: api::agent::JoinResponse = serde_json::from_slice(&answer)?;
    let certificate = CertificateDer::from_pem_slice(joined.certificate.as_bytes())?;
    Ok(Membership { instance: joined.instance_id, certificate })
}

/// A request that fails for another reason only where the breaker can be set.
async fn probe_breaker(machine: &Machine) -> bool {
    let probe = json!({"service": "nobody", "deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": true, "rollback": true}}});
    match machine.ecs("UpdateService", &probe).await {
        Ok(_) => true,
        Err(error) => error.contains("ServiceNotFound"),
    }
}
