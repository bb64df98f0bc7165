//! daemon/link
