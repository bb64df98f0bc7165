//! Processors, their use since boot, load averages, pressure and memory (proc_cpuinfo(5), proc_stat(5),
//! proc_loadavg(5), the kernel's accounting/psi, proc_meminfo(5), proc_vmstat(5)).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::ControlFlow;

use remit_wire::host::{Cpu, CpuUsage, Hundredths, Load, Memory, Pressure};

use crate::read::{self, Gaps, Sources, Why};

/// Processes that are looked at for zombies.
const PROCESSES: usize = 32_768;

pub(crate) fn gather(at: &Sources, gaps: &mut Gaps) -> Option<Load> {
    let path = at.proc.join("loadavg");
    let text = gaps.known("load", read::text(&path, 4096))?;
    let Some((averages, runnable, tasks)) = loadavg(&text) else {
        gaps.note(
            "load",
            format!("'{}' has an unknown format", path.display()),
        );
        return None;
    };
    let mut pressure = |name: &str| {
        let path = at.proc.join("pressure").join(name);
        let parsed = read::text(&path, 4096).and_then(|text| {
            psi(&text).ok_or_else(|| format!("'{}' has an unknown format", path.display()))
        });
        gaps.known(&format!("load.{name}"), parsed)
    };
    let [one, five, fifteen] = averages;
    Some(Load {
        one,
        five,
        fifteen,
        runnable,
        tasks,
        cpu: pressure("cpu"),
        memory: pressure("memory"),
        io: pressure("io"),
    })
}

/// Fewest zombies of an alert: a parent may take a moment.
const ZOMBIES: usize = 10;

pub(crate) fn zombies(at: &Sources, gaps: &mut Gaps) -> Option<String> {
    if let Err(why) = read::text(&at.proc.join("1/stat"), 4096) {
        let hides = "/proc hides processes of others, as with its mount option hidepid";
        gaps.note("load.zombies", format!("{hides}: {why}"));
    }
    let mut children = BTreeMap::<u32, usize>::new();
    let processes = std::fs::read_dir(&at.proc).ok()?.flatten().take(PROCESSES);
    for entry in processes.filter(|entry| is_number(&entry.file_name())) {
        // A process may end meanwhile.
        let stat = read::text(&entry.path().join("stat"), 4096).unwrap_or_default();
        let mut words = stat
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest)
            .split_ascii_whitespace();
        if words.next() == Some("Z")
            && let Some(parent) = words.next().and_then(|word| word.parse().ok())
        {
            *children.entry(parent).or_default() += 1;
        }
    }
    let all: usize = children.values().sum();
    let (parent, most) = children.into_iter().max_by_key(|(_, count)| *count)?;
    let name = read::word(&at.proc.join(format!("{parent}/comm"))).unwrap_or_default();
    let sentence = format!("{all} zombies, {most} of them children of {parent} ({name})");
    (all >= ZOMBIES).then_some(sentence)
}

fn is_number(name: &OsStr) -> bool {
    name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
}

fn decimal(text: &str) -> Option<Hundredths> {
    Hundredths::try_from(text.parse::<f64>().ok()?).ok()
}

/// Parses `0.52 0.58 0.59 1/977 12345`.
fn loadavg(text: &str) -> Option<([Hundredths; 3], u64, u64)> {
    let mut words = text.split_ascii_whitespace();
    let averages = [
        decimal(words.next()?)?,
        decimal(words.next()?)?,
        decimal(words.next()?)?,
    ];
    let (runnable, tasks) = words.next()?.split_once('/')?;
    Some((averages, runnable.parse().ok()?, tasks.parse().ok()?))
}

/// Parses `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same line with `full`.
fn psi(text: &str) -> Option<Pressure> {
    let line = |name: &str| {
        let mut words = text
            .lines()
            .map(str::split_ascii_whitespace)
            .find_map(|mut words| (words.next() == Some(name)).then_some(words))?;
        let mut average = |key: &str| decimal(words.next()?.strip_prefix(key)?);
        Some([average("avg10=")?, average("avg60=")?, average("avg300=")?])
    };
    Some(Pressure {
        some: line("some")?,
        full: line("full"),
    })
}

