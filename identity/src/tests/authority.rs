//! The private authority: one per control plane, certificates that say what they should, join tokens that work once.

use super::*;
use crate::authority::{self, AGENT_CERTIFICATE_LIFE, Authority, AuthorityError};
use crate::join_tokens;
use model::ids::{ClusterName, InstanceId};
use platform::db::DbError;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer as _, X509Certificate};

fn request() -> String {
    let mut params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

#[tokio::test]
async fn there_is_one_authority_and_it_survives_restarts() {
    on_each(|f| async move {
        let first = Authority::open(&f.identity).await.unwrap();
        let second = Authority::open(&f.second_server().await).await.unwrap();
        assert_eq!(first.authority_pem(), second.authority_pem());
        assert_eq!(first.fingerprint(), second.fingerprint());
        assert_eq!(first.fingerprint().len(), 64);
        assert!(!first.authority_pem().contains("PRIVATE"));
    })
    .await;
}

#[tokio::test]
async fn agent_certificates_name_their_instance_and_nothing_the_request_says() {
    on_each(|f| async move {
        let authority = Authority::open(&f.identity).await.unwrap();
        let instance = InstanceId::from_random(7);
        let issued = authority.issue_agent(&request(), &instance).await.unwrap();
        assert_eq!(issued.expires_at, START.plus(AGENT_CERTIFICATE_LIFE));
        let der = der(&issued.pem);
        let peer = authority::peer_of(&der).unwrap();
        assert_eq!((peer.instance, peer.serial.as_str()), (instance.clone(), issued.serial.as_str()));
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        assert!(!certificate.is_ca());
        assert!(!issued.pem.contains("evil"));
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 1);
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
        let ca = super::authority::der(authority.authority_pem());
        let (_, ca) = X509Certificate::from_der(&ca).unwrap();
        certificate.verify_signature(Some(ca.public_key())).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(super::authority::der(authority.authority_pem())).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let listener = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let at = |time: Timestamp| rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(time.as_secs().unsigned_abs()));
        listener.verify_client_cert(&der, &[], at(START)).unwrap();
        assert!(listener.verify_client_cert(&der, &[], at(issued.expires_at.plus(Duration::from_secs(1)))).is_err());
        // Revoked with all its sisters.
        let sister = authority.issue_agent(&request(), &instance).await.unwrap();
        assert!(!authority.is_revoked(&issued.serial).await.unwrap());
        let now = f.identity.now();
        let revoked = f.db.write(move |tx| {
            let instance = instance.clone();
            Box::pin(async move { authority::revoke(tx, &instance, now).await })
        });
        assert_eq!(revoked.await.unwrap(), 2);
        assert!(authority.is_revoked(&issued.serial).await.unwrap() && authority.is_revoked(&sister.serial).await.unwrap());
        assert!(!authority.is_revoked("00").await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn requests_that_cannot_be_read_are_refused() {
    let (f, _folder) = sqlite().await;
    let authority = Authority::open(&f.identity).await.unwrap();
    for bad in [String::new(), "no PEM".into(), request().replace('M', "N"), "x".repeat(100_000)] {
        assert!(matches!(authority.sign_agent(&bad, &InstanceId::from_random(1)), Err(AuthorityError::Request(_))));
    }
    assert!(authority::peer_of(b"no DER").is_err());
    assert!(authority::peer_of(&der(authority.authority_pem())).is_err());
}

#[tokio::test]
async fn a_server_with_its_certificate_is_trusted_by_who_trusts_the_authority() {
    let (f, _folder) = sqlite().await;
    let authority = Authority::open(&f.identity).await.unwrap();
    let issued = authority.issue_server(&["localhost".into(), "127.0.0.1".into()]).unwrap();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes()).collect::<Result<_, _>>().unwrap();
    assert_eq!(chain.len(), 2);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der(authority.authority_pem())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let at = rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(START.as_secs().unsigned_abs()));
    let check = |name: &str| {
        use rustls::client::danger::ServerCertVerifier as _;
        verifier.verify_server_cert(&chain[0], &chain[1..], &name.to_owned().try_into().unwrap(), &[], at)
    };
    check("localhost").unwrap();
    check("127.0.0.1").unwrap();
    assert!(check("other.example").is_err());
    assert!(authority.issue_server(&[]).is_err());
    assert!(authority.issue_server(&["not a name".into()]).is_err());
}

#[tokio::test]
async fn join_tokens_work_once_and_in_time() {
    on_each(|f| async move {
        let cluster: ClusterName = "prod".parse().unwrap();
        let make = |life| join_tokens::create(&f.identity, &cluster, life, "user:admin");
        let (token, text) = make(Duration::from_mins(15)).await.unwrap();
        let (_, late) = make(Duration::from_mins(1)).await.unwrap();
        assert_eq!(text.split_once('.').unwrap().1, Authority::open(&f.identity).await.unwrap().fingerprint());
        let consume = |text: String| {
            let (db, now) = (f.db.clone(), f.identity.now());
            async move {
                let used = db.write(move |tx| {
                    let text = text.clone();
                    Box::pin(async move { join_tokens::consume(tx, &text, now).await })
                });
                used.await.map_err(|error: DbError| error.to_string()).unwrap()
            }
        };
        f.clock.advance(Duration::from_mins(1));
        assert_eq!(consume(late).await, None);
        assert_eq!(consume("bjt_wrong".into()).await, None);
        assert_eq!(consume(text.clone()).await, Some(cluster.clone()));
        assert_eq!(consume(text).await, None);
        let list = join_tokens::list(&f.identity, "", 10).await.unwrap();
        assert_eq!(list.iter().filter(|token| token.used_at.is_some()).map(|token| &token.id).collect::<Vec<_>>(), [&token.id]);
        join_tokens::delete(&f.identity, &token.id, "user:admin").await.unwrap();
        assert!(join_tokens::delete(&f.identity, &token.id, "user:admin").await.is_err());
    })
    .await;
}
