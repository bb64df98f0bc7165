//! Data that describes a sandbox: profiles, limits, kernel features, and the compiled form that a child needs.

pub(crate) mod compiled;
pub(crate) mod kernel;
pub(crate) mod layer;
pub(crate) mod limits;
pub(crate) mod overmounts;
pub(crate) mod profile;
pub(crate) mod recipe;
