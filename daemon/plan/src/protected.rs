//! What needs an approval, and what no plan may change: the kernel's file systems, remit, and approvers' accounts, homes
//! and keys. By where a path lies; files of accounts by their lines, as glibc reads passwd(5), shadow(5), group(5).
//!
//! **Invariant:** absence means refusal. Bytes that are not known are refused where they would decide.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::plan::{Change, Metadata};
use crate::{PlanPath, View, risks};

/// File systems of the kernel, and state that ends with the boot.
const KERNEL: &[&str] = &["/proc", "/sys", "/dev", "/run"];

/// Files in which each line is an account or a group, by its first field.
const ACCOUNTS: &[&str] = &["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"];

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
        let is_accounts = ACCOUNTS
            .iter()
            .any(|file| path.as_bytes() == file.as_bytes());
        if is_accounts {
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
        match view.entry.change {
            Change::SetMetadata { .. } => return None,
            Change::Remove { .. } => return Some("the machine's accounts are defined in it"),
            Change::Create { .. } | Change::Replace { .. } => {}
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
            return Some("it changes the account or the group of somebody who approves");
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

/// Lines of one file; more are refused.
pub const LINES: usize = 1 << 16;

/// Returns the lines, or `None` if they are too many to compare, or if a NUL hides a part of one from glibc.
pub fn account_lines(bytes: &[u8]) -> Option<impl Iterator<Item = &[u8]> + Clone> {
    let lines = bytes.split(|byte| *byte == b'\n');
    let is_short = lines.clone().take(LINES + 1).count() <= LINES;
    (is_short && !bytes.contains(&0)).then_some(lines)
}

pub fn field(line: &[u8], number: usize) -> Option<&[u8]> {
    line.split(|byte| *byte == b':').nth(number)
}

/// Returns the first field. glibc skips blanks before it (nss_readline.c).
pub fn account_name(line: &[u8]) -> &[u8] {
    without_blanks(field(line, 0).unwrap_or_default())
}

/// Returns the id in a field. glibc reads it by strtoul(3): a sign and blanks may be before it, and '-' wraps.
pub fn account_id(line: &[u8], number: usize) -> Option<u32> {
    let text = without_blanks(field(line, number)?);
    let (is_negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let digits = digits.trim_ascii_end();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: Option<u64> = std::str::from_utf8(digits).ok()?.parse().ok();
    let value = match is_negative {
        true => value.map(u64::wrapping_neg),
        false => value,
    };
    let id = value.and_then(|value| u32::try_from(value).ok());
    Some(id.unwrap_or(u32::MAX))
}

/// Cuts what isspace(3) skips in some locale. No UTF-8 text begins with the last two.
fn without_blanks(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0x09..=0x0d | 0x85 | 0xa0);
    let blanks = text.iter().take_while(|byte| is_blank(byte)).count();
    text.get(blanks..).unwrap_or_default()
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
        None => risks(view).into_iter().next().map(|risk| risk.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_glibc_reads_them() {
        for (text, expect) in [
            ("0", Some(0)),
            ("00", Some(0)),
            ("-0", Some(0)),
            (" \u{b}+1000", Some(1000)),
            ("-18446744073709550616", Some(1000)),
            ("18446744073709552616", Some(u32::MAX)),
            ("4294968296", Some(u32::MAX)),
            ("", None),
            ("x", None),
            ("0x0", None),
            ("--0", None),
        ] {
            assert_eq!(
                account_id(format!("a:x:{text}:5").as_bytes(), 2),
                expect,
                "{text}"
            );
        }
    }

    #[test]
    fn blanks_before_a_name_do_not_count() {
        for line in [&b"boss:x"[..], b" \t\x0b\x0c\rboss", b"\xa0boss:"] {
            assert_eq!(account_name(line), b"boss");
        }
        assert_eq!(account_name("\u{e9}va:x".as_bytes()), "\u{e9}va".as_bytes());
    }
}
