//! Reads sshd's effective settings and authorized_keys files as sshd does (sshd(8), AUTHORIZED_KEYS FILE FORMAT;
//! sshd_config(5)). Judges and changes nothing.

pub mod blocks;
pub mod effective;
pub mod keys;
pub mod options;
pub mod pattern;
