//! How often the processors change from one process to another for a call: context switches of the whole system, by the
//! kernel's own count. A change to the idle process counts, too.

use std::fs;

use serde::Serialize;

use crate::Failure;
use crate::lanes::{self, Lane, Ways};
use crate::section::Section;
use crate::series;
use crate::stage::Stage;

/// Calls of one block. What else runs on the machine counts, too, so the block that counts least is taken.
const CALLS: usize = 150;
pub const BLOCKS: usize = 5;

#[derive(Debug, Serialize)]
pub struct Handovers {
    pub title: String,
    /// Of the block that had least.
    pub each_call: f64,
}

/// Counts for the ways whose calls one client makes one after another.
pub fn take(stage: &mut Stage, ways: &Ways) -> Result<Vec<Handovers>, Failure> {
    let keys = [lanes::MCP, lanes::ALONE, lanes::DAEMON, lanes::SHIM];
    let count = |way: &lanes::Way| {
        let mut least = f64::INFINITY;
        for _ in 0..BLOCKS {
            for lane in &mut series::open(stage, [way])? {
                least = least.min(of(lane.as_mut())?);
            }
        }
        Ok(Handovers {
            title: way.title.clone(),
            each_call: least,
        })
    };
    ways.some(&keys).map(count).collect()
}

/// Returns the context switches of each call of one block.
pub fn of(lane: &mut dyn Lane) -> Result<f64, Failure> {
    let before = switches()?;
    for _ in 0..CALLS {
        lane.go()?;
        lane.check()?;
    }
    Ok((switches()? - before) as f64 / CALLS as f64)
}

pub fn section(all: &[Handovers]) -> Section {
    let columns = ["/bin/true by", "handovers"];
    let mut section = Section::new("Handovers of the processors for one call", &columns);
    for one in all {
        section.row(&one.title, [format!("{:.1}", one.each_call)]);
    }
    section.note(format!(
        "Context switches of the whole system, to the idle process as well, over {CALLS} calls one after another; the least of {BLOCKS} blocks."
    ));
    section
}

/// Returns `ctxt` of `/proc/stat`, proc_stat(5).
fn switches() -> Result<u64, Failure> {
    let text = fs::read_to_string("/proc/stat")?;
    counted(&text).ok_or_else(|| "'/proc/stat' has no ctxt".into())
}

fn counted(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("ctxt "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_counted() {
        assert_eq!(counted("cpu 1 2\nctxt 77\nbtime 3\n"), Some(77));
        assert_eq!(counted("cpu 1 2\n"), None);
        assert!(switches().expect("/proc is mounted") > 0);
    }
}
