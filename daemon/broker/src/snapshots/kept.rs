//! One kept snapshot: a header, and the lines. Text, so that an administrator can read and compare the files.

use std::fs;
use std::str::FromStr;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use remit_common::calendar;
use remit_common::names::JobId;
use remit_link::Owner;
use remit_wire::host::{Gap, SnapshotMark};

/// Longest delay of a request by the snapshot before it, and of its answer by the one after it.
pub const PATIENCE: Duration = Duration::from_secs(3);

const FIRST: &str = "remit snapshot 1";
const LAST: &str = "end\n";

/// Both clocks: people's, which can go back, and that of this boot, which cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotClocks {
    pub unix_ms: u64,
    pub boottime_ms: u64,
    pub boot_id: String,
}

impl SnapshotClocks {
    pub fn now() -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            unix_ms: calendar::now_ms(),
            boottime_ms: boottime_ms(),
            boot_id: boot_id.trim().to_owned(),
        }
    }
}

/// Returns milliseconds since the boot, with the time of suspension.
pub fn boottime_ms() -> u64 {
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    u64::try_from(since_boot.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotReason {
    Start,
    Daily,
    BeforeChange,
    AfterChange,
    /// The present. Such a one is not kept.
    Now,
    /// The present, while no snapshot since the start of the daemon is kept.
    NowUnkept,
}

impl SnapshotReason {
    const ALL: [Self; 5] = [
        Self::Start,
        Self::Daily,
        Self::BeforeChange,
        Self::AfterChange,
        Self::Now,
    ];

    const fn words(self) -> &'static str {
        match self {
            Self::Start => "start of the daemon",
            Self::Daily => "daily",
            Self::BeforeChange => "before a change",
            Self::AfterChange => "after a change",
            Self::Now | Self::NowUnkept => "now",
        }
    }
}

/// A job that may have changed the host and ended before this snapshot and after the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedChange {
    pub job: JobId,
    pub owner: Owner,
    /// When the last snapshot before its start was complete, also one that was not kept because it was equal to the one
    /// before. In milliseconds since the boot; 0 if that is not known.
    pub looked_ms: u64,
    /// Start and end, in milliseconds since the boot. The end of a job that runs is 0.
    pub started_ms: u64,
    pub ended_ms: u64,
}

/// A job that may change the host and has not ended.
#[derive(Debug)]
pub struct PendingChange {
    pub owner: Owner,
    pub looked_ms: u64,
    /// Milliseconds since the boot. `None`: it has not started.
    pub started_ms: Option<u64>,
}

