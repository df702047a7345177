//! Rows of `tasks`.
