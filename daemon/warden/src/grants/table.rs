//! The grants for a time, and what they cover. Pure: it is told the time, and saves nothing.

use std::collections::BTreeSet;

use remit_common::admin::{GivenGrant, NewGrant, Whom};
use remit_policy::{Consent, Glob, Pending, Who};
use serde::{Deserialize, Serialize};

use super::moment::Moment;
use crate::peer::Subject;

/// Who gave it. By whose account they are known, and what they may do, is looked up again at each use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Giver {
    /// Their uid.
    pub uid: u32,
    /// Their groups, as they were when somebody last looked.
    pub gids: Vec<u32>,
    /// Who logged in, or said so.
    pub loginuid: Option<u32>,
    /// Their name.
    pub name: String,
}

/// Whose request it is.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The ids that policy looks at.
    pub who: Who<'a>,
    /// The name of the account: the same number under another name is somebody else.
    pub name: &'a str,
    /// Who logged in.
    pub loginuid: Option<u32>,
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Its number, never used twice.
    pub number: u64,
    /// As it was asked for.
    pub new: NewGrant,
    /// By whom.
    pub giver: Giver,
    /// When, in milliseconds since 1970.
    pub given_ms: u64,
    /// It ends when either clock has come to this.
    pub end: Moment,
    /// Runs that are left, where there is a number. With none left it stays for the jobs that wait by it.
    pub uses_left: Option<u32>,
}

/// All of them, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The number of the next one.
    pub next: u64,
    /// Also those that are over and those without uses.
    pub grants: Vec<Given>,
}

impl Giver {
    /// Who administers, with the groups that a login would give them.
    pub fn of(subject: &Subject, gids: &[u32]) -> Self {
        Self {
            uid: subject.uid(),
            gids: gids.to_vec(),
            loginuid: subject.loginuid().or(subject.claimed()),
            name: subject.user().to_owned(),
        }
    }

    /// As policy sees them.
    pub fn who(&self) -> Who<'_> {
        Who {
            uid: self.uid,
            gids: &self.gids,
        }
    }

    /// What they said, about somebody's requests.
    pub fn consent(&self, requester: u32) -> Consent<'_> {
        Consent {
            by: self.who(),
            name: &self.name,
            requester,
        }
    }

    /// Whether one person may be behind both: by the uid, or by who logged in.
    pub fn may_be(&self, uid: u32, loginuid: Option<u32>) -> bool {
        let others = [Some(uid), loginuid];
        let own = [Some(self.uid), self.loginuid];
        own.iter().any(|one| one.is_some() && others.contains(one))
    }
}

impl<'a> Asker<'a> {
    /// Who asks for a run.
    pub fn of(subject: &'a Subject) -> Self {
        Self {
            who: Who {
                uid: subject.uid(),
                gids: subject.gids(),
            },
            name: subject.user(),
            loginuid: subject.loginuid(),
        }
    }
}

impl Given {
    /// Whether it is about requests of theirs.
    pub fn is_to(&self, asker: &Asker<'_>) -> bool {
        let named = match &self.new.to {
            Whom::User { uid, name } => *uid == asker.who.uid && name == asker.name,
            Whom::Group { gid, .. } => asker.who.gids.contains(gid),
        };
        named && !self.giver.may_be(asker.who.uid, asker.loginuid)
    }

    /// Whether it is about this command.
    pub fn is_about(&self, name: &str) -> bool {
        Glob::parse(&self.new.what).is_some_and(|glob| glob.matches(name))
    }

    /// Whether each argument that it names is given with exactly these values, byte for byte and in their
    /// order. An argument that is left out has no value, whatever its default is.
    fn has_args(&self, args: &[(String, String)]) -> bool {
        let names: BTreeSet<&str> = self
            .new
            .args
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        names
            .into_iter()
            .all(|name| values(&self.new.args, name).eq(values(args, name)))
    }

    /// Whether a run can still be started by it.
    pub fn is_live(&self, now: Moment) -> bool {
        self.uses_left != Some(0) && !self.is_over(now)
    }

    /// Whether it may cover what a rule asks an approval for, with some arguments, of somebody it is to.
    pub fn lifts(&self, pending: &Pending, name: &str) -> bool {
        // Of nobody in particular: that it is not its giver's own was seen before.
        let consent = self.giver.consent(u32::MAX);
        self.is_about(name) && pending.clone().given(&consent, self.number).is_ok()
    }

