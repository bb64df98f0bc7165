//! Temporary grants and what they cover. Pure: gets the time from the caller, and saves nothing.

use std::collections::BTreeSet;

use remit_common::admin::{ActiveGrant, Grantee, NewGrant};
use remit_plan::{Bundle, PlanPath};
use remit_policy::{CallerIds, Consent, Glob, Lifted, Pending, PlanWithin, Policy};
use serde::{Deserialize, Serialize};

use super::bounds::{Covered, names};
use crate::approval::grants::bounds::Moment;
use crate::identity::peer::Subject;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Giver {
    pub uid: u32,
    /// Groups at the last lookup.
    pub gids: Vec<u32>,
    /// Login uid, proven or claimed.
    pub loginuid: Option<u32>,
    pub name: String,
}

#[derive(Clone, Copy, Debug)]
pub struct GrantUser<'a> {
    pub caller_ids: CallerIds<'a>,
    /// The same uid under another name is another account.
    pub name: &'a str,
    pub loginuid: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemporaryGrant {
    /// Never used twice.
    pub number: u64,
    #[serde(with = "super::store::without_paths")]
    pub new: NewGrant,
    pub giver: Giver,
    pub granted_ms: u64,
    /// It ends when either clock reaches this.
    pub end: Moment,
    /// Runs left, if bounded. With none left, the grant stays for the jobs that wait by it.
    pub uses_left: Option<u32>,
    /// `None`: saved by an earlier release, and not bound yet.
    #[serde(skip)]
    pub covered: Option<Vec<Covered>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub next: u64,
    /// Oldest first, with those that are over or have no uses.
    pub grants: Vec<TemporaryGrant>,
}

impl Giver {
    /// `gids` are the groups that a login would give.
    pub fn of(subject: &Subject, gids: &[u32]) -> Self {
        Self {
            uid: subject.uid(),
            gids: gids.to_vec(),
            loginuid: subject.loginuid().or(subject.claimed()),
            name: subject.user().to_owned(),
        }
    }

    pub fn caller_ids(&self) -> CallerIds<'_> {
        CallerIds {
            uid: self.uid,
            gids: &self.gids,
        }
    }

    pub fn consent(&self, requester: u32) -> Consent<'_> {
        Consent {
            by: self.caller_ids(),
            name: &self.name,
            requester,
            proof: None,
        }
    }

    /// Returns true if one person may be both, by uid or login uid.
    pub fn may_be(&self, uid: u32, loginuid: Option<u32>) -> bool {
        let others = [Some(uid), loginuid];
        let own = [Some(self.uid), self.loginuid];
        own.iter().any(|one| one.is_some() && others.contains(one))
    }
}

impl<'a> GrantUser<'a> {
    pub fn of(subject: &'a Subject) -> Self {
        Self {
            caller_ids: CallerIds {
                uid: subject.uid(),
                gids: subject.gids(),
            },
            name: subject.user(),
            loginuid: subject.loginuid(),
        }
    }
}

impl TemporaryGrant {
    pub fn is_to(&self, asker: &GrantUser<'_>) -> bool {
        let named = match &self.new.to {
            Grantee::User { uid, name } => *uid == asker.caller_ids.uid && name == asker.name,
            Grantee::Group { gid, .. } => asker.caller_ids.gids.contains(gid),
        };
        named && !self.giver.may_be(asker.caller_ids.uid, asker.loginuid)
    }

    pub fn is_about(&self, name: &str) -> bool {
        match &self.covered {
            Some(covered) => covered.iter().any(|one| one.name == name),
            None => Glob::parse(&self.new.what).is_some_and(|glob| glob.matches(name)),
        }
    }

    /// Keeps only commands that are unchanged. Binds a grant of an earlier release now.
    pub fn bind(&mut self, policy: &Policy) {
        match &mut self.covered {
            Some(covered) => covered.retain(|one| one.is_same(policy)),
            None => self.covered = Some(Covered::by(&self.new, policy)),
        }
    }

    /// Each named argument must have exactly these bytes, in order. An omitted one has none, despite a default.
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

    pub fn is_live(&self, now: Moment) -> bool {
        self.uses_left != Some(0) && !self.is_over(now)
    }

    pub fn lifts(&self, pending: &Pending, name: &str) -> bool {
        // Nobody in particular: that it is not the giver's own request was checked before.
        let consent = self.giver.consent(u32::MAX);
        self.is_about(name) && self.lifted(pending, &consent, None).is_some()
    }

