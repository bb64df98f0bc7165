//! Connections to the daemon, and what verbs ask over them.

pub(crate) mod admin_socket;
pub(crate) mod configuration;
pub(crate) mod ctrl_c;
pub(crate) mod follow;
pub(crate) mod job_stream;
pub(crate) mod queue_position;
pub(crate) mod user_socket;
