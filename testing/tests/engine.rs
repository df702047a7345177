//! The engine of a test's own, for real: needs root and Docker's packages (`scripts/docker-engine`).

use testing::docker::Docker;
use testing::engine::Engine;
use testing::{Image, wait_until};

#[tokio::test]
async fn an_engine_of_its_own_runs_stops_and_starts() {
    let mut engine = Engine::start().await.unwrap();
    let docker = Docker::at(&engine.socket()).unwrap();
    docker.load(&Image::web("version-1").unwrap().docker_archive("web:v1")).unwrap();
    let id = docker.ok(&["run", "--detach", "--publish", "8081:8080", "web:v1"]).unwrap();

    let client = testing::Client::new(&format!("http://{}:8081", engine.address()), testing::Credentials::Anonymous).unwrap();
    let page = wait_until("the published port", || async { client.get("/").await.ok() }).await;
    assert_eq!(page.text(), "version-1\n");

    engine.stop().await.unwrap();
    engine.start_again().await.unwrap();
    let state = docker.ok(&["inspect", "--format", "{{.State.Status}}", &id]).unwrap();
    assert_eq!(state, "exited");
}

#[tokio::test]
async fn images_end_as_they_say() {
    let docker = Docker::new().unwrap();
    let name = format!("berth-testing-exits:{:08x}", rand::random::<u32>());
    docker.load(&Image::exits(7).unwrap().docker_archive(&name)).unwrap();
    let ended = docker.run(&["run", "--rm", &name]).unwrap();
    docker.ok(&["rmi", &name]).unwrap();
    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
}
