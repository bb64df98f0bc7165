//! What sshd does with a user: its effective settings and the lines of authorized_keys files.
//!
//! Read as sshd reads them (sshd(8), AUTHORIZED_KEYS FILE FORMAT; sshd_config(5)). Nothing is
//! judged and nothing is changed here.

pub mod answers;
pub mod base64;
pub mod blocks;
pub mod connection;
pub mod effective;
pub mod keys;
pub mod options;
pub mod pattern;