pub(crate) fn gather_cpu(at: &Sources, gaps: &mut Gaps) -> Option<Cpu> {
    let path = at.proc.join("stat");
    let mut usage = None;
    let mut count = 0;
    let read = read::lines(&path, 4 << 20, |line| {
        match line.strip_prefix("cpu") {
            Some(rest) if rest.starts_with(' ') => usage = parse(rest),
            Some(_) => count += 1,
            // The processor lines come first. The interrupt lines after them may take megabytes.
            None => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    });
    gaps.known("cpu", read)?;
    let Some(usage) = usage.filter(|_| count > 0) else {
        gaps.note("cpu", format!("'{}' has an unknown format", path.display()));
        return None;
    };
    Some(Cpu {
        model: gaps.known("cpu.model", model(at)),
        count,
        usage,
    })
}

/// Ticks: user nice system idle iowait irq softirq steal guest guest_nice. User and nice include guest time.
fn parse(line: &str) -> Option<CpuUsage> {
    let mut ticks = [0_u64; 8];
    let mut words = line.split_ascii_whitespace();
    for (index, tick) in ticks.iter_mut().enumerate() {
        match words.next() {
            Some(word) => *tick = word.parse().ok()?,
            // Old kernels have fewer fields. A line without idle is malformed.
            None if index > 3 => break,
            None => return None,
        }
    }
    let [user, nice, system, idle, iowait, irq, softirq, steal] = ticks.map(u128::from);
    let all: u128 = ticks.map(u128::from).iter().sum();
    let percent = |part: u128| {
        let share = (part * 10_000).checked_div(all).unwrap_or(0);
        Hundredths(u32::try_from(share).unwrap_or(10_000))
    };
    Some(CpuUsage {
        user: percent(user + nice),
        system: percent(system + irq + softirq),
        iowait: percent(iowait),
        steal: percent(steal),
        idle: percent(idle),
    })
}

fn model(at: &Sources) -> Result<String, Why> {
    let path = at.proc.join("cpuinfo");
    let mut model = None;
    read::lines(&path, 4 << 20, |line| {
        let Some((key, value)) = line.split_once(':') else {
            return ControlFlow::Continue(());
        };
        match key.trim_end() {
            "model name" | "Model" | "cpu model" | "machine" => {
                model = Some(read::shown(value.trim()));
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    })?;
    model.ok_or_else(|| format!("'{}' names no model", path.display()))
}

pub(crate) fn gather_memory(at: &Sources, gaps: &mut Gaps) -> Option<Memory> {
    let path = at.proc.join("meminfo");
    let text = gaps.known("memory", read::text(&path, 64 << 10))?;
    let Some(total) = field(&text, "MemTotal") else {
        gaps.note("memory", format!("'{}' has no MemTotal", path.display()));
        return None;
    };
    if let Some(why) = arc(at) {
        gaps.note("memory.available", why);
    }
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
        huge: Some(field(&text, "Hugetlb").unwrap_or(0)),
        swap_total: get("swap_total", "SwapTotal"),
        swap_free: get("swap_free", "SwapFree"),
        oom_kills: oom_kills(at, gaps),
    })
}

/// Returns what `MemAvailable` lacks: to the kernel the cache of ZFS (ARC) is memory in use.
fn arc(at: &Sources) -> Option<Why> {
    let text = read::text(&at.proc.join("spl/kstat/zfs/arcstats"), 64 << 10).ok()?;
    // Its lines are `name type value`.
    let row = |name: &str| {
        text.lines().find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let value = (words.next() == Some(name)).then(|| words.nth(1))??;
            value.parse::<u64>().ok()
        })
    };
    let spare = row("size")?.saturating_sub(row("c_min")?) >> 20;
    (spare > 0).then(|| format!("it lacks {spare} MiB that the cache of ZFS (ARC) can give back"))
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
    use proptest::prelude::*;

    use super::*;
    use crate::tests::Scratch;

    #[test]
    fn hidden_processes_are_a_gap() {
        for (files, expect) in [
            (&[("proc/1/stat", &b"1 (init) S 0"[..])][..], None),
            (&[("proc/7/stat", b"7 (own) S 1")], Some("load.zombies")),
        ] {
            let scratch = Scratch::new();
            scratch.put(files);
            let mut gaps = Gaps::default();
            assert_eq!(zombies(&scratch.sources(), &mut gaps), None);
            let gap = gaps.into_list().pop();
            assert!(gap.iter().all(|gap| gap.why.contains("hidepid")), "{gap:?}");
            assert_eq!(gap.map(|gap| gap.fact).as_deref(), expect);
        }
    }

    #[test]
    fn cache_of_zfs_is_named_where_it_can_give_memory_back() {
        for (text, expect) in [
            (
                "13 1 0x01 1 2 3 4\nname type data\nc_min 4 1048576\nsize 4 5242880\n",
                Some("it lacks 4 MiB"),
            ),
            ("c_min 4 1048576\nsize 4 1048576\n", None),
            ("size 4 5242880\n", None),
            ("size 4\nc_min 4 x\n", None),
            ("", None),
        ] {
            let scratch = Scratch::new();
            scratch.put(&[("proc/spl/kstat/zfs/arcstats", text.as_bytes())]);
            let why = arc(&scratch.sources()).unwrap_or_default();
            assert_eq!(!why.is_empty(), expect.is_some(), "{text}: {why}");
            assert!(why.starts_with(expect.unwrap_or_default()), "{text}: {why}");
        }
    }

    #[test]
    fn loadavg_is_read_or_refused() {
        let good = ([Hundredths(52), Hundredths(258), Hundredths(5900)], 1, 977);
        for (text, expect) in [
            ("0.52 2.58 59.00 1/977 12345\n", Some(good)),
            ("0.52 2.58 59.00 1/977", Some(good)),
            ("0.52 2.58 59.00 1", None),
            ("0.52 2.58 nan 1/977 1", None),
            ("-1.0 2.58 1.0 1/977 1", None),
            ("", None),
        ] {
            assert_eq!(loadavg(text), expect, "{text}");
        }
    }

    #[test]
    fn psi_without_full_line_is_still_known() {
        let some = "some avg10=0.12 avg60=3.00 avg300=100.00 total=99\n";
        let full = "full avg10=0.01 avg60=0.00 avg300=0.00 total=9\n";
        let hundredths = |numbers: [u32; 3]| numbers.map(Hundredths);
        assert_eq!(
            psi(some),
            Some(Pressure {
                some: hundredths([12, 300, 10000]),
                full: None
            })
        );
        assert_eq!(
            psi(&format!("{some}{full}")).unwrap().full,
            Some(hundredths([1, 0, 0]))
        );
        assert_eq!(psi(full), None);
        assert_eq!(psi("some avg10=0.12"), None);
    }

    proptest! {
        #[test]
        fn odd_text_never_panics(text in "[0-9a-z./= \n-]{0,80}") {
            let _ = (loadavg(&text), psi(&text));
        }
    }

    #[test]
    fn ticks_become_percent() {
        let usage = parse(" 40 10 20 20 5 2 1 2 7 7").unwrap();
        assert_eq!(usage.user, Hundredths(5000));
        assert_eq!(usage.system, Hundredths(2300));
        assert_eq!(
            (usage.iowait, usage.steal, usage.idle),
            (Hundredths(500), Hundredths(200), Hundredths(2000))
        );
        assert_eq!(
            parse(" 1 1 1 1").map(|usage| usage.idle),
            Some(Hundredths(2500))
        );
        assert_eq!(
            parse(" 0 0 0 0").map(|usage| usage.idle),
            Some(Hundredths(0))
        );
        assert_eq!(parse(" 1 1 1"), None);
        assert_eq!(parse(" 1 1 x 1"), None);
    }

    proptest! {
        #[test]
        fn huge_and_odd_ticks_never_panic(ticks in proptest::collection::vec(any::<u64>(), 0..12), odd in ".{0,40}") {
            let line: Vec<String> = ticks.iter().map(u64::to_string).collect();
            let _ = (parse(&line.join(" ")), parse(&odd));
        }
    }

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
    }
}
