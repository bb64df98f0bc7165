//! The broker's own sandbox layers, enforced before it reads the first byte of a client.

pub mod landlock;
pub mod seccomp;

#[cfg(test)]
mod tests;
