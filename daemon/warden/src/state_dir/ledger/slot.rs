//! Format of one slot of the ledger.
//! Six parts have fixed offsets, so a write touches one: start, approval, recorded mark, end, what it runs under, entry. The job
//! owns all but the last.

use remit_common::names::JobId;
use remit_common::text;
use remit_common::wire::Effect;
use remit_link::{JobMeta, Owner};
use serde::{Deserialize, Deserializer, Serialize};

use super::end_note::{EndNote, Ended};
use crate::request::Draft;
use crate::state_dir::framed_file::part::{Decoded, HEAD, Part};

pub const SLOT: usize = 8 << 10;
/// The entry names its job itself.
const NO_OWNER: [u8; 16] = [0; 16];
/// A kill never tears a write within one page.
const PAGE: usize = 4096;
/// A longer cause of an end is cut to these bytes, so the part fits.
const CAUSE: usize = 1 << 10;

// All parts of a usual job are in the first page of its slot.
const STARTED: Part = Part {
    name: b"started",
    at: 0,
    space: 32,
};
/// Earlier releases left these bytes empty, and do not read them.
const APPROVED: Part = Part {
    name: b"approved",
    at: 32,
    space: 16,
};
const RECORDED: Part = Part {
    name: b"recorded",
    at: 48,
    space: 16,
};
/// As it is read: that of an earlier release can reach into `UNDER`.
const ENDED: Part = Part {
    name: b"ended",
    at: 64,
    space: (3 << 10) - 64,
};
/// Earlier releases neither wrote nor read it.
const UNDER: Part = Part {
    name: b"under",
    at: (3 << 10) - 160,
    space: 160,
};
const ENTRY: Part = Part {
    name: b"entry",
    at: 3 << 10,
    space: SLOT - (3 << 10),
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub job: JobId,
    pub number: u64,
    pub owner: Owner,
    pub command: String,
    pub job_uid: u32,
    pub entered_ms: u64,
    pub waiting: QueuedFor,
    /// The caller's request id, with the hash of the request.
    pub request: Option<(String, [u8; 32])>,
    pub has_secrets: bool,
    pub traceparent: Option<String>,
    pub facts: Facts,
}

impl Entry {
    /// Returns whether the job could change the host. Such a job is remembered longer.
    pub fn is_change(&self) -> bool {
        self.facts.under.effect == Effect::Change
    }
}

/// Fields of every audit record of a job. With them, a later daemon can write records about a dead one's jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub loginuid: Option<u32>,
    pub session: u64,
    pub peer: String,
    pub named: Option<String>,
    pub under: RunsUnder,
    pub client: String,
    /// It is root's `remit try`. From here on are the last bytes of the entry: an earlier release neither wrote nor reads them.
    #[serde(deserialize_with = "or_default")]
    pub is_try: bool,
    #[serde(deserialize_with = "or_default")]
    pub follows: Option<JobId>,
}

/// What a policy decides about a job. A queued one is bound again if the policy has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunsUnder {
    pub profile: String,
    pub effect: Effect,
    pub policy: String,
}

impl RunsUnder {
    pub fn new(draft: &Draft) -> Self {
        let name = |name: &str| text::line(name.as_bytes(), Facts::NAME);
        Self {
            profile: name(draft.bound.compiled.name()),
            effect: draft.bound.effect,
            policy: name(draft.policy()),
        }
    }
}

/// The checksum has proven that nothing was cut off.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(T::deserialize(from).unwrap_or_default())
}

impl Facts {
    /// Bytes of the name of a command or profile, of a policy's digest, and of a process.
    pub const NAME: usize = 64;
    const CLIENT: usize = 100;

