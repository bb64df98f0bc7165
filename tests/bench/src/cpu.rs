//! Processor time of processes, as the kernel counts it.

use std::fs;
use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::Failure;

/// Returns the time of all threads of a process, including ended ones: clock_getcpuclockid(3).
pub fn of(pid: u32) -> Result<Duration, Failure> {
    let now = || {
        ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(pid).ok()?))
            .and_then(ClockId::now)
            .ok()
    };
    let time = now().ok_or_else(|| format!("no clock of process {pid}"))?;
    Ok(Duration::from(time))
}

/// Returns the time of all descendants that were waited for: `cutime` and `cstime` of `/proc/PID/stat`, in hundredths
/// of a second. Jobs are children of the warden.
pub fn of_children(pid: u32) -> Result<Duration, Failure> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(|e| format!("cannot read '{path}': {e}"))?;
    let ticks = ticks(&text).ok_or_else(|| format!("'{path}' has no cutime"))?;
    let each = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok(Duration::from_secs_f64(ticks as f64 / each as f64))
}

/// The fields follow the name, which may have any characters: proc_pid_stat(5).
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(") ")?;
    let mut fields = behind.split(' ').skip(13);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_after_any_name() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 1 2 3 4 50 60 700 8000 20 0 1 0 9";
        assert_eq!(ticks(stat), Some(8700));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn what_a_process_uses_is_counted() {
        let own = std::process::id();
        let before = of(own).expect("it runs");
        let mut sum = 0u64;
        while of(own).expect("it runs") < before + Duration::from_millis(5) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(of_children(own).is_ok());
    }
}
