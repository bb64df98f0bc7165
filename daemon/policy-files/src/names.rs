//! Names of users and groups, looked up as they are asked for.

use std::cell::RefCell;

use nix::unistd::{Group, User};
use remit_policy::{AccountTable, Accounts};

/// The user database, and what was asked of it.
#[derive(Debug, Default)]
pub struct Names {
    users: RefCell<Vec<(String, u32)>>,
    groups: RefCell<Vec<(String, u32)>>,
}

impl Names {
    /// The names asked for that there are, as a table.
    pub fn table(&self) -> AccountTable {
        AccountTable {
            users: self.users.borrow().iter().cloned().collect(),
            groups: self.groups.borrow().iter().cloned().collect(),
        }
    }
}

impl Accounts for Names {
    fn uid(&self, user: &str) -> Option<u32> {
        let uid = User::from_name(user).ok()??.uid.as_raw();
        self.users.borrow_mut().push((user.to_owned(), uid));
        Some(uid)
    }

    fn gid(&self, group: &str) -> Option<u32> {
        let gid = Group::from_name(group).ok()??.gid.as_raw();
        self.groups.borrow_mut().push((group.to_owned(), gid));
        Some(gid)
    }
}
