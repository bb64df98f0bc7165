//! What `disks.deleted`, `openfiles.*` and `io.units` share: processes and their open files, seen with a right of root's
//! to look. [`Processes::collect`] reads what it needs of files as bytes. Then [`close_files`] has the kernel refuse this
//! process the content of every file, and only after that anything is parsed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use remit_common::inspect::Inspect;
use remit_common::{cgroup, text};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// A process with more open files is shown in part.
const FILES_OF_ONE: usize = 65_536;
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
        let groups = String::from_utf8_lossy(&self.cgroup);
        let path = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let (unit, _) = cgroup::units_of(path?);
        unit.map(str::to_owned)
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
        let text = String::from_utf8_lossy(&self.mounts);
        let mut found: HashMap<u64, String> = HashMap::new();
        for line in text.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let (Some(device), Some(point)) = (fields.get(2), fields.get(4)) else {
                continue;
            };
            let Some((major, minor)) = device.split_once(':') else {
                continue;
            };
            let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else {
                continue;
            };
            let point = text::line(point.as_bytes(), SHOWN);
            let kept = found
                .entry(libc::makedev(major, minor))
                .or_insert_with(|| point.clone());
            if point.len() < kept.len() {
                *kept = point;
            }
        }
        found
    }
}

/// A descriptor, or another link of a process: its program, working directory or root.
#[derive(Debug)]
pub struct Link {
    pub name: String,
    pub path: PathBuf,
    /// As in proc_pid_fd(5): a path, with ` (deleted)` after an unlinked one, or `socket:[inode]`.
    pub target: Vec<u8>,
}

/// Returns what a process has open; `None`: it has ended. Links are read in turn: their owner chooses their number.
pub fn links(pid: u32) -> Option<impl Iterator<Item = Link>> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let mut numbers = numbers(&process.join("fd")).ok()?;
    numbers.sort_unstable();
    numbers.truncate(FILES_OF_ONE);
    let descriptors = numbers.into_iter().map(|number| format!("fd/{number}"));
    let others = ["exe", "cwd", "root"].map(str::to_owned);
    let all = descriptors.chain(others).filter_map(move |name| {
        let path = process.join(&name);
        let name = name.trim_start_matches("fd/").to_owned();
        let target = fs::read_link(&path).ok()?;
        let target = target.into_os_string().into_encoded_bytes();
        Some(Link { name, path, target })
    });
    Some(all)
}
