//! Answers a load's questions about the machine, and keeps a table of the answers.

mod answers;
mod origin;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Group, User, getgrouplist};
use remit_policy::{HostAddress, Ids, Machine, MachineTable, Program};
use serde::{Deserialize, Serialize};

/// This machine's databases and file system, or a machine that cannot be asked. May wait. Asks each question once.
#[derive(Debug)]
pub struct Names {
    of: DescribedHost,
    known: RefCell<Known>,
    protected: Vec<String>,
    patience: Cell<Duration>,
    late: RefCell<Vec<String>>,
    last: LastKnown,
    /// Questions that the user database did not answer, a sentence each.
    unanswered: RefCell<BTreeSet<String>>,
    may_be_unanswered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DescribedHost {
    This,
    Another,
}

/// "Does not exist" is an answer, too.
#[derive(Debug, Default)]
struct Known {
    users: BTreeMap<String, Option<Ids>>,
    groups: BTreeMap<String, Option<u32>>,
    members: BTreeMap<String, Vec<u32>>,
    listed: BTreeMap<u32, BTreeMap<String, u32>>,
    last_uids: BTreeMap<String, u32>,
    last_gids: BTreeMap<String, u32>,
    hosts: BTreeMap<String, Vec<HostAddress>>,
    programs: BTreeMap<String, Program>,
}

impl Names {
    /// Time limit for looking up all host names of a policy together.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// `protected` are the daemon's own files, which no profile may write.
    pub fn new(protected: Vec<String>) -> Self {
        Self {
            of: DescribedHost::This,
            known: RefCell::default(),
            protected,
            patience: Cell::new(Self::PATIENCE),
            late: RefCell::default(),
            last: LastKnown::default(),
            unanswered: RefCell::default(),
            may_be_unanswered: false,
        }
    }

    /// Describes a machine that cannot be asked: each name exists, with its own id, and no user is in another's group.
    /// Hosts have an address for documentation (RFC 5737), programs are root's. Findings about members may be wrong.
    pub fn of_other_machine(protected: Vec<String>) -> Self {
        Self {
            of: DescribedHost::Another,
            ..Self::new(protected)
        }
    }

    pub fn are_of_other_host(&self) -> bool {
        self.of == DescribedHost::Another
    }

    pub fn group_of(&self, gid: u32) -> Option<String> {
        let known = self.known.borrow();
        let found = known.groups.iter().find(|(_, found)| **found == Some(gid));
        found.map(|(name, _)| name.clone())
    }

    /// Sets how long to wait for the addresses of all host names together. A later answer counts as no address.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        self.patience.set(patience);
        self
    }

    pub fn table(&self) -> MachineTable {
        fn existing<T: Copy>(all: &BTreeMap<String, Option<T>>) -> BTreeMap<String, T> {
            all.iter()
                .filter_map(|(name, found)| Some((name.clone(), (*found)?)))
                .collect()
        }
        let known = self.known.borrow();
        MachineTable {
            users: existing(&known.users),
            groups: existing(&known.groups),
            members: known.members.clone(),
            listed: known
                .listed
                .iter()
                .map(|(gid, members)| (*gid, uids(members)))
                .collect(),
            last_uids: known.last_uids.clone(),
            last_gids: known.last_gids.clone(),
            hosts: known.hosts.clone(),
            programs: known.programs.clone(),
            protected: self.protected.clone(),
        }
    }

    pub fn late(&self) -> Vec<String> {
        self.late.borrow().clone()
    }

    fn resolve(&self, host: &str) -> Vec<HostAddress> {
        let left = self.patience.get();
        let begin = Instant::now();
        let found = match left.is_zero() {
            true => None,
            false => ask(host, left),
        };
        self.patience.set(left.saturating_sub(begin.elapsed()));
        let Some(addresses) = found else {
            self.late.borrow_mut().push(host.to_owned());
            return Vec::new();
        };
        origin::classify(host, addresses)
    }
}

/// Asks for addresses in a thread of its own, and abandons the thread if it takes longer.
fn ask(host: &str, patience: Duration) -> Option<Vec<IpAddr>> {
    let (sender, receiver) = mpsc::channel();
    let name = host.to_owned();
    let look_up = move || {
        let found = (name.as_str(), 0).to_socket_addrs().into_iter().flatten();
        let _ = sender.send(found.map(|address| address.ip()).collect());
    };
    thread::Builder::new().spawn(look_up).ok()?;
    receiver.recv_timeout(patience).ok()
}

