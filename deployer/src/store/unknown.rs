//! Rows of `unknown_containers`.