impl PendingChange {
    /// Returns `None` if it never ran: it changed nothing.
    pub fn end(&self, job: JobId, ended_ms: u64) -> Option<EndedChange> {
        let started_ms = self.started_ms?;
        let owner = self.owner.clone();
        Some(EndedChange {
            job,
            owner,
            looked_ms: self.looked_ms,
            started_ms,
            ended_ms,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSnapshot {
    /// Of its file. A gap between two numbers is one that was removed. 0 before it is kept.
    pub number: u64,
    pub reason: SnapshotReason,
    pub from: SnapshotClocks,
    pub to: SnapshotClocks,
    pub ended: Vec<EndedChange>,
    pub gaps: Vec<Gap>,
    pub lines: String,
}

impl KeptSnapshot {
    pub fn mark(&self, now: &SnapshotClocks) -> SnapshotMark {
        SnapshotMark {
            time: self.from.unix_ms / 1000,
            reason: self.reason.words().to_owned(),
            of_earlier_boot: self.from.boot_id != now.boot_id,
        }
    }

    pub fn is_of_boot(&self, now: &SnapshotClocks) -> bool {
        self.from.boot_id == now.boot_id
    }

    /// Returns true if it was complete at `unix_ms`. In this boot the age decides, because a clock can be set.
    pub fn is_before(&self, unix_ms: u64, now: &SnapshotClocks) -> bool {
        match self.is_of_boot(now) {
            true => {
                let age = now.unix_ms.saturating_sub(unix_ms);
                self.to.boottime_ms <= now.boottime_ms.saturating_sub(age)
            }
            false => self.to.unix_ms <= unix_ms,
        }
    }

    pub fn encode(&self) -> String {
        let Self {
            number: _,
            reason,
            from,
            to,
            ended,
            gaps,
            lines,
        } = self;
        let mut text = format!(
            "{FIRST}\nreason {}\nboot {}\nfrom {} {}\nto {} {}\n",
            reason.words(),
            from.boot_id,
            from.unix_ms,
            from.boottime_ms,
            to.unix_ms,
            to.boottime_ms
        );
        for EndedChange {
            job,
            owner: Owner { uid, user },
            looked_ms,
            started_ms,
            ended_ms,
        } in ended
        {
            let user = remit_common::text::line(user.as_bytes(), 256);
            text += &format!("job {job} {uid} {looked_ms} {started_ms} {ended_ms} {user}\n");
        }
        for Gap { fact, why } in gaps {
            text += &format!(
                "gap {fact} {}\n",
                remit_common::text::line(why.as_bytes(), 512)
            );
        }
        text.push('\n');
        text += lines;
        text += LAST;
        text
    }

    /// Returns `None` for what is damaged or was not written whole.
    pub fn decode(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(FIRST)?.strip_prefix('\n')?;
        let (header, lines) = rest.split_once("\n\n")?;
        let lines = lines.strip_suffix(LAST)?;
        if !(lines.is_empty() || lines.ends_with('\n')) {
            return None;
        }
        let mut kept = Self {
            number: 0,
            reason: SnapshotReason::Now,
            from: SnapshotClocks::default(),
            to: SnapshotClocks::default(),
            ended: Vec::new(),
            gaps: Vec::new(),
            lines: lines.to_owned(),
        };
        for line in header.lines() {
            let (name, value) = line.split_once(' ')?;
            match name {
                "reason" => {
                    let mut all = SnapshotReason::ALL.into_iter();
                    kept.reason = all.find(|reason| reason.words() == value)?;
                }
                "boot" => {
                    value.clone_into(&mut kept.from.boot_id);
                    value.clone_into(&mut kept.to.boot_id);
                }
                "from" => [kept.from.unix_ms, kept.from.boottime_ms] = numbers(value)?,
                "to" => [kept.to.unix_ms, kept.to.boottime_ms] = numbers(value)?,
                "job" => {
                    kept.ended.push(ended(value)?);
                }
                "gap" => {
                    let (fact, why) = value.split_once(' ')?;
                    kept.gaps.push(Gap {
                        fact: fact.to_owned(),
                        why: why.to_owned(),
                    });
                }
                _ => return None,
            }
        }
        Some(kept)
    }
}

fn ended(line: &str) -> Option<EndedChange> {
    let mut words = line.splitn(6, ' ');
    let job = JobId::from_str(words.next()?).ok()?;
    let uid = words.next()?.parse().ok()?;
    let looked_ms = words.next()?.parse().ok()?;
    let started_ms = words.next()?.parse().ok()?;
    let ended_ms = words.next()?.parse().ok()?;
    let user = words.next()?.to_owned();
    Some(EndedChange {
        job,
        owner: Owner { uid, user },
        looked_ms,
        started_ms,
        ended_ms,
    })
}

fn numbers<const COUNT: usize>(text: &str) -> Option<[u64; COUNT]> {
    let numbers: Option<Vec<u64>> = text.split(' ').map(|number| number.parse().ok()).collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn clocks(ms: u64, boot: &str) -> SnapshotClocks {
        SnapshotClocks {
            unix_ms: 1_795_000_000_000 + ms,
            boottime_ms: ms,
            boot_id: boot.to_owned(),
        }
    }

    pub fn kept(reason: SnapshotReason, ms: u64, lines: &str) -> KeptSnapshot {
        let (from, to) = (clocks(ms, "b1"), clocks(ms + 10, "b1"));
        let lines = lines.to_owned();
        KeptSnapshot {
            number: 0,
            reason,
            from,
            to,
            ended: Vec::new(),
            gaps: Vec::new(),
            lines,
        }
    }

    #[test]
    fn file_is_read_back_and_a_cut_one_is_not() {
        let mut one = kept(SnapshotReason::AfterChange, 7, "a\tb\tc\n");
        one.ended.push(EndedChange {
            job: JobId([3; 16]),
            owner: Owner {
                uid: 8,
                user: "alice b".into(),
            },
            looked_ms: 4,
            started_ms: 5,
            ended_ms: 6,
        });
        one.gaps.push(Gap {
            fact: "units".into(),
            why: "no bus".into(),
        });
        for one in [one, kept(SnapshotReason::Start, 0, "")] {
            let text = one.encode();
            assert_eq!(KeptSnapshot::decode(&text).as_ref(), Some(&one));
            for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
                assert_eq!(KeptSnapshot::decode(&text[..cut]), None, "{cut}");
            }
        }
    }

    #[test]
    fn age_counts_in_this_boot_and_the_clock_in_others() {
        let one = kept(SnapshotReason::Start, 1000, "");
        let mut now = clocks(5000, "b1");
        assert!(one.is_before(now.unix_ms - 3000, &now));
        assert!(!one.is_before(now.unix_ms - 4500, &now));
        now.unix_ms -= 3_600_000;
        assert!(one.is_before(now.unix_ms - 3000, &now));
        assert!(!one.is_before(now.unix_ms - 4500, &now));
        let now = clocks(5000, "b2");
        assert!(one.is_before(one.to.unix_ms, &now));
        assert!(!one.is_before(one.to.unix_ms - 1, &now));
    }
}
