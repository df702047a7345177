//! Who may do what, and what those who may not get to see.

use crate::world::{Answer, IMAGE, World, on_each, sha256};
use http::{Method, StatusCode};
use model::access::Role;
use tower::ServiceExt as _;

#[tokio::test]
async fn nobody_is_challenged() {
    on_each(|world| async move {
        let answer = world.get("/v2/").without("authorization").send().await;
        answer.is(401, "UNAUTHORIZED");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"http://registry.test:5000/token\",service=\"berth\"");
        assert_eq!(world.get("/v2/").send().await.status, StatusCode::OK);
        for (method, path, scope) in [
            (Method::GET, "/v2/acme/web/manifests/v1", "repository:acme/web:pull"),
            (Method::POST, "/v2/acme/web/blobs/uploads/", "repository:acme/web:pull,push"),
            (Method::DELETE, "/v2/acme/web/manifests/v1", "repository:acme/web:delete"),
            (Method::GET, "/v2/_catalog", "registry:catalog:*"),
        ] {
            let answer = world.ask(method, path).without("authorization").send().await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            assert!(answer.header("www-authenticate").ends_with(&format!(",scope=\"{scope}\"")), "{answer:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn bad_credentials_are_never_nobody() {
    on_each(|world| async move {
        for credentials in ["Bearer nonsense", "Basic cm9vdDp3cm9uZw==", "Basic !", "Nonsense x"] {
            let answer = world.get("/v2/").by(credentials).send().await;
            answer.is(401, "UNAUTHORIZED");
            assert!(answer.header("www-authenticate").ends_with("error=\"invalid_token\""));
        }
        // A host that could break out of the header is not repeated.
        let answer = world.get("/v2/").without("authorization").with("host", "a\"b").send().await;
        assert!(!answer.header("www-authenticate").contains("a\"b"));
    })
    .await;
}

#[tokio::test]
async fn basic_works_on_every_request() {
    on_each(|world| async move {
        world.user("dev", Role::Push, "**").await;
        let basic = "Basic ZGV2OmxvbmcgZW5vdWdoIHBhc3N3b3Jk";
        assert_eq!(world.get("/v2/").by(basic).send().await.status, StatusCode::OK);
        assert_eq!(world.post("/v2/a/blobs/uploads/").by(basic).send().await.status, StatusCode::ACCEPTED);
    })
    .await;
}

/// `Authorization` by a registry token of user `dev`, asked for with `scope`.
async fn registry_token(world: &World, scope: &str) -> String {
    let router = axum::Router::from(identity::router(world.identity.clone()));
    let request = http::Request::get(format!("/token?service=berth&scope={scope}"));
    let request = request.header("authorization", "Basic ZGV2OmxvbmcgZW5vdWdoIHBhc3N3b3Jk");
    let answer = Answer::of(router.oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap()).await;
    format!("Bearer {}", answer.json()["token"].as_str().unwrap())
}

#[tokio::test]
async fn a_token_narrows_and_says_what_is_missing() {
    on_each(|world| async move {
        world.image("acme/web", "v1", b"layer").await;
        world.user("dev", Role::Push, "acme/*").await;
        let token = |scope: &'static str| registry_token(&world, scope);
        let pull = token("repository:acme/web:pull").await;
        assert_eq!(world.get("/v2/acme/web/manifests/v1").by(&pull).send().await.status, StatusCode::OK);
        let answer = world.post("/v2/acme/web/blobs/uploads/").by(&pull).send().await;
        answer.is(401, "UNAUTHORIZED");
        assert!(answer.header("www-authenticate").ends_with(",scope=\"repository:acme/web:pull,push\",error=\"insufficient_scope\""));
        // Another repository: not granted, though its owner may.
        assert_eq!(world.get("/v2/acme/api/manifests/v1").by(&pull).send().await.status, StatusCode::UNAUTHORIZED);
        let push = token("repository:acme/web:pull,push").await;
        assert_eq!(world.post("/v2/acme/web/blobs/uploads/").by(&push).send().await.status, StatusCode::ACCEPTED);
        // Asked for more than there is: the token says less, and the grants decide.
        let delete = token("repository:acme/web:delete").await;
        world.delete("/v2/acme/web/manifests/v1").by(&delete).send().await.is(403, "DENIED");
    })
    .await;
}

#[tokio::test]
async fn a_token_for_the_target_mounts_what_its_owner_may_pull() {
    on_each(|world| async move {
        // As clients do that ask for the scope which the first 401 named: it can name no source.
        let (own, foreign) = (world.blob("acme/base", b"own").await, world.blob("secret/base", b"foreign").await);
        world.user("dev", Role::Push, "acme/*").await;
        let token = registry_token(&world, "repository:acme/web:pull,push").await;
        let mount = |query: String| world.post(format!("/v2/acme/web/blobs/uploads/?mount={query}")).by(&token).send();
        for query in [format!("{foreign}&from=secret/base"), foreign.clone()] {
            assert_eq!(mount(query.clone()).await.status, StatusCode::ACCEPTED, "{query}");
        }
        for query in [format!("{own}&from=acme/base"), own.clone()] {
            assert_eq!(mount(query.clone()).await.status, StatusCode::CREATED, "{query}");
            assert_eq!(world.delete(format!("/v2/acme/web/blobs/{own}")).send().await.status, StatusCode::ACCEPTED);
        }
        // Reading the source, and pushing elsewhere, take a scope of their own.
        assert_eq!(world.get(format!("/v2/acme/base/blobs/{own}")).by(&token).send().await.status, StatusCode::UNAUTHORIZED);
        let elsewhere = world.post(format!("/v2/acme/api/blobs/uploads/?mount={own}&from=acme/base")).by(&token).send().await;
        elsewhere.is(401, "UNAUTHORIZED");
    })
    .await;
}

#[tokio::test]
async fn what_may_not_be_pulled_looks_like_what_does_not_exist() {
    on_each(|world| async move {
        world.image("secret/x", "v1", b"layer").await;
        let layer = sha256(b"layer");
        let user = world.user("dev", Role::Push, "dev/**").await;
        for path in ["manifests/v1".to_owned(), format!("blobs/{layer}"), "tags/list".to_owned()] {
            let denied = world.get(format!("/v2/secret/x/{path}")).by(&user).send().await;
            let missing = world.get(format!("/v2/secret/y/{path}")).by(&user).send().await;
            assert_eq!(denied.status, StatusCode::NOT_FOUND);
            assert_eq!(denied.status, missing.status);
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            assert_eq!(text(&denied.body).replace("secret/x", "secret/y"), text(&missing.body));
            // And like what is missing where one may pull.
            let own = world.get(format!("/v2/dev/y/{path}")).by(&user).send().await;
            assert_eq!(text(&own.body).replace("dev/y", "secret/x"), text(&denied.body));
        }
    })
    .await;
}

#[tokio::test]
async fn roles_are_separate_powers() {
    on_each(|world| async move {
        let digest = world.image("acme/web", "v1", b"layer").await;
        let body = world.get("/v2/acme/web/manifests/v1").send().await.body;
        let puller = world.user("puller", Role::Pull, "acme/*").await;
        let pusher = world.user("pusher", Role::Push, "acme/*").await;
        let maintainer = world.user("maintainer", Role::Maintain, "acme/*").await;
        let manifest = "/v2/acme/web/manifests/v1";
        for (who, push, delete) in [(&puller, 403, 403), (&pusher, 201, 403), (&maintainer, 201, 202)] {
            assert_eq!(world.get(manifest).by(who).send().await.status, StatusCode::OK);
            let put = world.put(manifest).by(who).with("content-type", IMAGE).bytes(&body).send().await;
            assert_eq!(put.status.as_u16(), push);
            let start = world.post("/v2/acme/web/blobs/uploads/").by(who).send().await;
            assert_eq!(start.status.as_u16() == 202, push == 201);
            for path in ["manifests/v1".to_owned(), format!("blobs/{}", sha256(b"layer")), format!("manifests/{digest}")] {
                let gone = world.delete(format!("/v2/acme/web/{path}")).by(who).send().await;
                assert_eq!(gone.status.as_u16(), delete, "{path}");
            }
        }
        let denied = world.delete(manifest).by(&pusher).send().await;
        denied.is(403, "DENIED");
        assert_eq!(denied.json()["errors"][0]["detail"]["role"], "maintain");
        assert_eq!(denied.json()["errors"][0]["detail"]["resource"], "repository:acme/web");
    })
    .await;
}

#[tokio::test]
async fn a_revoked_grant_acts_on_the_next_request() {
    on_each(|world| async move {
        world.image("acme/web", "v1", b"layer").await;
        let user = world.user("dev", Role::Pull, "elsewhere").await;
        let get = || world.get("/v2/acme/web/manifests/v1").by(&user).send();
        get().await.is(404, "MANIFEST_UNKNOWN");
        let grant = world.grant(&"user:dev".parse().unwrap(), Role::Pull, "acme/web").await;
        assert_eq!(get().await.status, StatusCode::OK);
        assert_eq!(get().await.status, StatusCode::OK);
        world.revoke(&grant).await;
        get().await.is(404, "MANIFEST_UNKNOWN");
    })
    .await;
}
