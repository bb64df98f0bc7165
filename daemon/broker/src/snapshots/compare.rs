//! Reports what changed between two snapshots, and which jobs ran when it changed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use remit_common::calendar;
use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_facts::snapshot::{Difference, SECTIONS, differences};
use remit_facts::{JSON_CHARS, Shorten, fit_lists};
use remit_link::Owner;
use remit_wire::host::{Gap, HostChange, HostChanges, List, SectionChanges, Since};

use super::kept::{EndedChange, KeptSnapshot, PATIENCE, SnapshotClocks, SnapshotReason};

const OF_ANOTHER: &str = "job of another user";
const NOT_KNOWN: &str = "not known: the snapshots of that time are gone";
const RESTARTED: &str = "not known: the daemon started then";
/// Changes of one section in an answer, if they fit.
const PER_SECTION: usize = 200;

/// Compares two of `kept` (oldest first), or one with `now`. Root sees the jobs of all users.
pub fn changes(
    mut kept: Vec<KeptSnapshot>,
    now: Option<KeptSnapshot>,
    since: Since,
    caller: &Owner,
) -> Result<HostChanges, Refusal> {
    let clocks = now
        .as_ref()
        .map_or_else(SnapshotClocks::now, |now| now.from.clone());
    let mut gaps = Vec::new();
    let ended = match since {
        Since::Job(job) => {
            let (at, ended) = after(&kept, job, caller).ok_or_else(|| no_job(job))?;
            kept.truncate(at + 1);
            gaps.extend(kept.last().and_then(|after| late(after, &ended)));
            Some(ended)
        }
        Since::Time(_) | Since::Boot => {
            kept.extend(now.map(|now| without_named(now, &kept)));
            None
        }
    };
    let started_ms = ended.as_ref().map_or(0, |ended| ended.started_ms);
    let is_first = |last: &KeptSnapshot, kept: &KeptSnapshot| match since {
        Since::Time(unix_ms) => kept.is_before(unix_ms, &clocks),
        Since::Boot => kept.is_of_boot(&clocks),
        Since::Job(_) => kept.is_of_boot(&last.from) && kept.to.boottime_ms <= started_ms,
    };
    let from = first(&kept, since, is_first, &mut gaps)?;
    let kept = kept.get(from..).unwrap_or_default();
    let [before, .., last] = kept else {
        return Err(none_before(since));
    };
    gaps.extend(ended.and_then(|ended| early(kept, &ended)));
    let found = compared(before, last, &mut gaps);
    let by = causes(kept, &found, caller);
    let total = found.len() as u64;
    let mut answer = HostChanges {
        from: before.mark(&clocks),
        to: last.mark(&clocks),
        total,
        sections: sections(&found, &by),
        gaps,
    };
    fit_lists(&mut answer, lists, JSON_CHARS);
    Ok(answer)
}

/// A job that ended while `now` was taken can be in a kept snapshot by now.
fn without_named(mut now: KeptSnapshot, kept: &[KeptSnapshot]) -> KeptSnapshot {
    let ended = kept.iter().flat_map(|kept| &kept.ended);
    let named: HashSet<JobId> = ended.map(|ended| ended.job).collect();
    now.ended.retain(|ended| !named.contains(&ended.job));
    now
}

fn first(
    kept: &[KeptSnapshot],
    since: Since,
    is_first: impl Fn(&KeptSnapshot, &KeptSnapshot) -> bool,
    gaps: &mut Vec<Gap>,
) -> Result<usize, Refusal> {
    let Some((last, earlier @ [oldest, ..])) = kept.split_last() else {
        return Err(none_before(since));
    };
    let is_first = |kept: &KeptSnapshot| is_first(last, kept);
    let found = match since {
        Since::Boot => earlier.iter().position(is_first),
        Since::Time(_) | Since::Job(_) => earlier.iter().rposition(is_first),
    };
    if let Some(found) = found {
        return Ok(found);
    }
    let (instead, why) = match since {
        // All are of earlier boots.
        Since::Boot => (
            earlier.len() - 1,
            "no snapshot of this boot is kept; compared with the last one before it",
        ),
        Since::Time(_) | Since::Job(_) => {
            (0, "no snapshot is as old; compared with the oldest one")
        }
    };
    let of = earlier.get(instead).unwrap_or(oldest).from.unix_ms;
    gaps.push(Gap {
        fact: "since".to_owned(),
        why: format!("{why}, of {}", calendar::utc(of)),
    });
    Ok(instead)
}

