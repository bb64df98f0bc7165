//! Remembers jobs across restarts of the warden: `STATE/warden/open`. A job is written before its intent is recorded.
//! Its end is written before the end's record, and once more after it: whatever kills the warden in between, the next
//! one knows every job that is not forgotten. The file has a header and slots ([`slot`]): a few small writes per job
//! cost less than making and removing a file. It is synced before a change starts and at an orderly stop. A killed
//! daemon leaves every slot free, open or ended. After a power cut slots may be missing, old or damaged. Damage is
//! detected and quarantined; an old slot looks like a right one, so the next start does not rely on it then.

mod end_note;
mod slot;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use remit_common::names::JobId;
use remit_common::wire::Effect;
use remit_link::JobMeta;

use crate::event_loop::timers;
use crate::request::{Draft, Plan};
use crate::state_dir::framed_file::InPlaceFile;

pub use crate::state_dir::framed_file::quarantine::Damage;
use end_note::EndNote;
pub use end_note::{DecidedBy, EndDecision, Ended};
#[cfg(test)]
pub use slot::tests::facts;
pub use slot::{Entry, FoundJob, Past, QueuedFor};
use slot::{LedgerSlot, RunsUnder, SLOT, Started, Write};

const MAGIC: &[u8; 16] = b"remit ledger v4\n";
/// More than all jobs that run, wait or are remembered can need. A larger file is damaged.
const SLOTS: u64 = 1 << 16;

#[derive(Clone, Copy, Debug)]
struct HeldSlot {
    slot: u64,
    number: u64,
    is_change: bool,
    state: SlotState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotState {
    Queued,
    Running,
    /// How it ended; its audit record may be missing.
    Ending,
    Ended,
}

#[derive(Debug)]
pub struct Ledger {
    file: InPlaceFile,
    /// The header is written; on a full disk that happens later.
    headed: bool,
    /// A tree, because a hash table would double once, after thousands of jobs.
    taken: BTreeMap<JobId, HeldSlot>,
    free: Vec<u64>,
    ready: Option<u64>,
    slots: u64,
    damage: Option<Damage>,
}

impl Ledger {
    /// Opens or creates the file in `state`. Quarantines a file that is not a ledger of this version.
    pub fn open_file(state: &Path) -> io::Result<Self> {
        let mut file = InPlaceFile::open(&state.join("warden").join("open"))?;
        let damage = match why_not_a_ledger(&file)? {
            None => None,
            Some(why) => Some(file.quarantine(why)?),
        };
        let length = file.length()?;
        Ok(Self {
            file,
            headed: length > 0,
            taken: BTreeMap::new(),
            free: Vec::new(),
            ready: None,
            slots: length.div_ceil(SLOT as u64).saturating_sub(1),
            damage,
        })
    }

    /// Writes a plan before it is recorded and run; of a change, to the disk. If this fails, nothing may run.
    pub fn open(&mut self, plan: &Plan) -> io::Result<()> {
        let was_queued = self.is_queued(plan.job);
        self.open_slot(plan)?;
        self.sync_change(plan.job)
            .inspect_err(|_| self.take_back(plan.job, was_queued))
    }

    /// After a power cut an old slot of a change would say that it never ran.
    fn sync_change(&self, job: JobId) -> io::Result<()> {
        match self.taken.get(&job) {
            Some(held) if held.is_change => self.file.sync(),
            _ => Ok(()),
        }
    }

    fn open_slot(&mut self, plan: &Plan) -> io::Result<()> {
        match self.taken.get(&plan.job).copied() {
            None => self.write_entry(plan, QueuedFor::Nothing),
            Some(held) if held.state == SlotState::Queued => {
                let started = Started {
                    started_ms: timers::unix_ms(),
                    job_uid: plan.uid.get(),
                };
                self.begin(plan.job, held, &started, &RunsUnder::new(plan))
            }
            Some(_) => Ok(()),
        }
    }