    /// Covers a request. A grant with paths covers a plan within them and nothing else.
    pub fn lifted(
        &self,
        pending: &Pending,
        consent: &Consent<'_>,
        plan: Option<(&Bundle, CallerIds<'_>)>,
    ) -> Option<Lifted> {
        let paths = paths(&self.new);
        let within = match (self.new.paths.is_empty(), plan) {
            (true, _) => None,
            (false, plan) => {
                let (plan, requester) = plan?;
                Some(PlanWithin {
                    plan,
                    paths: &paths,
                    requester,
                })
            }
        };
        let lifted = pending.clone().granted(consent, self.number, within);
        lifted.ok()
    }

    pub fn what(&self) -> String {
        what(&self.new)
    }

    /// `4 uses and 12 min left, given by ann`.
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

    pub fn view(&self, now: Moment) -> ActiveGrant {
        ActiveGrant {
            grant: self.number,
            new: self.new.clone(),
            covered: names(self.covered.as_deref().unwrap_or_default()),
            by: self.giver.name.clone(),
            by_uid: self.giver.uid,
            granted_ms: self.granted_ms,
            left_ms: self.end.left(now),
            uses_left: self.uses_left,
        }
    }
}

/// Uses the largest unit of which there are at least two.
fn long(ms: u64) -> String {
    let units = [(86_400_000, "days"), (3_600_000, "h"), (60_000, "min")];
    let fits = units.iter().find(|(unit, _)| ms >= unit * 2);
    let (unit, name) = fits.copied().unwrap_or((1000, "s"));
    format!("{} {name}", ms / unit)
}

/// Returns the paths of a grant. One that is no path was refused when the grant was given; it would cover nothing.
pub fn paths(new: &NewGrant) -> Vec<PlanPath> {
    let paths = new.paths.iter();
    paths
        .filter_map(|path| PlanPath::new(path.as_bytes()).ok())
        .collect()
}

/// `service.* unit=nginx`, `plan.commit in /etc/nginx, /srv`.
pub fn what(new: &NewGrant) -> String {
    let args = new.args.iter();
    let args: String = args
        .map(|(name, value)| format!(" {name}={value}"))
        .collect();
    let paths = match new.paths.is_empty() {
        true => String::new(),
        false => format!(" in {}", new.paths.join(", ")),
    };
    format!("{}{args}{paths}", new.what)
}

fn values<'a>(args: &'a [(String, String)], name: &str) -> impl Iterator<Item = &'a str> {
    let of_name =
        move |(other, value): &'a (String, String)| (other == name).then_some(value.as_str());
    args.iter().filter_map(of_name)
}

impl Table {
    pub const fn empty(next: u64) -> Self {
        let grants = Vec::new();
        Self { next, grants }
    }

    pub fn give(&mut self, new: NewGrant, giver: Giver, now: Moment) -> u64 {
        let number = self.next;
        self.next = number.saturating_add(1);
        self.grants.push(TemporaryGrant {
            number,
            giver,
            granted_ms: now.realtime_ms,
            end: now.after(u64::from(new.for_s).saturating_mul(1000)),
            uses_left: new.uses,
            covered: None,
            new,
        });
        number
    }

    /// Sets the commands that a new grant covers.
    pub fn cover(&mut self, number: u64, covered: Vec<Covered>) {
        let mut grants = self.grants.iter_mut();
        if let Some(granted) = grants.find(|granted| granted.number == number) {
            granted.covered = Some(covered);
        }
    }

    pub fn live(&self, now: Moment) -> impl Iterator<Item = &TemporaryGrant> {
        self.grants
            .iter()
            .filter(move |granted| granted.is_live(now))
    }

