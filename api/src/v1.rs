//! The Berth API under `/api/v1`: what AWS has no words for.
