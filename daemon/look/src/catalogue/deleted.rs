//! `disks.deleted`: files without a name that are still open. Users make many, so others than those shown are counted.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::process::ExitCode;

use nix::sys::statfs::{FsType, HUGETLBFS_MAGIC, TMPFS_MAGIC, statfs};
use remit_common::text;
use serde::Serialize;

use super::inode::Inode;
use super::inspect::{Link, MissedLinks, Processes, SHOWN, each_link};
use super::open_files::{Holder, holder};
use crate::text::{lines, number, print, size};

/// Processes that are named for one deleted file.
const HOLDERS: usize = 5;

#[derive(Debug, Serialize)]
struct Deleted {
    /// Disk usage.
    bytes: u64,
    length: u64,
    file: String,
    file_system: String,
    holders: Vec<Holder>,
    #[serde(skip_serializing_if = "is_zero")]
    more_holders: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Memory that has the form of a deleted file: memfd_create(2), shmat(2), shared mappings and aio(7).
const OF_MEMORY: [&[u8]; 5] = [b"/memfd:", b"/SYSV", b"/dev/zero", b"/[aio]", b"/i915"];

pub fn list(count: &str) -> Result<ExitCode, String> {
    let most: usize = number(count)?;
    let processes = Processes::collect()?;
    let points = processes.mount_points();
    let mut found = Largest::new(most);
    let mut missed = MissedLinks::default();
    for process in &processes.all {
        each_link(process.pid, &mut missed, |link| {
            if !link.target.ends_with(b" (deleted)") {
                return;
            }
            let Ok(inode) = Inode::behind(&link.path) else {
                return;
            };
            let point = points.get(&inode.device());
            if !inode.is_file() || inode.names() > 0 || (point.is_none() && is_memory(&link)) {
                return;
            }
            let bytes = inode.bytes_on_disk();
            let name = link.target.strip_suffix(b" (deleted)").unwrap_or_default();
            let new = || Deleted {
                bytes,
                length: inode.length(),
                file: text::line(name, SHOWN),
                file_system: point.cloned().unwrap_or_else(|| "not known".into()),
                holders: Vec::new(),
                more_holders: 0,
            };
            let Some(one) = found.add(inode.id(), bytes, new) else {
                return;
            };
            if one.holders.len() < HOLDERS {
                one.holders.push(holder(process, link.name));
            } else {
                one.more_holders += 1;
            }
        });
    }
    let looked = processes.all.len() - missed.ended;
    if found.total.files == 0 {
        print(&format!(
            "none of {looked} processes has a deleted file open\n"
        ))?;
    } else {
        let said = found.total.sentence(found.kept.len());
        lines(found.into_sorted())?;
        eprintln!("remit-look: {said}; {looked} processes were looked at");
    }
    missed.say();
    Ok(ExitCode::SUCCESS)
}

/// Decides by the file system, too: a file on a disk can have such a name.
fn is_memory(link: &Link) -> bool {
    let has_name = OF_MEMORY.iter().any(|start| link.target.starts_with(start));
    has_name
        && statfs(&link.path).is_ok_and(|of| {
            [TMPFS_MAGIC, HUGETLBFS_MAGIC, AIO_RING_MAGIC].contains(&of.filesystem_type())
        })
}

/// From fs/aio.c.
const AIO_RING_MAGIC: FsType = FsType(0xa10a_10a1);

type FileId = (u64, u64);

struct Largest {
    most: usize,
    kept: HashMap<FileId, Deleted>,
    by_size: BTreeSet<(u64, FileId)>,
    total: Total,
}

impl Largest {
    fn new(most: usize) -> Self {
        Self {
            most,
            kept: HashMap::new(),
            by_size: BTreeSet::new(),
            total: Total::default(),
        }
    }

    fn add(
        &mut self,
        id: FileId,
        bytes: u64,
        new: impl FnOnce() -> Deleted,
    ) -> Option<&mut Deleted> {
        self.total.count(id, bytes);
        if !self.kept.contains_key(&id) {
            self.by_size.insert((bytes, id));
            if self.by_size.len() > self.most
                && let Some((_, smallest)) = self.by_size.pop_first()
            {
                self.kept.remove(&smallest);
                if smallest == id {
                    return None;
                }
            }
        }
        Some(self.kept.entry(id).or_insert_with(new))
    }

    fn into_sorted(self) -> Vec<Deleted> {
        let mut all: Vec<Deleted> = self.kept.into_values().collect();
        all.sort_by(|one, other| {
            (Reverse(one.bytes), &one.file).cmp(&(Reverse(other.bytes), &other.file))
        });
        all
    }
}

/// Counts each file once, however many processes hold it.
#[derive(Default)]
struct Total {
    seen: HashSet<FileId>,
    files: usize,
    bytes: u64,
    /// Descriptors found when `seen` was full.
    uncounted: usize,
}

impl Total {
    const MOST: usize = 200_000;

    fn count(&mut self, id: FileId, bytes: u64) {
        if self.seen.contains(&id) {
            return;
        }
        if self.seen.len() >= Self::MOST {
            self.uncounted += 1;
            return;
        }
        self.seen.insert(id);
        self.files += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn sentence(&self, shown: usize) -> String {
        let more = match self.uncounted {
            0 => String::new(),
            more => format!("; {more} more descriptors of deleted files are not in this sum"),
        };
        format!(
            "{shown} of {} deleted files, which hold {} in all{more}",
            self.files,
            size(self.bytes)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    #[test]
    fn memory_is_known_by_name_and_file_system() {
        let memory = memfd_create(c"x", MFdFlags::MFD_CLOEXEC).unwrap();
        let memory = format!("/proc/self/fd/{}", memory.as_raw_fd());
        for (target, path, expect) in [
            ("/memfd:x (deleted)", memory.as_str(), true),
            ("/var/x (deleted)", memory.as_str(), false),
            ("/memfd:x (deleted)", "/proc/self/status", false),
        ] {
            let link = Link {
                name: String::new(),
                path: path.into(),
                target: target.into(),
            };
            assert_eq!(is_memory(&link), expect, "{target} {path}");
        }
    }

    #[test]
    fn many_deleted_files_are_counted_and_only_the_largest_kept() {
        let new = |bytes| Deleted {
            bytes,
            length: bytes,
            file: format!("/{bytes}"),
            file_system: String::new(),
            holders: Vec::new(),
            more_holders: 0,
        };
        let mut found = Largest::new(3);
        let many = u64::try_from(Total::MOST).unwrap() + 50;
        for round in 0..2 {
            for inode in 0..many {
                // The largest come neither first nor last.
                let bytes = (inode * 7919) % many;
                let one = found.add((1, inode), bytes, || new(bytes));
                if let Some(one) = one {
                    one.more_holders += 1;
                }
                assert!(found.kept.len() <= 3 && found.by_size.len() == found.kept.len());
                assert!(found.total.seen.len() <= Total::MOST);
            }
            assert_eq!(found.total.uncounted, 50 * (round + 1));
        }
        let said = found.total.sentence(3);
        assert!(
            said.starts_with("3 of 200000 deleted files, which hold"),
            "{said}"
        );
        assert!(
            said.ends_with("100 more descriptors of deleted files are not in this sum"),
            "{said}"
        );
        let all = found.into_sorted();
        let sizes: Vec<u64> = all.iter().map(|one| one.bytes).collect();
        assert_eq!(sizes, [many - 1, many - 2, many - 3]);
        assert!(all.iter().all(|one| one.more_holders == 2), "{all:?}");
    }
}
