//! The HTTP face, by oneshot: every route refuses strangers; each operation answers, and refuses with the right code.

use super::*;
use ::http::{Method, Request, StatusCode};
use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

struct Face {
    router: Router,
    openapi: Value,
}

impl Face {
    fn of(f: &Fixture) -> Self {
        let (router, document) = crate::router(f.identity.clone()).split_for_parts();
        Self { router, openapi: serde_json::to_value(document).unwrap() }
    }

    async fn send(&self, method: &str, path: &str, auth: Option<&HeaderMap>, body: Option<Value>) -> (StatusCode, HeaderMap, Value) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in auth.into_iter().flatten() {
            request = request.header(name, value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string()))).unwrap();
        self.exchange(request).await
    }

    async fn exchange(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Method and path of every documented operation.
    fn operations(&self) -> Vec<(String, String)> {
        let paths = self.openapi["paths"].as_object().unwrap();
        let methods = |(path, item): (&String, &Value)| -> Vec<_> {
            let known = [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::PATCH];
            let named = known.iter().filter(|method| item.get(method.as_str().to_lowercase()).is_some());
            named.map(|method| (method.to_string(), path.clone())).collect()
        };
        paths.iter().flat_map(methods).collect()
    }
}

fn code(body: &Value) -> &str {
    body["code"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn every_route_refuses_strangers() {
    let (f, _folder) = sqlite().await;
    let face = Face::of(&f);
    let operations = face.operations();
    assert!(operations.len() >= 36, "{operations:?}");
    for (method, path) in operations {
        assert!(path.starts_with("/api/v1/"), "{path}");
        let path = path.replace("{name}", "admin").replace("{id}", "x").replace("{principal}", "user:admin");
        for auth in [None, Some(bearer("berth_wrong")), Some(basic("admin", "wrong"))] {
            // The slowing down of wrong passwords is not what is tested here.
            f.identity.0.throttle.succeeded("admin", None);
            let (status, headers, body) = face.send(&method, &path, auth.as_ref(), Some(json!({}))).await;
            assert_eq!((status, code(&body)), (StatusCode::UNAUTHORIZED, "unauthenticated"), "{method} {path}");
            assert_eq!(headers["content-type"], "application/problem+json");
            assert!(headers.contains_key("www-authenticate"));
        }
    }
}

/// What a user without grants gets from each operation: its own things, a refusal, or nothing to see.
#[tokio::test]
async fn every_route_refuses_users_without_grants() {
    let (f, _folder) = sqlite().await;
    let face = Face::of(&f);
    let alice = f.principal("user:alice").await;
    let auth = bearer(&f.token(&alice, None).await.1);
    let own = ["list_grants", "whoami", "list_tokens", "list_access_keys", "list_teams", "what_can", "last_pulls"];
    let body = |id: &str| match id {
        "create_user" | "create_robot" | "create_team" => json!({ "name": "x" }),
        "change_user" | "change_robot" => json!({ "disabled": true }),
        "set_password" => json!({ "password": "long enough" }),
        "create_grant" => json!({ "principal": "user:alice", "role": "pull", "kind": "repository", "pattern": "**" }),
        "preview_access" => json!({ "join": [{ "team": "team:x", "member": "user:alice" }] }),
        "check_access" => json!({ "principal": "user:admin", "role": "pull", "resource": "repository:x" }),
        "create_token" => json!({ "principal": "user:admin", "label": "x" }),
        "create_access_key" => json!({ "principal": "user:admin" }),
        _ => json!({}),
    };
    for (method, path) in face.operations() {
        let id = face.openapi["paths"][&path][method.to_lowercase()]["operationId"].as_str().unwrap().to_owned();
        let query = if id == "who_can" { "?role=pull&resource=repository:x" } else { "" };
        let path = path.replace("{name}", "admin").replace("{id}", "x").replace("{principal}", "user:alice") + query;
        let (status, _, answer) = face.send(&method, &path, Some(&auth), Some(body(&id))).await;
        let expected = match id.as_str() {
            id if own.contains(&id) => (StatusCode::OK, ""),
            "get_grant" | "revoke_grant" | "revoke_token" | "revoke_access_key" | "get_team" | "list_members" => {
                (StatusCode::NOT_FOUND, "not_found")
            }
            _ => (StatusCode::FORBIDDEN, "forbidden"),
        };
        assert_eq!((status, code(&answer)), expected, "{id}: {answer}");
    }
}

#[tokio::test]
async fn a_user_is_made_granted_and_removed() {
    on_each(|f| async move {
        let face = Face::of(&f);
        let admin = bearer(&f.first.token);
        let send = |method: &'static str, path: String, body: Option<Value>| {
            let (face, admin) = (&face, &admin);
            async move { face.send(method, &path, Some(admin), body).await }
        };
        let (status, _, user) = send("POST", "/api/v1/users".into(), Some(json!({ "name": "alice", "password": "her password" }))).await;
        assert_eq!(status, StatusCode::CREATED, "{user}");
        assert_eq!((user["name"].as_str(), user["has_password"].as_bool()), (Some("alice"), Some(true)));
        assert_eq!(user["created_at"], "2030-03-17T17:46:40Z");
        let (status, _, body) = send("POST", "/api/v1/users".into(), Some(json!({ "name": "alice" }))).await;
        assert_eq!((status, code(&body)), (StatusCode::CONFLICT, "already_exists"));

        let wanted = json!({ "principal": "user:alice", "role": "pull", "kind": "repository", "pattern": "acme/**" });
        let (status, _, grant) = send("POST", "/api/v1/grants".into(), Some(wanted.clone())).await;
        assert_eq!(status, StatusCode::CREATED, "{grant}");
        let (status, _, again) = send("POST", "/api/v1/grants".into(), Some(wanted)).await;
        assert_eq!((status, &again), (StatusCode::OK, &grant));
        let (_, _, list) = send("GET", "/api/v1/grants?principal=user:alice".into(), None).await;
        assert_eq!(list["items"], json!([grant]));

        let alice = basic("alice", "her password");
        let (_, _, me) = face.send("GET", "/api/v1/whoami", Some(&alice), None).await;
        assert_eq!(
            (me["principal"].as_str(), me["credential"].as_str(), me["server_admin"].as_bool()),
            (Some("user:alice"), Some("password"), Some(false))
        );
        let (_, _, no) = face
            .send("POST", "/api/v1/access/check", Some(&alice), Some(json!({ "role": "push", "resource": "repository:acme/web" })))
            .await;
        assert_eq!((no["allowed"].as_bool(), no["nearest"][0]["why"].as_str()), (Some(false), Some("role_too_low")));
        let (_, _, who) = send("GET", "/api/v1/access/who-can?role=pull&resource=repository:acme/web".into(), None).await;
        assert_eq!(who["principals"][1]["via"][0]["id"], grant["id"]);

        let (status, ..) = send("DELETE", format!("/api/v1/grants/{}", grant["id"].as_str().unwrap()), None).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let (_, _, who) = send("GET", "/api/v1/access/who-can?role=pull&resource=repository:acme/web".into(), None).await;
        assert_eq!(who["principals"].as_array().unwrap().len(), 1);
        let (status, ..) = send("DELETE", "/api/v1/users/alice".into(), None).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let (status, ..) = face.send("GET", "/api/v1/whoami", Some(&alice), None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        let (status, _, body) = send("DELETE", "/api/v1/users/admin".into(), None).await;
        assert_eq!((status, code(&body)), (StatusCode::CONFLICT, "last_server_admin"));
    })
    .await;
}

#[tokio::test]
async fn secrets_are_shown_once() {
    let (f, _folder) = sqlite().await;
    let face = Face::of(&f);
    let admin = bearer(&f.first.token);
    for (path, body, secret_at) in [
        ("/api/v1/tokens", json!({ "label": "ci" }), "secret"),
        ("/api/v1/access-keys", json!({}), "secret_access_key"),
        ("/api/v1/join-tokens", json!({}), "secret"),
    ] {
        let (status, _, made) = face.send("POST", path, Some(&admin), Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{path} {made}");
        let secret = made[secret_at].as_str().unwrap();
        let (_, _, list) = face.send("GET", path, Some(&admin), None).await;
        assert!(!list["items"].as_array().unwrap().is_empty());
        assert!(!list.to_string().contains(secret), "{path}");
    }
    let events = platform::events::after(&mut f.db.read().await.unwrap(), 0, 100).await.unwrap();
    assert!(!serde_json::to_string(&events).unwrap().contains("berth_"));
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let (f, _folder) = sqlite().await;
    let face = Face::of(&f);
    let admin = bearer(&f.first.token);
    for (method, path, body) in [
        ("POST", "/api/v1/users", json!({ "name": "a b" })),
        ("POST", "/api/v1/users", json!({ "name": "a", "admin": true })),
        ("POST", "/api/v1/users", json!({ "name": "a", "password": "short" })),
        ("PATCH", "/api/v1/users/admin", json!({})),
        ("POST", "/api/v1/grants", json!({ "principal": "alice", "role": "pull", "kind": "repository", "pattern": "**" })),
        ("POST", "/api/v1/grants", json!({ "principal": "user:admin", "role": "view", "kind": "repository", "pattern": "**" })),
        ("POST", "/api/v1/grants", json!({ "principal": "user:admin", "role": "pull", "kind": "repository", "pattern": "a/**/b" })),
        ("POST", "/api/v1/tokens", json!({ "label": "" })),
        ("POST", "/api/v1/tokens", json!({ "label": "x", "expires_in_secs": 0 })),
        ("POST", "/api/v1/tokens", json!({ "label": "x", "expires_in_secs": 5, "never_expires": true })),
        ("POST", "/api/v1/join-tokens", json!({ "cluster": "a/b" })),
        ("POST", "/api/v1/join-tokens", json!({ "expires_in_secs": 100_000_000 })),
        ("POST", "/api/v1/access/check", json!({ "role": "pull", "resource": "acme/web" })),
        ("GET", "/api/v1/users?limit=0", json!(null)),
        ("GET", "/api/v1/users?page=2", json!(null)),
        ("GET", "/api/v1/users?limit=-1", json!(null)),
    ] {
        let (status, headers, answer) = face.send(method, path, Some(&admin), Some(body.clone())).await;
        assert_eq!((status, code(&answer)), (StatusCode::BAD_REQUEST, "invalid_request"), "{method} {path} {body}");
        assert_eq!(headers["content-type"], "application/problem+json");
        assert!(!answer["detail"].as_str().unwrap().is_empty());
    }
    let big = json!({ "name": "a".repeat(300_000) });
    let (status, _, answer) = face.send("POST", "/api/v1/users", Some(&admin), Some(big)).await;
    assert_eq!((status, code(&answer)), (StatusCode::BAD_REQUEST, "invalid_request"));
}

#[tokio::test]
async fn lists_are_paged() {
    let (f, _folder) = sqlite().await;
    let face = Face::of(&f);
    let admin = bearer(&f.first.token);
    for name in ["a", "b", "c"] {
        f.principal(&format!("user:{name}")).await;
        face.send("POST", "/api/v1/join-tokens", Some(&admin), Some(json!({}))).await;
    }
    for (path, count, key) in [("/api/v1/users", 4, "name"), ("/api/v1/join-tokens", 3, "id"), ("/api/v1/grants", 5, "id")] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let (_, _, page) = face.send("GET", &format!("{path}?limit=2{after}"), Some(&admin), None).await;
            seen.extend(page["items"].as_array().unwrap().iter().map(|item| item[key].as_str().unwrap().to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert_eq!(seen.len(), count, "{path} {seen:?}");
        assert!(seen.is_sorted());
    }
}

#[tokio::test]
async fn the_token_endpoint_grants_the_intersection() {
    let (f, _folder) = sqlite().await;
    let face = Face::of(&f);
    let alice = f.user_with_password("alice", "her password").await;
    f.grant(&alice, Role::Pull, "repository:acme/**").await;
    f.grant(&alice, Role::Push, "repository:acme/web").await;
    let scopes = "service=berth&scope=repository:acme/web:pull,push,delete&scope=repository:acme/api:pull,push%20repository:other:pull&scope=registry:catalog:*";
    let (status, headers, body) = face.send("GET", &format!("/token?{scopes}"), Some(&basic("alice", "her password")), None).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(body["scope"], "repository:acme/web:pull,push repository:acme/api:pull");
    assert_eq!(
        (&body["token"], body["expires_in"].as_u64(), body["issued_at"].as_str()),
        (&body["access_token"], Some(600), Some("2030-03-17T17:46:40Z"))
    );
    let caller = f.identity.authenticate_registry(&bearer(body["token"].as_str().unwrap()), None).await.unwrap();
    assert!(caller.token_allows("acme/web", crate::RegistryAction::Push) && !caller.token_allows_catalog());

    let form = format!("grant_type=password&client_id=docker&username=alice&password=her+password&{scopes}");
    let request = Request::post("/token").header("content-type", "application/x-www-form-urlencoded").body(Body::from(form)).unwrap();
    let (status, _, by_form) = face.exchange(request).await;
    assert_eq!((status, &by_form["scope"]), (StatusCode::OK, &body["scope"]));
    let (_, _, admin) = face.send("GET", "/token?scope=registry:catalog:*", Some(&basic("admin", "first password")), None).await;
    assert_eq!(admin["scope"], "registry:catalog:*");
    let (status, _, none) = face.send("GET", "/token?service=berth", Some(&basic("alice", "her password")), None).await;
    assert_eq!((status, none["scope"].as_str()), (StatusCode::OK, Some("")));
}

#[tokio::test]
async fn the_token_endpoint_refuses_what_it_must() {
    let (f, _folder) = sqlite().await;
    let face = Face::of(&f);
    let good = basic("admin", "first password");
    let get = |query: String, auth: Option<HeaderMap>| {
        let face = &face;
        async move { face.send("GET", &format!("/token?{query}"), auth.as_ref(), None).await }
    };
    for auth in [None, Some(basic("admin", "wrong")), Some(bearer("berth_x")), Some(authorization("Basic ?"))] {
        let (status, headers, body) = get("service=berth".into(), auth).await;
        assert_eq!((status, &body["errors"][0]["code"]), (StatusCode::UNAUTHORIZED, &json!("UNAUTHORIZED")));
        assert_eq!(headers["www-authenticate"], "Basic realm=\"berth\"");
        assert!(body.get("token").is_none());
    }
    let (status, _, body) = get("service=other".into(), Some(good.clone())).await;
    assert_eq!((status, &body["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_request")));
    let (status, ..) = get(format!("scope={}", "repository:a:pull+".repeat(101)), Some(good.clone())).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    // A registry token buys no other.
    let (_, _, body) = get(String::new(), Some(good)).await;
    let (status, ..) = get(String::new(), Some(bearer(body["token"].as_str().unwrap()))).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    for (form, expected) in [
        ("", StatusCode::BAD_REQUEST),
        ("grant_type=implicit", StatusCode::BAD_REQUEST),
        ("grant_type=password&username=admin", StatusCode::BAD_REQUEST),
        ("grant_type=password&username=admin&password=wrong", StatusCode::UNAUTHORIZED),
        ("grant_type=refresh_token&refresh_token=berth_wrong", StatusCode::UNAUTHORIZED),
    ] {
        let request = Request::post("/token").header("content-type", "application/x-www-form-urlencoded").body(Body::from(form)).unwrap();
        assert_eq!(face.exchange(request).await.0, expected, "{form}");
    }
    let form = format!("grant_type=refresh_token&refresh_token={}&scope=repository:a:pull", f.first.token);
    let request = Request::post("/token").body(Body::from(form)).unwrap();
    assert_eq!(face.exchange(request).await.2["scope"], "repository:a:pull");
}
