//! Temporary grants: approvals given in advance. One is looked up if policy asks for an approval: policy decides every
//! request first, and then whether the rule names this giver. A run without a sandbox always needs its own approval. A
//! use is taken and saved when a request is accepted, and not returned if the job does not start; a [`Lifted`] becomes
//! a permission only by a use. Giver and recipient are accounts, a uid and a name, looked up again at each policy load
//! and each use: a grant ends if either is another account, or if its giver could no longer give it.

pub(crate) mod describe {
    //! Temporary grants in sentences and records.

    use remit_common::admin::{Grantee, NewGrant};

    use super::TemporaryGrant;
    use super::table;
    use crate::audit::{Event, Record};

    pub(super) fn ended(granted: &TemporaryGrant, why: &str) -> Record {
        let message = format!(
            "grant {} of {}: {why}",
            granted.number,
            in_words(&granted.new)
        );
        described(Record::new(Event::Expired, message), granted).field("CAUSE", why)
    }

    pub fn described(record: Record, granted: &TemporaryGrant) -> Record {
        with_grant(record, granted.number, &granted.new)
            .field("APPROVER", &granted.giver.name)
            .number("APPROVER_UID", granted.giver.uid)
            .maybe("USES", granted.uses_left.map(|uses| uses.to_string()))
    }

    pub fn with_grant(record: Record, number: u64, new: &NewGrant) -> Record {
        record
            .number("GRANT", number)
            .field("TO", to(&new.to))
            .field("WHAT", table::what(new))
    }

    /// `service.* unit=nginx to agent (uid 1002)`.
    pub fn in_words(new: &NewGrant) -> String {
        format!("{} to {}", table::what(new), to(&new.to))
    }

    fn to(grantee: &Grantee) -> String {
        match grantee {
            Grantee::User { name, uid } => format!("{name} (uid {uid})"),
            Grantee::Group { name, gid } => format!("%{name} (gid {gid})"),
        }
    }
}
pub(crate) mod bounds;
pub(crate) mod ended;
pub mod store;
mod table;

use std::io;
use std::path::Path;

use remit_common::admin::{ActiveGrant, Grantee, NewGrant};
use remit_common::prove::PermittedGrant;
use remit_common::refusal::{Code, Refusal};
use remit_plan::Bundle;
use remit_policy::{Basis, Lifted, Pending, Policy};

use crate::approval::grants::bounds::Moment;
pub use crate::approval::grants::describe::{described, in_words, with_grant};
use crate::event_loop::timers;
use crate::identity::peer::Subject;
use crate::request::Call;
use crate::startup::error::Fatal;
use crate::state_dir::ledger::Damage;
pub use bounds::{Covered, names};
use store::{GrantStore, Saved};
pub use table::{Giver, TemporaryGrant, paths, what};
use table::{GrantUser, Table};

/// Saves the first of two, or keeps the other.
type Save = fn(&GrantStore, &Saved, &Saved) -> io::Result<()>;

#[derive(Debug)]
pub struct Grants {
    table: Table,
    store: GrantStore,
    boot: String,
    opened: Opened,
}

#[derive(Debug, Default)]
struct Opened {
    damage: Option<Damage>,
    ended: Vec<(TemporaryGrant, &'static str)>,
}

impl Grants {
    /// Loads saved grants that still hold. Fails if a damaged file cannot be quarantined.
    pub fn open(state: &Path) -> Result<Self, Fatal> {
        let boot = timers::boot_id().map_err(Fatal::call("cannot determine the boot id"))?;
        let store = GrantStore::in_state(state);
        let loaded = store.load();
        let loaded = loaded.map_err(Fatal::call("cannot move the damaged file of grants away"))?;
        let now = Moment::now();
        let (table, opened) = match loaded {
            Ok(None) => (Table::empty(1), Opened::default()),
            Ok(Some(saved)) => {
                let (table, ended) = saved.now(&boot, now);
                let damage = None;
                (table, Opened { damage, ended })
            }
            // The numbers in use are unknown. Numbers from seconds since 1970 were not used before.
            Err(damage) => {
                let opened = Opened {
                    damage: Some(damage),
                    ended: Vec::new(),
                };
                (Table::empty(now.realtime_ms / 1000), opened)
            }
        };
        Ok(Self {
            table,
            store,
            boot,
            opened,
        })
    }

    pub fn count(&self) -> usize {
        self.table.live(Moment::now()).count()
    }

    pub fn list(&self) -> Vec<ActiveGrant> {
        let now = Moment::now();
        self.table
            .live(now)
            .map(|granted| granted.view(now))
            .collect()
    }

    pub fn of<'a>(&'a self, subject: &'a Subject) -> impl Iterator<Item = &'a TemporaryGrant> {
        let own = move |granted: &&TemporaryGrant| granted.is_to(&GrantUser::of(subject));
        self.table.live(Moment::now()).filter(own)
    }

