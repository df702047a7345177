//! Rows of `instances`.
