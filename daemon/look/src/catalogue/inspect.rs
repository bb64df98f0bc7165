//! What `disks.deleted`, `openfiles.*` and `io.units` share: processes and their open files, seen with a right of root's
//! to look. [`Processes::collect`] reads what it needs of files as bytes. Then [`close_files`] has the kernel refuse this
//! process the content of every file, and only after that anything is parsed.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use remit_common::inspect::Inspect;
use remit_common::mount_table::mounts;
use remit_common::text;
use remit_words::cgroup;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::inode::Inode;

/// Links of one process that are read: its owner chooses their number.
const LINKS_OF_ONE: usize = 131_072;
/// Bytes of a file below /proc or of the control groups.
pub const LONGEST: u64 = 64 << 10;
pub const SHOWN: usize = 4096;

/// Has the kernel refuse each open(2) but of directories and names, and each program. Fails if that is not in force.
pub fn close_files() -> Result<(), String> {
    let cannot = |why: String| format!("cannot give up the content of files: {why}");
    let program = filter().map_err(|error| cannot(error.to_string()))?;
    seccompiler::apply_filter(&program).map_err(|error| cannot(error.to_string()))?;
    match File::open("/proc/self/environ") {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        _ => Err(cannot(
            "this sandbox does not let it; the command's profile needs inspect = \"processes\""
                .into(),
        )),
    }
}

/// Returns this process's right beyond its user: `CAP_SYS_PTRACE`, or `CAP_DAC_READ_SEARCH`; none with `inspect = "file"`.
pub fn right() -> Option<Inspect> {
    const DAC_READ_SEARCH: u64 = 1 << 2;
    const SYS_PTRACE: u64 = 1 << 19;
    let status = bytes(Path::new("/proc/self/status"), LONGEST).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    match effective? {
        _ if nix::unistd::geteuid().is_root() => None,
        bits if bits & SYS_PTRACE != 0 => Some(Inspect::Processes),
        bits if bits & DAC_READ_SEARCH != 0 => Some(Inspect::Names),
        _ => None,
    }
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let named = u64::from((libc::O_DIRECTORY | libc::O_PATH).unsigned_abs());
    let content = |arg: u8| {
        let is_content = SeccompCmpOp::MaskedEq(named);
        let flags = SeccompCondition::new(arg, SeccompCmpArgLen::Dword, is_content, 0)?;
        Ok::<_, seccompiler::BackendError>(vec![SeccompRule::new(vec![flags])?])
    };
    let rules = [
        (libc::SYS_openat, content(2)?),
        (libc::SYS_openat2, Vec::new()),
        (libc::SYS_execve, Vec::new()),
        (libc::SYS_execveat, Vec::new()),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, content(1)?),
    ];
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules.into(), SeccompAction::Allow, refused, arch)?.try_into()
}

pub fn bytes(path: &Path, most: u64) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    let file = File::open(path).ok()?;
    file.take(most).read_to_end(&mut read).ok()?;
    Some(read)
}

pub fn numbers(directory: &Path) -> io::Result<Vec<u32>> {
    let entries = fs::read_dir(directory)?;
    let number = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    Ok(entries.filter_map(number).collect())
}

#[derive(Debug)]
pub struct Raw {
    pub pid: u32,
    pub comm: Vec<u8>,
    pub cgroup: Vec<u8>,
}

impl Raw {
    /// Keeps the start of a path of groups: the unit comes before the groups that its user makes.
    const GROUP: usize = 1024;

    pub fn read(pid: u32) -> Option<Self> {
        let of = |name: &str| bytes(&PathBuf::from(format!("/proc/{pid}/{name}")), LONGEST);
        let groups = of("cgroup").unwrap_or_default();
        let mut groups = groups.split(|byte| *byte == b'\n');
        let group = groups.find(|line| line.starts_with(b"0::"));
        let group = group.unwrap_or_default();
        Some(Self {
            pid,
            comm: of("comm")?,
            cgroup: group.get(..Self::GROUP).unwrap_or(group).to_vec(),
        })
    }

    pub fn program(&self) -> String {
        text::line(self.comm.trim_ascii_end(), 64)
    }

    pub fn unit(&self) -> Option<String> {
        let group = self.group().to_string_lossy();
        let (unit, _) = cgroup::units_of(&group);
        unit.map(str::to_owned)
    }

    /// Its group below the root; empty for the root.
    pub fn group(&self) -> &Path {
        let group = self.cgroup.strip_suffix(b"\n").unwrap_or(&self.cgroup);
        Path::new(OsStr::from_bytes(
            group.strip_prefix(b"0::/").unwrap_or_default(),
        ))
    }
}

