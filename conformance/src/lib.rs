//! Black-box tests of the real binary, driven through its public faces by real clients and by raw HTTP.
//!
//! `tests/oci` takes the OCI distribution specification clause by clause, `tests/suite` makes the requests of the official conformance
//! suite in its order; `tests/faults_registry` breaks pushes and credentials and kills the server; `tests/storage_faults` takes its power
//! and its disk away; `tests/faults_agent` kills server, agent and Docker Engine; `tests/clients` is docker and skopeo as people type them;
//! `tests/triggers` is pushes that deploy; `tests/hosts` has several Docker hosts and cuts them off; `tests/secrets` looks for what must
//! not be shown, and `tests/security` for what docs/security.md names; `aws/` is boto3 and the aws command line. Here is what they share.
//!
//! `BERTH_TEST_DATABASE` is `sqlite` (default) or `postgres`; `BERTH_TEST_REGISTRY=URL` points `tests/oci` at a registry that
//! runs already (with `BERTH_TEST_REGISTRY_USER` and `_PASSWORD` where it asks who is there).

pub mod fleet;
pub mod hosts;
pub mod raw;
pub mod registry;