fn after(kept: &[KeptSnapshot], job: JobId, caller: &Owner) -> Option<(usize, EndedChange)> {
    kept.iter().enumerate().find_map(|(at, kept)| {
        let own = |ended: &&EndedChange| ended.job == job && may_see(ended, caller);
        kept.ended.iter().find(own).map(|ended| (at, ended.clone()))
    })
}

/// A client waits for the snapshot for [`PATIENCE`]. After that others may change what the snapshot then shows.
fn late(after: &KeptSnapshot, ended: &EndedChange) -> Option<Gap> {
    let late = Duration::from_millis(after.to.boottime_ms.saturating_sub(ended.ended_ms));
    (late > PATIENCE).then(|| Gap {
        fact: "since".to_owned(),
        why: format!(
            "the snapshot after the job was complete {} s after its end; what others changed until then is listed too",
            late.as_secs()
        ),
    })
}

/// A snapshot delays its request for at most [`PATIENCE`]: one that is complete after the start of the job does not show what
/// was before. An approval or a slot can delay the job longer.
fn early(kept: &[KeptSnapshot], ended: &EndedChange) -> Option<Gap> {
    let (before, others) = kept.split_first()?;
    let started_ms = ended.started_ms;
    let overlaps = |kept: &KeptSnapshot| {
        let taken = kept.from.boottime_ms..kept.to.boottime_ms;
        // The first one since the start of the daemon can be the one before a change.
        let is_before = matches!(
            kept.reason,
            SnapshotReason::BeforeChange | SnapshotReason::Start
        );
        is_before && taken.contains(&started_ms)
    };
    // Of another boot, it is said to be too new or too old.
    let is_of_boot = others.last()?.is_of_boot(&before.from);
    let looked_ms = before.to.boottime_ms.max(ended.looked_ms);
    let age = Duration::from_millis(started_ms.saturating_sub(looked_ms));
    let why = if others.iter().any(overlaps) {
        format!(
            "the snapshot before the job was complete only after its start; what others changed since {} is listed too",
            calendar::utc(before.from.unix_ms)
        )
    } else if is_of_boot && age > PATIENCE {
        format!(
            "the snapshot before the job is {} s older than its start; what others changed in this time is listed too",
            age.as_secs()
        )
    } else {
        return None;
    };
    Some(Gap {
        fact: "since".to_owned(),
        why,
    })
}

fn may_see(ended: &EndedChange, caller: &Owner) -> bool {
    ended.owner == *caller || caller.uid == 0
}

fn no_job(job: JobId) -> Refusal {
    let text = format!("no snapshot shows what job {} changed", job.short());
    Refusal::new(Code::NotFound, text)
        .lift("it is a job of yours that may change the host, has ended, and is not too old")
        .next("give a time, such as -1h")
}

fn none_before(since: Since) -> Refusal {
    let what = match since {
        Since::Time(_) => "that time",
        Since::Boot => "this boot",
        Since::Job(_) => "that job",
    };
    Refusal::new(Code::NotFound, format!("no snapshot of {what} is kept"))
        .next("ask again in a minute: the first one is taken when the daemon starts")
}

fn compared<'a>(
    before: &'a KeptSnapshot,
    after: &'a KeptSnapshot,
    gaps: &mut Vec<Gap>,
) -> Vec<Difference<'a>> {
    let mut incomplete = BTreeMap::new();
    for gap in before.gaps.iter().chain(&after.gaps) {
        incomplete.insert(gap.fact.as_str(), gap.why.as_str());
    }
    for (section, why) in &incomplete {
        gaps.push(Gap {
            fact: (*section).to_owned(),
            why: format!("what was added or removed is not known: {why}"),
        });
    }
    let mut found = differences(&before.lines, &after.lines);
    found.retain(|one| {
        let is_changed = one.before.is_some() && one.after.is_some();
        is_changed || !incomplete.contains_key(one.section)
    });
    found
}

type Causes<'a> = BTreeMap<(&'a str, &'a str), BTreeSet<String>>;

