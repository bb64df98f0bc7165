//! Names of users and groups. The user database may block on a network, so only the start-up and forked children
//! query it. The event loop reads /etc/passwd, and what children have looked up ([`crate::identity::lookups`]).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::unistd::{Gid, Group, User, getgrouplist};
use serde::{Deserialize, Serialize};

use crate::config::AccountRef;

/// Why an account of `remit.toml` cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum AccountError {
    /// The user database does not know it, or does not answer.
    Missing(String),
    /// It exists and must not be this one.
    Refused(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    pub uid: u32,
    pub gid: u32,
}

/// Returns a user's ids. Without an account the gid is the uid. Fails if the user does not exist or is root.
pub fn user(key: &str, account: &AccountRef) -> Result<Ids, AccountError> {
    let found = match account {
        AccountRef::Name(name) => User::from_name(name),
        AccountRef::Id(uid) => User::from_uid((*uid).into()),
    };
    let ids = match (account, absent(found)) {
        (_, Ok(Some(user))) => Ids {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        },
        (AccountRef::Id(uid), Ok(None)) => Ids {
            uid: *uid,
            gid: *uid,
        },
        (AccountRef::Name(name), Ok(None)) => return Err(missing(key, "user", name)),
        (_, Err(errno)) => return Err(unanswered(key, errno)),
    };
    if ids.uid == 0 || ids.gid == 0 {
        return Err(AccountError::Refused(format!("{key} must not be root")));
    }
    Ok(ids)
}

/// Fails if the group does not exist. A number is not looked up.
pub fn group(key: &str, account: &AccountRef) -> Result<u32, AccountError> {
    match (group_or_none(key, account)?, account) {
        (Some(gid), _) => Ok(gid),
        (None, AccountRef::Id(gid)) => Ok(*gid),
        (None, AccountRef::Name(name)) => Err(missing(key, "group", name)),
    }
}

/// Returns the gid of a group that may be missing. A number is not looked up. Fails if the user database does not answer.
pub fn group_or_none(key: &str, account: &AccountRef) -> Result<Option<u32>, AccountError> {
    found_group(account).map_err(|errno| unanswered(key, errno))
}

fn found_group(account: &AccountRef) -> Result<Option<u32>, Errno> {
    match account {
        AccountRef::Id(gid) => Ok(Some(*gid)),
        AccountRef::Name(name) => {
            let group = absent(Group::from_name(name))?;
            Ok(group.map(|group| group.gid.as_raw()))
        }
    }
}

/// Returns `None` also if the look-up fails.
pub fn optional_group(account: &AccountRef) -> Option<u32> {
    found_group(account).ok().flatten()
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    pub name: String,
    pub groups: Vec<u32>,
}

/// Looks up an account by uid. May block on a directory service.
pub fn of_uid(uid: u32) -> Result<Option<Login>, Errno> {
    let user = absent(User::from_uid(uid.into()))?;
    user.map(login).transpose()
}

/// Some services report a missing entry as an error (getpwnam(3), "Return value").
fn absent<T>(found: Result<Option<T>, Errno>) -> Result<Option<T>, Errno> {
    match found {
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        found => found,
    }
}

/// Looks up an account by name; `None` if it has another uid. May block on a directory service.
pub fn of_name(name: &str, uid: u32) -> Result<Option<Login>, Errno> {
    let user = absent(User::from_name(name))?;
    let user = user.filter(|user| user.uid.as_raw() == uid);
    user.map(login).transpose()
}

/// Looks up the name of a group. May block on a directory service.
pub fn of_gid(gid: u32) -> Result<Option<String>, Errno> {
    Ok(absent(Group::from_gid(gid.into()))?.map(|group| group.name))
}

/// Looks up the accounts that a group lists, with their uids. Fails if there are more than `most`. May block on a directory
/// service.
pub fn members(gid: u32, most: usize) -> Result<Vec<(u32, Login)>, Errno> {
    let group = absent(Group::from_gid(gid.into()))?;
    let names = group.map(|group| group.mem).unwrap_or_default();
    if names.len() > most {
        return Err(Errno::E2BIG);
    }
    let users = names.iter().map(|name| absent(User::from_name(name)));
    let logins = users.filter_map(|user| match user {
        Ok(user) => user.map(|user| Ok((user.uid.as_raw(), login(user)?))),
        Err(errno) => Some(Err(errno)),
    });
    logins.collect()
}

fn login(user: User) -> Result<Login, Errno> {
    let name = CString::new(user.name.as_str()).map_err(|_| Errno::EINVAL)?;
    let groups = getgrouplist(&name, user.gid)?;
    Ok(Login {
        name: user.name,
        groups: groups.into_iter().map(Gid::as_raw).collect(),
    })
}

