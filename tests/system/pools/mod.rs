//! Kernel resources that exist once a machine or once a user: no job can use them up.
//!
//! Each row of the table 'Pools of the machine' in SECURITY.md names its test.

mod arena;
mod audit_log;
mod files;
mod memory;
mod network;
mod table;
mod time;
mod users;
