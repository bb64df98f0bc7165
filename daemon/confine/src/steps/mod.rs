//! The set-up steps that a child takes, in the order of [`lists`].

pub(crate) mod arguments;
pub(crate) mod child_env;
pub(crate) mod enter;
pub(crate) mod exec;
pub(crate) mod file_hash;
pub(crate) mod identity;
pub(crate) mod landlock;
pub(crate) mod lists;
pub(crate) mod mounts;
pub(crate) mod prepare;
pub(crate) mod private_root;
pub(crate) mod report;
pub(crate) mod seccomp;
pub(crate) mod setup;
pub(crate) mod trust;
