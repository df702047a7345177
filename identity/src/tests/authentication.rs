//! Every way to show who one is, and that each ends when it should.

use super::*;
use crate::operations::access_keys;
use crate::secrets::ECR_PASSWORD_PREFIX;
use crate::{AuthError, ECR_PASSWORD_LIFE, REGISTRY_TOKEN_LIFE, RegistryAction, decide, ecr_password, registry_token};
use model::access::Resource;

async fn error(f: &Fixture, headers: &HeaderMap) -> AuthError {
    f.identity.authenticate_registry(headers, None).await.unwrap_err()
}

#[tokio::test]
async fn passwords_and_tokens_authenticate_by_basic_and_bearer() {
    let (f, _folder) = sqlite().await;
    let alice = f.user_with_password("alice", "pass:word with colon").await;
    let robot = f.principal("robot:ci").await;
    let (id, secret) = f.token(&robot, None).await;
    let found = f.identity.authenticate(&basic("alice", "pass:word with colon"), None).await.unwrap();
    assert_eq!((found.principal, found.credential), (alice.principal, Credential::Password));
    for headers in [bearer(&secret), basic("ci", &secret), basic("robot+ci", &secret), authorization(&format!("bearer {secret}"))] {
        let found = f.identity.authenticate(&headers, None).await.unwrap();
        assert_eq!((found.principal, found.credential), (robot.principal.clone(), Credential::Token { id: id.clone() }));
    }
}

#[tokio::test]
async fn bad_credentials_are_bad_and_none_are_missing() {
    let (f, _folder) = sqlite().await;
    f.user_with_password("alice", "her password").await;
    let (_, secret) = f.token(&f.admin, None).await;
    assert_eq!(error(&f, &HeaderMap::new()).await, AuthError::Missing);
    let mut twice = bearer(&secret);
    twice.append(::http::header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    for (at, headers) in [
        basic("alice", "wrong"),
        basic("alice", ""),
        basic("nobody", "her password"),
        basic("ALICE", "her password"),
        basic("", "her password"),
        basic("alice", &"x".repeat(2000)),
        // Somebody else's token as one's password.
        basic("alice", &secret),
        bearer("berth_unknown"),
        bearer("brt_AAAA"),
        bearer(""),
        basic("AWS", "bep_AAAA"),
        authorization("Basic !!!"),
        authorization("Basic YWxpY2U="),
        authorization("Negotiate x"),
        authorization("Basic"),
        authorization(&format!("Bearer {}", "x".repeat(20_000))),
        twice,
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(error(&f, &headers).await, AuthError::Bad, "case {at}");
    }
}

#[tokio::test]
async fn tokens_expire_and_are_revoked_even_when_hot() {
    let (f, _folder) = sqlite().await;
    let (_, short) = f.token(&f.admin, Some(Duration::from_mins(1))).await;
    let (id, long) = f.token(&f.admin, None).await;
    for secret in [&short, &long] {
        f.identity.authenticate(&bearer(secret), None).await.unwrap();
    }
    f.clock.advance(Duration::from_mins(1));
    assert_eq!(error(&f, &bearer(&short)).await, AuthError::Expired);
    f.identity.authenticate(&bearer(&long), None).await.unwrap();
    tokens::revoke(&f.identity, &f.admin, &id).await.unwrap();
    assert_eq!(error(&f, &bearer(&long)).await, AuthError::Bad);
}

#[tokio::test]
async fn a_known_header_is_answered_without_hashing_the_password_again() {
    let (f, _folder) = sqlite().await;
    f.user_with_password("alice", "her password").await;
    let headers = basic("alice", "her password");
    let first = f.identity.authenticate_registry(&headers, None).await.unwrap();
    let second = f.identity.authenticate_registry(&headers, None).await.unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    // Any change of identity makes it look again.
    f.principal("user:bob").await;
    let third = f.identity.authenticate_registry(&headers, None).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &third));
}

#[tokio::test]
async fn registry_tokens_carry_what_was_granted_and_end_with_their_credential() {
    on_each(|f| async move {
        let alice = f.user_with_password("alice", "her password").await;
        f.grant(&alice, Role::Push, "repository:acme/**").await;
        let snapshot = f.identity.snapshot().await.unwrap();
        let granted = registry_token::Granted { access: vec![("acme/web".parse().unwrap(), vec![RegistryAction::Pull])], catalog: false };
        let (token, _) = registry_token::issue(&f.identity, &snapshot, &alice, granted, f.identity.now());
        let found = f.identity.authenticate_registry(&bearer(&token), None).await.unwrap();
        assert_eq!(found.caller.principal, alice.principal);
        assert!(found.token_allows("acme/web", RegistryAction::Pull));
        assert!(!found.token_allows("acme/web", RegistryAction::Push));
        assert!(!found.token_allows("acme/api", RegistryAction::Pull));
        assert!(!found.token_allows_catalog());
        // Not good for the API, nor as an ECR password.
        assert_eq!(f.identity.authenticate(&bearer(&token), None).await, Err(AuthError::Bad));
        let as_ecr = token.replacen("brt_", ECR_PASSWORD_PREFIX, 1);
        assert_eq!(error(&f, &basic("AWS", &as_ecr)).await, AuthError::Bad);
        // Altered in the middle.
        let mut altered = token.clone().into_bytes();
        let middle = altered.len() / 2;
        altered[middle] = if altered[middle] == b'A' { b'B' } else { b'A' };
        assert_eq!(error(&f, &bearer(&String::from_utf8(altered).unwrap())).await, AuthError::Bad);
        // Another password ends the tokens made with the old one.
        principals::set_password(&f.identity, &f.admin, &alice.principal, "another password", None).await.unwrap();
        assert_eq!(error(&f, &bearer(&token)).await, AuthError::Bad);
    })
    .await;
}