    /// Returns what grants permit, for a look at what that opens.
    pub fn in_force(&self) -> Vec<PermittedGrant> {
        let now = Moment::now();
        let in_force = self.table.live(now).map(|granted| {
            let covered = granted.covered.as_deref().unwrap_or_default();
            let (number, giver) = (granted.number, &granted.giver.name);
            permitted(&granted.new, covered, giver).in_force(number, giver, granted.end.left(now))
        });
        in_force.collect()
    }

    /// Groups that grants are given to. A user who loses such a group loses the grant.
    pub fn groups(&self) -> impl Iterator<Item = u32> {
        self.table
            .grants
            .iter()
            .filter_map(|granted| match granted.new.to {
                Grantee::Group { gid, .. } => Some(gid),
                Grantee::User { .. } => None,
            })
    }

    pub fn has(&self, number: u64) -> bool {
        self.table.get(number).is_some()
    }

    pub const fn next_number(&self) -> u64 {
        self.table.next
    }

    /// Gives a grant for these commands. It exists only if it is saved.
    pub fn give(
        &mut self,
        new: NewGrant,
        giver: Giver,
        covered: Vec<Covered>,
    ) -> io::Result<ActiveGrant> {
        let now = Moment::now();
        let mut table = self.table.clone();
        let number = table.give(new, giver, now);
        table.cover(number, covered);
        let view = table.get(number).map(|granted| granted.view(now));
        self.adopt(table, now, GrantStore::save_grants)?;
        view.ok_or_else(|| io::Error::other("it was not added"))
    }

    /// Ends one grant, or all. If saving fails, removes the file, so no grant survives a restart.
    pub fn revoke(&mut self, number: Option<u64>) -> (Vec<TemporaryGrant>, io::Result<()>) {
        let revoked = self.table.revoke(number);
        let saved = self.save(Moment::now());
        (revoked, saved.or_else(|_| self.store.remove()))
    }

    pub fn keep(&self) -> io::Result<()> {
        match self.table.grants.is_empty() {
            true => Ok(()),
            false => self.save(Moment::now()),
        }
    }

    fn adopt(&mut self, table: Table, now: Moment, save: Save) -> io::Result<()> {
        let before = self.saved(now);
        let boot = self.boot.clone();
        let at = now;
        let saved = Saved { boot, at, table };
        save(&self.store, &saved, &before)?;
        self.table = saved.table;
        Ok(())
    }

    fn save(&self, at: Moment) -> io::Result<()> {
        self.store.save(&self.saved(at))
    }

    fn saved(&self, at: Moment) -> Saved {
        let (boot, table) = (self.boot.clone(), self.table.clone());
        Saved { boot, at, table }
    }

    /// Returns the oldest grant that covers a request, and the permission by it.
    fn permit<'a>(
        &'a self,
        asker: &'a GrantUser<'a>,
        pending: &Pending,
        call: (&'a str, &'a [(String, String)], Option<&Bundle>),
        now: Moment,
    ) -> Option<(&'a TemporaryGrant, Lifted)> {
        let (name, args, plan) = call;
        let mut covering = self.table.covering(asker, name, args, now);
        covering.find_map(|granted| {
            let consent = granted.giver.consent(asker.caller_ids.uid);
            let plan = plan.map(|plan| (plan, asker.caller_ids));
            Some((granted, granted.lifted(pending, &consent, plan)?))
        })
    }

    /// A new policy adds no command to a grant, and removes those that changed. If that cannot be saved, removes the file, so
    /// no grant survives a restart.
    pub fn bind(&mut self, policy: &Policy) {
        let before = self.table.clone();
        self.table.bind(policy);
        if self.table != before
            && let Err(error) = self.save(Moment::now()).or_else(|_| self.store.remove())
        {
            say!("cannot save which commands the temporary grants cover: {error}");
        }
    }

    /// Lifts a request by a temporary grant, without taking a use. Returns `pending` if no grant covers it.
    pub fn by_grant(
        &self,
        subject: &Subject,
        pending: Pending,
        call: &Call,
    ) -> Result<Lifted, Pending> {
        let asker = GrantUser::of(subject);
        let plan = call.file_change().and_then(Result::ok);
        let wanted = (call.name_in_rules(), call.args(), plan);
        let permitted = self.permit(&asker, &pending, wanted, Moment::now());
        permitted.map(|(_, lifted)| lifted).ok_or(pending)
    }

    /// Like [`Self::by_grant`] for a call without arguments. Adds what is left of the grant.
    pub fn pre_approved(
        &self,
        subject: &Subject,
        pending: &Pending,
        name: &str,
    ) -> Option<(Lifted, String)> {
        let asker = GrantUser::of(subject);
        let permitted = self.permit(&asker, pending, (name, &[], None), Moment::now());
        permitted.map(|(granted, lifted)| (lifted, granted.left()))
    }

