//! The chain of records stays valid whatever happens to the daemon, and becomes invalid by any change of the
//! file.

mod killed;
mod scene;
mod tampered;
mod tended;
