//! ECR: a login for Docker, repositories.

use crate::support::{ACCOUNT, in_each_world};
use api::aws::Api;
use base64::Engine as _;
use model::access::{Resource, Role};
use serde_json::json;

#[tokio::test]
async fn the_password_is_one_that_docker_login_can_split() {
    in_each_world(|world| async move {
        let token = world.robot("nobody", &[]).await;
        let answer = world.call(&token, Api::Ecr, "GetAuthorizationToken", &json!({"registryIds": [ACCOUNT]})).await.ok();
        let data = &answer["authorizationData"][0];
        let decoded = base64::engine::general_purpose::STANDARD.decode(data["authorizationToken"].as_str().unwrap()).unwrap();
        let text = String::from_utf8(decoded).unwrap();
        let parts: Vec<&str> = text.split(':').collect();
        assert_eq!((parts.len(), parts[0]), (2, "AWS"));
        assert_eq!(data["proxyEndpoint"], "http://127.0.0.1:5000");
        assert!(data["expiresAt"].as_f64().unwrap() > world.now().as_secs_f64());
    })
    .await;
}

#[tokio::test]
async fn repositories_are_made_once_and_seen_by_those_who_may_pull() {
    in_each_world(|world| async move {
        let admin = |operation, body| {
            let world = &world;
            async move { world.call(&world.admin, Api::Ecr, operation, &body).await }
        };
        let request = json!({"repositoryName": "acme/api", "tags": [{"Key": "team", "Value": "x"}], "imageTagMutability": "MUTABLE",
            "encryptionConfiguration": {"encryptionType": "AES256"}, "imageScanningConfiguration": {"scanOnPush": false}});
        let made = admin("CreateRepository", request.clone()).await.ok();
        assert_eq!(made["repository"]["repositoryUri"], "127.0.0.1:5000/acme/api");
        assert_eq!(made["repository"]["repositoryArn"], "arn:aws:ecr:eu-home-1:123456789012:repository/acme/api");
        assert_eq!(made["repository"]["encryptionConfiguration"], json!({"encryptionType": "AES256"}));
        assert_eq!(admin("CreateRepository", request).await.refused(), "RepositoryAlreadyExistsException");

        let page = admin("DescribeRepositories", json!({"maxResults": 1})).await.ok();
        assert_eq!(page["repositories"][0]["repositoryName"], "acme/api");
        let next = admin("DescribeRepositories", json!({"maxResults": 1, "nextToken": page["nextToken"]})).await.ok();
        assert_eq!(next["repositories"][0]["repositoryName"], "acme/web");

        let token = world.robot("puller", &[(Role::Pull, Resource::repository("acme/web"))]).await;
        let seen = world.call(&token, Api::Ecr, "DescribeRepositories", &json!({})).await.ok();
        assert_eq!(seen["repositories"].as_array().unwrap().len(), 1);
        let hidden = world.call(&token, Api::Ecr, "DescribeRepositories", &json!({"repositoryNames": ["acme/api"]})).await;
        let absent = world.call(&token, Api::Ecr, "DescribeRepositories", &json!({"repositoryNames": ["acme/none"]})).await;
        assert_eq!(hidden.refused(), absent.refused());
        assert_eq!(hidden.message().replace("acme/api", ""), absent.message().replace("acme/none", ""));
    })
    .await;
}
