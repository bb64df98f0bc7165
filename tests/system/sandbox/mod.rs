//! Attacks on the sandboxes through the real daemon.
//!
//! `controls.rs` shows that each attack succeeds without them. Without Landlock (`make
//! sandbox-without-landlock`), exactly the attacks succeed that only Landlock refuses: the table in SECURITY.md.

mod approved;
mod arena;
mod read;
mod strict;
