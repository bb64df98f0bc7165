//! Changes that another person approves.

pub mod digest;
pub mod measure;
pub mod shown;
