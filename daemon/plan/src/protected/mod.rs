//! What needs an approval, and what no plan may change: the kernel's file systems, remit, and approvers' accounts, homes
//! and keys. By where a path lies; files of accounts by their lines, as glibc reads passwd(5), shadow(5), group(5).
//!
//! **Invariant:** absence means refusal. Bytes that are not known are refused where they would decide.

mod accounts;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use self::accounts::refuses_directory;
use crate::accounts::{AccountFile, EXTRAUSERS, UserRecord};
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
        match (
            AccountFile::at(path.as_bytes()),
            UserRecord::at(path.as_bytes()),
        ) {
            (Some(file), _) => self.refuses_accounts(file, view),
            (_, Some(record)) => self.refuses_record(record, view),
            _ if path.is_in(EXTRAUSERS) => refuses_directory(view),
            _ => None,
        }
    }
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
