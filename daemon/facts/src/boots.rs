//! Reads the uptime, and the boots recorded in wtmp.

use std::ops::ControlFlow;

use remit_common::host::{Boot, Boots, List};

use crate::read::{self, Gaps, Why};
use crate::sources::Sources;
use crate::utmp::{self, Kind};

const BOOTS: usize = 10;

pub(crate) fn gather(at: &Sources, gaps: &mut Gaps) -> Boots {
    let path = at.proc.join("uptime");
    let uptime = read::word(&path).and_then(|text| {
        parse_uptime(&text).ok_or_else(|| format!("'{}' has an unknown format", path.display()))
    });
    Boots {
        uptime: gaps.known("boots.uptime", uptime),
        booted: gaps.known("boots.booted", booted(at)),
        last: gaps.known("boots.last", last(at)),
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

fn last(at: &Sources) -> Result<List<Boot>, Why> {
    let path = at.var.join("log/wtmp");
    let newer = at.var.join("lib/wtmpdb/wtmp.db");
    let records = match utmp::tail(&path) {
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
fn boots_of(records: &[utmp::Record]) -> Vec<Boot> {
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
    use super::*;
    use crate::utmp::Record;

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
