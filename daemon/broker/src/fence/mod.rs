//! The broker's walls around itself, put up before a client's first byte.

pub mod landlock;
pub mod seccomp;

#[cfg(test)]
mod tests;