    /// Returns live grants that match a request. Policy decides whether the giver can approve it.
    pub fn covering<'a>(
        &'a self,
        asker: &'a GrantUser<'a>,
        name: &'a str,
        args: &'a [(String, String)],
        now: Moment,
    ) -> impl Iterator<Item = &'a TemporaryGrant> {
        self.live(now).filter(move |granted| {
            granted.is_to(asker) && granted.is_about(name) && granted.has_args(args)
        })
    }

    pub fn bind(&mut self, policy: &Policy) {
        self.grants
            .iter_mut()
            .for_each(|granted| granted.bind(policy));
    }

    pub fn get(&self, number: u64) -> Option<&TemporaryGrant> {
        self.grants.iter().find(|granted| granted.number == number)
    }

    /// Returns true if a job that was accepted by this grant may start.
    pub fn is_valid(&self, number: u64, now: Moment) -> bool {
        self.get(number)
            .is_some_and(|granted| !granted.is_over(now))
    }

    pub fn consume_grant_use(&mut self, number: u64, now: Moment) -> bool {
        let mut live = self
            .grants
            .iter_mut()
            .filter(|granted| granted.is_live(now));
        let Some(granted) = live.find(|granted| granted.number == number) else {
            return false;
        };
        granted.uses_left = granted.uses_left.map(|uses| uses.saturating_sub(1));
        true
    }

    /// Removes and returns grants that are over. Drops those without uses by which nothing waits.
    pub fn sweep(&mut self, now: Moment, is_awaited: impl Fn(u64) -> bool) -> Vec<TemporaryGrant> {
        self.grants.retain(|granted| {
            granted.is_over(now) || granted.uses_left != Some(0) || is_awaited(granted.number)
        });
        self.grants
            .extract_if(.., |granted| granted.is_over(now))
            .collect()
    }

    /// Removes grants for which `judge` returns a reason. `judge` may change the others.
    pub fn judge(
        &mut self,
        mut judge: impl FnMut(&mut TemporaryGrant) -> Option<String>,
    ) -> Vec<(TemporaryGrant, String)> {
        let mut ended = Vec::new();
        for mut granted in std::mem::take(&mut self.grants) {
            match judge(&mut granted) {
                Some(why) => ended.push((granted, why)),
                None => self.grants.push(granted),
            }
        }
        ended
    }

    pub fn revoke(&mut self, number: Option<u64>) -> Vec<TemporaryGrant> {
        let revoked =
            |granted: &mut TemporaryGrant| number.is_none_or(|number| number == granted.number);
        self.grants.extract_if(.., revoked).collect()
    }

    pub fn next_end(&self, now: Moment) -> Option<u64> {
        self.grants
            .iter()
            .map(|granted| granted.end.left(now))
            .min()
    }
}

#[cfg(test)]
mod tests {
    use remit_policy::MachineTable;

    use super::*;
    use crate::request::fixture::Scene;

    const NOW: Moment = Moment {
        realtime_ms: 1_000_000,
        boot_ms: 5000,
    };

    pub fn new(to: Grantee, what: &str, args: &[(&str, &str)], uses: Option<u32>) -> NewGrant {
        NewGrant {
            to,
            what: what.into(),
            args: owned(args),
            for_s: 60,
            uses,
            across_reboot: false,
            paths: Vec::new(),
        }
    }

    fn owned(args: &[(&str, &str)]) -> Vec<(String, String)> {
        let args = args.iter();
        args.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn user(uid: u32) -> Grantee {
        let name = "agent".into();
        Grantee::User { name, uid }
    }

    fn group(gid: u32) -> Grantee {
        let name = "ops".into();
        Grantee::Group { name, gid }
    }

    fn giver(uid: u32, loginuid: Option<u32>) -> Giver {
        Giver {
            uid,
            gids: vec![70],
            loginuid,
            name: "ann".into(),
        }
    }

    fn asker(uid: u32, loginuid: Option<u32>) -> GrantUser<'static> {
        let caller_ids = CallerIds {
            uid,
            gids: &[50, 51],
        };
        let name = "agent";
        GrantUser {
            caller_ids,
            name,
            loginuid,
        }
    }

    fn covered(
        table: &Table,
        caller_ids: &GrantUser<'_>,
        name: &str,
        args: &[(&str, &str)],
    ) -> Vec<u64> {
        let args = owned(args);
        let covering = table.covering(caller_ids, name, &args, NOW);
        covering.map(|granted| granted.number).collect()
    }

    #[test]
    fn grant_covers_grantee_and_not_giver() {
        let mut table = Table::empty(1);
        table.give(new(user(1000), "web.*", &[], None), giver(7, Some(8)), NOW);
        table.give(new(group(50), "web.*", &[], None), giver(7, Some(8)), NOW);
        table.give(new(group(52), "web.*", &[], None), giver(7, None), NOW);
        for (caller_ids, expect) in [
            (asker(1000, None), &[1, 2][..]),
            (asker(1000, Some(1000)), &[1, 2]),
            (asker(1001, None), &[2]),
            // The giver, and whoever shares a login with the giver.
            (asker(7, None), &[]),
            (asker(8, None), &[]),
            (asker(1000, Some(7)), &[]),
            (asker(1000, Some(8)), &[]),
        ] {
            assert_eq!(
                covered(&table, &caller_ids, "web.reload", &[]),
                expect,
                "{caller_ids:?}"
            );
            assert_eq!(
                covered(&table, &caller_ids, "db.reload", &[]),
                [0; 0],
                "{caller_ids:?}"
            );
        }
    }

