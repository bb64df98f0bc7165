//! Parses records of logins and boots (utmp(5)) as the C library lays them out. Reads uptime, and boots from wtmp.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::Path;

use remit_wire::host::{Boot, Boots, List};

use crate::read::{self, Gaps, Sources, Why};

const TAIL: u64 = 4 << 20;

/// Layout of `struct utmp`. x86-64 has 32-bit times for 32-bit programs; other 64-bit machines have 64-bit times.
#[cfg(target_arch = "x86_64")]
mod layout {
    pub(super) const SIZE: usize = 384;
    pub(super) const TIME: usize = 340;
    pub(super) const TIME_BYTES: usize = 4;
}
#[cfg(not(target_arch = "x86_64"))]
mod layout {
    pub(super) const SIZE: usize = 400;
    pub(super) const TIME: usize = 344;
    pub(super) const TIME_BYTES: usize = 8;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    RunLevel,
    Boot,
    User,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) line: String,
    pub(crate) user: String,
    pub(crate) host: String,
    pub(crate) time: u64,
}

/// Returns the last records of a file, oldest first.
pub(crate) fn tail(path: &Path) -> Result<Vec<Record>, Why> {
    let cannot = |err| read::cannot("read", path, &err);
    let mut file = File::open(path).map_err(cannot)?;
    let length = file.metadata().map_err(cannot)?.len();
    let size = layout::SIZE as u64;
    let whole = length.min(TAIL) / size * size;
    let start = (length / size * size).saturating_sub(whole);
    file.seek(SeekFrom::Start(start)).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(whole).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(parse(&bytes))
}

/// Parses the complete records. Ignores an incomplete last one.
fn parse(bytes: &[u8]) -> Vec<Record> {
    bytes
        .chunks_exact(layout::SIZE)
        .filter_map(record)
        .collect()
}

fn record(bytes: &[u8]) -> Option<Record> {
    let text = |from: usize, length: usize| {
        let field = bytes.get(from..from.checked_add(length)?)?;
        let end = field
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(field.len());
        Some(read::shown(&String::from_utf8_lossy(field.get(..end)?)))
    };
    let kind = i16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let time = bytes.get(layout::TIME..layout::TIME + layout::TIME_BYTES)?;
    let mut wide = [0; 8];
    // Only correct for little-endian machines with 4-byte times. 8-byte times fill the array.
    wide.get_mut(..time.len())?.copy_from_slice(time);
    Some(Record {
        kind: match kind {
            1 => Kind::RunLevel,
            2 => Kind::Boot,
            7 => Kind::User,
            _ => Kind::Other,
        },
        line: text(8, 32)?,
        user: text(44, 32)?,
        host: text(76, 256)?,
        time: u64::from_ne_bytes(wide),
    })
}

#[cfg(test)]
pub(crate) fn fake(kind: i16, line: &str, user: &str, host: &str, time: u32) -> Vec<u8> {
    let mut bytes = vec![0; layout::SIZE];
    bytes[..2].copy_from_slice(&kind.to_ne_bytes());
    for (from, text) in [(8, line), (44, user), (76, host)] {
        bytes[from..from + text.len()].copy_from_slice(text.as_bytes());
    }
    bytes[layout::TIME..layout::TIME + 4].copy_from_slice(&time.to_ne_bytes());
    bytes
}

const BOOTS: usize = 10;

pub(crate) fn gather(at: &Sources, gaps: &mut Gaps) -> Boots {
    let path = at.proc.join("uptime");
    let uptime = read::word(&path).and_then(|text| {
        parse_uptime(&text).ok_or_else(|| format!("'{}' has an unknown format", path.display()))
    });
    let booted = gaps.known("boots.booted", booted(at));
    let last = gaps.known("boots.last", last(at));
    let newest = last.iter().flat_map(|list| &list.items).next();
    let older = newest
        .zip(booted)
        .filter(|(newest, booted)| is_older(newest, *booted));
    if older.is_some() {
        let text = "the newest is older than the current boot: it has no record there, or the clock was set; \
             'journalctl --list-boots' may have it";
        gaps.note("boots.last", text);
    }
    Boots {
        uptime: gaps.known("boots.uptime", uptime),
        booted,
        last,
    }
}

/// Returns the first number of `350735.47 234388.90` in whole seconds.
fn parse_uptime(text: &str) -> Option<u64> {
    text.split(['.', ' ']).next()?.parse().ok()
}

