//! One slot of the ledger as bytes. Pure.
//!
//! Four parts at fixed places, so that writing one touches no other: when the job got its place,
//! that its end is recorded, how it ended, what it is. Each begins with its length (4 bytes,
//! little-endian) and the first 8 bytes of the SHA-256 of its name, the job's id and itself: one
//! that is torn, or another job's, is known as damaged. Where there is none, these are zero.

use remit_common::names::JobId;
use remit_common::text;
use remit_common::wire::Effect;
use remit_link::{JobMeta, Owner};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ended::{Ended, Told};
use crate::plan::Draft;

/// Bytes of a slot.
pub const SLOT: usize = 8 << 10;
/// Length and checksum.
const HEAD: usize = 4 + 8;
/// A kill leaves a write that lies in one of these whole.
const PAGE: usize = 4096;
/// A longer cause of an end is cut, so that the part fits.
const CAUSE: usize = 1 << 10;

/// A part's place and room. A usual job's all lie in the first page of its slot.
#[derive(Clone, Copy, Debug)]
struct Part {
    name: &'static [u8],
    at: usize,
    room: usize,
}

const STARTED: Part = Part {
    name: b"started",
    at: 0,
    room: 48,
};
const RECORDED: Part = Part {
    name: b"recorded",
    at: 48,
    room: 16,
};
const ENDED: Part = Part {
    name: b"ended",
    at: 64,
    room: (3 << 10) - 64,
};
const ENTRY: Part = Part {
    name: b"entry",
    at: 3 << 10,
    room: SLOT - (3 << 10),
};

/// What is remembered of a job from the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its id.
    pub job: JobId,
    /// Its place in the order of all jobs.
    pub number: u64,
    /// Whose it is.
    pub owner: Owner,
    /// The argv on one line.
    pub command: String,
    /// The uid it runs as, or shall.
    pub job_uid: u32,
    /// When it was begun, or asked for, in milliseconds since 1970.
    pub begun_ms: u64,
    /// What it has to wait for.
    pub waits: Waits,
    /// The caller's request id, with the hash of what it asked for.
    pub request: Option<(String, [u8; 32])>,
    /// Its output may hold secrets, which nobody can take out any more.
    pub has_secrets: bool,
    /// The caller's trace.
    pub traceparent: Option<String>,
    /// What else its records tell.
    pub facts: Facts,
}

/// What every record of a job tells beside what is needed to run it: so that one of a job that a dead daemon left can,
/// too. Each text is cut to a bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The requester's login uid.
    pub loginuid: Option<u32>,
    /// The requester's session.
    pub session: u64,
    /// The requester's process.
    pub peer: String,
    /// Name of the named command.
    pub named: Option<String>,
    /// Its profile.
    pub profile: String,
    /// Whether it changes the host.
    pub effect: Effect,
    /// The policy that decided.
    pub policy: String,
    /// What the client calls itself.
    pub client: String,
}

impl Facts {
    /// Bytes of the name of a command or profile, of a policy's digest or process, and of a client's name.
    pub const NAME: usize = 64;
    const CLIENT: usize = 100;

    /// Those of a draft.
    pub fn of(draft: &Draft) -> Self {
        let (asked, subject) = (draft.asked(), &draft.requester.subject);
        let name = |name: &str| text::line(name.as_bytes(), Self::NAME);
        Self {
            loginuid: subject.loginuid(),
            session: draft.requester.session,
            peer: name(&subject.peer()),
            named: asked.named().map(name),
            profile: name(draft.bound.compiled.name()),
            effect: draft.bound.effect,
            policy: name(draft.policy()),
            client: text::line(asked.client().as_bytes(), Self::CLIENT),
        }
    }
}

/// What a job has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Waits {
    /// It was begun at once.
    Nothing,
    /// A place.
    Place,
    /// An approval, and then maybe a place.
    Approval,
}

/// A job that had waited got its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// When, in milliseconds since 1970.
    pub started_ms: u64,
    /// The uid it runs as.
    pub job_uid: u32,
}

/// How far a job had come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Past {
    /// It waited for a place.
    Queued,
    /// It waited for an approval, or had it and waited for a place.
    Asked,
    /// It ran, or was about to, since so many milliseconds after 1970.
    Running(u64),
    /// It had ended; whether that stands in the trail is not known.
    Ending(Box<Ended>),
    /// It had ended, and that stands in the trail.
    Ended(Box<Ended>),
    /// It had ended, and that stands in the trail; the note of how is damaged or could not be made.
    Lost,
    /// It had got its place or ended, and the note of that is damaged.
    Unknown,
}

