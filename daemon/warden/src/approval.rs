//! Changes that another person approves.

pub mod measure;
