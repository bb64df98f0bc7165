//! Processes of remit beside the loop, and the service manager: the broker, the bus, the sink, sd_notify(3), log lines.

// First, because its macros are used in the others.
#[macro_use]
pub mod log;

pub mod broker_process;
pub mod bus_process;
pub mod program;
pub mod sd_notify;
pub mod sink;
