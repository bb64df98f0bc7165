//! What a view hides, and which hidden directories the job may use: shown with nothing in them.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::{fs, io};

use remit_core::mount_table::is_in;

/// How a path is hidden, relative to the root of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cover {
    /// By a node that nobody opens.
    Closed,
    /// By an empty directory with owner, mode and access lists of the machine's: packages put files into private ones.
    Empty,
}

/// Nothing beneath a path is listed, unless something else than the walk has named it.
pub(crate) type Hidden = BTreeMap<CString, Cover>;

/// Tables of passwords. Programs that know accounts need their other fields, so a copy without hashes is shown.
pub(super) const ACCOUNTS: [&[u8]; 4] = [
    b"etc/shadow",
    b"etc/gshadow",
    b"etc/shadow-",
    b"etc/gshadow-",
];
/// Homes of people and what is remit's own: no package has files there, and their names are nobody's business. Root's home is
/// for programs that keep something in the home of the account they run as, such as Ansible.
const CLOSED: [&[u8]; 3] = [b"etc/remit", b"home", b"var/lib/remit"];
/// The first id of people, login.defs(5): their directories lie anywhere.
const PEOPLE: u32 = 1000;

/// Remit's own: the policy, output and uploads of others.
const OWN: [&[u8]; 2] = [b"etc/remit", b"var/lib/remit"];

/// Returns what is hidden from a root that reads everything else, where links lead. Tables of passwords are among it: a view has
/// them without passwords, because a plan has lines of them and never a hash.
pub(super) fn kept_back() -> io::Result<Hidden> {
    let mut hidden = Hidden::new();
    for path in OWN.iter().chain(&ACCOUNTS) {
        match fs::canonicalize(OsStr::from_bytes(&[b"/", *path].concat())) {
            Ok(real) => {
                let real = real.into_os_string().into_vec();
                let real = real.strip_prefix(b"/").unwrap_or_default();
                hidden.insert(CString::new(real)?, Cover::Closed);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hidden)
}

/// Returns true for a directory that may be shown empty. The owner is that of the view; nothing if that has none.
pub(super) fn is_for_packages(path: &[u8], (uid, gid): (Option<u32>, Option<u32>)) -> bool {
    let is_closed = CLOSED.iter().any(|closed| is_in(path, closed));
    let is_of_system = uid.is_some_and(|uid| uid < PEOPLE);
    !is_closed && is_of_system && gid.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_people_and_of_remit_stay_closed() {
        let root = (Some(0), Some(0));
        for (path, owner, is_open) in [
            ("etc/ssl/private", root, true),
            ("etc/ssl/private", (Some(0), Some(1000)), true),
            ("var/lib/postgresql", (Some(110), Some(118)), true),
            ("srv/data", (Some(999), Some(0)), true),
            ("srv/data", (Some(1000), Some(0)), false),
            ("srv/data", (Some(65534), Some(0)), false),
            ("srv/data", (None, Some(0)), false),
            ("srv/data", (Some(0), None), false),
            ("root", root, true),
            ("roots", root, true),
            ("home", root, false),
            ("home/bob/.config", root, false),
            ("etc/remit", root, false),
            ("etc/remit/policy.d", root, false),
            ("var/lib/remit", root, false),
            ("var/lib/private", root, true),
        ] {
            let found = is_for_packages(path.as_bytes(), owner);
            assert_eq!(found, is_open, "{path} {owner:?}");
        }
    }
}
