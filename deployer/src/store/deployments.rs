//! Rows of `deployments`.