const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Returns an id that no account has by chance: above the uids of people, below those of jobs.
fn invented_id(taken: usize) -> u32 {
    const FIRST: u32 = 0x6000_0000;
    FIRST.saturating_add(u32::try_from(taken).unwrap_or(u32::MAX - FIRST))
}

impl Default for Names {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

fn cached<K: Ord + ToOwned<Owned: Ord> + ?Sized, T: Clone>(
    known: &RefCell<Known>,
    part: fn(&mut Known) -> &mut BTreeMap<K::Owned, T>,
    name: &K,
    ask: impl FnOnce() -> T,
) -> T {
    if let Some(answer) = part(&mut known.borrow_mut()).get(name) {
        return answer.clone();
    }
    // Not borrowed during `ask`: an answer may need another.
    let answer = ask();
    part(&mut known.borrow_mut()).insert(name.to_owned(), answer.clone());
    answer
}

fn uids(members: &BTreeMap<String, u32>) -> Vec<u32> {
    let uids: BTreeSet<u32> = members.values().copied().collect();
    uids.into_iter().collect()
}

impl Machine for Names {
    fn user(&self, name: &str) -> Option<Ids> {
        cached(
            &self.known,
            |known| &mut known.users,
            name,
            || {
                match self.of {
                    DescribedHost::This => {
                        let user =
                            self.answered(&format!("user '{name}'"), User::from_name(name))?;
                        Some(Ids {
                            uid: user.uid.as_raw(),
                            gid: user.gid.as_raw(),
                        })
                    }
                    DescribedHost::Another => {
                        // A user's own group has the same name.
                        let gid = self.group(name)?;
                        Some(Ids { uid: gid, gid })
                    }
                }
            },
        )
    }

    fn group(&self, name: &str) -> Option<u32> {
        let taken = self.known.borrow().groups.len();
        cached(
            &self.known,
            |known| &mut known.groups,
            name,
            || match (self.of, name) {
                (DescribedHost::This, _) => {
                    let group = Group::from_name(name);
                    let group = self.answered(&format!("group '{name}'"), group)?;
                    Some(group.gid.as_raw())
                }
                (DescribedHost::Another, "root") => Some(0),
                (DescribedHost::Another, _) => Some(invented_id(taken)),
            },
        )
    }

    fn groups_of(&self, user: &str) -> Vec<u32> {
        cached(
            &self.known,
            |known| &mut known.members,
            user,
            || {
                let (Some(ids), Ok(name)) = (self.user(user), CString::new(user)) else {
                    return Vec::new();
                };
                match self.of {
                    DescribedHost::This => {
                        let groups = getgrouplist(&name, Gid::from_raw(ids.gid)).map(Some);
                        let groups = self.answered(&format!("the groups of '{user}'"), groups);
                        let groups = groups.unwrap_or_default();
                        groups.into_iter().map(Gid::as_raw).collect()
                    }
                    DescribedHost::Another => vec![ids.gid],
                }
            },
        )
    }

    fn knows_groups(&self) -> bool {
        !self.are_of_other_host()
    }

    fn members(&self, gid: u32) -> Vec<u32> {
        uids(&cached(
            &self.known,
            |known| &mut known.listed,
            &gid,
            || match self.of {
                DescribedHost::This => self.members_now(gid),
                DescribedHost::Another => BTreeMap::new(),
            },
        ))
    }

    fn last_uid(&self, user: &str) -> Option<u32> {
        let uid = *self.last.users.get(user)?;
        let known = &mut self.known.borrow_mut().last_uids;
        known.insert(user.to_owned(), uid);
        Some(uid)
    }

    fn last_gid(&self, group: &str) -> Option<u32> {
        let gid = *self.last.groups.get(group)?;
        let known = &mut self.known.borrow_mut().last_gids;
        known.insert(group.to_owned(), gid);
        Some(gid)
    }

    fn addresses(&self, host: &str) -> Vec<HostAddress> {
        cached(
            &self.known,
            |known| &mut known.hosts,
            host,
            || match self.of {
                DescribedHost::This => self.resolve(host),
                DescribedHost::Another => vec![NOWHERE.into()],
            },
        )
    }