/// Returns the jobs that ran between the two consecutive snapshots in which a key differs.
fn causes<'a>(kept: &'a [KeptSnapshot], found: &[Difference<'a>], caller: &Owner) -> Causes<'a> {
    let mut causes: Causes<'a> = found
        .iter()
        .map(|one| ((one.section, one.key), BTreeSet::new()))
        .collect();
    for (at, pair) in kept.windows(2).enumerate() {
        let [before, after] = pair else { continue };
        let later = kept.get(at + 1..).unwrap_or_default();
        let mut jobs = ran(after, later, caller);
        jobs.extend(unknown(before, after).map(str::to_owned));
        if jobs.is_empty() {
            continue;
        }
        for one in differences(&before.lines, &after.lines) {
            if let Some(by) = causes.get_mut(&(one.section, one.key)) {
                by.extend(jobs.iter().cloned());
            }
        }
    }
    causes
}

/// Returns why it is not known which jobs ran between the two, if it is not.
fn unknown(before: &KeptSnapshot, after: &KeptSnapshot) -> Option<&'static str> {
    match after.reason {
        SnapshotReason::Now => None,
        // Jobs that ended as the daemon stopped are in no snapshot.
        SnapshotReason::Start | SnapshotReason::NowUnkept => Some(RESTARTED),
        _ if after.number != before.number.saturating_add(1) => Some(NOT_KNOWN),
        _ => None,
    }
}

/// Returns the jobs that had started when `after` was taken and ended after the one before. `later` begins with `after`.
fn ran(after: &KeptSnapshot, later: &[KeptSnapshot], caller: &Owner) -> BTreeSet<String> {
    let same_boot = later
        .iter()
        .filter(|kept| kept.from.boot_id == after.from.boot_id);
    let ended = same_boot.flat_map(|kept| &kept.ended);
    ended
        .filter(|ended| ended.started_ms < after.to.boottime_ms)
        .map(|ended| match may_see(ended, caller) {
            true => ended.job.to_string(),
            false => OF_ANOTHER.to_owned(),
        })
        .collect()
}

fn lists(answer: &mut HostChanges) -> Vec<&mut dyn Shorten> {
    let sections = answer.sections.iter_mut();
    sections
        .map(|section| -> &mut dyn Shorten { &mut section.changes })
        .collect()
}

fn sections(found: &[Difference<'_>], by: &Causes<'_>) -> Vec<SectionChanges> {
    let of_section = |section: &'static str| {
        let changes: Vec<HostChange> = found
            .iter()
            .filter(|one| one.section == section)
            .map(|one| HostChange {
                name: one.key.to_owned(),
                before: one.before.map(str::to_owned),
                after: one.after.map(str::to_owned),
                by: by
                    .get(&(one.section, one.key))
                    .into_iter()
                    .flatten()
                    .cloned()
                    .collect(),
            })
            .collect();
        SectionChanges {
            section: section.to_owned(),
            changes: List::cut(changes, PER_SECTION),
        }
    };
    let mut sections: Vec<_> = SECTIONS.into_iter().map(of_section).collect();
    sections.retain(|section| section.changes.total() > 0);
    sections
}

#[cfg(test)]
mod tests {
    use super::super::kept::tests::{clocks, kept};
    use super::*;
    use crate::job::registry::tests::own as user;

    const JOB: JobId = JobId([7; 16]);
    const OTHER: JobId = JobId([8; 16]);
    const ME: u32 = 1000;

    fn with(mut one: KeptSnapshot, jobs: &[(JobId, u32, u64)]) -> KeptSnapshot {
        let ended = jobs.iter();
        one.ended = ended
            .map(|&(job, uid, started_ms)| EndedChange {
                job,
                owner: user(uid),
                looked_ms: 0,
                started_ms,
                ended_ms: started_ms + 100,
            })
            .collect();
        one
    }

    /// One change before the jobs, one in each, and one after.
    fn history() -> Vec<KeptSnapshot> {
        let line = |count: usize| -> String {
            ["a", "b", "c", "d", "e"][..count]
                .iter()
                .map(|key| format!("files\t/etc/{key}\tfile\n"))
                .collect()
        };
        let mut all = vec![
            kept(SnapshotReason::Start, 0, &line(0)),
            kept(SnapshotReason::BeforeChange, 1000, &line(1)),
            with(
                kept(SnapshotReason::AfterChange, 2000, &line(2)),
                &[(JOB, ME, 1100)],
            ),
            with(
                kept(SnapshotReason::AfterChange, 3000, &line(3)),
                &[(OTHER, 5, 2500)],
            ),
        ];
        for (number, kept) in (1..).zip(&mut all) {
            kept.number = number;
        }
        all
    }

