//! What needs an approval, and what no plan may change: the kernel's file systems, remit, and approvers' accounts, homes
//! and keys. By where a path lies; files of accounts by their lines, as glibc reads passwd(5), shadow(5), group(5).
//!
//! **Invariant:** absence means refusal. Bytes that are not known are refused where they would decide.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::accounts::{
    AccountFile, EXTRAUSERS, UserRecord, account_id, account_lines, account_name,
};
use crate::lines::TableChange;
use crate::plan::{Change, Kind, Metadata, New};
use crate::ranges::IdRange;
use crate::risk::Risk;
use crate::risks::path_risks;
use crate::{PathTree, PlanPath, View, risks};

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

/// Directories of crontabs, crontab(1).
const CRONTABS: &[u8] = b"/var/spool/cron";

const OF_APPROVER: &str = "it changes the account or the group of somebody who approves";
const UNKNOWN_APPROVERS: &str =
    "whose lines these are is not known: the user database did not answer";
const UNKNOWN: &str = "its lines cannot be compared: not known, too many, or with a NUL";

/// What the caller knows of remit and of its approvers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protected {
    /// remit's own files and directories, and the homes of approvers.
    pub paths: PathTree,
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
        if let Some(why) = path_is_refused(path) {
            return Some(why);
        }
        if self.paths.holds(path) {
            return Some("it belongs to remit, or to somebody who approves");
        }
        // Who may write or move a directory decides on all beneath it.
        if self.paths.has_beneath(path) && !keeps_crontabs(view) {
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

    fn refuses_accounts(&self, file: AccountFile, view: &View<'_>) -> Option<&'static str> {
        let change = &view.entry.change;
        if !stays_file(change) {
            return Some("programs read accounts in it, so it is a file and no link");
        }
        if let Some(meta) = change.meta()
            && !keeps_rights(change.base().map(|base| base.stat.meta), meta)
        {
            return Some("its owner and group stay, and its mode gets no more bits");
        }
        let content = change.content();
        if content.is_some_and(|content| content.capabilities.is_some()) {
            return Some("nobody executes it, so it gets no capabilities");
        }
        let new = match change {
            Change::SetMetadata { .. } => return None,
            // An undo removes what a package has made.
            Change::Remove { .. } if may_go(file, view) => Some(&b""[..]),
            Change::Remove { .. } => return Some("the machine's accounts are defined in it"),
            Change::Create { .. } | Change::Replace { .. } | Change::ReplaceKind { .. } => view.new,
        };
        if self.has_unknown_homes {
            return Some(UNKNOWN_APPROVERS);
        }
        if change.is_of_lines() {
            let changes = TableChange::decode(new.unwrap_or_default());
            let takes = |change: &TableChange<'_>| self.names.contains(change.account());
            return match changes {
                Ok(changes) if !changes.iter().any(takes) => None,
                Ok(_) => Some(OF_APPROVER),
                Err(why) => Some(why),
            };
        }
        let is_new = matches!(change, Change::Create { .. });
        let old = view.old.or(is_new.then_some(b""));
        let (Some(old), Some(new)) = (old.and_then(account_lines), new.and_then(account_lines))
        else {
            return Some(UNKNOWN);
        };
        let is_owner = |line: &[u8]| {
            self.names.contains(account_name(line))
                || file.is_of_ranges()
                    && account_id(line, 0).is_some_and(|uid| self.uids.contains(&uid))
        };
        let named = |line: &&[u8]| is_owner(line);
        if !old.clone().filter(named).eq(new.clone().filter(named)) {
            return Some(OF_APPROVER);
        }
        let known: HashSet<&[u8]> = old.clone().collect();
        let added = new.filter(|line| !known.contains(line));
        match file {
            AccountFile::Subuid | AccountFile::Subgid => {
                self.refuses_ranges(file, old.filter(named), added)
            }
            _ => self.refuses_numbers(file, added),
        }
    }

    /// Records are JSON, which is not compared; a membership has its name alone.
    fn refuses_record(&self, record: UserRecord<'_>, view: &View<'_>) -> Option<&'static str> {
        let (user, group) = match record {
            UserRecord::Directory => return refuses_directory(view),
            UserRecord::Other => {
                return Some(
                    "it can be a record of an account or a group, and those are not compared",
                );
            }
            UserRecord::Membership { user, group } => (user, group),
        };
        if self.has_unknown_homes {
            return Some(UNKNOWN_APPROVERS);
        }
        let has = |name: &[u8], ids: &BTreeSet<u32>| {
            self.names.contains(account_name(name))
                || account_id(name, 0).is_some_and(|id| ids.contains(&id))
        };
        (has(user, &self.uids) || has(group, &self.gids)).then_some(OF_APPROVER)
    }

    fn refuses_numbers<'a>(
        &self,
        file: AccountFile,
        mut added: impl Iterator<Item = &'a [u8]>,
    ) -> Option<&'static str> {
        let (is_passwd, is_group) = (file == AccountFile::Passwd, file == AccountFile::Group);
        let takes = |line: &[u8]| {
            let uid = account_id(line, 2).filter(|_| is_passwd);
            let gid = account_id(line, 3)
                .filter(|_| is_passwd)
                .or(account_id(line, 2).filter(|_| is_group));
            uid.is_some_and(|uid| self.uids.contains(&uid))
                || gid.is_some_and(|gid| self.gids.contains(&gid))
        };
        added
            .any(takes)
            .then_some("it gives the uid or the group of somebody who approves to another account")
    }

    /// newuidmap(1) takes each range of the file, whatever is in it. `own` are the lines of approvers.
    fn refuses_ranges<'a>(
        &self,
        file: AccountFile,
        own: impl Iterator<Item = &'a [u8]>,
        added: impl Iterator<Item = &'a [u8]>,
    ) -> Option<&'static str> {
        let ids = match file {
            AccountFile::Subuid => &self.uids,
            _ => &self.gids,
        };
        let own: Vec<IdRange> = own
            .filter_map(|line| IdRange::read(line).ok().flatten())
            .collect();
        for line in added {
            let Ok(range) = IdRange::read(line) else {
                return Some("a range that it adds is none of plain numbers");
            };
            let Some(range) = range else { continue };
            if range.contains(0) || ids.range(range.first()..=range.last()).next().is_some() {
                return Some("it lets an account act as root, or as somebody who approves");
            }
            if own.iter().any(|own| own.overlaps(range)) {
                return Some("it lets an account act as users of somebody who approves");
            }
        }
        None
    }
}

