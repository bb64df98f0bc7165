//! Names of users and groups.
//!
//! At start-up the user database may be asked (it may wait for a network); while
//! the loop turns, only /etc/passwd is read, and what forked children have looked up ([`crate::lookups`]).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::unistd::{Gid, Group, User, getgrouplist};
use serde::{Deserialize, Serialize};

use crate::config::Account;
use crate::error::Fatal;

/// A uid with its primary gid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The uid.
    pub uid: u32,
    /// The gid.
    pub gid: u32,
}

/// A user that must exist; a number stands for itself, with a gid of the same number unless the database knows better.
///
/// # Errors
/// There is no such user, or it is root.
pub fn user(key: &str, account: &Account) -> Result<Ids, Fatal> {
    let found = match account {
        Account::Name(name) => User::from_name(name),
        Account::Id(uid) => User::from_uid((*uid).into()),
    };
    let ids = match (account, found) {
        (_, Ok(Some(user))) => Ids {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        },
        (Account::Id(uid), Ok(None)) => Ids {
            uid: *uid,
            gid: *uid,
        },
        (Account::Name(name), Ok(None)) => return Err(missing(key, "user", name)),
        (_, Err(errno)) => {
            return Err(Fatal::Config(format!("cannot look up {key}: {errno}")));
        }
    };
    if ids.uid == 0 || ids.gid == 0 {
        return Err(Fatal::Config(format!("{key} must not be root")));
    }
    Ok(ids)
}

/// A group that must exist.
///
/// # Errors
/// There is no such group.
pub fn group(key: &str, account: &Account) -> Result<u32, Fatal> {
    match optional_group(account) {
        Some(gid) => Ok(gid),
        None => match account {
            Account::Name(name) => Err(missing(key, "group", name)),
            Account::Id(gid) => Ok(*gid),
        },
    }
}

/// A group that may be missing.
pub fn optional_group(account: &Account) -> Option<u32> {
    match account {
        Account::Id(gid) => Some(*gid),
        Account::Name(name) => Some(Group::from_name(name).ok()??.gid.as_raw()),
    }
}

/// Somebody as a login would make them now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The name of the account.
    pub name: String,
    /// Its gid and the groups it is in.
    pub groups: Vec<u32>,
}

/// Whose the uid is; nobody's where there is no such account. May wait for a directory service.
///
/// # Errors
/// It cannot be looked up.
pub fn of_uid(uid: u32) -> Result<Option<Login>, Errno> {
    let user = absent(User::from_uid(uid.into()))?;
    user.map(login).transpose()
}

/// Some services say "not there" by an error (getpwnam(3), "Return value").
fn absent<T>(found: Result<Option<T>, Errno>) -> Result<Option<T>, Errno> {
    match found {
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        found => found,
    }
}

/// The account of this name, where it has this uid. May wait for a directory service.
///
/// # Errors
/// It cannot be looked up.
pub fn of_name(name: &str, uid: u32) -> Result<Option<Login>, Errno> {
    let user = absent(User::from_name(name))?;
    let user = user.filter(|user| user.uid.as_raw() == uid);
    user.map(login).transpose()
}

/// The name of a group; none where there is no such group. May wait for a directory service.
///
/// # Errors
/// It cannot be looked up.
pub fn of_gid(gid: u32) -> Result<Option<String>, Errno> {
    Ok(absent(Group::from_gid(gid.into()))?.map(|group| group.name))
}

fn login(user: User) -> Result<Login, Errno> {
    let name = CString::new(user.name.as_str()).map_err(|_| Errno::EINVAL)?;
    let groups = getgrouplist(&name, user.gid)?;
    Ok(Login {
        name: user.name,
        groups: groups.into_iter().map(Gid::as_raw).collect(),
    })
}

fn missing(key: &str, kind: &str, name: &str) -> Fatal {
    Fatal::Config(format!(
        "{key}: there is no {kind} '{name}'; create it, or name another one in remit.toml"
    ))
}

/// The name of a uid that has no account.
pub fn nameless(uid: u32) -> String {
    format!("#{uid}")
}

/// For how long a name that was looked up is one: an account of a directory service may be gone by then.
const FRESH: Duration = Duration::from_secs(60);
/// Names that were looked up and are kept.
const LOOKED_UP: usize = 4096;

/// Names of users: those of /etc/passwd, and those that were looked up of others.
#[derive(Debug, Default)]
pub struct UserNames {
    names: HashMap<u32, String>,
    /// Device, inode, size and time of the file that they were read from.
    from: Option<(u64, u64, u64, SystemTime)>,
    looked_up: HashMap<u32, (String, Instant)>,
}

impl UserNames {
    /// As /etc/passwd has them now.
    pub fn read() -> Self {
        let mut names = Self::default();
        names.renew();
        names
    }

    /// Reads /etc/passwd again if it has changed. What cannot be read changes nothing: a name that is
    /// lost for a moment would be another owner of jobs.
    pub fn renew(&mut self) {
        self.renew_from(Path::new("/etc/passwd"));
    }

    fn renew_from(&mut self, passwd: &Path) {
        let from = fs::metadata(passwd)
            .ok()
            .and_then(|file| Some((file.dev(), file.ino(), file.size(), file.modified().ok()?)));
        if from.is_some() && from == self.from {
            return;
        }
        let Ok(text) = fs::read_to_string(passwd) else {
            return;
        };
        self.names.clear();
        for (uid, name) in users(&text) {
            // The first one, as getpwuid(3) has it.
            if let Entry::Vacant(free) = self.names.entry(uid) {
                free.insert(name.to_owned());
            }
        }
        self.from = from;
        self.looked_up.clear();
    }

