//! What keeps the one thread that serves from blocking: waits for fds, and threads for blocking work.

pub mod async_fd;
pub mod blocking;
pub mod threads;
