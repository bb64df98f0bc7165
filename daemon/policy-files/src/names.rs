//! A machine as a load asks about it, and a table of what was answered.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Group, User, getgrouplist};
use remit_policy::{Ids, Machine, MachineTable, Program};

/// This machine itself: user database, name service, file system. It may wait for any of them. Or one
/// that is elsewhere, of which nothing is known.
///
/// Each question is put once: the same one has the same answer until the end.
#[derive(Debug)]
pub struct Names {
    of: Of,
    known: RefCell<Known>,
    protected: Vec<String>,
    /// How long host names may still take, all together.
    patience: Cell<Duration>,
    /// Host names without an answer in time.
    late: RefCell<Vec<String>>,
    gone: Gone,
}

/// Users who are not there, and of whom denials may speak all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    /// These: a policy in force names them.
    Those(BTreeSet<String>),
    /// All: nothing is in force, and a policy that was right yesterday is right.
    All,
}

/// Whose names they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    This,
    Another,
}

/// What was asked and answered; what is not there has an answer, too.
#[derive(Debug, Default)]
struct Known {
    users: BTreeMap<String, Option<Ids>>,
    groups: BTreeMap<String, Option<u32>>,
    members: BTreeMap<String, Vec<u32>>,
    listed: BTreeMap<u32, Vec<u32>>,
    gone: BTreeSet<String>,
    hosts: BTreeMap<String, Vec<IpAddr>>,
    programs: BTreeMap<String, Program>,
}

impl Names {
    /// How long all host names of a policy together may take to be looked up.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// With the daemon's own files, which no profile may write.
    pub fn new(protected: Vec<String>) -> Self {
        Self {
            of: Of::This,
            known: RefCell::default(),
            protected,
            patience: Cell::new(Self::PATIENCE),
            late: RefCell::default(),
            gone: Gone::Those(BTreeSet::new()),
        }
    }

    /// A denial may still speak of these users where they are gone.
    #[must_use]
    pub fn without(mut self, gone: Gone) -> Self {
        self.gone = gone;
        self
    }

    /// Of a machine that cannot be asked: every name stands for something, and each for something else.
    /// A user is in no group of another name; a host has an address that nobody has (RFC 5737), and a
    /// program is there and root's. Nothing is waited for.
    ///
    /// What a policy means there can be told but for what depends on who is in which group.
    pub fn elsewhere(protected: Vec<String>) -> Self {
        Self {
            of: Of::Another,
            ..Self::new(protected)
        }
    }

    /// Whether nothing is known of the machine.
    pub fn are_elsewhere(&self) -> bool {
        self.of == Of::Another
    }

    /// The name that stood for this gid, if one was asked for that did.
    pub fn group_of(&self, gid: u32) -> Option<String> {
        let known = self.known.borrow();
        let found = known.groups.iter().find(|(_, found)| **found == Some(gid));
        found.map(|(name, _)| name.clone())
    }

