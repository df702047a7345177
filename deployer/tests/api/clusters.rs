//! Clusters.

use crate::support::in_each_world;
use serde_json::json;

#[tokio::test]
async fn a_cluster_is_made_described_deleted_and_made_again() {
    in_each_world(|world| async move {
        let made = world.ecs("CreateCluster", json!({"clusterName": "prod", "tags": [{"key": "team", "value": "x"}]})).await.ok();
        assert_eq!(made["cluster"]["clusterArn"], "arn:aws:ecs:eu-home-1:123456789012:cluster/prod");
        assert_eq!(made["cluster"]["status"], "ACTIVE");
        let again = world.ecs("CreateCluster", json!({"clusterName": "prod"})).await.ok();
        assert_eq!(again["cluster"]["tags"], json!([{"key": "team", "value": "x"}]), "an active one comes back as it is");

        let described = world.ecs("DescribeClusters", json!({"clusters": ["prod", "none"], "include": ["TAGS"]})).await.ok();
        assert_eq!(described["clusters"][0]["tags"][0]["key"], "team");
        assert_eq!(described["failures"], json!([{"arn": "arn:aws:ecs:eu-home-1:123456789012:cluster/none", "reason": "MISSING"}]));
        let plain = world.ecs("DescribeClusters", json!({"clusters": ["prod"]})).await.ok();
        assert_eq!(plain["clusters"][0]["tags"], json!([]));

        world.ecs("DeleteCluster", json!({"cluster": "prod"})).await.ok();
        let described = world.ecs("DescribeClusters", json!({"clusters": ["prod"]})).await.ok();
        assert_eq!(described["clusters"][0]["status"], "INACTIVE");
        assert_eq!(world.ecs("ListServices", json!({"cluster": "prod"})).await.refused(), "ClusterNotFoundException");
        let list = world.ecs("ListClusters", json!({})).await.ok();
        assert_eq!(list["clusterArns"], json!(["arn:aws:ecs:eu-home-1:123456789012:cluster/default"]));
        assert_eq!(world.ecs("CreateCluster", json!({"clusterName": "prod"})).await.ok()["cluster"]["status"], "ACTIVE");
    })
    .await;
}

#[tokio::test]
async fn a_cluster_with_something_in_it_is_not_deleted() {
    in_each_world(|world| async move {
        world.create_web(0).await;
        assert_eq!(world.ecs("DeleteCluster", json!({"cluster": "default"})).await.refused(), "ClusterContainsServicesException");
        world.instance(1).await;
        let answer = world.ecs("DeleteCluster", json!({"cluster": "default"})).await;
        assert_eq!(answer.refused(), "ClusterContainsContainerInstancesException");
        let cluster = world.ecs("DescribeClusters", json!({})).await.ok()["clusters"][0].clone();
        assert_eq!((&cluster["registeredContainerInstancesCount"], &cluster["activeServicesCount"]), (&json!(1), &json!(1)));
    })
    .await;
}