fn missing(key: &str, kind: &str, name: &str) -> AccountError {
    AccountError::Missing(format!(
        "{key}: there is no {kind} '{name}'; create it, or write another in remit.toml"
    ))
}

fn unanswered(key: &str, errno: Errno) -> AccountError {
    AccountError::Missing(format!("cannot look up {key}: {errno}"))
}

pub fn nameless(uid: u32) -> String {
    format!("#{uid}")
}

/// Names that were looked up expire, because an account of a directory service may be removed.
const FRESH: Duration = Duration::from_secs(60);
const LOOKED_UP: usize = 4096;

#[derive(Debug, Default)]
pub struct UserNames {
    names: HashMap<u32, String>,
    /// Device, inode, size and modification time of the file when it was read.
    from: Option<(u64, u64, u64, SystemTime)>,
    looked_up: HashMap<u32, (String, Instant)>,
}

impl UserNames {
    pub fn read() -> Self {
        let mut names = Self::default();
        names.renew();
        names
    }

    /// Reads /etc/passwd again if it has changed. An unreadable file changes nothing: no job loses its owner.
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
        let Ok(text) = read_text(passwd) else {
            return;
        };
        self.names.clear();
        for (uid, name) in users(&text) {
            // The first entry of a uid counts, as for getpwuid(3).
            if let Entry::Vacant(free) = self.names.entry(uid) {
                free.insert(name.to_owned());
            }
        }
        self.from = from;
        self.looked_up.clear();
    }

    /// Returns the name, or `#uid` without an account. `None`: it must be looked up.
    pub fn name(&self, uid: u32) -> Option<String> {
        if let Some(name) = self.names.get(&uid) {
            return Some(name.clone());
        }
        let (name, at) = self.looked_up.get(&uid)?;
        (at.elapsed() < FRESH).then(|| name.clone())
    }

    /// Keeps the result of a look-up. `None`: the uid has no account.
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