    /// What it is about: `service.* unit=nginx`.
    pub fn what(&self) -> String {
        what(&self.new)
    }

    /// What is left of it: `4 uses and 12 min left, given by ann`.
    pub fn left(&self) -> String {
        self.left_at(Moment::now())
    }

    fn left_at(&self, now: Moment) -> String {
        let uses = match self.uses_left {
            None => String::new(),
            Some(1) => "1 use and ".to_owned(),
            Some(uses) => format!("{uses} uses and "),
        };
        let time = long(self.end.left(now));
        format!("{uses}{time} left, given by {}", self.giver.name)
    }

    fn is_over(&self, now: Moment) -> bool {
        self.end.left(now) == 0
    }

    /// As administrators see it.
    pub fn view(&self, now: Moment) -> GivenGrant {
        GivenGrant {
            grant: self.number,
            new: self.new.clone(),
            by: self.giver.name.clone(),
            by_uid: self.giver.uid,
            given_ms: self.given_ms,
            left_ms: self.end.left(now),
            uses_left: self.uses_left,
        }
    }
}

/// A time in the largest unit of which there are two.
fn long(ms: u64) -> String {
    let units = [(86_400_000, "days"), (3_600_000, "h"), (60_000, "min")];
    let fits = units.iter().find(|(unit, _)| ms >= unit * 2);
    let (unit, name) = fits.copied().unwrap_or((1000, "s"));
    format!("{} {name}", ms / unit)
}

/// What a grant is about.
pub fn what(new: &NewGrant) -> String {
    let args = new.args.iter();
    let args: String = args
        .map(|(name, value)| format!(" {name}={value}"))
        .collect();
    format!("{}{args}", new.what)
}

fn values<'a>(args: &'a [(String, String)], name: &str) -> impl Iterator<Item = &'a str> {
    let of_name =
        move |(other, value): &'a (String, String)| (other == name).then_some(value.as_str());
    args.iter().filter_map(of_name)
}

impl Table {
    /// None yet.
    pub const fn empty(next: u64) -> Self {
        let grants = Vec::new();
        Self { next, grants }
    }

    /// Adds one; its number.
    pub fn give(&mut self, new: NewGrant, giver: Giver, now: Moment) -> u64 {
        let number = self.next;
        self.next = number.saturating_add(1);
        self.grants.push(Given {
            number,
            giver,
            given_ms: now.wall_ms,
            end: now.after(u64::from(new.for_s).saturating_mul(1000)),
            uses_left: new.uses,
            new,
        });
        number
    }

    /// Those by which a run can still be started.
    pub fn live(&self, now: Moment) -> impl Iterator<Item = &Given> {
        self.grants.iter().filter(move |given| given.is_live(now))
    }

