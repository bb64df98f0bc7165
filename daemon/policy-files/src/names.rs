//! This machine as a load asks about it, and a table of what was answered.

use std::cell::RefCell;
use std::ffi::CString;
use std::net::{IpAddr, ToSocketAddrs};

use nix::unistd::{Gid, Group, User, getgrouplist};
use remit_policy::{Ids, Machine, MachineTable, Program};

/// The machine itself: user database, name service, file system. It may wait for any of them.
#[derive(Debug, Default)]
pub struct Names {
    protected: Vec<String>,
    table: RefCell<MachineTable>,
}

impl Names {
    /// With the daemon's own files, which no profile may write.
    pub fn new(protected: Vec<String>) -> Self {
        let table = MachineTable {
            protected: protected.clone(),
            ..MachineTable::default()
        };
        Self {
            protected,
            table: RefCell::new(table),
        }
    }

    /// All that was answered so far: the same load of the same files asks nothing else.
    pub fn table(&self) -> MachineTable {
        self.table.borrow().clone()
    }
}

impl Machine for Names {
    fn user(&self, name: &str) -> Option<Ids> {
        let user = User::from_name(name).ok()??;
        let ids = Ids {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        };
        self.table.borrow_mut().users.insert(name.to_owned(), ids);
        Some(ids)
    }

    fn group(&self, name: &str) -> Option<u32> {
        let gid = Group::from_name(name).ok()??.gid.as_raw();
        self.table.borrow_mut().groups.insert(name.to_owned(), gid);
        Some(gid)
    }

    fn groups_of(&self, user: &str) -> Vec<u32> {
        let (Some(ids), Ok(name)) = (self.user(user), CString::new(user)) else {
            return Vec::new();
        };
        let groups = getgrouplist(&name, Gid::from_raw(ids.gid)).unwrap_or_default();
        let gids: Vec<u32> = groups.into_iter().map(Gid::as_raw).collect();
        let mut table = self.table.borrow_mut();
        table.members.insert(user.to_owned(), gids.clone());
        gids
    }

    fn addresses(&self, host: &str) -> Vec<IpAddr> {
        let found = (host, 0).to_socket_addrs().into_iter().flatten();
        let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let mut table = self.table.borrow_mut();
        table.hosts.insert(host.to_owned(), addresses.clone());
        addresses
    }

    fn program(&self, path: &str) -> Program {
        let program = crate::programs::program(path);
        let mut table = self.table.borrow_mut();
        table.programs.insert(path.to_owned(), program.clone());
        program
    }

    fn protected(&self) -> Vec<String> {
        self.protected.clone()
    }
}
