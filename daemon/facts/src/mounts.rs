//! Lists the host's mounted file systems (proc_pid_mountinfo(5)) with their free space, and its block devices
//! (/sys/block, the kernel's ABI/stable/sysfs-block). Reads the mounts of process 1: this one may have its own.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use remit_common::mount_table::{MountLine, WITHOUT_DATA, mounts, unescape};
use remit_wire::host::{Disk, List, Mount, Mounts, Partition};

use crate::fs_space::{self, Question};
use crate::read::{self, Gaps, Kernel, Sources, Why};

const MOUNTS: usize = 256;
const LOOKED_AT: usize = 20_000;

/// Types without data of their own, beside [`WITHOUT_DATA`].
const PSEUDO: [&str; 9] = [
    "binder",
    "cpuset",
    "efivarfs",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "ramfs",
    "selinuxfs",
    "smackfs",
];

/// Types that a remote machine answers for, possibly never.
const REMOTE: &[&str] = &[
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "pvfs2",
    "smb3",
    "smbfs",
];

/// Types that are always read-only. Their mounts may say `rw` all the same.
const IMAGES: &[&str] = &["cramfs", "erofs", "iso9660", "romfs", "squashfs", "udf"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    /// All mounts of the file system have the same.
    device: (u32, u32),
    /// The part of the file system that is mounted.
    root: String,
    pub(crate) target: PathBuf,
    /// Options of this mount, not of the file system.
    pub(crate) options: String,
    pub(crate) fstype: String,
    pub(crate) source: String,
    pub(crate) fs_options: String,
}

impl Entry {
    pub(crate) fn is_pseudo(&self) -> bool {
        // Containers bind mounts over /proc and /sys. Each service's credentials have a small file system.
        const BELOW: [&str; 3] = ["/proc", "/sys", "/run/credentials"];
        let fstype = self.fstype.as_str();
        WITHOUT_DATA.contains(&fstype)
            || PSEUDO.contains(&fstype)
            || BELOW
                .iter()
                .any(|directory| self.target.starts_with(directory))
            || self.target.as_os_str() == "/dev"
    }

    /// ext4 of Linux 6.18 keeps `rw` when it stops writing after an error, and adds `emergency_ro`.
    fn is_in_emergency(&self) -> bool {
        has(&self.fs_options, "emergency_ro")
    }

    fn read_only(&self) -> bool {
        has(&self.options, "ro") || has(&self.fs_options, "ro") || self.is_in_emergency()
    }

    /// Returns what is wrong with a file system on a device that was mounted for writing and is read-only.
    fn stopped(&self) -> Option<&'static str> {
        if self.is_in_emergency() {
            return Some("is read-only: the kernel stopped writing after an error");
        }
        let is_image = IMAGES.contains(&self.fstype.as_str());
        let is_on_device = self.source.starts_with("/dev/") && !is_image;
        // A remount that somebody asked for leaves `rw` at the other mounts of the file system.
        (is_on_device && has(&self.options, "rw") && has(&self.fs_options, "ro")).then_some(
            "was mounted for writing and is read-only: the kernel stopped writing after an error, or it was remounted",
        )
    }

    /// Returns why nothing is asked of it: an answer may never come, and a question may mount a file system.
    pub(crate) fn unasked(&self) -> Option<Why> {
        let fstype = self.fstype.as_str();
        if fstype == "autofs" {
            return Some("not asked: a question would mount it".into());
        }
        if REMOTE.contains(&fstype) {
            return Some("not asked: a network file system may never answer".into());
        }
        if fstype == "fuse" || fstype.starts_with("fuse.") {
            return Some(
                "not asked: a process serves this file system and may never answer".into(),
            );
        }
        None
    }
}