fn booted(at: &Sources) -> Result<u64, Why> {
    let path = at.proc.join("stat");
    let mut booted = None;
    read::lines(&path, 16 << 20, |line| match line.strip_prefix("btime ") {
        Some(time) => {
            booted = time.trim().parse().ok();
            ControlFlow::Break(())
        }
        None => ControlFlow::Continue(()),
    })?;
    booted.ok_or_else(|| format!("'{}' has no btime", path.display()))
}

/// A newer release of the distribution leaves an old file and writes none. But the time of the current boot changes with the
/// clock and its record does not: by minutes on any machine, by hours on one without a clock that runs while it is off.
const fn is_older(newest: &Boot, booted: u64) -> bool {
    const CLOCK_SET: u64 = 600;
    newest.start.saturating_add(CLOCK_SET) < booted
}

fn last(at: &Sources) -> Result<List<Boot>, Why> {
    let path = at.var.join("log/wtmp");
    let newer = at.var.join("lib/wtmpdb/wtmp.db");
    let records = match tail(&path) {
        Err(_) if newer.exists() => Err(format!(
            "'{}' is a database of an unsupported kind",
            newer.display()
        )),
        read => read,
    }?;
    let list = boots_of(&records);
    if list.is_empty() {
        return Err(format!(
            "'{}' records no boot; 'journalctl --list-boots' may",
            path.display()
        ));
    }
    Ok(List::cut(list, BOOTS))
}

/// Pairs each start with the orderly shutdown that follows, if any. Returns the newest boot first.
fn boots_of(records: &[Record]) -> Vec<Boot> {
    let mut boots: Vec<Boot> = Vec::new();
    for record in records {
        match record.kind {
            Kind::Boot => boots.push(Boot {
                start: record.time,
                end: None,
                kernel: Some(record.host.clone()).filter(|kernel| !kernel.is_empty()),
            }),
            // who(1) recognizes a shutdown by the line `~` and the user `shutdown`.
            Kind::RunLevel if record.user == "shutdown" => {
                if let Some(boot) = boots.last_mut().filter(|boot| boot.end.is_none()) {
                    boot.end = Some(record.time);
                }
            }
            Kind::RunLevel | Kind::User | Kind::Other => {}
        }
    }
    boots.reverse();
    boots
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Record, *};

    #[test]
    fn torn_record_is_not_read() {
        let mut bytes = fake(2, "~", "reboot", "6.1.0-x", 4_000_000_000);
        bytes.extend(fake(7, "pts/0", "eve\x1b[2J", "", 5));
        bytes.extend_from_slice(&fake(7, "pts/1", "bob", "", 6)[..100]);
        let records = parse(&bytes);
        assert_eq!(records.len(), 2);
        assert_eq!(
            (records[0].kind, records[0].time),
            (Kind::Boot, 4_000_000_000)
        );
        assert_eq!(
            (records[0].user.as_str(), records[0].host.as_str()),
            ("reboot", "6.1.0-x")
        );
        assert_eq!(
            (records[1].user.as_str(), records[1].line.as_str()),
            ("eve\\x1b[2J", "pts/0")
        );
    }

    proptest! {
        #[test]
        fn odd_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1000)) {
            let _ = parse(&bytes);
        }
    }

    fn record(kind: Kind, user: &str, time: u64) -> Record {
        Record {
            kind,
            user: user.into(),
            line: "~".into(),
            host: "6.1.0".into(),
            time,
        }
    }

    #[test]
    fn boot_without_shutdown_is_a_crash_or_now() {
        let records = [
            record(Kind::RunLevel, "shutdown", 5),
            record(Kind::Boot, "reboot", 10),
            record(Kind::User, "alice", 11),
            record(Kind::RunLevel, "runlevel", 12),
            record(Kind::RunLevel, "shutdown", 20),
            record(Kind::Boot, "reboot", 30),
            record(Kind::Boot, "reboot", 40),
        ];
        let reported: Vec<_> = boots_of(&records)
            .iter()
            .map(|boot| (boot.start, boot.end))
            .collect();
        assert_eq!(reported, [(40, None), (30, None), (10, Some(20))]);
    }

    #[test]
    fn uptime_is_whole_seconds() {
        for (text, seconds) in [
            ("350735.47 1.0", Some(350_735)),
            ("7", Some(7)),
            ("", None),
            ("x.1", None),
        ] {
            assert_eq!(parse_uptime(text), seconds, "{text}");
        }
    }
}