    /// Those of them that cover a request. Whether the giver can approve it, policy knows.
    pub fn covering<'a>(
        &'a self,
        asker: &'a Asker<'a>,
        name: &'a str,
        args: &'a [(String, String)],
        now: Moment,
    ) -> impl Iterator<Item = &'a Given> {
        self.live(now)
            .filter(move |given| given.is_to(asker) && given.is_about(name) && given.has_args(args))
    }

    /// One of them, whether it is live or not.
    pub fn get(&self, number: u64) -> Option<&Given> {
        self.grants.iter().find(|given| given.number == number)
    }

    /// Whether what was taken in by it may start.
    pub fn stands(&self, number: u64, now: Moment) -> bool {
        self.get(number).is_some_and(|given| !given.is_over(now))
    }

    /// Takes one use. False where there is none to take.
    pub fn take_use(&mut self, number: u64, now: Moment) -> bool {
        let mut live = self.grants.iter_mut().filter(|given| given.is_live(now));
        let Some(given) = live.find(|given| given.number == number) else {
            return false;
        };
        given.uses_left = given.uses_left.map(|uses| uses.saturating_sub(1));
        true
    }

    /// Takes out those that are over, and those without uses by which nothing waits.
    pub fn sweep(&mut self, now: Moment, waits: impl Fn(u64) -> bool) -> Vec<Given> {
        self.grants.retain(|given| {
            given.is_over(now) || given.uses_left != Some(0) || waits(given.number)
        });
        self.grants
            .extract_if(.., |given| given.is_over(now))
            .collect()
    }

    /// Takes out those of which `judge` says why they end; it may change those that stay.
    pub fn judge(
        &mut self,
        mut judge: impl FnMut(&mut Given) -> Option<String>,
    ) -> Vec<(Given, String)> {
        let mut ended = Vec::new();
        for mut given in std::mem::take(&mut self.grants) {
            match judge(&mut given) {
                Some(why) => ended.push((given, why)),
                None => self.grants.push(given),
            }
        }
        ended
    }

    /// Takes out one, or all.
    pub fn revoke(&mut self, number: Option<u64>) -> Vec<Given> {
        let revoked = |given: &mut Given| number.is_none_or(|number| number == given.number);
        self.grants.extract_if(.., revoked).collect()
    }

    /// Milliseconds until the next one ends.
    pub fn next_end(&self, now: Moment) -> Option<u64> {
        self.grants.iter().map(|given| given.end.left(now)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment {
        wall_ms: 1_000_000,
        boot_ms: 5000,
    };

    pub fn new(to: Whom, what: &str, args: &[(&str, &str)], uses: Option<u32>) -> NewGrant {
        NewGrant {
            to,
            what: what.into(),
            args: owned(args),
            for_s: 60,
            uses,
            across_reboot: false,
        }
    }

    fn owned(args: &[(&str, &str)]) -> Vec<(String, String)> {
        let args = args.iter();
        args.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn user(uid: u32) -> Whom {
        let name = "agent".into();
        Whom::User { name, uid }
    }

    fn group(gid: u32) -> Whom {
        let name = "ops".into();
        Whom::Group { name, gid }
    }

    fn giver(uid: u32, loginuid: Option<u32>) -> Giver {
        Giver {
            uid,
            gids: vec![70],
            loginuid,
            name: "ann".into(),
        }
    }

    fn asker(uid: u32, loginuid: Option<u32>) -> Asker<'static> {
        let who = Who {
            uid,
            gids: &[50, 51],
        };
        let name = "agent";
        Asker {
            who,
            name,
            loginuid,
        }
    }

    fn covered(table: &Table, who: &Asker<'_>, name: &str, args: &[(&str, &str)]) -> Vec<u64> {
        let args = owned(args);
        let covering = table.covering(who, name, &args, NOW);
        covering.map(|given| given.number).collect()
    }

    #[test]
    fn a_grant_is_for_whom_it_names_and_never_for_its_giver() {
        let mut table = Table::empty(1);
        table.give(new(user(1000), "web.*", &[], None), giver(7, Some(8)), NOW);
        table.give(new(group(50), "web.*", &[], None), giver(7, Some(8)), NOW);
        table.give(new(group(52), "web.*", &[], None), giver(7, None), NOW);
        for (who, expect) in [
            (asker(1000, None), &[1, 2][..]),
            (asker(1000, Some(1000)), &[1, 2]),
            (asker(1001, None), &[2]),
            // The giver, and whoever logged in as the giver or as who the giver logged in as.
            (asker(7, None), &[]),
            (asker(8, None), &[]),
            (asker(1000, Some(7)), &[]),
            (asker(1000, Some(8)), &[]),
        ] {
            assert_eq!(covered(&table, &who, "web.reload", &[]), expect, "{who:?}");
            assert_eq!(covered(&table, &who, "db.reload", &[]), [0; 0], "{who:?}");
        }
    }

    #[test]
    fn w13_a_grant_is_for_an_account_and_not_for_the_next_one_with_its_uid() {
        let mut table = Table::empty(1);
        table.give(new(user(1000), "web.*", &[], None), giver(7, None), NOW);
        for (name, expect) in [("agent", &[1][..]), ("agent2", &[]), ("#1000", &[])] {
            let who = Asker {
                name,
                ..asker(1000, None)
            };
            assert_eq!(covered(&table, &who, "web.reload", &[]), expect, "{name}");
        }
    }

    #[test]
    fn arguments_are_the_same_to_the_byte() {
        let mut table = Table::empty(1);
        let args = [("unit", "nginx"), ("flag", "a"), ("flag", "b")];
        table.give(
            new(user(1000), "web.reload", &args, None),
            giver(7, None),
            NOW,
        );
        let who = asker(1000, None);
        let nginx = ("unit", "nginx");
        for (args, expect) in [
            (&[nginx, ("flag", "a"), ("flag", "b")][..], true),
            (&[("flag", "a"), nginx, ("other", "x"), ("flag", "b")], true),
            (&[nginx, ("flag", "b"), ("flag", "a")], false),
            (&[nginx, ("flag", "a")], false),
            (&[nginx, ("flag", "a"), ("flag", "b"), ("flag", "c")], false),
            (&[("unit", "nginy"), ("flag", "a"), ("flag", "b")], false),
            (&[("unit", "nginx "), ("flag", "a"), ("flag", "b")], false),
            (&[("Unit", "nginx"), ("flag", "a"), ("flag", "b")], false),
            (&[nginx, nginx, ("flag", "a"), ("flag", "b")], false),
            (&[], false),
        ] {
            assert_eq!(
                !covered(&table, &who, "web.reload", args).is_empty(),
                expect,
                "{args:?}"
            );
        }
    }

    #[test]
    fn uses_run_out_and_what_was_taken_in_stands() {
        let mut table = Table::empty(9);
        let number = table.give(new(user(1000), "a", &[], Some(2)), giver(7, None), NOW);
        assert_eq!(number, 9);
        assert!(table.take_use(9, NOW) && table.take_use(9, NOW));
        assert!(!table.take_use(9, NOW) && !table.take_use(8, NOW));
        assert_eq!(table.live(NOW).count(), 0);
        assert!(table.stands(9, NOW) && !table.stands(8, NOW));
        assert_eq!(table.sweep(NOW, |number| number == 9), []);
        assert!(table.stands(9, NOW));
        assert_eq!(table.sweep(NOW, |_| false), []);
        assert!(!table.stands(9, NOW));
        assert_eq!(
            table.give(new(user(1), "a", &[], None), giver(7, None), NOW),
            10
        );
    }

    #[test]
    fn either_clock_ends_it() {
        let mut table = Table::empty(1);
        table.give(new(user(1000), "a", &[], None), giver(7, None), NOW);
        assert_eq!(table.next_end(NOW), Some(60_000));
        let at = |wall: u64, boot: u64| Moment {
            wall_ms: NOW.wall_ms.saturating_sub(1000) + wall,
            boot_ms: NOW.boot_ms + boot,
        };
        // The wall clock set back gives it no more time than it had.
        for (moment, stands) in [
            (at(60_999, 59_999), true),
            (at(61_000, 0), false),
            (at(0, 59_999), true),
            (at(0, 60_000), false),
        ] {
            assert_eq!(table.stands(1, moment), stands, "{moment:?}");
            assert_eq!(table.clone().take_use(1, moment), stands);
            assert_eq!(
                table.clone().sweep(moment, |_| true).len(),
                usize::from(!stands)
            );
        }
    }

    #[test]
    fn what_is_left_is_told() {
        let mut table = Table::empty(1);
        table.give(
            new(user(1000), "a", &[("b", "c d")], Some(4)),
            giver(7, None),
            NOW,
        );
        let given = table.grants.first_mut().unwrap();
        assert_eq!(given.what(), "a b=c d");
        assert_eq!(given.left_at(NOW), "4 uses and 60 s left, given by ann");
        given.uses_left = Some(1);
        assert_eq!(
            given.left_at(NOW.after(1)),
            "1 use and 59 s left, given by ann"
        );
        given.uses_left = None;
        for (ms, text) in [
            (720_999, "12 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 days"),
        ] {
            given.end = NOW.after(ms);
            assert_eq!(given.left_at(NOW), format!("{text} left, given by ann"));
        }
    }

    #[test]
    fn one_or_all_are_revoked() {
        let mut table = Table::empty(1);
        for _ in 0..3 {
            table.give(new(user(1000), "a", &[], None), giver(7, None), NOW);
        }
        let gone = |gone: Vec<Given>| gone.iter().map(|given| given.number).collect::<Vec<_>>();
        assert_eq!(gone(table.revoke(Some(4))), [0; 0]);
        assert_eq!(gone(table.revoke(Some(2))), [2]);
        assert_eq!(gone(table.revoke(None)), [1, 3]);
        assert_eq!((table.next, table.next_end(NOW)), (4, None));
    }
}