/// Returns true for a directory of crontabs that only root can write, or a group whose members leave the files of others.
/// cron(8) takes a file there that is its user's or root's, with one name. Who is in its group can rename a file of root into it; the page has the group. A
/// directory is removed without a file in it.
fn keeps_crontabs(view: &View<'_>) -> bool {
    let change = &view.entry.change;
    let is_kept = |meta: Metadata| {
        let leaves_others = meta.mode & 0o020 == 0 || meta.mode & 0o1000 != 0;
        meta.uid == 0 && meta.mode & 0o002 == 0 && leaves_others
    };
    view.entry.path.is_in(CRONTABS) && is_of_directory(change) && change.meta().is_none_or(is_kept)
}

/// Returns true for a file without which the machine has its accounts.
fn may_go(file: AccountFile, view: &View<'_>) -> bool {
    file.is_of_ranges() || view.entry.path.is_in(EXTRAUSERS)
}

/// Who may write a directory puts other files into it.
fn refuses_directory(view: &View<'_>) -> Option<&'static str> {
    let change = &view.entry.change;
    if !is_of_directory(change) {
        return Some("programs look for accounts there, so it is a directory of known files");
    }
    let opens = |meta: Metadata| meta.uid != 0 || meta.mode & 0o022 != 0;
    change
        .meta()
        .is_some_and(opens)
        .then_some("programs look for accounts there, so only root may write it")
}

/// Returns true for a change of a directory that is a new one, or stays one, or is removed.
fn is_of_directory(change: &Change) -> bool {
    match change {
        Change::Create { new, .. } => *new == New::Directory,
        _ => change
            .base()
            .is_some_and(|base| base.stat.kind == Kind::Directory),
    }
}

fn stays_file(change: &Change) -> bool {
    let is_file = change
        .base()
        .is_none_or(|base| base.stat.kind == Kind::File);
    is_file && change.makes().is_none_or(|new| matches!(new, New::File(_)))
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
    reason(&view.entry.path, named, || risks(view))
}

/// Returns why each change of this path needs an approval, whatever its bytes are, or `None`.
#[must_use]
pub fn path_needs_approval(path: &PlanPath, named: &[PlanPath]) -> Option<String> {
    reason(path, named, || path_risks(path))
}

/// Returns why no plan may have this path on any machine, or `None`.
#[must_use]
pub fn path_is_refused(path: &PlanPath) -> Option<&'static str> {
    let mut kernel = KERNEL.iter();
    let is_kernels = kernel.any(|dir| path.is_in(dir.as_bytes()));
    is_kernels.then_some("it belongs to the kernel or to this boot")
}

/// Returns why rules with these paths allow no change of this path without an approval: they name no file or directory with it
/// in a directory of the system.
#[must_use]
pub fn unnamed_in_system(path: &PlanPath, named: &[PlanPath]) -> Option<String> {
    let is_named = |dir: &[u8]| {
        let mut beneath = named.iter().filter(|own| own.is_in(dir));
        beneath.any(|own| own.as_bytes() != dir && path.is_in(own.as_bytes()))
    };
    let mut system = SYSTEM.iter().filter(|dir| path.is_in(dir.as_bytes()));
    let dir = system.find(|dir| !is_named(dir.as_bytes()))?;
    Some(format!(
        "'paths' of the rule names no file or directory in '{dir}' that has it"
    ))
}

fn reason(
    path: &PlanPath,
    named: &[PlanPath],
    risks: impl FnOnce() -> BTreeSet<Risk>,
) -> Option<String> {
    let worst = || risks().into_iter().find(Risk::asks);
    unnamed_in_system(path, named).or_else(|| worst().map(|risk| risk.to_string()))
}
