//! The warden against hostile peers: a broker played by the test, misbehaving administrators, and a wrong
//! environment.

#![allow(unsafe_code)]

pub mod admin;
pub mod anything;
pub mod approvals;
pub mod audit_log;
pub mod flood;
pub mod ledger;
pub mod link;
pub mod profiles;
pub mod queue;
pub mod self_test;
pub mod service;
pub mod stage;
pub mod start;
pub mod strangers;
