//! Grants for a time: approvals that somebody gave beforehand.
//!
//! One is looked for when policy asks for an approval, and lifts only what its giver can approve:
//! policy decides first, about every request, and then once more whether this giver is one of those
//! whom the rule names. What runs without a sandbox is always approved by itself.
//!
//! A use is taken, and saved, when a request is taken in; it is not given back where the job then does
//! not start. What a grant covers is a [`Lifted`], which nothing but a use makes a permission.
//!
//! Giver and recipient are accounts: a uid and a name. Both are looked up again at each load of the policy
//! and at each use; a grant ends when either is somebody else, or its giver could not give it any more.

mod judged;
mod moment;
mod store;
mod table;
mod used;

use std::io;
use std::path::Path;
use std::time::Duration;

use remit_common::admin::{GivenGrant, NewGrant, Whom};
use remit_common::outcome::State;
use remit_common::refusal::{Code, Refusal};
use remit_policy::{Basis, Lifted, Pending};

use crate::audit::{Event, Record};
use crate::clock::Timer;
use crate::error::Fatal;
use crate::ledger::Damage;
use crate::peer::Subject;
use crate::plan::Call;
use crate::say::{self, Weight};
use crate::warden::Warden;
use moment::Moment;
use store::{Saved, Store};
use table::{Asker, Table};
pub use table::{Given, Giver};
pub use used::Use;

/// What programs and scripts are, where a grant speaks of commands.
pub const RUN: &str = "run";

type Save = fn(&Store, &Saved) -> io::Result<()>;

/// The grants and their file.
#[derive(Debug)]
pub struct Grants {
    table: Table,
    store: Store,
    boot: String,
    opened: Opened,
}

/// What there is to tell of the file when it was read.
#[derive(Debug, Default)]
struct Opened {
    damage: Option<Damage>,
    ended: Vec<(Given, &'static str)>,
}

impl Grants {
    /// Those that were saved in `state` and still hold.
    ///
    /// # Errors
    /// The file cannot be read and cannot be set aside; the kernel does not tell which boot this is.
    pub fn open(state: &Path) -> Result<Self, Fatal> {
        let boot = moment::boot_id().map_err(Fatal::call("cannot tell which boot this is"))?;
        let store = Store::in_state(state);
        let loaded = store.load();
        let loaded = loaded.map_err(Fatal::call("cannot set the damaged file of grants aside"))?;
        let now = Moment::now();
        let (table, opened) = match loaded {
            Ok(None) => (Table::empty(1), Opened::default()),
            Ok(Some(saved)) => {
                let (table, ended) = saved.now(&boot, now);
                let damage = None;
                (table, Opened { damage, ended })
            }
            // Numbers that were used are not known: those of seconds since 1970 were not.
            Err(damage) => {
                let opened = Opened {
                    damage: Some(damage),
                    ended: Vec::new(),
                };
                (Table::empty(now.wall_ms / 1000), opened)
            }
        };
        Ok(Self {
            table,
            store,
            boot,
            opened,
        })
    }

    /// How many are in force.
    pub fn count(&self) -> usize {
        self.table.live(Moment::now()).count()
    }

    /// Those in force, oldest first.
    pub fn list(&self) -> Vec<GivenGrant> {
        let now = Moment::now();
        self.table.live(now).map(|given| given.view(now)).collect()
    }

    /// Those in force that are about requests of somebody.
    pub fn of<'a>(&'a self, subject: &'a Subject) -> impl Iterator<Item = &'a Given> {
        let own = move |given: &&Given| given.is_to(&Asker::of(subject));
        self.table.live(Moment::now()).filter(own)
    }

    /// The groups that they are to: who has lost one has lost what was given to it.
    pub fn groups(&self) -> impl Iterator<Item = u32> {
        self.table
            .grants
            .iter()
            .filter_map(|given| match given.new.to {
                Whom::Group { gid, .. } => Some(gid),
                Whom::User { .. } => None,
            })
    }

    /// Whether one of this number is known: in force, or without uses while jobs wait by it.
    pub fn has(&self, number: u64) -> bool {
        self.table.get(number).is_some()
    }

    /// What the next one is called.
    pub const fn next_number(&self) -> u64 {
        self.table.next
    }

    /// Gives one, and saves that.
    ///
    /// # Errors
    /// It cannot be saved: there is none.
    pub fn give(&mut self, new: NewGrant, giver: Giver) -> io::Result<GivenGrant> {
        let now = Moment::now();
        let mut table = self.table.clone();
        let number = table.give(new, giver, now);
        let view = table.get(number).map(|given| given.view(now));
        self.adopt(table, now, Store::save)?;
        view.ok_or_else(|| io::Error::other("it was not added"))
    }

