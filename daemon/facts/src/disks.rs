//! Block devices, from /sys/block (the kernel's ABI/stable/sysfs-block).

use std::path::Path;

use remit_wire::host::{Disk, List, Partition};

use crate::read::{self, Gaps, Sources, Why};

const DISKS: usize = 128;
const PARTS: usize = 16;
/// sysfs counts in sectors of this size, independent of the device's own.
const SECTOR: u64 = 512;

/// Returns the block devices. Devices without a medium are left out: unused loop devices, empty readers.
pub(crate) fn gather(at: &Sources, gaps: &mut Gaps) -> Option<List<Disk>> {
    let found = gaps.known("disks", read::entries(&at.sys.join("block")))?;
    let mut disks = Vec::new();
    for path in found {
        match disk(&path) {
            Ok(disk) if disk.size > 0 => disks.push(disk),
            Ok(_) => {}
            Err(why) => gaps.note(format!("disks.{}", read::shown(&read::name(&path))), why),
        }
    }
    Some(List::cut(disks, DISKS))
}

fn disk(path: &Path) -> Result<Disk, Why> {
    let flag = |name: &str| {
        read::number(&path.join(name))
            .ok()
            .map(|number| number != 0)
    };
    let (read, written) = read::text(&path.join("stat"), 4096)
        .ok()
        .and_then(|text| stat(&text))
        .unzip();
    let parts = read::entries(path)?
        .into_iter()
        .filter(|part| part.join("partition").exists())
        .filter_map(|part| {
            Some(Partition {
                size: size(&part).ok()?,
                name: read::shown(&read::name(&part)),
            })
        })
        .collect();
    Ok(Disk {
        name: read::shown(&read::name(path)),
        size: size(path)?,
        model: read::word(&path.join("device/model")).ok(),
        rotational: flag("queue/rotational"),
        read_only: flag("ro"),
        read,
        written,
        degraded: read::number(&path.join("md/degraded")).ok(),
        parts: List::cut(parts, PARTS),
    })
}

fn size(path: &Path) -> Result<u64, Why> {
    Ok(read::number(&path.join("size"))?.saturating_mul(SECTOR))
}

/// Returns bytes read and written: the third and the seventh number of `stat`.
fn stat(text: &str) -> Option<(u64, u64)> {
    let mut words = text.split_ascii_whitespace();
    let read: u64 = words.nth(2)?.parse().ok()?;
    let written: u64 = words.nth(3)?.parse().ok()?;
    Some((read.saturating_mul(SECTOR), written.saturating_mul(SECTOR)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_takes_the_third_and_seventh_number() {
        for (text, expect) in [
            (
                "  11 12 13 14 15 16 17 18 0 0 0",
                Some((13 * 512, 17 * 512)),
            ),
            ("1 2 3 4 5 6", None),
            ("1 2 x 4 5 6 7", None),
            (
                "1 2 18446744073709551615 4 5 6 7",
                Some((u64::MAX, 7 * 512)),
            ),
            ("", None),
        ] {
            assert_eq!(stat(text), expect, "{text}");
        }
    }
}