pub(crate) fn table(at: &Sources) -> Result<Vec<Entry>, Why> {
    let first = read::bytes(&at.proc.join("1/mountinfo"), 16 << 20);
    let table = first
        .or_else(|why| read::bytes(&at.proc.join("self/mountinfo"), 16 << 20).map_err(|_| why))?;
    let lines = mounts(&table).take(LOOKED_AT + 1).flatten();
    Ok(lines.filter_map(|mount| entry(&mount)).collect())
}

/// Returns what a list of the table lacks.
pub(crate) fn cut(table: &[Entry]) -> Option<Why> {
    let is_cut = table.len() > LOOKED_AT;
    is_cut.then(|| format!("only the first {LOOKED_AT} mounts were looked at"))
}

fn has(options: &str, wanted: &str) -> bool {
    options.split(',').any(|option| option == wanted)
}

/// Returns the mounts, and an alert for each file system that stopped writing.
pub(crate) fn gather(at: &Sources, gaps: &mut Gaps) -> (Option<Mounts>, Vec<String>) {
    let Some(table) = gaps.known("mounts", table(at)) else {
        return (None, Vec::new());
    };
    if table.is_empty() {
        gaps.note("mounts", "the mount table has no line of the known format");
        return (None, Vec::new());
    }
    if let Some(why) = cut(&table) {
        gaps.note("mounts.list", why);
    }
    let (pseudo, data): (Vec<Entry>, Vec<Entry>) = table.into_iter().partition(Entry::is_pseudo);
    let mut questions = Vec::new();
    let mut usages: Vec<Result<_, Why>> = Vec::new();
    for (index, entry) in data.iter().enumerate() {
        usages.push(Err(match (entry.unasked(), at.kernel) {
            (Some(why), _) => why,
            (None, Kernel::NotAsked) => "not asked".into(),
            (None, Kernel::Asked) => {
                questions.push(Question {
                    index,
                    mount: entry.id,
                    target: entry.target.clone(),
                });
                "not asked".into()
            }
        }));
    }
    for (index, answer) in fs_space::ask(questions) {
        if let Some(space) = usages.get_mut(index) {
            *space = answer;
        }
    }
    let mut list: Vec<Mount> = data
        .iter()
        .zip(usages)
        .map(|(entry, space)| to_mount(entry, space))
        .collect();
    // Fullest first. Read-only images are full by nature and come later.
    list.sort_by_key(|mount| {
        let used = mount.space.as_ref().map_or(0, |space| space.used_percent);
        (
            mount.space.is_none(),
            mount.read_only,
            std::cmp::Reverse(used),
        )
    });
    let mounts = Mounts {
        list: List::cut(list, MOUNTS),
        pseudo: pseudo.len() as u64,
    };
    (Some(mounts), stopped(&data))
}

/// Returns one alert for each file system, with its first mount: it may have any number of them.
fn stopped(table: &[Entry]) -> Vec<String> {
    let mut seen = HashSet::new();
    let alert = |entry: &Entry| {
        let what = entry.stopped()?;
        let is_first = seen.insert(entry.device);
        is_first.then(|| format!("file system '{}' {what}", entry.target.to_string_lossy()))
    };
    table.iter().filter_map(alert).collect()
}

fn to_mount(entry: &Entry, space: Result<remit_wire::host::FsUsage, Why>) -> Mount {
    let (space, why) = match space {
        Ok(space) => (Some(space), None),
        Err(why) => (None, Some(why)),
    };
    Mount {
        target: read::shown(&entry.target.to_string_lossy()),
        source: read::shown(&entry.source),
        root: read::shown(&entry.root),
        fstype: read::shown(&entry.fstype),
        options: read::shown(&entry.options),
        read_only: entry.read_only(),
        space,
        why,
    }
}

fn entry(mount: &MountLine<'_>) -> Option<Entry> {
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let [options, fs_options] = mount.options.map(text);
    Some(Entry {
        id: mount.id,
        device: mount.device,
        root: text(&unescape(mount.root)?),
        target: OsStr::from_bytes(&mount.point).into(),
        options,
        fstype: text(mount.kind),
        source: text(&unescape(mount.source)?),
        fs_options,
    })
}