/// A job that a daemon before this one knew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub entry: Entry,
    /// The uid it ran as.
    pub job_uid: u32,
    /// How far it had come.
    pub past: Past,
}

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Nothing.
    Free,
    /// A job.
    Job(Box<Found>),
    /// Something that cannot be read.
    Damaged,
}

/// Bytes, and where in the slot they go.
pub type Write = (usize, Vec<u8>);

/// What leaves nothing in a free slot of a job before.
pub fn emptying() -> Write {
    (0, vec![0; ENDED.at + HEAD])
}

/// What has to be written, in this order, to note a job in a slot that is empty. Until the last of them
/// it is free.
///
/// # Errors
/// The entry is longer than its room.
pub fn opening(entry: &Entry) -> Result<Vec<Write>, String> {
    let mut part = encode(ENTRY, None, entry)?;
    if ENTRY.at + part.len() <= PAGE {
        return Ok(vec![(ENTRY.at, part)]);
    }
    let body = part.split_off(HEAD);
    Ok(vec![(ENTRY.at + HEAD, body), (ENTRY.at, part)])
}

/// What notes that a job got its place.
///
/// # Errors
/// None for any value: it has room for the longest.
pub fn starting(job: JobId, started: &Started) -> Result<Write, String> {
    Ok((STARTED.at, encode(STARTED, Some(job), started)?))
}

/// What notes how a job ended. Of what is longer than its room, the walls and what was refused to it are
/// left out and the cause is cut.
///
/// # Errors
/// None for any value.
pub fn ending(job: JobId, ended: &Told<'_>) -> Result<Write, String> {
    let part = encode(ENDED, Some(job), ended).or_else(|_| {
        let mut short = Ended {
            started_ms: ended.started_ms,
            waited_ms: ended.waited_ms,
            enforced: None,
            ending: ended.ending.clone(),
        };
        short.ending.denials.clear();
        let cause = &mut short.ending.cause;
        cause.truncate(cause.floor_char_boundary(CAUSE));
        encode(ENDED, Some(job), &short)
    })?;
    Ok((ENDED.at, part))
}

/// What notes that the end of a job is recorded.
///
/// # Errors
/// None.
pub fn recording(job: JobId) -> Result<Write, String> {
    Ok((RECORDED.at, encode(RECORDED, Some(job), &())?))
}

/// What frees a slot.
pub fn freeing() -> Write {
    (ENTRY.at, vec![0; HEAD])
}

/// Reads a slot; one at the end of the file may be short.
pub fn read(slot: &[u8]) -> Slot {
    let entry: Entry = match decode(ENTRY, None, slot) {
        Decoded::Nothing => return Slot::Free,
        Decoded::Damaged => return Slot::Damaged,
        Decoded::Whole(entry) => entry,
    };
    let started: Decoded<Started> = decode(STARTED, Some(entry.job), slot);
    let ended: Decoded<Ended> = decode(ENDED, Some(entry.job), slot);
    let job_uid = match &started {
        Decoded::Whole(started) => started.job_uid,
        Decoded::Nothing | Decoded::Damaged => entry.job_uid,
    };
    let recorded: Decoded<()> = decode(RECORDED, Some(entry.job), slot);
    let past = match (ended, started) {
        (Decoded::Whole(ended), _) => match recorded {
            Decoded::Whole(()) => Past::Ended(Box::new(ended)),
            Decoded::Nothing | Decoded::Damaged => Past::Ending(Box::new(ended)),
        },
        _ if matches!(recorded, Decoded::Whole(())) => Past::Lost,
        (Decoded::Damaged, _) | (Decoded::Nothing, Decoded::Damaged) => Past::Unknown,
        (Decoded::Nothing, Decoded::Whole(started)) => Past::Running(started.started_ms),
        (Decoded::Nothing, Decoded::Nothing) => match entry.waits {
            Waits::Nothing => Past::Running(entry.begun_ms),
            Waits::Place => Past::Queued,
            Waits::Approval => Past::Asked,
        },
    };
    Slot::Job(Box::new(Found {
        entry,
        job_uid,
        past,
    }))
}

