//! What the root processes share below their own duties: system calls as safe functions, cgroups, forked children and
//! unprivileged services. It knows no sandbox and decides nothing.

pub mod cgroup;
mod error;
mod forked_task;
mod limits;
mod output;
pub mod rights;
mod service;
pub mod sys;

pub use cgroup::{Cgroup, Cgroups, Controller, Oom, Switch};
pub use error::{Doing, Error, Result};
pub use forked_task::{Answer, in_child, in_child_with};
pub use limits::Limits;
pub use output::{Closing, OutputEnd};
pub use service::{spawn_root, spawn_service};
pub use sys::inherited_listener;
