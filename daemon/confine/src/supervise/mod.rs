//! Processes and cgroups around jobs: the watchdog, the monitor of a strict job, forked tasks, counting and killing.

pub(crate) mod cgroup;
pub(crate) mod forked_task;
pub(crate) mod output;
pub(crate) mod pidns_monitor;
pub(crate) mod task_count;
pub(crate) mod watchdog;
