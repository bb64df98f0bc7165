//! daemon/confine
