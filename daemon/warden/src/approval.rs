//! Changes that another person approves.

pub mod digest;
mod escape;
pub mod measure;
mod risks;
pub mod shown;
mod words;