    #[test]
    fn w13_grant_is_bound_to_account_not_uid() {
        let mut table = Table::empty(1);
        table.give(new(user(1000), "web.*", &[], None), giver(7, None), NOW);
        for (name, expect) in [("agent", &[1][..]), ("agent2", &[]), ("#1000", &[])] {
            let caller_ids = GrantUser {
                name,
                ..asker(1000, None)
            };
            assert_eq!(
                covered(&table, &caller_ids, "web.reload", &[]),
                expect,
                "{name}"
            );
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
        let caller_ids = asker(1000, None);
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
                !covered(&table, &caller_ids, "web.reload", args).is_empty(),
                expect,
                "{args:?}"
            );
        }
    }

    #[test]
    fn used_up_grant_is_valid_while_awaited() {
        let mut table = Table::empty(9);
        let number = table.give(new(user(1000), "a", &[], Some(2)), giver(7, None), NOW);
        assert_eq!(number, 9);
        assert!(table.consume_grant_use(9, NOW) && table.consume_grant_use(9, NOW));
        assert!(!table.consume_grant_use(9, NOW) && !table.consume_grant_use(8, NOW));
        assert_eq!(table.live(NOW).count(), 0);
        assert!(table.is_valid(9, NOW) && !table.is_valid(8, NOW));
        assert_eq!(table.sweep(NOW, |number| number == 9), []);
        assert!(table.is_valid(9, NOW));
        assert_eq!(table.sweep(NOW, |_| false), []);
        assert!(!table.is_valid(9, NOW));
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
        let at = |realtime: u64, boot: u64| Moment {
            realtime_ms: NOW.realtime_ms.saturating_sub(1000) + realtime,
            boot_ms: NOW.boot_ms + boot,
        };
        // Setting the wall clock back adds no time.
        for (moment, is_valid) in [
            (at(60_999, 59_999), true),
            (at(61_000, 0), false),
            (at(0, 59_999), true),
            (at(0, 60_000), false),
        ] {
            assert_eq!(table.is_valid(1, moment), is_valid, "{moment:?}");
            assert_eq!(table.clone().consume_grant_use(1, moment), is_valid);
            assert_eq!(
                table.clone().sweep(moment, |_| true).len(),
                usize::from(!is_valid)
            );
        }
    }

    #[test]
    fn remaining_uses_and_time_are_shown() {
        let mut table = Table::empty(1);
        table.give(
            new(user(1000), "a", &[("b", "c d")], Some(4)),
            giver(7, None),
            NOW,
        );
        let granted = table.grants.first_mut().unwrap();
        assert_eq!(granted.what(), "a b=c d");
        assert_eq!(granted.left_at(NOW), "4 uses and 60 s left, given by ann");
        granted.uses_left = Some(1);
        assert_eq!(
            granted.left_at(NOW.after(1)),
            "1 use and 59 s left, given by ann"
        );
        granted.uses_left = None;
        for (ms, text) in [
            (720_999, "12 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 days"),
        ] {
            granted.end = NOW.after(ms);
            assert_eq!(granted.left_at(NOW), format!("{text} left, given by ann"));
        }
    }

    #[test]
    fn view_names_each_covered_command_and_none_that_came_later() {
        let policy = |count: usize| {
            let command = |at| {
                format!(
                    "[[command]]\nname = \"site.number-{at:02}\"\nsummary = \"x\"\neffect = \"change\"\n\
                     profile = \"strict\"\nargv = [\"/usr/bin/true\"]\n"
                )
            };
            let text: String = (0..count).map(command).collect();
            Scene::of(&text, &MachineTable::default()).policy
        };
        let mut table = Table::empty(1);
        table.give(new(user(1000), "site.*", &[], None), giver(7, None), NOW);
        let names: Vec<String> = (0..12).map(|at| format!("site.number-{at:02}")).collect();
        for count in [12, 14] {
            table.bind(&policy(count));
            let view = table.grants[0].view(NOW);
            assert_eq!((view.new.what.as_str(), &view.covered), ("site.*", &names));
        }
        table.bind(&policy(11));
        assert_eq!(table.grants[0].view(NOW).covered, names[..11]);
    }

    #[test]
    fn one_or_all_are_revoked() {
        let mut table = Table::empty(1);
        for _ in 0..3 {
            table.give(new(user(1000), "a", &[], None), giver(7, None), NOW);
        }
        let gone = |gone: Vec<TemporaryGrant>| {
            gone.iter()
                .map(|granted| granted.number)
                .collect::<Vec<_>>()
        };
        assert_eq!(gone(table.revoke(Some(4))), [0; 0]);
        assert_eq!(gone(table.revoke(Some(2))), [2]);
        assert_eq!(gone(table.revoke(None)), [1, 3]);
        assert_eq!((table.next, table.next_end(NOW)), (4, None));
    }
}
