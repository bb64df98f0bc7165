//! Helpers of all parts: threads for blocking work, timers, readiness of descriptors.

pub(crate) mod async_fd;
pub(crate) mod blocking;
pub(crate) mod timer_anchor;