    /// Takes a use before anything runs by it. If this fails, nothing may run.
    pub fn consume_grant_use(&mut self, grant: u64) -> Result<(), Refusal> {
        let now = Moment::now();
        let mut table = self.table.clone();
        if !table.consume_grant_use(grant, now) {
            return Err(void(grant));
        }
        // A grant without a number of uses is unchanged.
        if table == self.table {
            return Ok(());
        }
        let adopted = self.adopt(table, now, GrantStore::save_use);
        adopted.map_err(|error| {
            let text = format!("cannot save the use of grant {grant}: {error}");
            Refusal::new(Code::NotStarted, text)
                .lift("free space on the disk of the state directory")
        })
    }

    /// Fails if a plan needs a grant that is over or was revoked: nothing may run.
    pub fn recheck_grant(&self, basis: &Basis) -> Result<(), Refusal> {
        match basis {
            Basis::TemporaryGrant { grant, .. } if !self.table.is_valid(*grant, Moment::now()) => {
                Err(void(*grant))
            }
            Basis::TemporaryGrant { .. }
            | Basis::Rule(_)
            | Basis::TryByRoot
            | Basis::Notification
            | Basis::Recovery
            | Basis::Unconfirmed
            | Basis::Approved { .. } => Ok(()),
        }
    }
}

/// Describes a grant that is to be given.
pub fn permitted(new: &NewGrant, covered: &[Covered], giver: &str) -> PermittedGrant {
    let commands = covered.iter().map(|one| one.name.clone()).collect();
    PermittedGrant::new(new, commands, giver)
}

fn void(grant: u64) -> Refusal {
    let text = format!("grant {grant}, which allowed this, has expired or was revoked");
    Refusal::new(Code::ApprovalVoid, text).next("ask again: a person has to approve it then")
}

#[cfg(test)]
mod tests {
    use remit_policy::MachineTable;

    use super::*;
    use crate::request::fixture::Scene;

    fn new_grant() -> NewGrant {
        NewGrant {
            to: Grantee::User {
                name: "agent".into(),
                uid: 1000,
            },
            what: "web.reload".into(),
            args: Vec::new(),
            for_s: 60,
            uses: None,
            across_reboot: false,
            paths: Vec::new(),
        }
    }

    fn giver() -> Giver {
        Giver {
            uid: 7,
            gids: vec![70],
            loginuid: None,
            name: "ann".into(),
        }
    }

    fn none_in(state: &Path) -> Grants {
        std::fs::create_dir_all(state.join("warden")).unwrap();
        Grants {
            table: Table::empty(1),
            store: GrantStore::in_state(state),
            boot: "boot-1".into(),
            opened: Opened::default(),
        }
    }

    #[test]
    fn command_that_a_policy_took_out_of_a_grant_is_not_in_the_file() {
        let policy = |summary: &str| {
            let one = |name: &str, summary: &str| {
                format!(
                    "[[command]]\nname = \"{name}\"\nsummary = \"{summary}\"\neffect = \"change\"\nprofile = \"strict\"\n\
                     argv = [\"/usr/bin/true\"]\n"
                )
            };
            let text = one("web.reload", "x") + &one("web.stop", summary);
            Scene::of(&text, &MachineTable::default()).policy
        };
        let state = std::env::temp_dir().join(format!("remit-bind-{}", std::process::id()));
        let mut grants = none_in(&state);
        let new = NewGrant {
            what: "web.*".into(),
            ..new_grant()
        };
        let covered = Covered::by(&new, &policy("x"));
        grants.give(new, giver(), covered).unwrap();
        let saved = || {
            let saved = grants_in(&state).table.grants.remove(0);
            names(&saved.covered.unwrap())
        };
        assert_eq!(saved(), ["web.reload", "web.stop"]);
        grants.bind(&policy("another one"));
        assert_eq!(saved(), ["web.reload"]);
        // The next start may have the first policy again.
        grants.bind(&policy("x"));
        assert_eq!(saved(), ["web.reload"]);
        std::fs::remove_dir_all(state).unwrap();
    }

    fn grants_in(state: &Path) -> Saved {
        let store = GrantStore::in_state(state);
        store.load().unwrap().unwrap().unwrap()
    }

    #[test]
    fn failed_save_after_rename_is_not_in_file() {
        let state = std::env::temp_dir().join(format!("remit-adopt-{}", std::process::id()));
        let mut grants = none_in(&state);
        let now = Moment::now();
        let mut table = grants.table.clone();
        table.give(new_grant(), giver(), now);
        grants.store.file.sync_name = |_| Err(io::ErrorKind::Other.into());
        let adopted = grants.adopt(table, now, GrantStore::save_grants);
        adopted.unwrap_err();
        assert_eq!(grants.table, Table::empty(1));
        assert_eq!(grants_in(&state).table, Table::empty(1));
        std::fs::remove_dir_all(state).unwrap();
    }
}
