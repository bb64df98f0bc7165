//! daemon/policy