    fn program(&self, path: &str) -> Program {
        cached(
            &self.known,
            |known| &mut known.programs,
            path,
            || match self.of {
                DescribedHost::This => crate::programs::program(path),
                DescribedHost::Another => Program::Trusted,
            },
        )
    }

    fn protected(&self) -> Vec<String> {
        self.protected.clone()
    }
}

/// Names of a policy and their ids at an earlier load. A name that is temporarily unknown still denies those ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastKnown {
    pub users: BTreeMap<String, u32>,
    pub groups: BTreeMap<String, u32>,
    /// By gid: the members of groups that a denial names, with their uids.
    pub members: BTreeMap<u32, BTreeMap<String, u32>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_in_table_and_asked_once() {
        let names = Names::new(vec!["/etc/remit".into()]);
        assert_eq!(names.user("root"), Some(Ids { uid: 0, gid: 0 }));
        assert_eq!(names.user("no-such-user"), None);
        assert_eq!(names.user("a\0b"), None);
        assert_eq!(names.group("root"), Some(0));
        assert_eq!(names.group("no-such-group"), None);
        assert!(names.groups_of("root").contains(&0));
        assert_eq!(names.groups_of("no-such-user"), Vec::<u32>::new());
        assert_eq!(names.program("/no/such/program"), Program::Missing);
        assert_eq!(names.program("/bin/sh"), Program::Trusted);

        let table = names.table();
        assert_eq!(table.users.len(), 1);
        assert_eq!(table.groups, [("root".to_owned(), 0)].into());
        assert_eq!(table.protected, ["/etc/remit"]);
        for user in ["root", "no-such-user"] {
            assert_eq!(table.user(user), names.user(user));
            assert_eq!(table.groups_of(user), names.groups_of(user));
        }
        for path in ["/no/such/program", "/bin/sh"] {
            assert_eq!(table.program(path), names.program(path));
        }
    }

    #[test]
    fn other_host_has_every_name() {
        let names = Names::of_other_machine(Vec::new());
        let [a, b, ops] = [names.user("a"), names.user("b"), names.user("ops")].map(Option::unwrap);
        let others = [names.group("ops"), names.group("web")].map(Option::unwrap);
        assert_eq!(others[0], ops.gid);
        let all = [a.gid, b.gid, others[0], others[1]];
        for (at, id) in all.iter().enumerate() {
            assert!(*id != 0 && !all[..at].contains(id), "{all:?}");
        }
        assert_eq!(names.groups_of("a"), [a.gid]);
        assert_eq!(names.user("root"), Some(Ids { uid: 0, gid: 0 }));
        assert_eq!(names.addresses("no.such.host.invalid"), [NOWHERE.into()]);
        assert_eq!(names.program("/no/such/program"), Program::Trusted);
        assert_eq!(names.group_of(ops.gid), Some("ops".into()));
        assert_eq!(names.table().group("web"), Some(others[1]));
    }

    #[test]
    fn an_answer_stays_the_same() {
        let known = RefCell::default();
        let part: fn(&mut Known) -> &mut BTreeMap<String, Option<u32>> = |known| &mut known.groups;
        assert_eq!(cached(&known, part, "a", || None), None);
        assert_eq!(cached(&known, part, "a", || Some(7)), None);
        assert_eq!(cached(&known, part, "b", || Some(7)), Some(7));
    }

    #[test]
    fn addresses_are_sorted_and_each_is_there_once() {
        let names = Names::default();
        let found = names.addresses("localhost");
        assert!(
            found.iter().all(|found| found.ip.is_loopback()) && !found.is_empty(),
            "{found:?}"
        );
        assert!(found.is_sorted());
        assert_eq!(names.late(), Vec::<String>::new());
        assert_eq!(names.table().hosts["localhost"], found);
    }

    #[test]
    fn late_host_has_no_address_and_is_reported() {
        let names = Names::default().patience(Duration::ZERO);
        assert_eq!(names.addresses("localhost"), []);
        assert_eq!(names.late(), ["localhost"]);
        assert_eq!(names.addresses("localhost"), []);
        assert_eq!(names.late(), ["localhost"]);
    }
}