    pub fn is_queued(&self, job: JobId) -> bool {
        let held = self.taken.get(&job);
        held.is_some_and(|held| held.state == SlotState::Queued)
    }

    /// Takes back [`Self::open`] of a job whose start is not recorded, so nothing ran. Otherwise the next start would
    /// record its end. One from the queue is in it again.
    pub fn take_back(&mut self, job: JobId, was_queued: bool) {
        let Some(held) = self.taken.get(&job).copied().filter(|_| was_queued) else {
            return self.forget(job);
        };
        match self.write(held.slot, &slot::unstarting()) {
            Ok(()) => self.mark(job, SlotState::Queued),
            // If remitd is killed before the next try, the next start records that the job was interrupted.
            Err(error) => say!("cannot write to the ledger that job {job} does not run: {error}"),
        }
    }

    fn begin(
        &mut self,
        job: JobId,
        held: HeldSlot,
        started: &Started,
        under: &RunsUnder,
    ) -> io::Result<()> {
        for write in [slot::binding(job, under), slot::starting(job, started)] {
            self.write(held.slot, &write.map_err(io::Error::other)?)?;
        }
        self.mark(job, SlotState::Running);
        if let Some(held) = self.taken.get_mut(&job) {
            held.is_change = under.effect == Effect::Change;
        }
        Ok(())
    }

    /// Writes a job that has to wait, before it is recorded. If this fails, it must not be kept, and nobody be asked.
    pub fn queue(&mut self, draft: &Draft, queued_for: QueuedFor) -> io::Result<()> {
        match self.taken.contains_key(&draft.job) {
            true => Ok(()),
            false => self.write_entry(draft, queued_for),
        }
    }

    /// Writes that a queued job has all its approvals, after they are recorded.
    pub fn approved(&mut self, job: JobId) {
        let Some(held) = self.taken.get(&job).copied() else {
            return;
        };
        let written = slot::approving(job)
            .map_err(io::Error::other)
            .and_then(|write| self.write(held.slot, &write));
        if let Err(error) = written {
            // The next start says that it was waiting for an approval.
            say!("cannot write to the ledger that job {job} is approved: {error}");
        }
    }

    /// `decision`: what the record of the end says of it.
    pub fn end(&mut self, job: JobId, meta: &JobMeta, decision: Option<&EndDecision>) {
        if let Some(end_note) = EndNote::new(meta, decision) {
            self.put_end(job, &end_note);
        }
    }

    pub fn note_end(&mut self, job: JobId, ended: &Ended) {
        self.put_end(job, &ended.end_note());
    }

    fn put_end(&mut self, job: JobId, ended: &EndNote<'_>) {
        let Some(held) = self.taken.get(&job).copied() else {
            return;
        };
        let written = slot::ending(job, ended)
            .map_err(io::Error::other)
            .and_then(|write| self.write(held.slot, &write));
        match written {
            Ok(()) => self.mark(job, SlotState::Ending),
            // The next start cannot say how it ended. If that is not recorded either, it is interrupted.
            Err(error) => say!("cannot write to the ledger that job {job} has ended: {error}"),
        }
    }

    /// Writes that the end is recorded: no later start records it again.
    pub fn recorded(&mut self, job: JobId) {
        let Some(held) = self.taken.get(&job).copied() else {
            return;
        };
        let written = slot::recording(job)
            .map_err(io::Error::other)
            .and_then(|write| self.write(held.slot, &write));
        match written {
            Ok(()) => self.mark(job, SlotState::Ended),
            // The next start records the end again, and says so.
            Err(error) => {
                say!("cannot write to the ledger that the end of job {job} is recorded: {error}");
            }
        }
    }

    pub fn forget(&mut self, job: JobId) {
        let Some(held) = self.taken.remove(&job) else {
            return;
        };
        match self.write(held.slot, &slot::freeing()) {
            Ok(()) => self.free.push(held.slot),
            // The next start remembers it again.
            Err(error) => say!("cannot remove job {job} from the ledger: {error}"),
        }
    }