#[derive(Debug)]
pub struct Processes {
    pub all: Vec<Raw>,
    mounts: Vec<u8>,
}

impl Processes {
    pub fn collect() -> Result<Self, String> {
        let pids = numbers(Path::new("/proc"));
        let mut pids = pids.map_err(|error| format!("cannot read /proc: {error}"))?;
        pids.sort_unstable();
        let own = std::process::id();
        let all = pids.into_iter().filter(|pid| *pid != own);
        let all = all.filter_map(Raw::read).collect();
        let mounts = bytes(Path::new("/proc/self/mountinfo"), 64 * LONGEST).unwrap_or_default();
        close_files()?;
        Ok(Self { all, mounts })
    }

    /// Mount points by device, as stat(2) numbers it. Of several mounts of a device the shortest path.
    pub fn mount_points(&self) -> HashMap<u64, String> {
        mount_points(&self.mounts, |point| {
            Some(Inode::behind(point).ok()?.device())
        })
    }
}

/// `device` is asked for mount points of btrfs alone: each subvolume has a number of its own there, which is not in the
/// table, and a file system of the network could hang.
fn mount_points(table: &[u8], device: impl Fn(&Path) -> Option<u64>) -> HashMap<u64, String> {
    let mut found: HashMap<u64, String> = HashMap::new();
    for mount in mounts(table).flatten() {
        let (major, minor) = mount.device;
        let of_files = || device(Path::new(OsStr::from_bytes(&mount.point)));
        let subvolume = (mount.kind == b"btrfs").then(of_files).flatten();
        let number = subvolume.unwrap_or_else(|| libc::makedev(major, minor));
        let point = text::line(&mount.point, SHOWN);
        let kept = found.entry(number).or_insert_with(|| point.clone());
        if point.len() < kept.len() {
            *kept = point;
        }
    }
    found
}

/// A descriptor, or another link of a process: its program, working directory or root.
#[derive(Debug)]
pub struct Link {
    /// `7`, `cwd`; of another thread than the main one `task/TID/fd/7`, `task/TID/cwd`.
    pub name: String,
    pub path: PathBuf,
    /// As in proc_pid_fd(5): a path, with ` (deleted)` after an unlinked one, or `socket:[inode]`.
    pub target: Vec<u8>,
}

/// What was not looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MissedLinks {
    pub ended: usize,
    pub descriptors: usize,
    pub threads: usize,
}

impl MissedLinks {
    pub fn say(&self) {
        for (count, what) in [
            (self.ended, "processes ended before they were looked at"),
            (
                self.descriptors,
                "descriptors were not looked at, of processes with very many",
            ),
            (
                self.threads,
                "threads were not looked at, of processes with very many descriptors; each can have some of its own",
            ),
        ] {
            if count > 0 {
                eprintln!("remit-look: {count} {what}");
            }
        }
    }
}

/// Calls `each` with what a process has open. Returns false if the process has ended.
pub fn each_link(pid: u32, missed: &mut MissedLinks, each: impl FnMut(Link)) -> bool {
    each_link_below(Path::new("/proc"), pid, LINKS_OF_ONE, missed, each)
}

