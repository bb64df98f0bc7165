//! The set-up steps that a child takes, each in its own file, in the order of [`checklist`].

pub(crate) mod arguments;
pub(crate) mod beginning;
pub(crate) mod checklist;
pub(crate) mod child_env;
pub(crate) mod exec;
pub(crate) mod file_hash;
pub(crate) mod identity;
pub(crate) mod landlock;
pub(crate) mod mounts;
pub(crate) mod private_root;
pub(crate) mod report;
pub(crate) mod seccomp;
pub(crate) mod trust;
