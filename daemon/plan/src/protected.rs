//! What needs an approval, and what no plan may change: the kernel's file systems, remit, and approvers' accounts, homes
//! and keys. By where a path lies; files of accounts by their lines, as glibc reads passwd(5), shadow(5), group(5).
//!
//! **Invariant:** absence means refusal. Bytes that are not known are refused where they would decide.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::accounts::{account_id, account_lines, account_name, is_of_accounts};
use crate::lines::TableChange;
use crate::plan::{Change, Metadata};
use crate::risk::Risk;
use crate::{PlanPath, View, risks};

/// File systems of the kernel, and state that ends with the boot.
const KERNEL: &[&str] = &["/proc", "/sys", "/dev", "/run"];

/// Directories in which most files decide what root or another user runs or reads.
const SYSTEM: &[&str] = &[
    "/bin",
    "/boot",
    "/efi",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/root",
    "/sbin",
    "/usr",
    "/usr/lib",
    "/usr/local",
    "/usr/share",
    "/var",
    "/var/lib",
    "/var/spool",
];

const OF_APPROVER: &str = "it changes the account or the group of somebody who approves";

/// What the caller knows of remit and of its approvers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protected {
    /// remit's own files and directories, and the homes of approvers.
    pub paths: Vec<PlanPath>,
    /// Names of approvers and administrators, and of their groups.
    pub names: BTreeSet<Vec<u8>>,
    pub uids: BTreeSet<u32>,
    pub gids: BTreeSet<u32>,
    /// True if not all homes are known. Then no login key may change, wherever it lies.
    pub has_unknown_homes: bool,
}

impl Protected {
    /// Returns why a plan may not have this entry, or `None`.
    #[must_use]
    pub fn refuses(&self, view: &View<'_>) -> Option<&'static str> {
        let path = &view.entry.path;
        if KERNEL.iter().any(|dir| path.is_in(dir.as_bytes())) {
            return Some("it belongs to the kernel or to this boot");
        }
        let lies_in = |own: &PlanPath| path.is_in(own.as_bytes());
        if self.paths.iter().any(lies_in) {
            return Some("it belongs to remit, or to somebody who approves");
        }
        // Who may write or move a directory decides on all beneath it.
        if self.paths.iter().any(|own| own.is_in(path.as_bytes())) {
            return Some("remit, or somebody who approves, has files beneath it");
        }
        if self.has_unknown_homes && path.holds_login_keys() {
            return Some(
                "whose login keys these are is not known: the user database did not answer",
            );
        }
        if is_of_accounts(path.as_bytes()) {
            self.refuses_accounts(view)
        } else {
            None
        }
    }

    fn refuses_accounts(&self, view: &View<'_>) -> Option<&'static str> {
        if let Some(meta) = view.entry.change.meta()
            && !keeps_rights(view.entry.change.base().map(|base| base.stat.meta), meta)
        {
            return Some("its owner and group stay, and its mode gets no more bits");
        }
        let content = view.entry.change.content();
        if content.is_some_and(|content| content.capabilities.is_some()) {
            return Some("nobody executes it, so it gets no capabilities");
        }
        match view.entry.change {
            Change::SetMetadata { .. } => return None,
            Change::Remove { .. } => return Some("the machine's accounts are defined in it"),
            Change::Create { .. } | Change::Replace { .. } => {}
        }
        if self.has_unknown_homes {
            return Some("whose lines these are is not known: the user database did not answer");
        }
        if view.entry.change.is_of_lines() {
            let changes = TableChange::decode(view.new.unwrap_or_default());
            let takes = |change: &TableChange<'_>| self.names.contains(change.account());
            return match changes {
                Ok(changes) if !changes.iter().any(takes) => None,
                Ok(_) => Some(OF_APPROVER),
                Err(why) => Some(why),
            };
        }
        let is_new = matches!(view.entry.change, Change::Create { .. });
        let old = view.old.or(is_new.then_some(b""));
        let (Some(old), Some(new)) = (
            old.and_then(account_lines),
            view.new.and_then(account_lines),
        ) else {
            return Some("its lines cannot be compared: not known, too many, or with a NUL");
        };
        let named = |line: &&[u8]| self.names.contains(account_name(line));
        if !old.clone().filter(named).eq(new.clone().filter(named)) {
            return Some(OF_APPROVER);
        }
        let is_passwd = view.entry.path.as_bytes() == b"/etc/passwd";
        let is_group = view.entry.path.as_bytes() == b"/etc/group";
        let takes = |line: &[u8]| {
            let uid = account_id(line, 2).filter(|_| is_passwd);
            let gid = account_id(line, 3)
                .filter(|_| is_passwd)
                .or(account_id(line, 2).filter(|_| is_group));
            uid.is_some_and(|uid| self.uids.contains(&uid))
                || gid.is_some_and(|gid| self.gids.contains(&gid))
        };
        let old: HashSet<&[u8]> = old.collect();
        let mut added = new.filter(|line| !old.contains(line));
        added
            .any(takes)
            .then_some("it gives the uid or the group of somebody who approves to another account")
    }
}

/// Who owns a file of accounts, or may write it, has every account.
fn keeps_rights(base: Option<Metadata>, meta: Metadata) -> bool {
    let is_kept = |base: Metadata| {
        let is_group = meta.gid == 0 || meta.gid == base.gid;
        is_group && meta.mode & !base.mode == 0
    };
    meta.uid == 0 && base.map_or(meta.mode & !0o644 == 0, is_kept)
}

/// Returns why this entry needs an approval, or `None`. `named` are a rule's paths: a system directory is too wide.
#[must_use]
pub fn needs_approval(view: &View<'_>, named: &[PlanPath]) -> Option<String> {
    let path = &view.entry.path;
    let is_named = |dir: &[u8]| {
        let mut beneath = named.iter().filter(|own| own.is_in(dir));
        beneath.any(|own| own.as_bytes() != dir && path.is_in(own.as_bytes()))
    };
    let mut system = SYSTEM.iter().filter(|dir| path.is_in(dir.as_bytes()));
    match system.find(|dir| !is_named(dir.as_bytes())) {
        Some(dir) => Some(format!(
            "'paths' of the rule names no file or directory in '{dir}' that has it"
        )),
        // That requesters know what they write takes nothing from anybody: it is for one who trusts a key.
        None => risks(view)
            .into_iter()
            .find(|risk| *risk != Risk::Known)
            .map(|risk| risk.to_string()),
    }
}