fn encode(part: Part, job: Option<JobId>, value: &impl Serialize) -> Result<Vec<u8>, String> {
    let body = postcard::to_extend(value, Vec::new()).map_err(|error| error.to_string())?;
    if HEAD + body.len() > part.room {
        return Err(format!(
            "{} bytes are more than there is room for",
            body.len()
        ));
    }
    let length = u32::try_from(body.len()).map_err(|error| error.to_string())?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(checksum(part, job, &body));
    bytes.extend(body);
    Ok(bytes)
}

/// What a part's bytes are.
enum Decoded<T> {
    Nothing,
    Whole(T),
    Damaged,
}

fn decode<T: DeserializeOwned>(part: Part, job: Option<JobId>, slot: &[u8]) -> Decoded<T> {
    let room = slot.get(part.at..).unwrap_or_default();
    let head = room.get(..HEAD.min(room.len())).unwrap_or_default();
    if head.iter().all(|byte| *byte == 0) {
        return Decoded::Nothing;
    }
    match whole(part, job, room).and_then(|body| postcard::from_bytes(body).ok()) {
        Some(value) => Decoded::Whole(value),
        None => Decoded::Damaged,
    }
}

fn whole(part: Part, job: Option<JobId>, room: &[u8]) -> Option<&[u8]> {
    let (length, rest) = room.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let body = rest.get(..length).filter(|_| length <= part.room)?;
    (checksum(part, job, body) == *sum).then_some(body)
}

fn checksum(part: Part, job: Option<JobId>, body: &[u8]) -> [u8; 8] {
    let hash = Sha256::new()
        .chain_update(part.name)
        .chain_update(job.map_or([0; 16], |job| job.0))
        .chain_update(body)
        .finalize();
    hash.first_chunk().copied().unwrap_or_default()
}

impl Found {
    /// The job as its owner can ask for it, with an ending that this daemon gives it where it
    /// had none.
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
            job,
            owner,
            command,
            waits: None,
            number,
            started_ms: ended.started_ms,
            age_ms: 0,
            waited_ms: ended.waited_ms,
            enforced: ended.enforced,
            ending: Some(ended.ending),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use remit_common::outcome::Enforced;

