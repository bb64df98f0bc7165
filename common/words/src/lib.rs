//! How words and names are read and shown that no process of the daemon that is root reads. Pure.

#![forbid(unsafe_code)]

pub mod cgroup;
pub mod characters;
pub mod command_line;
pub mod cron;
pub mod path_word;
pub mod reason;
pub mod spelling;