    /// The name, or `#uid` where there is no account; `None`: it has to be looked up.
    pub fn name(&self, uid: u32) -> Option<String> {
        if let Some(name) = self.names.get(&uid) {
            return Some(name.clone());
        }
        let (name, at) = self.looked_up.get(&uid)?;
        (at.elapsed() < FRESH).then(|| name.clone())
    }

    /// Keeps what was looked up of a uid; `None`: it has no account.
    pub fn learn(&mut self, uid: u32, name: Option<&str>) {
        if self.looked_up.len() >= LOOKED_UP {
            self.looked_up.clear();
        }
        let name = name.map_or_else(|| nameless(uid), str::to_owned);
        self.looked_up.insert(uid, (name, Instant::now()));
    }
}

fn users(passwd: &str) -> impl Iterator<Item = (u32, &str)> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        Some((uid, name))
    })
}

/// Refuses a range of job uids that somebody else uses: users, groups, subordinate ids.
///
/// # Errors
/// Names the first id or range that overlaps, and the file it stands in.
pub fn check_range(first: u32, count: u32) -> Result<(), Fatal> {
    let ours = first..first.saturating_add(count);
    let taken = |file: &str, what: String| {
        Err(Fatal::Config(format!(
            "jobs.uid_first: the range {}-{} is not free: '{file}' has {what}; choose another in remit.toml",
            ours.start,
            ours.end.saturating_sub(1)
        )))
    };
    for file in ["/etc/passwd", "/etc/group"] {
        let text = fs::read_to_string(file).unwrap_or_default();
        if let Some((id, name)) = users(&text).find(|(id, _)| ours.contains(id)) {
            return taken(file, format!("'{name}' with {id}"));
        }
    }
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = fs::read_to_string(file).unwrap_or_default();
        let overlap = text.lines().find(|line| match subordinate(line) {
            Some((start, length)) => start < ours.end && ours.start < start.saturating_add(length),
            None => false,
        });
        if let Some(line) = overlap {
            return taken(file, format!("'{line}'"));
        }
    }
    Ok(())
}

/// `name:first:count` of subuid(5).
fn subordinate(line: &str) -> Option<(u32, u32)> {
    let mut fields = line.split(':').skip(1);
    let start = fields.next()?.parse().ok()?;
    let length = fields.next()?.trim().parse().ok()?;
    Some((start, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwd_and_subuid_lines() {
        let text = "root:x:0:0:root:/root:/bin/bash\nodd\na:b:c\nalice:x:1000:1000::/:/bin/sh\n";
        assert_eq!(
            users(text).collect::<Vec<_>>(),
            [(0, "root"), (1000, "alice")]
        );
        assert_eq!(subordinate("alice:100000:65536"), Some((100_000, 65_536)));
        assert_eq!(subordinate("alice:x:y"), None);
    }

    #[test]
    fn names_are_those_of_the_file_as_it_is_now() {
        let passwd = std::env::temp_dir().join(format!("remit-passwd-{}", std::process::id()));
        let mut names = UserNames::default();
        for (text, want) in [
            ("agent:x:1002:1002::/:/bin/sh\n", Some("agent")),
            ("root:x:0:0::/:/bin/sh\n", None),
            ("agent2:x:1002:1002::/:/bin/sh\n", Some("agent2")),
            ("one:x:1002::\ntwo:x:1002::\n", Some("one")),
        ] {
            fs::write(&passwd, text).unwrap();
            names.renew_from(&passwd);
            names.renew_from(&passwd);
            assert_eq!(names.name(1002).as_deref(), want);
        }
        fs::remove_file(&passwd).unwrap();
    }

    #[test]
    fn w17_a_passwd_file_that_cannot_be_read_changes_no_name() {
        let passwd = std::env::temp_dir().join(format!("remit-passwd-w17-{}", std::process::id()));
        fs::write(&passwd, "agent:x:1002:1002::/:/bin/sh\n").unwrap();
        let mut names = UserNames::default();
        names.renew_from(&passwd);
        fs::remove_file(&passwd).unwrap();
        fs::create_dir(&passwd).unwrap();
        names.renew_from(&passwd);
        assert_eq!(names.name(1002).as_deref(), Some("agent"));
        // It is read as soon as it can be.
        fs::remove_dir(&passwd).unwrap();
        fs::write(&passwd, "agent2:x:1002:1002::/:/bin/sh\n").unwrap();
        names.renew_from(&passwd);
        assert_eq!(names.name(1002).as_deref(), Some("agent2"));
        fs::remove_file(&passwd).unwrap();
    }

    #[test]
    fn what_was_looked_up_is_kept_until_the_file_changes() {
        let mut names = UserNames::default();
        assert_eq!(names.name(70_001), None);
        names.learn(70_001, Some("ldap"));
        names.learn(70_002, None);
        assert_eq!(names.name(70_001).as_deref(), Some("ldap"));
        assert_eq!(names.name(70_002).as_deref(), Some("#70002"));
        names.renew();
        assert_eq!(names.name(70_001), None);
        assert_eq!(names.name(0).as_deref(), Some("root"));
    }

    #[test]
    fn a_range_with_root_in_it_is_refused() {
        let error = check_range(0, 10).unwrap_err().to_string();
        assert!(error.contains("'/etc/passwd' has 'root' with 0"), "{error}");
        assert!(check_range(1_879_048_192, 65_536).is_ok());
    }

    #[test]
    fn root_is_no_service_user() {
        assert!(user("accounts.broker", &Account::Id(0)).is_err());
        assert!(user("accounts.broker", &Account::Name("root".into())).is_err());
        assert!(user("accounts.broker", &Account::Name("no-such-user".into())).is_err());
        let ids = user("accounts.broker", &Account::Id(64_100)).unwrap();
        assert_eq!((ids.uid, ids.gid), (64_100, 64_100));
    }
}
