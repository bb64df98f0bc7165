//! `io.units`: which unit reads and writes how much.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use remit_common::text;
use remit_words::cgroup;
use serde::Serialize;

use super::inspect::{LONGEST, Raw, bytes, close_files, numbers};
use crate::text::{lines, number, print};

#[derive(Debug, Serialize, PartialEq, Eq)]
struct UnitIo {
    unit: String,
    /// Of counters of control groups; those of processes count all devices together.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    written_per_second: u64,
    read_per_second: u64,
    written: u64,
    read: u64,
}

/// Bytes read and written so far, by unit and device.
type Counters = BTreeMap<(String, Option<String>), (u64, u64)>;

/// Lists units by reads and writes, now and since their start. Those that the io controller counts by their control
/// group, all others by their processes.
pub fn io(seconds: &str, count: &str) -> Result<ExitCode, String> {
    let (seconds, most): (u64, usize) = (number(seconds)?, number(count)?);
    let root = Path::new("/sys/fs/cgroup");
    let before = Sample::take(root, counting_units(root, MOST), processes(), HELD);
    sleep(Duration::from_secs(seconds.max(1)));
    // The same groups: another one would seem to have done all of its work since.
    let groups = before.groups.iter().map(|(group, _)| group.clone());
    let after = Sample::take(root, groups.collect(), processes(), HELD);
    close_files()?;
    let all = compared(&before, &after, seconds.max(1));
    let many = all.len();
    let shown: Vec<UnitIo> = all.into_iter().take(most).collect();
    let is_none = shown.is_empty();
    if is_none {
        print("no unit has read or written a disk\n")?;
    } else {
        let rows = shown.len();
        lines(shown)?;
        eprintln!(
            "remit-look: {rows} of {many}, by the counters of {}",
            after.source()
        );
    }
    if after.more > 0 {
        eprintln!(
            "remit-look: {} more processes were not looked at",
            after.more
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Groups whose counters are read.
const MOST: usize = 5_000;
/// Slices whose contents are still to be looked at.
const WAITING: usize = 5_000;
/// Bytes that a sample holds, of counters of groups, and of those of processes.
const HELD: usize = 16 << 20;

struct Sample {
    /// Paths below the root.
    groups: Vec<(PathBuf, Vec<u8>)>,
    /// Also those whose group counts.
    processes: Vec<(Raw, Vec<u8>)>,
    /// Processes that it has not.
    more: usize,
}

fn fitting<T>(
    all: impl Iterator<Item = T>,
    size: impl Fn(&T) -> usize,
    most: usize,
) -> (Vec<T>, usize) {
    let (mut kept, mut held, mut more) = (Vec::new(), 0, 0);
    for one in all {
        let bytes = size(&one);
        if held + bytes > most {
            more += 1;
            continue;
        }
        held += bytes;
        kept.push(one);
    }
    (kept, more)
}

fn processes() -> impl Iterator<Item = (Raw, Vec<u8>)> {
    let pids = numbers(Path::new("/proc")).unwrap_or_default();
    pids.into_iter().filter_map(|pid| {
        let io = PathBuf::from(format!("/proc/{pid}/io"));
        Some((Raw::read(pid)?, bytes(&io, LONGEST)?))
    })
}

impl Sample {
    /// Units whose group is not among `groups`, or does not fit in, are counted by their processes.
    fn take(
        root: &Path,
        groups: Vec<PathBuf>,
        processes: impl Iterator<Item = (Raw, Vec<u8>)>,
        most: usize,
    ) -> Self {
        let read = groups.into_iter().filter_map(|group| {
            let stat = bytes(&root.join(&group).join("io.stat"), LONGEST)?;
            Some((group, stat))
        });
        let size = |(group, stat): &(PathBuf, Vec<u8>)| group.as_os_str().len() + stat.len();
        let (groups, _) = fitting(read, size, most);
        let size = |(process, io): &(Raw, Vec<u8>)| process.cgroup.len() + io.len();
        let (processes, more) = fitting(processes, size, most);
        Self {
            groups,
            processes,
            more,
        }
    }

    fn source(&self) -> &'static str {
        match self.groups.is_empty() {
            true => "processes, in bytes; those that have ended are not in it",
            false => {
                "control groups, in bytes; a unit without a device is counted by its processes, and those that have ended are not in it"
            }
        }
    }

    /// Counters by process or group, so that one that ends takes nothing from others.
    fn counters(&self) -> BTreeMap<String, Counters> {
        let of_groups = self.groups.iter().filter_map(|(path, stat)| {
            let (unit, _) = cgroup::units_of(path.file_name()?.to_str()?);
            Some((path.display().to_string(), of_group(unit?, stat)))
        });
        let counting: HashSet<&Path> = self.groups.iter().map(|(path, _)| path.as_path()).collect();
        let others = self.processes.iter().filter(|(process, _)| {
            !process
                .group()
                .ancestors()
                .any(|one| counting.contains(one))
        });
        let of_processes = others.map(|(process, io)| {
            let unit = process.unit().unwrap_or_else(|| "-".into());
            let counted = Counters::from([((unit, None), of_process(io))]);
            (process.pid.to_string(), counted)
        });
        of_groups.chain(of_processes).collect()
    }
}

fn compared(before: &Sample, after: &Sample, seconds: u64) -> Vec<UnitIo> {
    let (before, after) = (before.counters(), after.counters());
    let mut units: BTreeMap<(String, Option<String>), UnitIo> = BTreeMap::new();
    for (source, counters) in after {
        for (key, (read, written)) in counters {
            let earlier = before.get(&source).and_then(|before| before.get(&key));
            let (read_before, written_before) = earlier.copied().unwrap_or((0, 0));
            let of_unit = units.entry(key.clone()).or_insert_with(|| UnitIo {
                unit: key.0,
                device: key.1,
                written_per_second: 0,
                read_per_second: 0,
                written: 0,
                read: 0,
            });
            of_unit.read = of_unit.read.saturating_add(read);
            of_unit.written = of_unit.written.saturating_add(written);
            of_unit.read_per_second = of_unit
                .read_per_second
                .saturating_add(read.saturating_sub(read_before) / seconds);
            of_unit.written_per_second = of_unit
                .written_per_second
                .saturating_add(written.saturating_sub(written_before) / seconds);
        }
    }
    let mut all: Vec<UnitIo> = units
        .into_values()
        .filter(|one| one.read > 0 || one.written > 0)
        .collect();
    let rank = |one: &UnitIo| {
        let now = one.written_per_second.saturating_add(one.read_per_second);
        (Reverse(now), Reverse(one.written.saturating_add(one.read)))
    };
    all.sort_by_key(rank);
    all
}

/// Returns the groups of units that count I/O, below the root. Not looked at: groups below, which are in the counters, and
/// those of others than the service manager, whose names mean nothing.
fn counting_units(root: &Path, most: usize) -> Vec<PathBuf> {
    let mut left = vec![PathBuf::new()];
    let mut found = Vec::new();
    while let Some(directory) = left.pop() {
        let entries = fs::read_dir(root.join(&directory));
        let entries = entries.into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let name = entry.file_name();
            let group = directory.join(&name);
            let name = name.to_str().unwrap_or_default();
            let (kept, most) = match cgroup::units_of(name) {
                (Some(_), _) if entry.path().join("io.stat").exists() => (&mut found, most),
                (None, _) if name.ends_with(".slice") => (&mut left, WAITING),
                _ => continue,
            };
            if kept.len() < most {
                kept.push(group);
            }
        }
    }
    found
}

/// Parses io.stat of a group: `8:0 rbytes=1 wbytes=2 …` for each device.
fn of_group(unit: &str, stat: &[u8]) -> Counters {
    let stat = String::from_utf8_lossy(stat);
    let devices = stat.lines().filter_map(|line| {
        let (device, counters) = line.split_once(' ')?;
        let of = |name: &str| -> u64 {
            let value = counters.split(' ').find_map(|one| one.strip_prefix(name));
            value.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        let device = text::line(device.as_bytes(), 64);
        Some((
            (unit.to_owned(), Some(device)),
            (of("rbytes="), of("wbytes=")),
        ))
    });
    devices.collect()
}

/// Parses /proc/PID/io. What was written and then dropped before it came to a disk does not count. proc_pid_io(5)
fn of_process(io: &[u8]) -> (u64, u64) {
    let io = String::from_utf8_lossy(io);
    let of = |name: &str| -> u64 {
        let value = io.lines().find_map(|line| line.strip_prefix(name));
        value
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0)
    };
    let written = of("write_bytes:").saturating_sub(of("cancelled_write_bytes:"));
    (of("read_bytes:"), written)
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    fn process(pid: u32, group: &str, written: u64) -> (Raw, Vec<u8>) {
        let raw = Raw {
            pid,
            comm: b"x\n".to_vec(),
            cgroup: format!("0::{group}\n").into_bytes(),
        };
        let io = format!("read_bytes: 4096\nwrite_bytes: {written}\ncancelled_write_bytes: 0\n");
        (raw, io.into_bytes())
    }

    #[test]
    fn counters_are_compared_by_process_and_shown_by_unit() {
        let process =
            |pid, unit: &str, written| process(pid, &format!("/system.slice/{unit}"), written);
        let sample = |processes| Sample {
            groups: Vec::new(),
            processes,
            more: 0,
        };
        let before = sample(vec![
            process(1, "a.service", 100),
            process(2, "b.service", 9_000),
        ]);
        let after = sample(vec![
            process(1, "a.service", 4_100),
            process(3, "a.service", 50),
        ]);
        let found = compared(&before, &after, 2);
        let [a] = &found[..] else { panic!("{found:?}") };
        assert_eq!(
            (a.unit.as_str(), a.written_per_second, a.written),
            ("a.service", 2_025, 4_150)
        );
    }

    #[test]
    fn unit_without_counters_of_its_group_is_counted_by_its_processes() {
        let root = std::env::temp_dir().join(format!("remit-mixed-{}", std::process::id()));
        let session = "user.slice/user-0.slice/session-1.scope";
        for group in ["system.slice/a.service/below", session, "docker/1"] {
            fs::create_dir_all(root.join(group)).unwrap();
        }
        fs::write(
            root.join("system.slice/a.service/io.stat"),
            "8:0 rbytes=1 wbytes=70\n",
        )
        .unwrap();
        let groups = counting_units(&root, MOST);
        assert_eq!(groups, [Path::new("system.slice/a.service")]);
        for (most, expect) in [
            (
                HELD,
                "session-1.scope None 900, a.service Some(\"8:0\") 70, - None 8",
            ),
            // Without the bytes for the counters of a group.
            (0, ""),
        ] {
            let processes = [
                process(1, "/system.slice/a.service", 50),
                process(2, "/system.slice/a.service/below", 50),
                process(3, &format!("/{session}"), 900),
                process(4, "/docker/1", 8),
            ];
            let sample = Sample::take(&root, groups.clone(), processes.into_iter(), most);
            let mut found = compared(&sample, &sample, 1);
            found.sort_by_key(|one| Reverse(one.written));
            let found = found
                .iter()
                .map(|one| format!("{} {:?} {}", one.unit, one.device, one.written));
            assert_eq!(found.collect::<Vec<_>>().join(", "), expect);
            assert_eq!(sample.more, if most == 0 { 4 } else { 0 });
        }
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn many_groups_are_bounded() {
        let root = std::env::temp_dir().join(format!("remit-groups-{}", std::process::id()));
        let group = |name: &str| {
            let group = root.join(name);
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join("io.stat"), "8:0 rbytes=1 wbytes=2\n").unwrap();
        };
        group("user.slice/user-1.slice/user@1.service");
        // A container's own groups.
        group("lxc.payload.c1/system.slice/ssh.service");
        group("docker/system.slice/ssh.service");
        for number in 0..300 {
            group(&format!("system.slice/a{number}.service"));
            // A user's own groups, below the unit of this user.
            group(&format!(
                "user.slice/user-1.slice/user@1.service/b{number}.service"
            ));
        }
        assert_eq!(counting_units(&root, 100).len(), 100);
        let whole = counting_units(&root, 1_000);
        assert_eq!(whole.len(), 301);
        let is_top = |group: &PathBuf| !group.to_str().unwrap().contains("user@1.service/");
        assert!(whole.iter().all(is_top));

        let one = whole.iter().map(|group| group.as_os_str().len() + 22).max();
        let one = one.unwrap();
        let kept = |most| {
            Sample::take(&root, whole.clone(), iter::empty(), most)
                .groups
                .len()
        };
        assert!((10..=12).contains(&kept(one * 10)), "{}", kept(one * 10));
        assert_eq!(kept(HELD), 301);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn counters_of_hostile_text_are_zero() {
        assert_eq!(
            of_process(b"write_bytes: -1\nread_bytes: 99999999999999999999\n"),
            (0, 0)
        );
        assert_eq!(
            of_process(b"write_bytes: 5\ncancelled_write_bytes: 9\n"),
            (0, 0)
        );
        let found = of_group(
            "a.service",
            b"8:0 rbytes=1 wbytes=2 x\n\xff\x1b[1m wbytes=x\nnothing\n",
        );
        let sd = ("a.service".to_owned(), Some("8:0".to_owned()));
        assert_eq!(found.get(&sd), Some(&(1, 2)));
        assert!(
            found
                .keys()
                .all(|(_, device)| !device.as_ref().is_some_and(|name| name.contains('\x1b')))
        );
    }
}