    /// Returns all jobs of earlier daemons, in order, and what was damaged. Damage is quarantined then.
    pub fn read_back(&mut self) -> io::Result<(Vec<FoundJob>, Option<Damage>)> {
        let (mut found, mut damaged, mut unreadable) = (Vec::new(), 0_usize, Vec::new());
        for slot in 0..self.slots {
            match slot::read(&self.file.read(slot_offset(slot), SLOT)?) {
                LedgerSlot::Free => self.free.push(slot),
                LedgerSlot::Job(job) if !self.taken.contains_key(&job.entry.job) => {
                    damaged += usize::from(matches!(job.past, Past::Lost | Past::Unknown));
                    self.take_up(slot, &job);
                    found.push(*job);
                }
                // No job has two slots.
                LedgerSlot::Job(_) | LedgerSlot::Damaged => unreadable.push(slot),
            }
        }
        found.sort_by_key(|job| job.entry.number);
        let damaged = damaged + unreadable.len();
        if damaged > 0 {
            self.damage = Some(self.file.keep_copy(damaged));
        }
        // What could not be quarantined stays: the next start tries again.
        if self
            .damage
            .as_ref()
            .is_some_and(|damage| damage.kept_as.is_ok())
        {
            for slot in unreadable {
                self.write(slot, &slot::freeing())?;
                self.free.push(slot);
            }
        }
        Ok((found, self.damage.take()))
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn take_up(&mut self, slot: u64, found: &FoundJob) {
        let held = HeldSlot {
            slot,
            number: found.entry.number,
            is_change: found.entry.is_change(),
            state: match found.past {
                Past::Queued | Past::Asked | Past::Approved => SlotState::Queued,
                Past::Running(_) | Past::Lost | Past::Unknown => SlotState::Running,
                Past::Ending(_) => SlotState::Ending,
                Past::Ended(_) => SlotState::Ended,
            },
        };
        self.taken.insert(found.entry.job, held);
    }

    fn write_entry(&mut self, draft: &Draft, waiting: QueuedFor) -> io::Result<()> {
        let entry = Entry {
            job: draft.job,
            number: draft.number,
            owner: draft.requester.subject.owner(),
            command: draft.command().to_owned(),
            job_uid: draft.uid.get(),
            entered_ms: timers::unix_ms(),
            waiting,
            request: draft.request.clone(),
            has_secrets: draft.bound.has_secrets(),
            traceparent: draft.asked().traceparent().map(str::to_owned),
            facts: slot::Facts::of(draft),
        };
        let state = match waiting {
            QueuedFor::Nothing => SlotState::Running,
            QueuedFor::Slot | QueuedFor::Approval => SlotState::Queued,
        };
        self.insert(&entry, state)
    }

    pub fn allocate(&mut self) {
        self.ready = self.ready.take().or_else(|| self.empty_slot().ok());
    }

    fn insert(&mut self, entry: &Entry, state: SlotState) -> io::Result<()> {
        let writes = slot::opening(entry).map_err(io::Error::other)?;
        let slot = match self.ready.take() {
            Some(slot) => slot,
            None => self.empty_slot().or_else(|error| self.take_oldest(error))?,
        };
        let mut writes = writes.iter();
        writes
            .try_for_each(|write| self.write(slot, write))
            .inspect_err(|_| self.free.push(slot))?;
        let held = HeldSlot {
            slot,
            number: entry.number,
            is_change: entry.is_change(),
            state,
        };
        self.taken.insert(entry.job, held);
        Ok(())
    }

    fn empty_slot(&mut self) -> io::Result<u64> {
        self.head()?;
        if let Some(slot) = self.free.pop() {
            let emptied = self.write(slot, &slot::emptying());
            return emptied.map(|()| slot).inspect_err(|_| self.free.push(slot));
        }
        let new = self.slots;
        // Writes all of it, so no later write into it can find the disk full.
        self.write(new, &(0, vec![0; SLOT]))?;
        self.slots += 1;
        Ok(new)
    }

    /// The oldest ended job gives up its slot, a change only if there is no other. A full disk must not stop a search for
    /// its cause.
    fn take_oldest(&mut self, error: io::Error) -> io::Result<u64> {
        let ended = self
            .taken
            .iter()
            .filter(|(_, held)| held.state == SlotState::Ended);
        let oldest = ended.min_by_key(|(_, held)| (held.is_change, held.number));
        let Some((job, slot)) = oldest.map(|(job, held)| (*job, held.slot)) else {
            return Err(error);
        };
        say!(
            "job {job} will be unknown after a restart, another job has its slot in the ledger: {error}"
        );
        self.write(slot, &slot::freeing())?;
        self.taken.remove(&job);
        self.free.push(slot);
        self.empty_slot()
    }

    fn head(&mut self) -> io::Result<()> {
        if !self.headed {
            let mut header = MAGIC.to_vec();
            header.resize(SLOT, 0);
            self.file.write(0, &header)?;
            self.headed = true;
        }
        Ok(())
    }

    fn mark(&mut self, job: JobId, state: SlotState) {
        if let Some(held) = self.taken.get_mut(&job) {
            held.state = state;
        }
    }

    fn write(&self, slot: u64, (at, bytes): &Write) -> io::Result<()> {
        self.file.write(slot_offset(slot) + *at as u64, bytes)
    }
}

/// The header takes as much as a slot.
const fn slot_offset(slot: u64) -> u64 {
    (slot + 1) * SLOT as u64
}

fn why_not_a_ledger(file: &InPlaceFile) -> io::Result<Option<String>> {
    let length = file.length()?;
    let magic = file.read(0, MAGIC.len())?;
    let slots = length.div_ceil(SLOT as u64);
    Ok(if length > 0 && magic != MAGIC {
        Some("not a ledger of this version of remit".to_owned())
    } else if slots > SLOTS {
        Some(format!("it has {slots} slots, over {SLOTS}"))
    } else {
        None
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{FileExt, PermissionsExt};
    use std::path::PathBuf;

    use super::slot::tests::{ended, entry};
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-ledger-XXXXXX"));
            let dir = dir.unwrap();
            fs::create_dir(dir.join("warden")).unwrap();
            Self(dir)
        }

        fn open(&self) -> Ledger {
            Ledger::open_file(&self.0).unwrap()
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.join("warden").join(name)
        }

        fn read(&self) -> (Ledger, Vec<(u64, Past)>, Option<Damage>) {
            let mut ledger = self.open();
            let (found, damage) = ledger.read_back().unwrap();
            let brief = found.into_iter().map(|job| (job.entry.number, job.past));
            (ledger, brief.collect(), damage)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn add(ledger: &mut Ledger, numbers: &[u64]) {
        for number in numbers {
            ledger.insert(&entry(*number), SlotState::Running).unwrap();
        }
    }

    fn end(ledger: &mut Ledger, number: u64) {
        ledger.note_end(entry(number).job, &ended("ok"));
        ledger.recorded(entry(number).job);
    }

    fn an_end() -> Past {
        Past::Ended(Box::new(ended("ok")))
    }

    fn running(number: u64) -> (u64, Past) {
        (number, Past::Running(entry(number).entered_ms))
    }

    /// Nothing can be synced on this device.
    #[test]
    fn change_is_on_the_disk_before_it_starts() {
        let device = Path::new("/dev/zero");
        let file = File::options().read(true).write(true).open(device);
        let mut ledger = Scratch::new().open();
        ledger.file = InPlaceFile::new(device, file.unwrap());
        for (number, effect, is_started) in [(1, Effect::Read, true), (2, Effect::Change, false)] {
            let mut entry = entry(number);
            entry.facts.under.effect = effect;
            ledger.insert(&entry, SlotState::Running).unwrap();
            let synced = ledger.sync_change(entry.job);
            assert_eq!(synced.is_ok(), is_started, "{effect:?}");
            ledger.take_back(entry.job, false);
            assert!(ledger.taken.is_empty());
        }
    }

    #[test]
    fn jobs_are_read_in_order_of_number() {
        let scratch = Scratch::new();
        let mut ledger = scratch.open();
        add(&mut ledger, &[1, 2, 3]);
        end(&mut ledger, 2);
        ledger.forget(entry(1).job);
        add(&mut ledger, &[4, 5]);
        end(&mut ledger, 5);
        drop(ledger);
        let expect = [(2, an_end()), running(3), running(4), (5, an_end())];
        let (mut ledger, found, damage) = scratch.read();
        assert_eq!(found, expect);
        assert!(damage.is_none());
        end(&mut ledger, 3);
        ledger.forget(entry(2).job);
        ledger.forget(entry(9).job);
        add(&mut ledger, &[6]);
        let (_, found, _) = scratch.read();
        assert_eq!(
            found,
            [(3, an_end()), running(4), (5, an_end()), running(6)]
        );
        let length = fs::metadata(scratch.file("open")).unwrap().len();
        assert!(length <= 5 * SLOT as u64, "{length}");
        let mode = fs::metadata(scratch.file("open"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn whatever_is_done_in_whatever_order_is_found() {
        let scratch = Scratch::new();
        let mut ledger = scratch.open();
        let mut model: Vec<(u64, Past)> = Vec::new();
        let mut random = 7_u64;
        for number in 1..1000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let pick = usize::try_from(random >> 40).unwrap();
            let at = pick % model.len().max(1);
            match (pick % 7, model.get_mut(at)) {
                (0 | 1, _) | (_, None) => {
                    let waiting =
                        [QueuedFor::Nothing, QueuedFor::Slot, QueuedFor::Approval][pick % 3];
                    let entry = Entry {
                        waiting,
                        ..entry(number)
                    };
                    let (state, past) = match waiting {
                        QueuedFor::Nothing => (SlotState::Running, Past::Running(entry.entered_ms)),
                        QueuedFor::Slot => (SlotState::Queued, Past::Queued),
                        QueuedFor::Approval => (SlotState::Queued, Past::Asked),
                    };
                    ledger.insert(&entry, state).unwrap();
                    model.push((number, past));
                }
                (6, Some((job, past @ Past::Asked))) => {
                    ledger.approved(entry(*job).job);
                    *past = Past::Approved;
                }
                (2, Some((job, past)))
                    if matches!(past, Past::Queued | Past::Asked | Past::Approved) =>
                {
                    let held = ledger.taken[&entry(*job).job];
                    let (started_ms, job_uid) = (number, 1);
                    let started = Started {
                        started_ms,
                        job_uid,
                    };
                    let under = facts().under;
                    ledger
                        .begin(entry(*job).job, held, &started, &under)
                        .unwrap();
                    *past = Past::Running(number);
                }
                (3, Some((job, past))) => {
                    ledger.note_end(entry(*job).job, &ended("ok"));
                    if !matches!(past, Past::Ended(_)) {
                        *past = Past::Ending(Box::new(ended("ok")));
                    }
                }
                (4, Some((job, past))) if matches!(past, Past::Ending(_)) => {
                    ledger.recorded(entry(*job).job);
                    *past = an_end();
                }
                (5, Some((job, _))) => {
                    ledger.forget(entry(*job).job);
                    model.remove(at);
                }
                (_, Some(_)) if pick % 11 == 0 => {
                    let (next, found, damage) = scratch.read();
                    assert_eq!(found, model);
                    assert!(damage.is_none());
                    ledger = next;
                }
                (_, Some(_)) => {}
            }
        }
        let (_, found, _) = scratch.read();
        assert_eq!(found, model);
        assert!(found.len() > 20, "{}", found.len());
    }

    #[test]
    fn job_without_a_recorded_start_is_queued_again() {
        let scratch = Scratch::new();
        let mut ledger = scratch.open();
        for (number, waiting) in [(1, QueuedFor::Slot), (2, QueuedFor::Approval)] {
            let entry = Entry {
                waiting,
                ..entry(number)
            };
            ledger.insert(&entry, SlotState::Queued).unwrap();
            let started = Started {
                started_ms: 7,
                job_uid: 1,
            };
            // Twice: the first start is not recorded.
            for _ in 0..2 {
                assert!(ledger.is_queued(entry.job));
                let held = ledger.taken[&entry.job];
                let under = RunsUnder {
                    effect: Effect::Change,
                    ..facts().under
                };
                ledger.begin(entry.job, held, &started, &under).unwrap();
                assert!(!ledger.is_queued(entry.job));
                assert!(ledger.taken[&entry.job].is_change);
                ledger.take_back(entry.job, true);
            }
        }
        let (mut ledger, found, damage) = scratch.read();
        assert_eq!(found, [(1, Past::Queued), (2, Past::Asked)]);
        assert!(damage.is_none());
        end(&mut ledger, 1);
        let (_, found, _) = scratch.read();
        assert_eq!(found, [(1, an_end()), (2, Past::Asked)]);
    }

    #[test]
    fn clock_set_back_changes_no_order() {
        let scratch = Scratch::new();
        let mut ledger = scratch.open();
        for number in [3, 1, 2] {
            let entry = Entry {
                entered_ms: 1000 - number,
                ..entry(number)
            };
            ledger.insert(&entry, SlotState::Running).unwrap();
        }
        let (_, found, _) = scratch.read();
        let numbers: Vec<_> = found.into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, [1, 2, 3]);
    }

    #[test]
    fn ledger_of_other_version_is_quarantined() {
        let old_entry = [&[40, 0, 0, 0][..], &[7; 40]].concat();
        for (text, why) in [
            (old_entry, "not a ledger of this version of remit"),
            (
                b"remit ledger v9\n".to_vec(),
                "not a ledger of this version of remit",
            ),
            (b"remit".to_vec(), "not a ledger of this version of remit"),
            (vec![0; SLOT], "not a ledger of this version of remit"),
        ] {
            let scratch = Scratch::new();
            fs::write(scratch.file("open"), &text).unwrap();
            let (mut ledger, found, damage) = scratch.read();
            let damage = damage.unwrap();
            assert_eq!((found, damage.what.as_str()), (Vec::new(), why));
            assert_eq!(damage.kept_as.unwrap(), scratch.file("open.damaged-1"));
            assert_eq!(fs::read(scratch.file("open.damaged-1")).unwrap(), text);
            add(&mut ledger, &[1]);
            let (_, found, damage) = scratch.read();
            assert_eq!(found, [running(1)]);
            assert!(damage.is_none());
        }
    }

    #[test]
    fn oversized_ledger_is_quarantined() {
        let scratch = Scratch::new();
        add(&mut scratch.open(), &[1]);
        let file = File::options()
            .write(true)
            .open(scratch.file("open"))
            .unwrap();
        file.set_len((SLOTS + 2) * SLOT as u64).unwrap();
        let (_, found, damage) = scratch.read();
        assert!(found.is_empty());
        assert!(damage.unwrap().what.starts_with("it has 65538 slots"));
    }

    #[test]
    fn damaged_slots_are_copied_once_others_stay() {
        let scratch = Scratch::new();
        let mut ledger = scratch.open();
        add(&mut ledger, &[1, 2, 3, 4]);
        end(&mut ledger, 3);
        ledger.note_end(entry(4).job, &ended("ok"));
        let spoil = |slot: u64, at: u64| {
            let file = File::options()
                .write(true)
                .open(scratch.file("open"))
                .unwrap();
            file.write_all_at(b"!", slot_offset(slot) + at).unwrap();
        };
        spoil(0, (3 << 10) + 20);
        spoil(2, 64 + 20);
        spoil(3, 64 + 20);
        let damaged = fs::read(scratch.file("open")).unwrap();
        let (mut ledger, found, damage) = scratch.read();
        assert_eq!(found, [running(2), (3, Past::Lost), (4, Past::Unknown)]);
        let damage = damage.unwrap();
        assert_eq!(damage.what, "3 entries are damaged");
        let kept_as = damage.kept_as.unwrap();
        assert_eq!(fs::read(kept_as).unwrap(), damaged);
        end(&mut ledger, 3);
        end(&mut ledger, 4);
        let (mut ledger, found, damage) = scratch.read();
        assert_eq!(found, [running(2), (3, an_end()), (4, an_end())]);
        assert!(damage.is_none(), "{damage:?}");
        add(&mut ledger, &[5]);
        assert_eq!(ledger.slots, 4, "the damaged slot is not used again");
    }

    #[test]
    fn unquarantined_damage_is_neither_used_nor_lost() {
        let scratch = Scratch::new();
        add(&mut scratch.open(), &[1, 2]);
        let file = File::options()
            .write(true)
            .open(scratch.file("open"))
            .unwrap();
        file.write_all_at(b"!", slot_offset(0) + (3 << 10) + 20)
            .unwrap();
        // A directory has the next name, so no copy can be made.
        let name = scratch.file(&format!("open.damaged-{}", u64::MAX));
        fs::create_dir(&name).unwrap();
        let (mut ledger, found, damage) = scratch.read();
        assert_eq!(found, [running(2)]);
        assert!(damage.unwrap().kept_as.is_err());
        add(&mut ledger, &[3]);
        fs::remove_dir(&name).unwrap();
        let (_, found, damage) = scratch.read();
        assert_eq!(found, [running(2), running(3)]);
        assert_eq!(damage.unwrap().what, "1 entry is damaged");
    }

    #[test]
    fn the_newest_four_damaged_files_are_kept() {
        let scratch = Scratch::new();
        for number in 1..=7_u8 {
            fs::write(scratch.file("open"), [number; 20]).unwrap();
            let (_, _, damage) = scratch.read();
            let name = format!("open.damaged-{number}");
            assert_eq!(damage.unwrap().kept_as.unwrap(), scratch.file(&name));
        }
        let dir = fs::read_dir(scratch.file("")).unwrap();
        let mut names: Vec<_> = dir
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let kept = [4, 5, 6, 7].map(|number| format!("open.damaged-{number}"));
        assert_eq!(names, [&["open".to_owned()][..], &kept].concat());
    }

    #[test]
    fn full_ledger_reuses_oldest_ended_slot() {
        let scratch = Scratch::new();
        let mut ledger = scratch.open();
        let mut change = entry(2);
        change.facts.under.effect = Effect::Change;
        add(&mut ledger, &[1]);
        ledger.insert(&change, SlotState::Running).unwrap();
        add(&mut ledger, &[3, 4]);
        ledger.note_end(entry(1).job, &ended("not recorded"));
        for number in [4, 3, 2] {
            end(&mut ledger, number);
        }
        let full = |ledger: &mut Ledger, number| {
            let writes = slot::opening(&entry(number)).unwrap();
            let error = io::Error::from(io::ErrorKind::StorageFull);
            let slot = ledger.take_oldest(error)?;
            let mut writes = writes.iter();
            writes.try_for_each(|write| ledger.write(slot, write))?;
            let held = HeldSlot {
                slot,
                number,
                is_change: false,
                state: SlotState::Running,
            };
            ledger.taken.insert(entry(number).job, held);
            io::Result::Ok(())
        };
        let ending = || Past::Ending(Box::new(ended("not recorded")));
        // A change gives up its slot last.
        for (number, left) in [
            (
                5,
                vec![(1, ending()), (2, an_end()), (4, an_end()), running(5)],
            ),
            (
                6,
                vec![(1, ending()), (2, an_end()), running(5), running(6)],
            ),
            (7, vec![(1, ending()), running(5), running(6), running(7)]),
        ] {
            full(&mut ledger, number).unwrap();
            let (_, found, damage) = scratch.read();
            assert_eq!(found, left);
            assert!(damage.is_none());
        }
        let error = full(&mut ledger, 8).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
