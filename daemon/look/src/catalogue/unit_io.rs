//! `io.units`: which unit reads and writes how much.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use remit_common::{cgroup, text};
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

/// Lists units by reads and writes, now and since their start. Counted by the io controller, otherwise by processes.
pub fn io(seconds: &str, count: &str) -> Result<ExitCode, String> {
    let (seconds, most): (u64, usize) = (number(seconds)?, number(count)?);
    let groups = groups_of_units(Path::new("/sys/fs/cgroup"), MOST);
    let sample = || match groups.all.is_empty() {
        false => Sample::groups(&groups, HELD),
        true => Sample::processes(HELD),
    };
    let before = sample();
    sleep(Duration::from_secs(seconds.max(1)));
    let after = sample();
    close_files()?;
    let (all, source) = (compared(&before, &after, seconds.max(1)), after.source());
    let many = all.len();
    let shown: Vec<UnitIo> = all.into_iter().take(most).collect();
    let is_none = shown.is_empty();
    if is_none {
        print("no unit has read or written a disk\n")?;
    } else {
        let rows = shown.len();
        lines(shown)?;
        eprintln!("remit-look: {rows} of {many}, by the counters of {source}");
    }
    if after.more > 0 {
        eprintln!(
            "remit-look: {} more {} were not looked at",
            after.more,
            after.kind()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Units whose counters are read.
const MOST: usize = 5_000;
/// Slices whose contents are still to be looked at.
const WAITING: usize = 5_000;
/// Bytes of counters that a sample holds.
const HELD: usize = 32 << 20;

struct Sample {
    from: Source,
    /// Those that it has not.
    more: usize,
}

enum Source {
    Groups(Vec<(PathBuf, Vec<u8>)>),
    Processes(Vec<(Raw, Vec<u8>)>),
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

impl Sample {
    fn groups(groups: &Groups, most: usize) -> Self {
        let read = groups
            .all
            .iter()
            .filter_map(|group| Some((group.clone(), bytes(&group.join("io.stat"), LONGEST)?)));
        let size = |(group, stat): &(PathBuf, Vec<u8>)| group.as_os_str().len() + stat.len();
        let (all, more) = fitting(read, size, most);
        Self {
            from: Source::Groups(all),
            more: more + groups.more,
        }
    }

    fn processes(most: usize) -> Self {
        let read = |pid| {
            Some((
                Raw::read(pid)?,
                bytes(&PathBuf::from(format!("/proc/{pid}/io")), LONGEST)?,
            ))
        };
        let size = |(process, io): &(Raw, Vec<u8>)| process.cgroup.len() + io.len();
        let pids = numbers(Path::new("/proc")).unwrap_or_default();
        let (all, more) = fitting(pids.into_iter().filter_map(read), size, most);
        Self {
            from: Source::Processes(all),
            more,
        }
    }

    fn kind(&self) -> &'static str {
        match self.from {
            Source::Groups(_) => "units",
            Source::Processes(_) => "processes",
        }
    }

    fn source(&self) -> &'static str {
        match self.from {
            Source::Groups(_) => "control groups, in bytes",
            Source::Processes(_) => "processes, in bytes; those that have ended are not in it",
        }
    }

    /// Counters by process or group, so that one that ends takes nothing from others.
    fn counters(&self) -> BTreeMap<String, Counters> {
        match &self.from {
            Source::Groups(groups) => groups
                .iter()
                .filter_map(|(path, stat)| {
                    let (unit, _) = cgroup::units_of(path.file_name()?.to_str()?);
                    let unit = unit?;
                    Some((path.display().to_string(), of_group(unit, stat)))
                })
                .collect(),
            Source::Processes(processes) => processes
                .iter()
                .map(|(process, io)| {
                    let unit = process.unit().unwrap_or_else(|| "-".into());
                    let counted = of_process(io);
                    (
                        process.pid.to_string(),
                        Counters::from([((unit, None), counted)]),
                    )
                })
                .collect(),
        }
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

struct Groups {
    all: Vec<PathBuf>,
    more: usize,
}

/// Returns the groups of units that count I/O. Not looked at: groups below, which are in the counters, and those of others
/// than the service manager, whose names mean nothing.
fn groups_of_units(root: &Path, most: usize) -> Groups {
    let mut left = vec![root.to_owned()];
    let mut found = Groups {
        all: Vec::new(),
        more: 0,
    };
    while let Some(directory) = left.pop() {
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let (name, group) = (entry.file_name(), entry.path());
            let name = name.to_str().unwrap_or_default();
            let (kept, most) = match cgroup::units_of(name) {
                (Some(_), _) if group.join("io.stat").exists() => (&mut found.all, most),
                (None, _) if name.ends_with(".slice") => (&mut left, WAITING),
                _ => continue,
            };
            match kept.len() < most {
                true => kept.push(group),
                false => found.more += 1,
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
    use super::*;

    #[test]
    fn counters_are_compared_by_process_and_shown_by_unit() {
        let process = |pid, unit: &str, written: u64| {
            let cgroup = format!("0::/system.slice/{unit}\n").into_bytes();
            let raw = Raw {
                pid,
                comm: b"x\n".to_vec(),
                cgroup,
            };
            (
                raw,
                format!("read_bytes: 4096\nwrite_bytes: {written}\ncancelled_write_bytes: 0\n")
                    .into_bytes(),
            )
        };
        let sample = |all| Sample {
            from: Source::Processes(all),
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
    fn many_groups_are_bounded_and_counted() {
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
        let found = groups_of_units(&root, 100);
        assert_eq!((found.all.len(), found.more), (100, 201));
        let is_top = |group: &PathBuf| !group.to_str().unwrap().contains("user@1.service/");
        assert!(found.all.iter().all(is_top));
        let whole = groups_of_units(&root, 1_000);
        assert_eq!((whole.all.len(), whole.more), (301, 0));

        let one = whole
            .all
            .iter()
            .map(|group| group.as_os_str().len() + 22)
            .max()
            .unwrap();
        let sample = Sample::groups(&whole, one * 10);
        let Source::Groups(kept) = &sample.from else {
            panic!("{}", sample.kind())
        };
        assert!((10..=12).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept.len() + sample.more, 301);
        assert_eq!(Sample::groups(&whole, HELD).more, 0);
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