/// Reads a file whose names and comments may have any bytes, because nothing makes them UTF-8.
fn read_text(file: &Path) -> io::Result<String> {
    fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Fails with the first overlap of the range with users, groups or subordinate ids, and its file. Fails also if one of these
/// files is there and cannot be read.
pub fn check_range(first: u32, count: u32) -> Result<(), AccountError> {
    check_range_in(Path::new("/etc"), first, count)
}

fn check_range_in(etc: &Path, first: u32, count: u32) -> Result<(), AccountError> {
    let own_range = first..first.saturating_add(count);
    let read = |name: &str| {
        let file = etc.join(name);
        match read_text(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((file, String::new())),
            Err(error) => Err(AccountError::Missing(format!(
                "jobs.uid_first: cannot read '{}', so it is not known which ids are free: {error}",
                file.display()
            ))),
            Ok(text) => Ok((file, text)),
        }
    };
    let taken = |file: &Path, what: String| {
        Err(AccountError::Refused(format!(
            "jobs.uid_first: the range {}-{} is not free: '{}' has {what}; choose another in remit.toml",
            own_range.start,
            own_range.end.saturating_sub(1),
            file.display()
        )))
    };
    for name in ["passwd", "group"] {
        let (file, text) = read(name)?;
        if let Some((id, name)) = users(&text).find(|(id, _)| own_range.contains(id)) {
            return taken(&file, format!("'{name}' with {id}"));
        }
    }
    for name in ["subuid", "subgid"] {
        let (file, text) = read(name)?;
        let overlap = text.lines().find(|line| match subordinate(line) {
            Some((start, length)) => {
                start < own_range.end && own_range.start < start.saturating_add(length)
            }
            None => false,
        });
        if let Some(line) = overlap {
            return taken(&file, format!("'{line}'"));
        }
    }
    Ok(())
}

/// Parses `name:first:count` of subuid(5).
fn subordinate(line: &str) -> Option<(u32, u32)> {
    let mut fields = line.split(':').skip(1);
    let start = fields.next()?.parse().ok()?;
    let length = fields.next()?.trim().parse().ok()?;
    Some((start, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::startup::error::Fatal;

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
    fn names_follow_changed_passwd_file() {
        let passwd = std::env::temp_dir().join(format!("remit-passwd-{}", std::process::id()));
        let mut names = UserNames::default();
        for (text, want) in [
            ("agent:x:1002:1002::/:/bin/sh\n", Some("agent")),
            ("root:x:0:0::/:/bin/sh\n", None),
            ("agent2:x:1002:1002::/:/bin/sh\n", Some("agent2")),
            ("one:x:1002::\ntwo:x:1002::\n", Some("one")),
            (
                "bj:x:1001::B\u{fffd}rn:/:/bin/sh\nagent3:x:1002::\n",
                Some("agent3"),
            ),
        ] {
            fs::write(&passwd, latin_1(text)).unwrap();
            names.renew_from(&passwd);
            names.renew_from(&passwd);
            assert_eq!(names.name(1002).as_deref(), want);
        }
        fs::remove_file(&passwd).unwrap();
    }

    #[test]
    fn w17_unreadable_passwd_changes_no_name() {
        let passwd = std::env::temp_dir().join(format!("remit-passwd-w17-{}", std::process::id()));
        fs::write(&passwd, "agent:x:1002:1002::/:/bin/sh\n").unwrap();
        let mut names = UserNames::default();
        names.renew_from(&passwd);
        fs::remove_file(&passwd).unwrap();
        fs::create_dir(&passwd).unwrap();
        names.renew_from(&passwd);
        assert_eq!(names.name(1002).as_deref(), Some("agent"));
        fs::remove_dir(&passwd).unwrap();
        fs::write(&passwd, "agent2:x:1002:1002::/:/bin/sh\n").unwrap();
        names.renew_from(&passwd);
        assert_eq!(names.name(1002).as_deref(), Some("agent2"));
        fs::remove_file(&passwd).unwrap();
    }

    #[test]
    fn looked_up_name_is_kept_until_file_changes() {
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
        let error = check_range(0, 10).unwrap_err();
        assert!(
            matches!(&error, AccountError::Refused(why) if why.contains("'/etc/passwd' has 'root' with 0")),
            "{error:?}"
        );
        assert!(check_range(1_879_048_192, 65_536).is_ok());
    }

    /// A text in which each U+FFFD is a byte that is no UTF-8.
    fn latin_1(text: &str) -> Vec<u8> {
        let parts: Vec<&[u8]> = text.split('\u{fffd}').map(str::as_bytes).collect();
        parts.join(&b'\xf6')
    }

    #[test]
    fn range_is_compared_with_files_of_any_bytes_and_unreadable_ones_are_refused() {
        let etc =
            || nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-range-XXXXXX")).unwrap();
        let alice = "alice:x:1000:1000:Bj\u{fffd}rn:/:/bin/sh\n";
        for (name, text, is_free) in [
            (
                "passwd",
                format!("{alice}bob:x:2500:100::/:/bin/sh\n"),
                false,
            ),
            ("passwd", alice.to_owned(), true),
            ("group", "a\u{fffd}:x:1:\nb:x:2500:\n".to_owned(), false),
            ("subuid", "a\u{fffd}:1:1\nb:2400:200\n".to_owned(), false),
            ("subgid", "a\u{fffd}:1:1\nb:2400:200\n".to_owned(), false),
            ("subgid", "a\u{fffd}:1:1\nb:2400:50\n".to_owned(), true),
        ] {
            let etc = etc();
            fs::write(etc.join(name), latin_1(&text)).unwrap();
            let checked = check_range_in(&etc, 2500, 100);
            fs::remove_dir_all(&etc).unwrap();
            match checked {
                Ok(()) => assert!(is_free, "{name} {text:?}"),
                Err(AccountError::Refused(why)) => {
                    assert!(!is_free && why.contains(name), "{name} {text:?}: {why}");
                }
                Err(error) => panic!("{name}: {error:?}"),
            }
        }
        for name in ["passwd", "group", "subuid", "subgid"] {
            let etc = etc();
            fs::create_dir(etc.join(name)).unwrap();
            let checked = check_range_in(&etc, 2500, 100);
            fs::remove_dir_all(&etc).unwrap();
            assert!(
                matches!(&checked, Err(AccountError::Missing(why)) if why.contains(name)),
                "{name}: {checked:?}"
            );
        }
    }

    #[test]
    fn root_is_no_service_user() {
        for root in [AccountRef::Id(0), AccountRef::Name("root".into())] {
            let found = user("accounts.broker", &root);
            assert!(matches!(found, Err(AccountError::Refused(_))), "{found:?}");
        }
        let ids = user("accounts.broker", &AccountRef::Id(64_100)).unwrap();
        assert_eq!((ids.uid, ids.gid), (64_100, 64_100));
    }

    #[test]
    fn account_that_a_directory_service_may_have_later_lets_a_start_be_tried_again() {
        let name = |name: &str| AccountRef::Name(name.into());
        for (error, status) in [
            (user("accounts.broker", &name("no-such-user")).err(), 69),
            (
                group("accounts.admin_group", &name("no-such-group")).err(),
                69,
            ),
            (Some(unanswered("accounts.admin_group", Errno::EIO)), 69),
            (user("accounts.broker", &name("root")).err(), 78),
        ] {
            let fatal = Fatal::from(error.unwrap());
            assert_eq!(fatal.status(), status, "{fatal}");
        }
        assert_eq!(
            group_or_none("accounts.admin_group", &name("no-such-group")),
            Ok(None)
        );
    }
}