const DISKS: usize = 128;
const PARTS: usize = 16;
/// sysfs counts in sectors of this size, independent of the device's own.
const SECTOR: u64 = 512;

/// Returns the block devices, and an alert for each RAID that failed. Devices without a medium are left out: unused loop
/// devices, empty readers. So are the paths to a device that has another name for all of them (NVMe multipath), which the
/// kernel hides.
pub(crate) fn gather_disks(at: &Sources, gaps: &mut Gaps) -> (Option<List<Disk>>, Vec<String>) {
    let found = gaps.known("disks", read::entries(&at.sys.join("block")));
    let (mut disks, mut alerts) = (Vec::new(), Vec::new());
    for path in found.iter().flatten() {
        let name = read::shown(&read::name(path));
        let failed = failed_raid(path);
        alerts.extend(failed.map(|what| format!("RAID {name} {what}")));
        match disk(path) {
            // The kernel gives a RAID its size when it starts.
            Ok(disk) if (disk.size > 0 || failed.is_some()) && !is_hidden(path) => disks.push(disk),
            Ok(_) => {}
            Err(why) => gaps.note(format!("disks.{name}"), why),
        }
    }
    (found.map(|_| List::cut(disks, DISKS)), alerts)
}

/// Returns what is wrong with a RAID as a whole (the kernel's admin-guide/md).
fn failed_raid(path: &Path) -> Option<&'static str> {
    let state = read::word(&path.join("md/array_state")).ok()?;
    let metadata = read::word(&path.join("md/metadata_version")).unwrap_or_default();
    // A container of RAIDs, as `external:imsm`, is never started; a RAID in it has `external:/md127/0`.
    let is_container = metadata
        .strip_prefix("external:")
        .is_some_and(|kind| !kind.starts_with(['/', '-']));
    match state.as_str() {
        "inactive" if !is_container => Some("is inactive: it was not started"),
        "broken" => Some("is broken: too many of its members failed"),
        _ => None,
    }
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