    /// Ends one, or all, whatever the disk says: then none outlives a restart.
    ///
    /// # Errors
    /// Neither can be saved; a restart would give them back.
    pub fn revoke(&mut self, number: Option<u64>) -> (Vec<Given>, io::Result<()>) {
        let revoked = self.table.revoke(number);
        let saved = self.save(Moment::now());
        (revoked, saved.or_else(|_| self.store.remove()))
    }

    /// Saves how much is left of each.
    ///
    /// # Errors
    /// The disk is full.
    pub fn keep(&self) -> io::Result<()> {
        match self.table.grants.is_empty() {
            true => Ok(()),
            false => self.save(Moment::now()),
        }
    }

    /// Takes another table in the place of this one, once it is saved, in one of the ways of [`Store`].
    fn adopt(&mut self, table: Table, now: Moment, save: Save) -> io::Result<()> {
        let before = std::mem::replace(&mut self.table, table);
        let saved = save(&self.store, &self.saved(now));
        if saved.is_err() {
            self.table = before;
        }
        saved
    }

    fn save(&self, at: Moment) -> io::Result<()> {
        self.store.save(&self.saved(at))
    }

    fn saved(&self, at: Moment) -> Saved {
        let (boot, table) = (self.boot.clone(), self.table.clone());
        Saved { boot, at, table }
    }

    /// The oldest that covers a request, and the permission by it.
    fn permit<'a>(
        &'a self,
        asker: &'a Asker<'a>,
        pending: &Pending,
        call: (&'a str, &'a [(String, String)]),
        now: Moment,
    ) -> Option<(&'a Given, Lifted)> {
        let (name, args) = call;
        let mut covering = self.table.covering(asker, name, args, now);
        covering.find_map(|given| {
            let consent = given.giver.consent(asker.who.uid);
            let lifted = pending.clone().given(&consent, given.number).ok()?;
            Some((given, lifted))
        })
    }
}

impl Warden {
    /// A request that needs an approval, lifted by what somebody has given for a time. No use is taken yet.
    ///
    /// # Errors
    /// Nothing covers it: it waits as before.
    pub fn by_grant(
        &self,
        subject: &Subject,
        pending: Pending,
        call: &Call,
    ) -> Result<Lifted, Pending> {
        let asker = Asker::of(subject);
        let wanted = (call.named().unwrap_or(RUN), call.args());
        let permitted = self.grants.permit(&asker, &pending, wanted, Moment::now());
        permitted.map(|(_, lifted)| lifted).ok_or(pending)
    }

    /// The same for a call that names no argument, and what is left of the grant.
    pub fn beforehand(
        &self,
        subject: &Subject,
        pending: &Pending,
        name: &str,
    ) -> Option<(Lifted, String)> {
        let asker = Asker::of(subject);
        let permitted = self
            .grants
            .permit(&asker, pending, (name, &[]), Moment::now());
        permitted.map(|(given, lifted)| (lifted, given.left()))
    }

    /// Takes a use of a grant, before anything runs by it.
    ///
    /// # Errors
    /// It has none left, is over, or that cannot be saved. Nothing may run.
    pub fn take_use(&mut self, grant: u64) -> Result<(), Refusal> {
        let now = Moment::now();
        let mut table = self.grants.table.clone();
        if !table.take_use(grant, now) {
            return Err(void(grant));
        }
        // Where there is no number of uses, there is nothing new.
        if table == self.grants.table {
            return Ok(());
        }
        let adopted = self.grants.adopt(table, now, Store::save_use);
        adopted.map_err(|error| {
            let text = format!("the use of grant {grant} cannot be saved: {error}");
            Refusal::new(Code::NotStarted, text).lift("make room on the state directory's disk")
        })
    }

    /// Whether the grant that a plan rests on, where it rests on one, still stands.
    ///
    /// # Errors
    /// It is over, or was revoked. Nothing may run.
    pub fn still_given(&self, basis: &Basis) -> Result<(), Refusal> {
        match basis {
            Basis::Given { grant, .. } if !self.grants.table.stands(*grant, Moment::now()) => {
                Err(void(*grant))
            }
            Basis::Given { .. }
            | Basis::Rule(_)
            | Basis::TryByRoot
            | Basis::Notification
            | Basis::Approved { .. } => Ok(()),
        }
    }