    fn reported(answer: &HostChanges) -> Vec<(&str, Vec<&str>)> {
        let changes = answer
            .sections
            .iter()
            .flat_map(|section| &section.changes.items);
        changes
            .map(|change| {
                let by = change.by.iter().map(String::as_str).collect();
                (change.name.as_str(), by)
            })
            .collect()
    }

    #[test]
    fn change_is_by_the_jobs_that_ran_then() {
        let now = kept(
            SnapshotReason::Now,
            4000,
            &history()[3].lines.replace("\tfile\n", "\tlink\n"),
        );
        let own = JOB.to_string();
        let answer = changes(history(), None, Since::Job(JOB), &user(ME)).unwrap();
        assert_eq!(reported(&answer), [("/etc/b", vec![own.as_str()])]);
        assert_eq!(answer.from.reason, "before a change");
        assert!(changes(history(), None, Since::Job(OTHER), &user(ME)).is_err());
        let of_reused_uid = Owner {
            user: "bob".into(),
            ..user(ME)
        };
        assert!(changes(history(), None, Since::Job(JOB), &of_reused_uid).is_err());
        let at = clocks(4000, "b1").unix_ms;
        let answer = changes(
            history(),
            Some(now.clone()),
            Since::Time(at - 3500),
            &user(ME),
        )
        .unwrap();
        let other = "job of another user";
        let expect = [
            ("/etc/a", vec![]),
            ("/etc/b", vec![own.as_str()]),
            ("/etc/c", vec![other]),
        ];
        assert_eq!(reported(&answer), expect);
        assert_eq!((answer.total, answer.gaps.len()), (3, 0));
        let mut removed = history();
        removed.remove(2);
        let since = Since::Time(at - 3500);
        let answer = changes(removed, Some(now.clone()), since, &user(ME)).unwrap();
        let gone = vec![other, NOT_KNOWN];
        let expect = [
            ("/etc/a", vec![]),
            ("/etc/b", gone.clone()),
            ("/etc/c", gone),
        ];
        assert_eq!(reported(&answer), expect);
        let answer = changes(history(), Some(now), Since::Time(at - 9000), &user(ME)).unwrap();
        assert_eq!(answer.gaps[0].fact, "since");
    }

    #[test]
    fn job_that_a_kept_snapshot_names_did_not_run_after_it() {
        let now = kept(SnapshotReason::Now, 4000, "files\t/etc/f\tfile\n");
        let now = with(now, &[(JOB, ME, 1100)]);
        let at = clocks(4000, "b1").unix_ms;
        let answer = changes(history(), Some(now), Since::Time(at - 500), &user(ME)).unwrap();
        let by = |name: &str| {
            let mut all = reported(&answer).into_iter();
            all.find(|(of, _)| *of == name).unwrap().1
        };
        assert_eq!(by("/etc/f"), Vec::<&str>::new());
    }

    #[test]
    fn boot_without_a_snapshot_is_compared_with_the_last_one_before_it() {
        let mut now = kept(SnapshotReason::Now, 9000, "");
        (now.from, now.to) = (clocks(9000, "b2"), clocks(9010, "b2"));
        let answer = changes(history(), Some(now), Since::Boot, &user(ME)).unwrap();
        assert_eq!(answer.from.time, history()[3].from.unix_ms / 1000);
        let why = &answer.gaps[0].why;
        assert!(why.starts_with("no snapshot of this boot is kept"), "{why}");
    }

    #[test]
    fn what_ran_before_a_start_of_the_daemon_is_not_known() {
        let mut all = history();
        all[2].reason = SnapshotReason::Start;
        let now = kept(SnapshotReason::Now, 4000, &all[3].lines);
        let at = clocks(4000, "b1").unix_ms;
        let answer = changes(all, Some(now), Since::Time(at - 3500), &user(ME)).unwrap();
        let own = JOB.to_string();
        let expect = [
            ("/etc/a", vec![]),
            ("/etc/b", vec![own.as_str(), RESTARTED]),
            ("/etc/c", vec![OF_ANOTHER]),
        ];
        assert_eq!(reported(&answer), expect);
    }