    /// Waits so long for the addresses of all host names together; what comes later counts as
    /// no address.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        self.patience.set(patience);
        self
    }

    /// All that was answered so far: the same load of the same files asks nothing else.
    pub fn table(&self) -> MachineTable {
        /// Without what is not there.
        fn there<T: Copy>(all: &BTreeMap<String, Option<T>>) -> BTreeMap<String, T> {
            all.iter()
                .filter_map(|(name, found)| Some((name.clone(), (*found)?)))
                .collect()
        }
        let known = self.known.borrow();
        MachineTable {
            users: there(&known.users),
            groups: there(&known.groups),
            members: known.members.clone(),
            listed: known.listed.clone(),
            gone: known.gone.clone(),
            hosts: known.hosts.clone(),
            programs: known.programs.clone(),
            protected: self.protected.clone(),
        }
    }

    /// Host names that nobody told the addresses of in time.
    pub fn late(&self) -> Vec<String> {
        self.late.borrow().clone()
    }

    fn resolve(&self, host: &str) -> Vec<IpAddr> {
        let left = self.patience.get();
        let begin = Instant::now();
        let found = match left.is_zero() {
            true => None,
            false => ask(host, left),
        };
        self.patience.set(left.saturating_sub(begin.elapsed()));
        let Some(mut addresses) = found else {
            self.late.borrow_mut().push(host.to_owned());
            return Vec::new();
        };
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

/// Asks for addresses in a thread of its own, and leaves it behind when it takes longer.
fn ask(host: &str, patience: Duration) -> Option<Vec<IpAddr>> {
    let (tell, told) = mpsc::channel();
    let name = host.to_owned();
    let look_up = move || {
        let found = (name.as_str(), 0).to_socket_addrs().into_iter().flatten();
        // Nobody waits any more: then it is late.
        let _ = tell.send(found.map(|address| address.ip()).collect());
    };
    thread::Builder::new().spawn(look_up).ok()?;
    told.recv_timeout(patience).ok()
}

/// An address for documentation (RFC 5737).
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// An id that no account has by chance: above those of people, below those of jobs.
fn made_up(taken: usize) -> u32 {
    const FIRST: u32 = 0x6000_0000;
    FIRST.saturating_add(u32::try_from(taken).unwrap_or(u32::MAX - FIRST))
}

impl Default for Names {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

/// What is known of `name`, asked for if nobody did before.
fn once<K: Ord + ToOwned<Owned: Ord> + ?Sized, T: Clone>(
    known: &RefCell<Known>,
    part: fn(&mut Known) -> &mut BTreeMap<K::Owned, T>,
    name: &K,
    ask: impl FnOnce() -> T,
) -> T {
    if let Some(answer) = part(&mut known.borrow_mut()).get(name) {
        return answer.clone();
    }
    // Not borrowed meanwhile: an answer may need another.
    let answer = ask();
    part(&mut known.borrow_mut()).insert(name.to_owned(), answer.clone());
    answer
}

/// The uid of a member. It is asked for aside: the table has only the names that a policy has.
fn uid_of(user: &str) -> Option<u32> {
    Some(User::from_name(user).ok()??.uid.as_raw())
}

impl Machine for Names {
    fn user(&self, name: &str) -> Option<Ids> {
        once(
            &self.known,
            |known| &mut known.users,
            name,
            || {
                match self.of {
                    Of::This => {
                        let user = User::from_name(name).ok()??;
                        Some(Ids {
                            uid: user.uid.as_raw(),
                            gid: user.gid.as_raw(),
                        })
                    }
                    Of::Another => {
                        // The group of the same name is the user's own.
                        let gid = self.group(name)?;
                        Some(Ids { uid: gid, gid })
                    }
                }
            },
        )
    }

    fn group(&self, name: &str) -> Option<u32> {
        let taken = self.known.borrow().groups.len();
        once(
            &self.known,
            |known| &mut known.groups,
            name,
            || match (self.of, name) {
                (Of::This, _) => Some(Group::from_name(name).ok()??.gid.as_raw()),
                (Of::Another, "root") => Some(0),
                (Of::Another, _) => Some(made_up(taken)),
            },
        )
    }

    fn groups_of(&self, user: &str) -> Vec<u32> {
        once(
            &self.known,
            |known| &mut known.members,
            user,
            || {
                let (Some(ids), Ok(name)) = (self.user(user), CString::new(user)) else {
                    return Vec::new();
                };
                match self.of {
                    Of::This => {
                        let groups =
                            getgrouplist(&name, Gid::from_raw(ids.gid)).unwrap_or_default();
                        groups.into_iter().map(Gid::as_raw).collect()
                    }
                    Of::Another => vec![ids.gid],
                }
            },
        )
    }

    fn members(&self, gid: u32) -> Vec<u32> {
        once(
            &self.known,
            |known| &mut known.listed,
            &gid,
            || {
                let group = match self.of {
                    Of::This => crate::outsiders::group(gid),
                    Of::Another => None,
                };
                let members = group.iter().flat_map(crate::outsiders::members);
                let uids = members.filter_map(|user| uid_of(&user));
                let uids: BTreeSet<u32> = uids.collect();
                uids.into_iter().collect()
            },
        )
    }

    fn was_there(&self, user: &str) -> bool {
        let was_there = match &self.gone {
            Gone::All => true,
            Gone::Those(those) => those.contains(user),
        };
        if was_there {
            self.known.borrow_mut().gone.insert(user.to_owned());
        }
        was_there
    }

    fn addresses(&self, host: &str) -> Vec<IpAddr> {
        once(
            &self.known,
            |known| &mut known.hosts,
            host,
            || match self.of {
                Of::This => self.resolve(host),
                Of::Another => vec![NOWHERE],
            },
        )
    }

    fn program(&self, path: &str) -> Program {
        once(
            &self.known,
            |known| &mut known.programs,
            path,
            || match self.of {
                Of::This => crate::programs::program(path),
                Of::Another => Program::Trusted,
            },
        )
    }

    fn protected(&self) -> Vec<String> {
        self.protected.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_is_in_the_table_and_asked_once() {
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
        // The table answers as the machine did.
        for user in ["root", "no-such-user"] {
            assert_eq!(table.user(user), names.user(user));
            assert_eq!(table.groups_of(user), names.groups_of(user));
        }
        for path in ["/no/such/program", "/bin/sh"] {
            assert_eq!(table.program(path), names.program(path));
        }
    }

    #[test]
    fn elsewhere_every_name_stands_for_something_of_its_own() {
        let names = Names::elsewhere(Vec::new());
        let [a, b, ops] = [names.user("a"), names.user("b"), names.user("ops")].map(Option::unwrap);
        let others = [names.group("ops"), names.group("web")].map(Option::unwrap);
        assert_eq!(others[0], ops.gid);
        let all = [a.gid, b.gid, others[0], others[1]];
        for (at, id) in all.iter().enumerate() {
            assert!(*id != 0 && !all[..at].contains(id), "{all:?}");
        }
        assert_eq!(names.groups_of("a"), [a.gid]);
        assert_eq!(names.user("root"), Some(Ids { uid: 0, gid: 0 }));
        assert_eq!(names.addresses("no.such.host.invalid"), [NOWHERE]);
        assert_eq!(names.program("/no/such/program"), Program::Trusted);
        assert_eq!(names.group_of(ops.gid), Some("ops".into()));
        assert_eq!(names.table().group("web"), Some(others[1]));
    }

    #[test]
    fn an_answer_stays_the_same() {
        let known = RefCell::default();
        let part: fn(&mut Known) -> &mut BTreeMap<String, Option<u32>> = |known| &mut known.groups;
        assert_eq!(once(&known, part, "a", || None), None);
        assert_eq!(once(&known, part, "a", || Some(7)), None);
        assert_eq!(once(&known, part, "b", || Some(7)), Some(7));
    }

    #[test]
    fn addresses_are_sorted_and_each_is_there_once() {
        let names = Names::default();
        let found = names.addresses("localhost");
        assert!(
            found.iter().all(IpAddr::is_loopback) && !found.is_empty(),
            "{found:?}"
        );
        assert!(found.is_sorted());
        assert_eq!(names.late(), Vec::<String>::new());
        assert_eq!(names.table().hosts["localhost"], found);
    }

    #[test]
    fn what_takes_too_long_has_no_address_and_is_told() {
        let names = Names::default().patience(Duration::ZERO);
        assert_eq!(names.addresses("localhost"), Vec::<IpAddr>::new());
        assert_eq!(names.late(), ["localhost"]);
        // The answer may have come meanwhile; it is the same as before.
        assert_eq!(names.addresses("localhost"), Vec::<IpAddr>::new());
        assert_eq!(names.late(), ["localhost"]);
    }
}