fn is_hidden(path: &Path) -> bool {
    read::number(&path.join("hidden")).is_ok_and(|number| number != 0)
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
    use crate::tests::Scratch;

    #[test]
    fn raid_that_failed_is_an_alert_and_a_row() {
        for (size, state, metadata, rows, alert) in [
            (0, "inactive", "1.2", 1, Some("RAID md0 is inactive")),
            (8, "broken", "none", 1, Some("RAID md0 is broken")),
            (
                0,
                "inactive",
                "external:/md127/0",
                1,
                Some("RAID md0 is inactive"),
            ),
            (0, "inactive", "external:imsm", 0, None),
            (0, "clear", "none", 0, None),
            (8, "clean", "1.2", 1, None),
        ] {
            let scratch = Scratch::new();
            scratch.put(&[
                ("sys/block/md0/size", format!("{size}\n").as_bytes()),
                (
                    "sys/block/md0/md/array_state",
                    format!("{state}\n").as_bytes(),
                ),
                (
                    "sys/block/md0/md/metadata_version",
                    format!("{metadata}\n").as_bytes(),
                ),
            ]);
            let mut gaps = Gaps::default();
            let (disks, alerts) = gather_disks(&scratch.sources(), &mut gaps);
            assert_eq!(disks.unwrap().items.len(), rows, "{state} {metadata}");
            assert_eq!(alerts.len(), usize::from(alert.is_some()), "{alerts:?}");
            let says = alerts
                .iter()
                .all(|one| one.starts_with(alert.unwrap_or_default()));
            assert!(says, "{alerts:?}");
            assert!(gaps.into_list().is_empty());
        }
    }

    #[test]
    fn cut_table_is_a_gap() {
        for (count, expect) in [(LOOKED_AT - 1, None), (LOOKED_AT + 1, Some("mounts.list"))] {
            let scratch = Scratch::new();
            let table = "21 1 0:5 / /proc rw - proc proc rw\n".repeat(count);
            scratch.put(&[("proc/1/mountinfo", table.as_bytes())]);
            let mut gaps = Gaps::default();
            gather(&scratch.sources(), &mut gaps);
            let gap = gaps.into_list().pop().map(|gap| gap.fact);
            assert_eq!(gap.as_deref(), expect, "{count}");
        }
    }

    fn entry(line: &str) -> Entry {
        super::entry(&MountLine::parse(line.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn read_only_by_mount_or_by_file_system() {
        for (options, fs_options, read_only) in [
            ("rw,relatime", "rw", false),
            ("ro,relatime", "rw", true),
            ("rw,relatime", "ro,errors=remount-ro", true),
            ("rw,relatime", "rw,errors=remount-ro,emergency_ro", true),
            ("rw,errors=remount-ro", "rw", false),
        ] {
            let line = format!("1 2 3:4 / /a {options} - ext4 /dev/a {fs_options}");
            assert_eq!(entry(&line).read_only(), read_only, "{line}");
        }
    }

    #[test]
    fn file_system_that_stopped_writing_is_one_alert() {
        let sure = "is read-only: the kernel stopped writing after an error";
        for (mounts, expect) in [
            (
                &["1 2 8:1 / /a rw - ext4 /dev/a ro"][..],
                Some("or it was remounted"),
            ),
            (&["1 2 8:1 / /a rw - ext4 /dev/a rw"], None),
            (&["1 2 8:1 / /a ro - ext4 /dev/a ro"], None),
            (
                &["1 2 8:1 / /a rw - ext4 /dev/a rw,emergency_ro"],
                Some(sure),
            ),
            (
                &[
                    "1 2 8:1 / /a ro - ext4 /dev/a ro",
                    "2 2 8:1 /x /b rw - ext4 /dev/a ro",
                ],
                Some("or it was remounted"),
            ),
            (
                &[
                    "1 2 8:1 / /a rw - ext4 /dev/a ro",
                    "2 2 8:1 /x /b rw - ext4 /dev/a ro",
                ],
                Some("'/a'"),
            ),
            (&["1 2 7:0 / /a rw - squashfs /dev/loop0 ro"], None),
            (&["1 2 0:9 / /a rw - overlay overlay ro"], None),
        ] {
            let table: Vec<Entry> = mounts.iter().map(|line| entry(line)).collect();
            let alerts = stopped(&table);
            assert_eq!(
                alerts.len(),
                usize::from(expect.is_some()),
                "{mounts:?}: {alerts:?}"
            );
            let says = alerts
                .iter()
                .all(|alert| alert.contains(expect.unwrap_or_default()));
            assert!(says, "{mounts:?}: {alerts:?}");
        }
    }

    #[test]
    fn pseudo_file_systems_differ_from_data() {
        for (target, fstype, pseudo) in [
            ("/", "ext4", false),
            ("/dev/shm", "tmpfs", false),
            ("/dev", "tmpfs", true),
            ("/dev/pts", "devpts", true),
            ("/proc/kmsg", "tmpfs", true),
            ("/process", "tmpfs", false),
            ("/mnt/x", "proc", true),
            ("/run/credentials/a.service", "tmpfs", true),
        ] {
            let line = format!("1 2 3:4 / {target} rw - {fstype} s rw");
            assert_eq!(entry(&line).is_pseudo(), pseudo, "{line}");
        }
    }

    #[test]
    fn what_may_hang_is_not_asked() {
        for (fstype, asked) in [
            ("ext4", true),
            ("overlay", true),
            ("fuseblk", true),
            ("nfs4", false),
            ("cifs", false),
            ("fuse", false),
            ("fuse.sshfs", false),
            ("autofs", false),
        ] {
            assert_eq!(
                entry(&format!("1 2 3:4 / /a rw - {fstype} s rw"))
                    .unasked()
                    .is_none(),
                asked,
                "{fstype}"
            );
        }
    }

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