    #[test]
    fn snapshot_long_after_a_job_is_said_to_show_more() {
        let gaps = |taken_ms| {
            let mut all = history();
            all.truncate(2);
            let after = kept(SnapshotReason::AfterChange, taken_ms, &all[1].lines);
            all.push(with(after, &[(JOB, ME, 1100)]));
            changes(all, None, Since::Job(JOB), &user(ME)).unwrap().gaps
        };
        assert_eq!(gaps(2000), []);
        let why = &gaps(6200)[0].why;
        assert!(why.contains("5 s after its end"), "{why}");
    }

    #[test]
    fn snapshot_that_a_job_did_not_wait_for_is_said_to_show_more() {
        let gaps = |reason, taken_ms| {
            let mut all = history();
            all.truncate(3);
            (all[1].reason, all[1].to) = (reason, clocks(taken_ms, "b1"));
            changes(all, None, Since::Job(JOB), &user(ME)).unwrap().gaps
        };
        for reason in [SnapshotReason::BeforeChange, SnapshotReason::Start] {
            assert_eq!(gaps(reason, 1050), []);
            let why = &gaps(reason, 1150)[0].why;
            assert!(why.contains("only after its start"), "{why}");
        }
    }

    #[test]
    fn snapshot_long_before_a_job_is_said_to_show_more() {
        let gaps = |looked_ms| {
            let mut all = history();
            all.truncate(2);
            let after = kept(SnapshotReason::AfterChange, 62_500, &all[1].lines);
            let mut after = with(after, &[(JOB, ME, 62_000)]);
            after.ended[0].looked_ms = looked_ms;
            all.push(after);
            changes(all, None, Since::Job(JOB), &user(ME)).unwrap().gaps
        };
        // The second one was equal to the one before, so it is not kept.
        for (looked_ms, age) in [(0, Some("60 s")), (57_000, Some("5 s")), (61_000, None)] {
            let gaps = gaps(looked_ms);
            assert_eq!(gaps.len(), usize::from(age.is_some()), "{gaps:?}");
            if let Some(age) = age {
                let why = &gaps[0].why;
                assert!(
                    why.contains(&format!("{age} older than its start")),
                    "{why}"
                );
            }
        }
    }

    #[test]
    fn incomplete_section_tells_only_changed_values() {
        let mut before = kept(
            SnapshotReason::Start,
            0,
            "files\ta\t1\nfiles\tb\t1\nunits\tx\t1\n",
        );
        let now = kept(SnapshotReason::Now, 100, "files\tb\t2\nfiles\tc\t1\n");
        before.gaps.push(Gap {
            fact: "files".into(),
            why: "too many".into(),
        });
        let answer = changes(vec![before], Some(now), Since::Boot, &user(ME)).unwrap();
        assert_eq!(reported(&answer), [("b", vec![]), ("x", vec![])]);
        assert!(answer.gaps[0].why.contains("too many"));
    }

    #[test]
    fn long_answer_is_cut_and_counted() {
        // Each backslash is two bytes of JSON.
        for (name, is_whole) in [("x", true), (&*"\\".repeat(100), false)] {
            let lines: String = (0..5000)
                .map(|number| format!("files\t/etc/{name}{number:04}\tfile\n"))
                .collect();
            let now = kept(SnapshotReason::Now, 100, &lines);
            let before = vec![kept(SnapshotReason::Start, 0, "")];
            let answer = changes(before, Some(now), Since::Boot, &user(ME)).unwrap();
            let [section] = answer.sections.as_slice() else {
                panic!("{answer:?}")
            };
            assert_eq!((answer.total, section.changes.total()), (5000, 5000));
            let count = section.changes.items.len();
            assert_eq!(count == PER_SECTION, is_whole, "{count}");
            let length = serde_json::to_string(&answer).unwrap().len();
            assert!(length <= JSON_CHARS, "{length}");
        }
        assert!(changes(Vec::new(), None, Since::Boot, &user(ME)).is_err());
    }
}
