//! Where tasks go: pure choice of an instance for a task.