#[tokio::test]
async fn registry_tokens_expire() {
    let (f, _folder) = sqlite().await;
    let snapshot = f.identity.snapshot().await.unwrap();
    let (token, _) = registry_token::issue(&f.identity, &snapshot, &f.admin, registry_token::Granted::default(), f.identity.now());
    f.clock.advance(Duration::from_secs(REGISTRY_TOKEN_LIFE.as_secs() - 1));
    f.identity.authenticate_registry(&bearer(&token), None).await.unwrap();
    f.clock.advance(Duration::from_secs(1));
    assert_eq!(error(&f, &bearer(&token)).await, AuthError::Expired);
}

#[tokio::test]
async fn ecr_passwords_log_in_as_aws_until_their_access_key_is_revoked() {
    let (f, _folder) = sqlite().await;
    let alice = f.principal("user:alice").await;
    let (key, _) = access_keys::create(&f.identity, &f.admin, &alice.principal).await.unwrap();
    let by_key = Caller { credential: Credential::AccessKey { id: key.id.clone() }, ..alice.clone() };
    let (password, expires_at) = ecr_password(&f.identity, &by_key).await.unwrap();
    assert_eq!(expires_at, START.plus(ECR_PASSWORD_LIFE));
    assert!(!password.contains(':'));
    assert_eq!(f.identity.authenticate(&basic("AWS", &password), None).await.unwrap(), by_key);
    assert_eq!(error(&f, &basic("alice", &password)).await, AuthError::Bad);
    assert_eq!(error(&f, &bearer(&password)).await, AuthError::Bad);
    access_keys::revoke(&f.identity, &f.admin, &key.id).await.unwrap();
    assert_eq!(error(&f, &basic("AWS", &password)).await, AuthError::Bad);
}

#[tokio::test]
async fn what_a_token_makes_ends_with_it_and_stays_as_narrow() {
    let (f, _folder) = sqlite().await;
    let (_, secret) = f.token(&f.admin, Some(Duration::from_hours(1))).await;
    let caller = f.identity.authenticate(&bearer(&secret), None).await.unwrap();
    let (password, expires_at) = ecr_password(&f.identity, &caller).await.unwrap();
    assert_eq!(expires_at, START.plus(Duration::from_hours(1)));
    f.clock.advance(Duration::from_hours(1));
    assert_eq!(error(&f, &basic("AWS", &password)).await, AuthError::Expired);

    let rule = crate::ScopeRule { role: Role::Pull, kind: model::access::ResourceKind::Repository, pattern: "a".parse().unwrap() };
    let wish = tokens::Wish { owner: f.admin.principal.clone(), label: "n".into(), scope: Some(vec![rule]), life: None };
    let (_, secret) = tokens::create(&f.identity, &f.admin, wish).await.unwrap();
    let narrowed = f.identity.authenticate(&bearer(&secret), None).await.unwrap();
    let (password, _) = ecr_password(&f.identity, &narrowed).await.unwrap();
    let found = f.identity.authenticate(&basic("AWS", &password), None).await.unwrap();
    let snapshot = f.identity.snapshot().await.unwrap();
    assert!(decide(&snapshot, &found, Role::Pull, &Resource::repository("a")).allowed);
    assert!(!decide(&snapshot, &found, Role::Push, &Resource::repository("a")).allowed);
}

