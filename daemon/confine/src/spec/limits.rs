//! Sets resource limits, and reads the own hard ones.

use crate::supervise::task_count::tasks_of;
use crate::sys;
use remit_spawn::{Ceilings, ResourceLimit, asked};
use remit_sys::{Doing, Limits, Result};
use std::io;

/// Sets the limits of this process. Existing tasks of user `others` do not count. setrlimit(2).
pub(crate) fn set(rows: &[ResourceLimit], others: Option<u32>) -> io::Result<()> {
    let others = others.map_or(0, tasks_of);
    let set = |row: &ResourceLimit| sys::set_limit(row.resource, row.soft, row.hard);
    // If the raised value is above the own hard limit, the stricter one holds.
    rows.iter()
        .try_for_each(|row| set(&row.beside(others)).or_else(|_| set(row)))
}

const SYS_RESOURCE: u32 = 24;

pub(crate) fn own_ceilings() -> Result<Ceilings> {
    if sys::has_capability(SYS_RESOURCE).doing(|| "cannot read own capabilities".into())? {
        return Ok(Ceilings::new(Vec::new()));
    }
    let any = Limits::default();
    let hard = |row: ResourceLimit| -> Result<(u32, u64)> {
        let (_, hard) =
            sys::limit(row.resource).doing(|| format!("cannot read the limit '{}'", row.name))?;
        Ok((row.resource, hard))
    };
    Ok(Ceilings::new(
        asked(&any).into_iter().map(hard).collect::<Result<_>>()?,
    ))
}
