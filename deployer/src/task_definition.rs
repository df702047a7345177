//! Task definition documents: pure checks, and which images are ours.