    pub fn of(draft: &Draft) -> Self {
        let (asked, subject) = (draft.asked(), &draft.requester.subject);
        let name = |name: &str| text::line(name.as_bytes(), Self::NAME);
        Self {
            loginuid: subject.loginuid(),
            session: draft.requester.session,
            peer: name(&subject.peer()),
            named: asked.named().map(name),
            under: RunsUnder::new(draft),
            client: text::line(asked.client().as_bytes(), Self::CLIENT),
            is_try: asked.is_try(),
            follows: asked.follows(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueuedFor {
    Nothing,
    Slot,
    Approval,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub started_ms: u64,
    pub job_uid: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Past {
    Queued,
    /// It waited for an approval. Of an earlier release perhaps also for a job slot.
    Asked,
    /// All have approved it whom its rule asks for, and it waited for a job slot.
    Approved,
    Running(u64),
    Ending(Box<Ended>),
    Ended(Box<Ended>),
    /// It had ended, and that is recorded. How it ended is damaged or could not be written.
    Lost,
    /// It had started or ended; the part that says so is damaged.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundJob {
    pub entry: Entry,
    pub job_uid: u32,
    pub past: Past,
    /// It has started, and the part that says under what is damaged. Or an earlier release used this slot again: it left
    /// the part of the job before, and did not write its own.
    pub is_under_unknown: bool,
    /// It was asked for, and neither that all have approved it nor a start is written.
    pub is_unapproved: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerSlot {
    Free,
    Job(Box<FoundJob>),
    Damaged,
}

/// Offset in the slot, and bytes.
pub type Write = (usize, Vec<u8>);

pub fn emptying() -> Write {
    (0, vec![0; ENDED.at + HEAD])
}

/// Returns what to write, in this order, to fill an empty slot. Until the last write the slot is free.
pub fn opening(entry: &Entry) -> Result<Vec<Write>, String> {
    let mut part = ENTRY.encode(NO_OWNER, entry)?;
    if ENTRY.at + part.len() <= PAGE {
        return Ok(vec![(ENTRY.at, part)]);
    }
    let body = part.split_off(HEAD);
    Ok(vec![(ENTRY.at + HEAD, body), (ENTRY.at, part)])
}

pub fn starting(job: JobId, started: &Started) -> Result<Write, String> {
    Ok((STARTED.at, STARTED.encode(job.0, started)?))
}

/// What a queued job runs under. It counts once its start is written.
pub fn binding(job: JobId, under: &RunsUnder) -> Result<Write, String> {
    Ok((UNDER.at, UNDER.encode(job.0, under)?))
}

pub fn approving(job: JobId) -> Result<Write, String> {
    Ok((APPROVED.at, APPROVED.encode(job.0, &())?))
}

pub fn unstarting() -> Write {
    (STARTED.at, vec![0; HEAD])
}

/// If the end is too long, omits the sandbox layers and denials and cuts the cause. Then it fits.
pub fn ending(job: JobId, ended: &EndNote<'_>) -> Result<Write, String> {
    let written = Part {
        space: UNDER.at - ENDED.at,
        ..ENDED
    };
    let part = written.encode(job.0, ended).or_else(|_| {
        let mut short = Ended {
            started_ms: ended.started_ms,
            waited_ms: ended.waited_ms,
            enforced: None,
            ending: ended.ending.clone(),
            decision: ended.decision.cloned(),
        };
        short.ending.denials.clear();
        let cause = &mut short.ending.cause;
        cause.truncate(cause.floor_char_boundary(CAUSE));
        written.encode(job.0, &short)
    })?;
    Ok((ENDED.at, part))
}

pub fn recording(job: JobId) -> Result<Write, String> {
    Ok((RECORDED.at, RECORDED.encode(job.0, &())?))
}

pub fn freeing() -> Write {
    (ENTRY.at, vec![0; HEAD])
}

/// The slot at the end of the file may be short.
pub fn read(slot: &[u8]) -> LedgerSlot {
    let mut entry: Entry = match ENTRY.decode(NO_OWNER, slot) {
        Decoded::Nothing => return LedgerSlot::Free,
        Decoded::Damaged => return LedgerSlot::Damaged,
        Decoded::Whole(entry) => entry,
    };
    let started: Decoded<Started> = STARTED.decode(entry.job.0, slot);
    let ended: Decoded<Ended> = ENDED.decode(entry.job.0, slot);
    let job_uid = match &started {
        Decoded::Whole(started) => started.job_uid,
        Decoded::Nothing | Decoded::Damaged => entry.job_uid,
    };
    let is_under_unknown = match (&started, UNDER.decode(entry.job.0, slot)) {
        (Decoded::Whole(_), Decoded::Whole(under)) => {
            entry.facts.under = under;
            false
        }
        (Decoded::Whole(_), Decoded::Damaged) => true,
        (Decoded::Whole(_), Decoded::Nothing) | (Decoded::Nothing | Decoded::Damaged, _) => false,
    };
    let recorded: Decoded<()> = RECORDED.decode(entry.job.0, slot);
    let approved: Decoded<()> = APPROVED.decode(entry.job.0, slot);
    let is_unapproved = entry.waiting == QueuedFor::Approval
        && !matches!(approved, Decoded::Whole(()))
        && matches!(started, Decoded::Nothing);
    let past = match (ended, started) {
        (Decoded::Whole(ended), _) => match recorded {
            Decoded::Whole(()) => Past::Ended(Box::new(ended)),
            Decoded::Nothing | Decoded::Damaged => Past::Ending(Box::new(ended)),
        },
        _ if matches!(recorded, Decoded::Whole(())) => Past::Lost,
        (Decoded::Damaged, _) | (Decoded::Nothing, Decoded::Damaged) => Past::Unknown,
        (Decoded::Nothing, Decoded::Whole(started)) => Past::Running(started.started_ms),
        (Decoded::Nothing, Decoded::Nothing) => match entry.waiting {
            QueuedFor::Nothing => Past::Running(entry.entered_ms),
            QueuedFor::Slot => Past::Queued,
            QueuedFor::Approval if is_unapproved => Past::Asked,
            QueuedFor::Approval => Past::Approved,
        },
    };
    LedgerSlot::Job(Box::new(FoundJob {
        entry,
        job_uid,
        past,
        is_under_unknown,
        is_unapproved,
    }))
}

impl FoundJob {
    /// Returns the job as its owner sees it. `ended` comes from this daemon if the job had no end.
    pub fn meta(&self, ended: Ended) -> JobMeta {
        let Entry {
            job,
            number,
            owner,
            command,
            has_secrets,
            ..
        } = self.entry.clone();
        JobMeta {
            has_secrets,
            may_change: self.entry.is_change(),
            is_unread: false,
            job,
            owner,
            command,
            waiting: None,
            number,
            started_ms: ended.started_ms,
            age_ms: 0,
            waited_ms: ended.waited_ms,
            enforced: ended.enforced,
            ending: Some(ended.ending),
            then: Vec::new(),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use remit_common::outcome::Enforced;

    use super::*;
    use crate::state_dir::ledger::{DecidedBy, EndDecision};

    pub fn entry(number: u64) -> Entry {
        Entry {
            job: JobId(u128::from(number).to_le_bytes()),
            number,
            owner: Owner {
                uid: 1000,
                user: "alice".into(),
            },
            command: "df -h".into(),
            job_uid: 5000,
            entered_ms: 1_800_000_000_000,
            waiting: QueuedFor::Nothing,
            request: Some(("once".into(), [4; 32])),
            has_secrets: false,
            traceparent: None,
            facts: facts(),
        }
    }

    pub fn facts() -> Facts {
        Facts {
            loginuid: None,
            session: 3,
            peer: "pid 7".into(),
            named: Some("disk.usage".into()),
            under: RunsUnder {
                profile: "read".into(),
                effect: Effect::Read,
                policy: "p".into(),
            },
            client: "c".into(),
            is_try: false,
            follows: None,
        }
    }

    fn queued(number: u64) -> Entry {
        Entry {
            waiting: QueuedFor::Slot,
            ..entry(number)
        }
    }

    fn longest(number: u64) -> Entry {
        Entry {
            command: "x".repeat(4096 + 64),
            request: Some(("r".repeat(128), [255; 32])),
            owner: Owner {
                uid: u32::MAX,
                user: "u".repeat(256),
            },
            entered_ms: u64::MAX,
            job_uid: u32::MAX,
            has_secrets: true,
            traceparent: Some("t".repeat(55)),
            facts: Facts {
                loginuid: Some(u32::MAX),
                session: u64::MAX,
                peer: "p".repeat(24),
                named: Some("n".repeat(Facts::NAME)),
                under: RunsUnder {
                    profile: "p".repeat(Facts::NAME),
                    effect: Effect::Change,
                    policy: "p".repeat(Facts::NAME),
                },
                client: "c".repeat(Facts::CLIENT),
                is_try: true,
                follows: Some(JobId([255; 16])),
            },
            ..queued(number)
        }
    }

    pub fn ended(cause: &str) -> Ended {
        let enforced = Enforced {
            profile: "read".into(),
            uid: 5000,
            layers: vec!["seccomp".into(); 20],
            landlock: 7,
            limits: vec!["memory 536870912 (cgroup)".into(); 12],
        };
        Ended {
            waited_ms: 9,
            enforced: Some(enforced),
            ..Ended::interrupted(7, cause.into(), true)
        }
    }

    fn under() -> RunsUnder {
        RunsUnder {
            profile: "now".into(),
            effect: Effect::Change,
            policy: "q".into(),
        }
    }

    fn rebound(entry: &Entry) -> Entry {
        let mut entry = entry.clone();
        entry.facts.under = under();
        entry
    }

    fn starts(job: JobId) -> Vec<Write> {
        vec![
            binding(job, &under()).unwrap(),
            starting(job, &STARTED_AT).unwrap(),
        ]
    }

    const STARTED_AT: Started = Started {
        started_ms: 77,
        job_uid: 5001,
    };

    #[test]
    fn change_is_still_a_change_after_a_restart() {
        for (entry, expect) in [(entry(1), false), (longest(1), true)] {
            let LedgerSlot::Job(found) = read(&opened(&entry)) else {
                panic!("{entry:?}");
            };
            assert_eq!(found.meta(ended("ok")).may_change, expect);
        }
    }

    fn put(slot: &mut [u8], (at, bytes): &Write) {
        slot[*at..*at + bytes.len()].copy_from_slice(bytes);
    }

    fn opened(entry: &Entry) -> Vec<u8> {
        let mut slot = vec![0; SLOT];
        opening(entry)
            .unwrap()
            .iter()
            .for_each(|write| put(&mut slot, write));
        slot
    }

    fn with(mut slot: Vec<u8>, write: Write) -> Vec<u8> {
        put(&mut slot, &write);
        slot
    }

    fn job(entry: Entry, job_uid: u32, past: Past) -> LedgerSlot {
        LedgerSlot::Job(Box::new(FoundJob {
            is_unapproved: past == Past::Asked,
            is_under_unknown: false,
            entry,
            job_uid,
            past,
        }))
    }

    fn unknown(slot: &LedgerSlot) -> LedgerSlot {
        match slot {
            LedgerSlot::Job(found) => job(found.entry.clone(), found.entry.job_uid, Past::Unknown),
            other => other.clone(),
        }
    }

    /// Only the end, or whether there was one, is unknown.
    fn without_end(found: &LedgerSlot, right: &LedgerSlot) -> bool {
        let (LedgerSlot::Job(found), LedgerSlot::Job(right)) = (found, right) else {
            return false;
        };
        let lost = matches!(found.past, Past::Lost | Past::Unknown);
        lost && (&found.entry, found.job_uid) == (&right.entry, right.job_uid)
    }

    /// States of a job in a slot that had another one, each with the writes that lead to it.
    fn life(entry: &Entry) -> Vec<(Vec<Write>, LedgerSlot)> {
        let old = Entry {
            waiting: QueuedFor::Approval,
            ..queued(99)
        };
        let running = job(rebound(entry), 5001, Past::Running(77));
        let saved = Past::Ending(Box::new(ended("ok")));
        let end = Past::Ended(Box::new(ended("ok")));
        let opening = |entry: &Entry| [vec![emptying()], opening(entry).unwrap()].concat();
        vec![
            (opening(&old), job(old.clone(), 5000, Past::Asked)),
            (
                vec![approving(old.job).unwrap()],
                job(old.clone(), 5000, Past::Approved),
            ),
            (starts(old.job), job(rebound(&old), 5001, Past::Running(77))),
            (
                vec![ending(old.job, &ended("ok").end_note()).unwrap()],
                job(rebound(&old), 5001, saved.clone()),
            ),
            (
                vec![recording(old.job).unwrap()],
                job(rebound(&old), 5001, end.clone()),
            ),
            (vec![freeing()], LedgerSlot::Free),
            (
                opening(entry),
                job(entry.clone(), entry.job_uid, Past::Queued),
            ),
            (starts(entry.job), running),
            (
                vec![ending(entry.job, &ended("ok").end_note()).unwrap()],
                job(rebound(entry), 5001, saved),
            ),
            (
                vec![recording(entry.job).unwrap()],
                job(rebound(entry), 5001, end),
            ),
            (vec![freeing()], LedgerSlot::Free),
        ]
    }

    #[test]
    fn torn_write_leaves_slot_old_new_or_damaged() {
        for entry in [queued(1), longest(1)] {
            let mut slot = vec![0; SLOT];
            let mut before = LedgerSlot::Free;
            for (writes, after) in life(&entry) {
                for (at, bytes) in writes {
                    for torn in 0..bytes.len() {
                        let slot = with(slot.clone(), (at, bytes[..torn].to_vec()));
                        let found = read(&slot);
                        let expected = [
                            before.clone(),
                            after.clone(),
                            LedgerSlot::Damaged,
                            unknown(&before),
                            unknown(&after),
                        ];
                        let right = expected.contains(&found) || without_end(&found, &after);
                        assert!(right, "{torn} of {}: {found:?}", bytes.len());
                    }
                    put(&mut slot, &(at, bytes));
                }
                assert_eq!(read(&slot), after);
                before = after;
            }
        }
    }

    #[test]
    fn kill_between_writes_never_damages_slot() {
        let mut slot = vec![0; SLOT];
        let mut before = LedgerSlot::Free;
        for (writes, after) in life(&queued(1)) {
            for write in writes {
                assert_eq!(read(&slot), before);
                put(&mut slot, &write);
            }
            before = after;
        }
    }

    #[test]
    fn torn_write_stays_within_one_page() {
        for entry in [queued(1), longest(1)] {
            for (writes, _) in life(&entry) {
                // The slot is free before the last write of an opening, whatever of it is there.
                let (at, bytes) = writes.last().unwrap();
                assert_eq!(
                    at / PAGE,
                    (at + bytes.len() - 1) / PAGE,
                    "{at} {}",
                    bytes.len()
                );
            }
        }
    }

    #[test]
    fn no_bit_can_turn_without_being_noticed() {
        let mut whole = opened(&queued(1));
        starts(queued(1).job)
            .iter()
            .for_each(|write| put(&mut whole, write));
        let whole = with(
            whole,
            ending(queued(1).job, &ended("ok").end_note()).unwrap(),
        );
        let whole = with(whole, recording(queued(1).job).unwrap());
        let right = read(&whole);
        let end = Past::Ended(Box::new(ended("ok")));
        for bit in 0..SLOT * 8 {
            let mut slot = whole.clone();
            slot[bit / 8] ^= 1 << (bit % 8);
            let found = read(&slot);
            let without_start = job(queued(1), 5000, end.clone());
            let unrecorded = Past::Ending(Box::new(ended("ok")));
            let unrecorded = job(rebound(&queued(1)), 5001, unrecorded);
            let mut without_under = job(queued(1), 5001, end.clone());
            if let LedgerSlot::Job(job) = &mut without_under {
                job.is_under_unknown = true;
            }
            let fine = found == right
                || found == LedgerSlot::Damaged
                || found == without_start
                || found == unrecorded
                || found == without_under
                || without_end(&found, &right);
            assert!(fine, "bit {bit}: {found:?}");
        }
    }

    #[test]
    fn entry_of_an_earlier_release_is_no_try_and_follows_nothing() {
        let job = Some(JobId([7; 16]));
        for (is_try, follows) in [(true, None), (false, job)] {
            let facts = Facts {
                is_try,
                follows,
                ..facts()
            };
            let entry = Entry { facts, ..entry(1) };
            let whole = postcard::to_extend(&entry, Vec::new()).unwrap();
            let added = 2 + if follows.is_some() { 16 } else { 0 };
            let read = |length| {
                let read = postcard::from_bytes::<Entry>(&whole[..length]);
                read.map(|entry| (entry.facts.is_try, entry.facts.follows))
            };
            assert_eq!(read(whole.len()), Ok((is_try, follows)));
            assert_eq!(read(whole.len() - added), Ok((false, None)));
            assert!(read(whole.len() - added - 1).is_err());
        }
    }

    /// A policy that came into force in between counts only for what ran under it.
    #[test]
    fn job_that_did_not_start_has_the_policy_of_its_entry() {
        let entry = queued(1);
        let bound = with(opened(&entry), binding(entry.job, &under()).unwrap());
        assert_eq!(read(&bound), job(entry.clone(), 5000, Past::Queued));
        let started = with(bound, starting(entry.job, &STARTED_AT).unwrap());
        let running = job(rebound(&entry), 5001, Past::Running(77));
        assert_eq!(read(&started), running);
        let put_back = with(started, unstarting());
        assert_eq!(read(&put_back), job(entry, 5000, Past::Queued));
    }

    #[test]
    fn end_of_an_earlier_release_has_no_decision_and_may_be_longer() {
        let decided = Ended {
            decision: Some(EndDecision {
                digest: [7; 32],
                by: Some(DecidedBy {
                    user: "u".repeat(256),
                    uid: u32::MAX,
                    loginuid: Some(u32::MAX),
                    claimed: Some(u32::MAX),
                    peer: "p".repeat(24),
                }),
            }),
            ..ended(&"x".repeat(2 * CAUSE))
        };
        let entry = entry(1);
        let found = |slot: &[u8]| match read(slot) {
            LedgerSlot::Job(found) => match found.past {
                Past::Ending(ended) => *ended,
                past => panic!("{past:?}"),
            },
            other => panic!("{other:?}"),
        };
        let slot = with(
            opened(&entry),
            ending(entry.job, &decided.end_note()).unwrap(),
        );
        assert_eq!(found(&slot).decision, decided.decision);
        let whole = postcard::to_extend(&ended("ok"), Vec::new()).unwrap();
        let earlier: Ended = postcard::from_bytes(&whole[..whole.len() - 1]).unwrap();
        assert_eq!(earlier, ended("ok"));
        // Where this release writes what a job runs under, an earlier one wrote the last bytes of an end.
        let mut long = ended("ok");
        let cause = &mut long.ending.cause;
        let length = |ended: &Ended| postcard::to_extend(ended, Vec::new()).unwrap().len();
        *cause = "x".repeat(ENDED.space - HEAD - length(&ended("")) - 1);
        let part = ENDED.encode(entry.job.0, &long).unwrap();
        assert_eq!(part.len(), ENDED.space);
        let slot = with(opened(&entry), (ENDED.at, part));
        assert_eq!(found(&slot), long);
    }

    #[test]
    fn recorded_end_without_note_is_lost() {
        for entry in [entry(1), queued(1)] {
            let slot = with(opened(&entry), recording(entry.job).unwrap());
            assert_eq!(read(&slot), job(entry.clone(), 5000, Past::Lost));
            let slot = with(slot, starting(entry.job, &STARTED_AT).unwrap());
            assert_eq!(read(&slot), job(entry, 5001, Past::Lost));
        }
    }

    #[test]
    fn a_short_or_foreign_slot_is_no_job() {
        let whole = opened(&entry(1));
        assert_eq!(read(&[]), LedgerSlot::Free);
        assert_eq!(read(&vec![0; SLOT]), LedgerSlot::Free);
        assert_eq!(read(&vec![255; SLOT]), LedgerSlot::Damaged);
        let used = ENTRY.at + HEAD + postcard::to_extend(&entry(1), Vec::new()).unwrap().len();
        for length in 0..used {
            let found = read(&whole[..length]);
            assert!(
                matches!(found, LedgerSlot::Free | LedgerSlot::Damaged),
                "{length}: {found:?}"
            );
        }
        // An end of another job, as a power cut might leave it.
        let foreign = with(
            whole,
            ending(entry(2).job, &ended("ok").end_note()).unwrap(),
        );
        assert_eq!(read(&foreign), job(entry(1), 5000, Past::Unknown));
    }

    #[test]
    fn longest_entry_fits_and_end_is_truncated() {
        let LedgerSlot::Job(found) = read(&opened(&longest(1))) else {
            panic!("it does not fit");
        };
        assert_eq!(found.entry, longest(1));
        let too_long = Entry {
            command: "x".repeat(SLOT),
            ..entry(1)
        };
        assert!(opening(&too_long).is_err());
        let long = "é".repeat(4000);
        let slot = with(
            opened(&entry(1)),
            ending(entry(1).job, &ended(&long).end_note()).unwrap(),
        );
        let LedgerSlot::Job(found) = read(&slot) else {
            panic!("{:?}", read(&slot));
        };
        let Past::Ending(end) = &found.past else {
            panic!("{found:?}");
        };
        assert_eq!(
            (end.enforced.as_ref(), end.ending.cause.len()),
            (None, CAUSE)
        );
        assert!(long.starts_with(&end.ending.cause));
    }
}