    /// Ends the grants whose time is over, and watches for the next end.
    pub fn end_grants(&mut self) {
        let now = Moment::now();
        let mut table = self.grants.table.clone();
        let over = table.sweep(now, |number| self.waits_by(number));
        if table != self.grants.table {
            self.grants.table = table;
            // Over by the wall clock shall be over also where that is set back.
            if let Err(error) = self.grants.save(now) {
                say!("the end of a grant is not saved: {error}");
            }
        }
        for given in over {
            self.audit.note(ended(&given, "its time is over"));
            self.void_given(given.number, "its time is over");
        }
        match self.grants.table.next_end(now) {
            Some(ms) => self
                .timers
                .add(Duration::from_millis(ms.saturating_add(1)), Timer::Grants),
            None => self.timers.cancel(Timer::Grants),
        }
    }

    /// Whether something that was taken in by it waits to run.
    fn waits_by(&self, number: u64) -> bool {
        let queued = self.queue.iter().map(|waiting| &waiting.plan);
        let mut plans = queued.chain(self.parked.iter().map(|(_, plan)| plan));
        plans.any(|plan| is_by(plan.basis(), number))
    }

    /// Ends what waits for a place by a grant that has ended. What waits for its record is refused when it
    /// comes to that: see [`Self::still_given`].
    pub fn void_given(&mut self, number: u64, why: &str) {
        let waiting = self.queue.iter().map(|waiting| &waiting.plan);
        let waiting = waiting.filter(|plan| is_by(plan.basis(), number));
        let jobs: Vec<_> = waiting.map(|plan| plan.job).collect();
        for job in jobs {
            let cause = format!("grant {number}, by which it was to run, has ended: {why}");
            self.end_if_waiting(job, State::Denied, &cause);
        }
    }

    /// Records what became of the grants of an earlier daemon. Once, at the start.
    ///
    /// # Errors
    /// The trail takes no record.
    pub fn take_over_grants(&mut self) -> Result<(), Fatal> {
        let Opened {
            damage,
            ended: gone,
        } = std::mem::take(&mut self.grants.opened);
        let mut records = Vec::new();
        if let Some(damage) = damage {
            let message = format!(
                "all grants for a time are gone, since their file is damaged: {}",
                damage.told()
            );
            say::beside(&self.audit, Weight::Error, format_args!("{message}"));
            records.push(
                Record::new(Event::Revoked, message)
                    .grave()
                    .field("CAUSE", &damage.what),
            );
        }
        records.extend(gone.iter().map(|(given, why)| ended(given, why)));
        for record in records {
            let written = self.audit.write_at_start(record);
            written.map_err(|why| Fatal::Unavailable(why.to_string()))?;
        }
        // From here on this boot's clocks count, also where this daemon dies: what was lost to the time
        // between is not given back by a wall clock that is set back later.
        if (!gone.is_empty() || !self.grants.table.grants.is_empty())
            && let Err(error) = self.grants.save(Moment::now())
        {
            say!("what is left of the grants for a time is not saved: {error}");
        }
        self.judge_grants_at_start();
        self.end_grants();
        Ok(())
    }
}

fn is_by(basis: &Basis, number: u64) -> bool {
    matches!(basis, Basis::Given { grant, .. } if *grant == number)
}

/// The record of an end that nobody made.
fn ended(given: &Given, why: &str) -> Record {
    let message = format!("grant {} of {}: {why}", given.number, in_words(&given.new));
    described(Record::new(Event::Expired, message), given).field("CAUSE", why)
}

/// Adds which grant it is to a record.
pub fn described(record: Record, given: &Given) -> Record {
    told_of(record, given.number, &given.new)
        .field("APPROVER", &given.giver.name)
        .number("APPROVER_UID", given.giver.uid)
        .maybe("USES", given.uses_left.map(|uses| uses.to_string()))
}

/// Adds what a grant is about to a record.
pub fn told_of(record: Record, number: u64, new: &NewGrant) -> Record {
    record
        .number("GRANT", number)
        .field("TO", to(&new.to))
        .field("WHAT", table::what(new))
}

/// `service.* unit=nginx to agent (uid 1002)`.
pub fn in_words(new: &NewGrant) -> String {
    format!("{} to {}", table::what(new), to(&new.to))
}

fn to(whom: &Whom) -> String {
    match whom {
        Whom::User { name, uid } => format!("{name} (uid {uid})"),
        Whom::Group { name, gid } => format!("%{name} (gid {gid})"),
    }
}

fn void(grant: u64) -> Refusal {
    let text = format!("grant {grant}, by which this would have run, is over or was revoked");
    Refusal::new(Code::ApprovalVoid, text).next("ask again: a person is asked then")
}