    use super::*;

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
            begun_ms: 1_800_000_000_000,
            waits: Waits::Nothing,
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
            profile: "read".into(),
            effect: Effect::Read,
            policy: "p".into(),
            client: "c".into(),
        }
    }

    fn queued(number: u64) -> Entry {
        Entry {
            waits: Waits::Place,
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
            begun_ms: u64::MAX,
            job_uid: u32::MAX,
            has_secrets: true,
            traceparent: Some("t".repeat(55)),
            facts: Facts {
                loginuid: Some(u32::MAX),
                session: u64::MAX,
                peer: "p".repeat(24),
                named: Some("n".repeat(Facts::NAME)),
                profile: "p".repeat(Facts::NAME),
                effect: Effect::Change,
                policy: "p".repeat(Facts::NAME),
                client: "c".repeat(Facts::CLIENT),
            },
            ..queued(number)
        }
    }

    pub fn ended(cause: &str) -> Ended {
        let enforced = Enforced {
            profile: "read".into(),
            uid: 5000,
            walls: vec!["seccomp".into(); 20],
            landlock: 7,
            limits: vec!["memory 536870912 (cgroup)".into(); 12],
        };
        Ended {
            waited_ms: 9,
            enforced: Some(enforced),
            ..Ended::interrupted(7, cause.into(), true)
        }
    }

    const STARTED_AT: Started = Started {
        started_ms: 77,
        job_uid: 5001,
    };

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

    fn job(entry: Entry, job_uid: u32, past: Past) -> Slot {
        Slot::Job(Box::new(Found {
            entry,
            job_uid,
            past,
        }))
    }

    fn unknown(slot: &Slot) -> Slot {
        match slot {
            Slot::Job(found) => job(found.entry.clone(), found.entry.job_uid, Past::Unknown),
            other => other.clone(),
        }
    }

    /// Whether all is known of it but how it ended, or whether it had.
    fn without_end(found: &Slot, right: &Slot) -> bool {
        let (Slot::Job(found), Slot::Job(right)) = (found, right) else {
            return false;
        };
        let lost = matches!(found.past, Past::Lost | Past::Unknown);
        lost && (&found.entry, found.job_uid) == (&right.entry, right.job_uid)
    }

    /// A job's life in a slot that had another one, state by state, with what leads there.
    fn life(entry: &Entry) -> Vec<(Vec<Write>, Slot)> {
        let old = queued(99);
        let begun = job(entry.clone(), 5001, Past::Running(77));
        let noted = Past::Ending(Box::new(ended("ok")));
        let end = Past::Ended(Box::new(ended("ok")));
        let opening = |entry: &Entry| [vec![emptying()], opening(entry).unwrap()].concat();
        vec![
            (opening(&old), job(old.clone(), 5000, Past::Queued)),
            (
                vec![starting(old.job, &STARTED_AT).unwrap()],
                job(old.clone(), 5001, Past::Running(77)),
            ),
            (
                vec![ending(old.job, &ended("ok").told()).unwrap()],
                job(old.clone(), 5001, noted.clone()),
            ),
            (
                vec![recording(old.job).unwrap()],
                job(old, 5001, end.clone()),
            ),
            (vec![freeing()], Slot::Free),
            (
                opening(entry),
                job(entry.clone(), entry.job_uid, Past::Queued),
            ),
            (vec![starting(entry.job, &STARTED_AT).unwrap()], begun),
            (
                vec![ending(entry.job, &ended("ok").told()).unwrap()],
                job(entry.clone(), 5001, noted),
            ),
            (
                vec![recording(entry.job).unwrap()],
                job(entry.clone(), 5001, end),
            ),
            (vec![freeing()], Slot::Free),
        ]
    }

    #[test]
    fn wherever_a_write_is_torn_the_slot_is_as_before_or_as_after_or_damaged() {
        for entry in [queued(1), longest(1)] {
            let mut slot = vec![0; SLOT];
            let mut before = Slot::Free;
            for (writes, after) in life(&entry) {
                for (at, bytes) in writes {
                    for torn in 0..bytes.len() {
                        let slot = with(slot.clone(), (at, bytes[..torn].to_vec()));
                        let found = read(&slot);
                        let expected = [
                            before.clone(),
                            after.clone(),
                            Slot::Damaged,
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
    fn killed_between_two_writes_a_slot_is_never_damaged() {
        let mut slot = vec![0; SLOT];
        let mut before = Slot::Free;
        for (writes, after) in life(&queued(1)) {
            for write in writes {
                assert_eq!(read(&slot), before);
                put(&mut slot, &write);
            }
            before = after;
        }
    }

    #[test]
    fn what_a_kill_may_tear_is_within_a_page() {
        for entry in [queued(1), longest(1)] {
            for (writes, _) in life(&entry) {
                // Before the last write of an opening the slot is free, whatever of it is there.
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
        let whole = with(
            opened(&queued(1)),
            starting(queued(1).job, &STARTED_AT).unwrap(),
        );
        let whole = with(whole, ending(queued(1).job, &ended("ok").told()).unwrap());
        let whole = with(whole, recording(queued(1).job).unwrap());
        let right = read(&whole);
        let end = Past::Ended(Box::new(ended("ok")));
        for bit in 0..SLOT * 8 {
            let mut slot = whole.clone();
            slot[bit / 8] ^= 1 << (bit % 8);
            let found = read(&slot);
            let without_start = job(queued(1), 5000, end.clone());
            let unrecorded = job(queued(1), 5001, Past::Ending(Box::new(ended("ok"))));
            let fine = found == right
                || found == Slot::Damaged
                || found == without_start
                || found == unrecorded
                || without_end(&found, &right);
            assert!(fine, "bit {bit}: {found:?}");
        }
    }

    #[test]
    fn what_is_recorded_is_not_interrupted_though_its_end_could_not_be_noted() {
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
        assert_eq!(read(&[]), Slot::Free);
        assert_eq!(read(&vec![0; SLOT]), Slot::Free);
        assert_eq!(read(&vec![255; SLOT]), Slot::Damaged);
        let used = ENTRY.at + HEAD + postcard::to_extend(&entry(1), Vec::new()).unwrap().len();
        for length in 0..used {
            let found = read(&whole[..length]);
            assert!(
                matches!(found, Slot::Free | Slot::Damaged),
                "{length}: {found:?}"
            );
        }
        // An end of another job, as a power cut might leave it.
        let foreign = with(whole, ending(entry(2).job, &ended("ok").told()).unwrap());
        assert_eq!(read(&foreign), job(entry(1), 5000, Past::Unknown));
    }

    #[test]
    fn the_longest_entry_has_room_and_an_end_is_cut_to_its_own() {
        let Slot::Job(found) = read(&opened(&longest(1))) else {
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
            ending(entry(1).job, &ended(&long).told()).unwrap(),
        );
        let Slot::Job(found) = read(&slot) else {
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