#[tokio::test]
async fn aws_requests_authenticate_by_signature_or_bearer() {
    let (f, _folder) = sqlite().await;
    let method = ::http::Method::POST;
    let uri = ::http::Uri::from_static("/");
    let ask = |headers: HeaderMap| {
        let (identity, method, uri) = (f.identity.clone(), method.clone(), uri.clone());
        async move {
            identity.authenticate_aws(&method, &uri, &headers, b"{}", "ecs", None).await.map_err(|error| (error.code(), error.status()))
        }
    };
    assert_eq!(ask(bearer(&f.first.token)).await.unwrap().principal, f.admin.principal);
    assert_eq!(ask(HeaderMap::new()).await, Err(("MissingAuthenticationTokenException", 400)));
    assert_eq!(ask(bearer("berth_unknown")).await, Err(("UnrecognizedClientException", 400)));
    assert_eq!(ask(basic("admin", "first password")).await, Err(("IncompleteSignatureException", 400)));
    let (_, short) = f.token(&f.admin, Some(Duration::from_secs(1))).await;
    f.clock.advance(Duration::from_secs(1));
    assert_eq!(ask(bearer(&short)).await, Err(("ExpiredTokenException", 400)));
    let signed = |id: &str| {
        let credential = format!("Credential={id}/20300317/eu-anywhere-1/ecs/aws4_request");
        let mut headers = authorization(&format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=host;x-amz-date, Signature=00"));
        headers.insert("host", HeaderValue::from_static("127.0.0.1:5000"));
        headers.insert("x-amz-date", HeaderValue::from_static("20300317T174640Z"));
        headers
    };
    assert_eq!(ask(signed("AKIAUNKNOWN")).await, Err(("UnrecognizedClientException", 400)));
    assert_eq!(ask(signed(&f.first.access_key_id)).await, Err(("InvalidSignatureException", 400)));
    let mut session = signed(&f.first.access_key_id);
    session.insert("x-amz-security-token", HeaderValue::from_static("x"));
    assert_eq!(ask(session).await, Err(("UnrecognizedClientException", 400)));
    let good = crate::sigv4::sign_for_tests(signed(&f.first.access_key_id), &f.first.secret_access_key, b"{}");
    let found = ask(good.clone()).await.unwrap();
    assert_eq!(found.credential, Credential::AccessKey { id: f.first.access_key_id.clone() });
    access_keys::revoke(&f.identity, &f.admin, &f.first.access_key_id).await.unwrap();
    assert_eq!(ask(good).await, Err(("UnrecognizedClientException", 400)));
}

/// Lets delays pass at once, until what it gives is called. Nothing may read the database meanwhile: its time-outs would pass too.
async fn pause(f: &Fixture) -> impl FnOnce() + use<> {
    f.identity.snapshot().await.unwrap();
    tokio::time::pause();
    tokio::time::resume
}

/// Ten wrong passwords: that name is closed to that address, the right password and all, and to nobody else.
#[tokio::test]
async fn who_guesses_passwords_is_locked_out_and_nobody_else() {
    let (f, _folder) = sqlite().await;
    let alice = f.user_with_password("alice", "her password").await;
    let (_, secret) = f.token(&alice, None).await;
    let (there, elsewhere) = (Some("10.0.0.1".parse().unwrap()), Some("10.0.0.2".parse().unwrap()));
    let paused = pause(&f).await;
    for _ in 0..10 {
        assert_eq!(f.identity.authenticate(&basic("alice", "a guess"), there).await, Err(AuthError::Bad));
    }
    for password in ["a guess", "her password"] {
        assert!(matches!(f.identity.authenticate(&basic("alice", password), there).await, Err(AuthError::Later { .. })), "{password}");
    }
    assert!(f.identity.authenticate(&bearer(&secret), there).await.is_ok(), "tokens are not guessed");
    assert!(f.identity.authenticate(&basic("alice", "her password"), elsewhere).await.is_ok());
    paused();
    f.clock.advance(Duration::from_mins(16));
    f.principal("user:bob").await;
    assert!(f.identity.authenticate(&basic("alice", "her password"), there).await.is_ok());
}

/// Guesses sent at once do not all get in before the first one is counted.
#[tokio::test]
async fn guesses_at_the_same_time_are_counted_one_after_the_other() {
    let (f, _folder) = sqlite().await;
    f.user_with_password("alice", "her password").await;
    let there = Some("10.0.0.1".parse().unwrap());
    let paused = pause(&f).await;
    let guesses = (0..40).map(|at| {
        let identity = f.identity.clone();
        async move { identity.authenticate(&basic("alice", &format!("guess {at}")), there).await }
    });
    let answers = futures_util::future::join_all(guesses).await;
    paused();
    assert_eq!(answers.iter().filter(|answer| **answer == Err(AuthError::Bad)).count(), 10);
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Err(AuthError::Later { .. }))).count(), 30);
}

#[tokio::test]
async fn requests_of_a_principal_are_limited_where_that_is_wanted() {
    let (f, _folder) = sqlite().await;
    let (alice, bob) = (f.principal("user:alice").await, f.principal("user:bob").await);
    let (alice, bob) = (f.token(&alice, None).await.1, f.token(&bob, None).await.1);
    f.identity.limit_requests(5);
    let allowed = |secret: &str| {
        let (identity, headers) = (f.identity.clone(), bearer(secret));
        async move {
            let mut allowed = 0;
            for _ in 0..50 {
                match identity.authenticate(&headers, None).await {
                    Ok(_) => allowed += 1,
                    Err(error) => assert!(matches!(error, AuthError::Later { .. }), "{error:?}"),
                }
            }
            allowed
        }
    };
    assert_eq!(allowed(&alice).await, 10);
    assert_eq!(allowed(&bob).await, 10, "everybody has a budget of their own");
    assert_eq!(allowed(&alice).await, 0);
    f.clock.advance(Duration::from_secs(1));
    assert_eq!(allowed(&alice).await, 5);
}
