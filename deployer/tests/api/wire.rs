//! The wire: targets, bodies, request ids.

use crate::support::in_each_world;
use api::aws::{Api, BODY_BYTES_MAX};
use serde_json::json;

#[tokio::test]
async fn unknown_operations_and_targets_are_refused() {
    in_each_world(|world| async move {
        let authorization = format!("Bearer {}", world.admin);
        for target in ["AmazonEC2ContainerServiceV20141113.Explode", "Nonsense.ListClusters", "ListClusters"] {
            let answer = world.send(&[("authorization", &authorization), ("x-amz-target", target)], "{}".into()).await;
            assert_eq!(answer.refused(), "UnknownOperationException", "{target}");
        }
        let answer = world.send(&[("authorization", &authorization)], "{}".into()).await;
        assert_eq!(answer.refused(), "UnknownOperationException");
        let answer = world.call(&world.admin, Api::Ecr, "ListClusters", &json!({})).await;
        assert_eq!(answer.refused(), "UnknownOperationException");
    })
    .await;
}

#[tokio::test]
async fn bodies_have_a_limit_and_have_to_be_json_objects() {
    in_each_world(|world| async move {
        let authorization = format!("Bearer {}", world.admin);
        let headers = [("authorization", authorization.as_str()), ("x-amz-target", "AmazonEC2ContainerServiceV20141113.ListClusters")];
        for body in ["{", "[]", "1", "\u{0}"] {
            assert_eq!(world.send(&headers, body.into()).await.refused(), "SerializationException", "{body}");
        }
        assert!(world.send(&headers, String::new()).await.ok()["clusterArns"].is_array());
        let answer = world.send(&headers, format!("{{\"a\": \"{}\"}}", "x".repeat(BODY_BYTES_MAX))).await;
        assert_eq!((answer.status.as_u16(), &answer.body["__type"]), (413, &json!("RequestEntityTooLargeException")));
    })
    .await;
}
