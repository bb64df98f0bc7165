//! What a policy is made of: data, and what can be asked of it alone.

pub(crate) mod approval;
pub(crate) mod capabilities;
pub(crate) mod command;
pub(crate) mod glob;
pub(crate) mod machine;
pub(crate) mod names;
pub(crate) mod pattern;
pub(crate) mod policy;
pub(crate) mod profile;
pub(crate) mod rule;
pub(crate) mod scope;