/// Looks at all threads: the main one has no descriptors after its end, and others can have a table of their own
/// (unshare(2)). A link that is the same in several threads counts once.
fn each_link_below(
    proc: &Path,
    pid: u32,
    most: usize,
    missed: &mut MissedLinks,
    mut each: impl FnMut(Link),
) -> bool {
    let process = proc.join(pid.to_string());
    let Ok(main) = numbers(&process.join("fd")) else {
        missed.ended += 1;
        return false;
    };
    let mut threads = numbers(&process.join("task")).unwrap_or_default();
    threads.retain(|thread| *thread != pid);
    threads.sort_unstable();
    let (mut seen, hasher) = (HashSet::new(), RandomState::new());
    let (mut left, mut is_first) = (most, true);
    let mut look = |below: &str, mut numbers: Vec<u32>| {
        let over = numbers.len().saturating_sub(left);
        if over > 0 && !is_first {
            return false;
        }
        missed.descriptors += over;
        numbers.sort_unstable();
        numbers.truncate(left);
        is_first &= numbers.is_empty();
        left -= numbers.len();
        let descriptors = numbers.into_iter().map(|number| format!("fd/{number}"));
        for name in descriptors.chain(["exe", "cwd", "root"].map(str::to_owned)) {
            let path = process.join(below).join(&name);
            let Ok(target) = fs::read_link(&path) else {
                continue;
            };
            let target = target.into_os_string().into_encoded_bytes();
            // Several deleted files can have had one name.
            let is_deleted = target.ends_with(b" (deleted)");
            let file = is_deleted.then(|| Inode::behind(&path).ok()).flatten();
            let file = file.map(|file| file.id());
            if seen.insert(hasher.hash_one((&name, &target, file))) {
                let name = match below {
                    "" => name.trim_start_matches("fd/").to_owned(),
                    _ => format!("{below}/{name}"),
                };
                each(Link { name, path, target });
            }
        }
        true
    };
    look("", main);
    for (at, thread) in threads.iter().enumerate() {
        let below = format!("task/{thread}");
        // One that has ended has nothing open.
        let descriptors = numbers(&process.join(&below).join("fd")).unwrap_or_default();
        if !look(&below, descriptors) {
            missed.threads += threads.len() - at;
            break;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_of_btrfs_have_the_devices_of_their_files() {
        let table = b"20 1 0:26 /@ / rw shared:1 - btrfs /dev/sda2 rw,subvol=/@\n\
            21 20 0:26 /@home /my\\040home rw - btrfs /dev/sda2 rw,subvol=/@home\n\
            22 20 8:1 / /boot rw - ext4 /dev/sda1 rw\n\
            23 20 8:1 /x /b rw - ext4 /dev/sda1 rw\n\
            24 20 0:26 /@gone /gone rw - btrfs /dev/sda2 rw\n\
            odd\n25 20 0 / /odd rw\n";
        let asked = std::cell::RefCell::new(Vec::new());
        let found = mount_points(table, |point| {
            asked.borrow_mut().push(point.to_owned());
            match point.to_str()? {
                "/" => Some(31),
                "/my home" => Some(32),
                _ => None,
            }
        });
        let expect = [
            (31, "/"),
            (32, "/my home"),
            (libc::makedev(8, 1), "/b"),
            (libc::makedev(0, 26), "/gone"),
        ];
        let expect = expect.map(|(device, point)| (device, point.to_owned()));
        assert_eq!(found, HashMap::from(expect));
        assert_eq!(
            asked.into_inner(),
            ["/", "/my home", "/gone"].map(PathBuf::from)
        );
    }

    #[test]
    fn threads_with_descriptors_of_their_own_are_looked_at_and_the_rest_counted() {
        let base = std::env::temp_dir().join(format!("remit-threads-{}", std::process::id()));
        let link = |name: &str, target: &str| {
            let path = base.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, path).unwrap();
        };
        // 41: its main thread has ended. 42: one table for all of its threads but 44.
        for directory in ["41/fd", "41/task/41/fd", "42/task/45/fd"] {
            fs::create_dir_all(base.join(directory)).unwrap();
        }
        link("41/task/43/fd/3", "/var/log/a (deleted)");
        link("41/task/43/exe", "/usr/bin/a");
        link("41/task/43/cwd", "/");
        for thread in ["42", "42/task/42", "42/task/43", "42/task/44"] {
            link(&format!("{thread}/fd/0"), "/dev/null");
            link(&format!("{thread}/fd/1"), "gone (deleted)");
            link(&format!("{thread}/exe"), "/usr/bin/b");
        }
        link("42/task/44/fd/2", "/srv/own");
        // Relative links: of the thread 44 the descriptor 1 is another file of the same name.
        for thread in ["42", "42/task/44"] {
            fs::write(base.join(thread).join("fd/gone (deleted)"), "").unwrap();
        }
        let main = base.join("42/fd/gone (deleted)");
        for thread in ["42", "43"] {
            fs::hard_link(
                &main,
                base.join(format!("42/task/{thread}/fd/gone (deleted)")),
            )
            .unwrap();
        }
        let missed = |ended, descriptors, threads| MissedLinks {
            ended,
            descriptors,
            threads,
        };
        for (pid, most, expect, left) in [
            (
                41,
                9,
                "task/43/fd/3 task/43/exe task/43/cwd",
                missed(0, 0, 0),
            ),
            (42, 9, "0 1 exe task/44/fd/1 task/44/fd/2", missed(0, 0, 0)),
            (42, 1, "0 exe", missed(0, 1, 3)),
            (42, 4, "0 1 exe", missed(0, 0, 2)),
            (43, 9, "", missed(1, 0, 0)),
        ] {
            let (mut found, mut counted) = (Vec::new(), MissedLinks::default());
            let is_there = each_link_below(&base, pid, most, &mut counted, |link| {
                assert_eq!(
                    fs::read_link(&link.path)
                        .unwrap()
                        .as_os_str()
                        .as_encoded_bytes(),
                    link.target
                );
                found.push(link.name);
            });
            assert_eq!(found.join(" "), expect, "{pid} {most}");
            assert_eq!(counted, left, "{pid} {most}");
            assert_eq!(is_there, counted.ended == 0);
        }
        fs::remove_dir_all(&base).unwrap();
    }
}
