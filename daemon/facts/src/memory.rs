//! Memory and swap (proc_meminfo(5), proc_vmstat(5)).

use std::ops::ControlFlow;

use remit_wire::host::Memory;

use crate::read::{self, Gaps, Sources};

pub(crate) fn gather(at: &Sources, gaps: &mut Gaps) -> Option<Memory> {
    let path = at.proc.join("meminfo");
    let text = gaps.known("memory", read::text(&path, 64 << 10))?;
    let Some(total) = field(&text, "MemTotal") else {
        gaps.note("memory", format!("'{}' has no MemTotal", path.display()));
        return None;
    };
    let mut get = |fact: &str, key: &str| {
        let value = field(&text, key).ok_or_else(|| format!("the kernel does not report {key}"));
        gaps.known(&format!("memory.{fact}"), value)
    };
    let cached = get("cached", "Cached");
    let cached = cached.map(|cached| cached.saturating_add(field(&text, "Buffers").unwrap_or(0)));
    Some(Memory {
        total,
        available: get("available", "MemAvailable"),
        free: get("free", "MemFree"),
        cached,
        shared: get("shared", "Shmem"),
        reclaimable: get("reclaimable", "SReclaimable"),
        dirty: get("dirty", "Dirty"),
        huge: Some(huge(&text)),
        swap_total: get("swap_total", "SwapTotal"),
        swap_free: get("swap_free", "SwapFree"),
        oom_kills: oom_kills(at, gaps),
    })
}

/// Returns a field of meminfo: in bytes if it has the unit kB, otherwise unchanged.
fn field(text: &str, key: &str) -> Option<u64> {
    let value = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(name, value)| (name == key).then_some(value))?;
    let mut words = value.split_ascii_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    match words.next() {
        Some("kB") => number.checked_mul(1024),
        Some(_) => None,
        None => Some(number),
    }
}

fn huge(text: &str) -> u64 {
    let pages = field(text, "HugePages_Total").unwrap_or(0);
    pages.saturating_mul(field(text, "Hugepagesize").unwrap_or(0))
}

fn oom_kills(at: &Sources, gaps: &mut Gaps) -> Option<u64> {
    let mut kills = None;
    let read = read::lines(&at.proc.join("vmstat"), 64 << 10, |line| {
        match line.strip_prefix("oom_kill ") {
            Some(number) => {
                kills = number.trim().parse().ok();
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        }
    });
    let kills =
        read.and_then(|()| kills.ok_or_else(|| "the kernel does not report oom_kill".to_owned()));
    gaps.known("memory.oom_kills", kills)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_bytes() {
        let text = "MemTotal:       16384 kB\nHugePages_Total:     2\nHugepagesize:    2048 kB\nOdd: 5 MB\nBig: 18446744073709551615 kB\nCut: ";
        for (key, value) in [
            ("MemTotal", Some(16 << 20)),
            ("HugePages_Total", Some(2)),
            ("Odd", None),
            ("Big", None),
            ("Cut", None),
            ("Mem", None),
        ] {
            assert_eq!(field(text, key), value, "{key}");
        }
        assert_eq!(huge(text), 4 << 20);
    }
}
