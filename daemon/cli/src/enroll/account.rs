//! Accounts: who may become an agent, and how an account for one is made and removed.
//!
//! What is judged is pure; what is done is done by the machine's own programs (shadow-utils).

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, User, getgrouplist};

use super::name::Name;
use crate::powerful;
use crate::program::{Program, ProgramError};

/// The first uid that is a person's or an agent's, and not of the system (login.defs(5), UID_MIN).
const FIRST_UID: u32 = 1000;
/// nobody, and all that is none of ours.
const NOBODY: u32 = 65_534;
/// What makes the account known for ours.
const COMMENT: &str = "remit agent";
/// sshd starts a forced command by it (sshd(8)).
const SHELL: &str = "/bin/sh";

/// An account that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its uid.
    pub uid: u32,
    /// Its first group.
    pub gid: u32,
    /// Its home.
    pub home: PathBuf,
    /// Its shell; empty is `/bin/sh` (passwd(5)).
    pub shell: PathBuf,
    /// What people say it is.
    pub comment: String,
    /// The names of all its groups. One without a name is its number.
    pub groups: Vec<String>,
}

/// Why an account is no agent's, or cannot be made one's.
#[derive(Debug)]
pub enum AccountError {
    /// The user database does not answer.
    Database(nix::Error),
    /// There is no such group.
    NoGroup(String),
    /// It is root by any name.
    Root,
    /// It belongs to the system: this uid.
    System(u32),
    /// It is in groups that do more than remit lets an agent do.
    Powerful(Vec<String>),
    /// Its home is no directory of its own.
    Home(PathBuf),
    /// Its shell runs nothing.
    Shell(PathBuf),
    /// There is no account, and its home is there.
    Leftover(PathBuf),
    /// There is no account, and a group of its name is there.
    GroupLeft,
    /// The program that would do it is missing.
    NoProgram(&'static str),
    /// It did not do it.
    Program(ProgramError),
    /// The program did it, and there is still no such account.
    NotMade(Name),
}

impl From<ProgramError> for AccountError {
    fn from(error: ProgramError) -> Self {
        Self::Program(error)
    }
}

impl fmt::Display for AccountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => write!(f, "cannot read the user database: {}", error.desc()),
            Self::NoGroup(group) => write!(f, "there is no group '{group}'"),
            Self::Root => f.write_str("the account is root's"),
            Self::System(uid) => write!(f, "the account belongs to the system (uid {uid})"),
            Self::Powerful(groups) => {
                f.write_str("the account may do more than an agent: ")?;
                for (place, group) in groups.iter().enumerate() {
                    let between = if place == 0 { "" } else { "; " };
                    let why = of_power(group).unwrap_or_default();
                    write!(f, "{between}it is in '{group}', {why}")?;
                }
                Ok(())
            }
            Self::Home(home) => {
                write!(
                    f,
                    "the account has no home of its own but '{}'",
                    home.display()
                )
            }
            Self::Shell(shell) => write!(
                f,
                "sshd starts the shim by the account's shell, and '{}' starts nothing",
                shell.display()
            ),
            Self::Leftover(home) => write!(
                f,
                "there is no such account, but '{}' is there already",
                home.display()
            ),
            Self::GroupLeft => f.write_str("there is no such account, but a group of its name"),
            Self::NoProgram(path) => write!(f, "this machine has no '{path}'"),
            Self::Program(error) => write!(f, "{error}"),
            Self::NotMade(name) => write!(f, "'{name}' was made and is not found"),
        }
    }
}

impl std::error::Error for AccountError {}

impl AccountError {
    /// What a person can do about it.
    pub fn lift(&self, name: &Name) -> Option<String> {
        Some(match self {
            Self::Powerful(groups) => format!(
                "choose a name that is free, and the account is made; or: {}",
                groups
                    .iter()
                    .map(|group| format!("gpasswd --delete {name} {group}"))
                    .collect::<Vec<_>>()
                    .join("; ")
            ),
            Self::Root | Self::System(_) | Self::Home(_) => {
                "choose a name that is free, and the account is made".to_owned()
            }
            Self::Shell(_) => format!("usermod --shell {SHELL} {name}"),
            Self::Leftover(_) => "move it away, or choose another name".to_owned(),
            Self::GroupLeft => format!("groupdel {name}, or choose another name"),
            Self::NoGroup(group) => {
                format!("install remit's package, or: groupadd --system {group}")
            }
            Self::NoProgram(_) => "install shadow-utils (Debian: passwd)".to_owned(),
            Self::Database(_) | Self::Program(_) | Self::NotMade(_) => return None,
        })
    }
}

/// The account of this name, if there is one.
///
/// # Errors
/// The user database does not answer.
pub fn find(name: &Name) -> Result<Option<Account>, AccountError> {
    let Some(user) = User::from_name(name.as_str()).map_err(AccountError::Database)? else {
        return Ok(None);
    };
    let c_name = std::ffi::CString::new(name.as_str())
        .map_err(|_| AccountError::Database(nix::Error::EINVAL))?;
    let gids = getgrouplist(&c_name, user.gid).map_err(AccountError::Database)?;
    let group = |gid: &Gid| match Group::from_gid(*gid) {
        Ok(Some(group)) => Ok(group.name),
        Ok(None) => Ok(gid.to_string()),
        Err(error) => Err(AccountError::Database(error)),
    };
    Ok(Some(Account {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        home: user.dir,
        shell: user.shell,
        comment: user.gecos.to_string_lossy().into_owned(),
        groups: gids.iter().map(group).collect::<Result<_, _>>()?,
    }))
}

/// The gid of a group, if there is one of this name.
///
/// # Errors
/// The user database does not answer.
pub fn gid(group: &str) -> Result<Option<u32>, AccountError> {
    let found = Group::from_name(group).map_err(AccountError::Database)?;
    Ok(found.map(|group| group.gid.as_raw()))
}

impl Account {
    /// Whether this account may become an agent's. Gives the groups that it would keep besides its
    /// first one and `group`.
    ///
    /// # Errors
    /// It is more than an agent's, or would not work as one.
    pub fn judge(&self, name: &Name, group: &Name) -> Result<Vec<String>, AccountError> {
        match self.uid {
            0 => return Err(AccountError::Root),
            NOBODY => return Err(AccountError::System(NOBODY)),
            uid if uid < FIRST_UID => return Err(AccountError::System(uid)),
            _ => {}
        }
        let (powerful, others): (Vec<String>, Vec<String>) = self
            .groups
            .iter()
            .cloned()
            .partition(|one| of_power(one).is_some());
        if !powerful.is_empty() {
            return Err(AccountError::Powerful(powerful));
        }
        let home = self.home.as_path();
        // What lies in the root directory is the system's, or not there: '/etc', '/nonexistent'.
        let nowhere = ["/dev/null", "/var/empty"].map(Path::new);
        if !home.is_absolute() || home.components().count() <= 2 || nowhere.contains(&home) {
            return Err(AccountError::Home(home.to_owned()));
        }
        match self.shell.file_name().and_then(|name| name.to_str()) {
            Some("nologin" | "false" | "true") => Err(AccountError::Shell(self.shell.clone())),
            Some(_) | None => Ok(others
                .into_iter()
                .filter(|one| one != group.as_str() && one != name.as_str())
                .collect()),
        }
    }

    /// One that is not there yet, as far as it can be foreseen.
    pub fn to_be(home: &Path) -> Self {
        Self {
            uid: NOBODY,
            gid: NOBODY,
            home: home.to_owned(),
            shell: SHELL.into(),
            comment: COMMENT.to_owned(),
            groups: Vec::new(),
        }
    }

    /// Whether it is one that [`make`] made, as far as can be seen.
    pub fn is_made(&self) -> bool {
        self.comment == COMMENT
    }

    /// Whether it is in a group.
    pub fn is_in(&self, group: &Name) -> bool {
        self.groups.iter().any(|one| one == group.as_str())
    }
}

/// Whether a name stands for power that no agent has.
pub fn is_powerful(group: &Name) -> bool {
    of_power(group.as_str()).is_some()
}

/// What members of this group may do that no agent may.
fn of_power(group: &str) -> Option<&'static str> {
    match group {
        "adm" => Some("its members read all logs"),
        "remit-admin" => Some("its members lock and unlock remit"),
        "remit-broker" => Some("remit's own process has it"),
        other => powerful::why(other),
    }
}

fn program(paths: &[&'static str]) -> Result<Program, AccountError> {
    let first = paths.first().copied().unwrap_or_default();
    Program::find(paths).ok_or(AccountError::NoProgram(first))
}

/// Where the home of a new account will be.
///
/// # Errors
/// useradd does not say, something of that name is there already, or it stands for power.
pub fn new_home(name: &Name) -> Result<PathBuf, AccountError> {
    // Its own group would have that name, and what is installed later finds it.
    if is_powerful(name) {
        return Err(AccountError::Powerful(vec![name.to_string()]));
    }
    if gid(name.as_str())?.is_some() {
        return Err(AccountError::GroupLeft);
    }
    let defaults = program(&["/usr/sbin/useradd", "/usr/bin/useradd"])?.ask(&["--defaults"])?;
    let defaults = String::from_utf8_lossy(&defaults);
    let base = defaults.lines().find_map(|line| line.strip_prefix("HOME="));
    let home = Path::new(base.unwrap_or("/home")).join(name.as_str());
    match home.symlink_metadata() {
        Ok(_) => Err(AccountError::Leftover(home)),
        Err(_) => Ok(home),
    }
}

/// Makes an account without a password, in no group but its own, with an empty home.
///
/// The password field is `*`, which fits nothing. `!` would lock the account, and an sshd without PAM
/// lets nobody into a locked account, key or not (sshd(8)). The shell is a real one, for sshd starts
/// the forced command by it.
///
/// # Errors
/// useradd fails.
pub fn make(name: &Name, home: &Path) -> Result<(), AccountError> {
    let home = home.to_string_lossy();
    program(&["/usr/sbin/useradd", "/usr/bin/useradd"])?.ask(&[
        "--create-home",
        "--home-dir",
        &home,
        // Nothing that a shell would read at its start.
        "--skel",
        "/nonexistent",
        "--user-group",
        "--shell",
        SHELL,
        "--password",
        "*",
        "--comment",
        COMMENT,
        name.as_str(),
    ])?;
    Ok(())
}

/// Adds an account to a group.
///
/// # Errors
/// gpasswd fails.
pub fn join(name: &Name, group: &Name) -> Result<(), AccountError> {
    program(&["/usr/bin/gpasswd", "/usr/sbin/gpasswd"])?.ask(&[
        "--add",
        name.as_str(),
        group.as_str(),
    ])?;
    Ok(())
}

/// Takes an account out of a group.
///
/// # Errors
/// gpasswd fails.
pub fn leave(name: &Name, group: &Name) -> Result<(), AccountError> {
    program(&["/usr/bin/gpasswd", "/usr/sbin/gpasswd"])?.ask(&[
        "--delete",
        name.as_str(),
        group.as_str(),
    ])?;
    Ok(())
}

/// Removes an account and leaves its files. Its own group goes with it, and the empty mail box that
/// useradd makes where CREATE_MAIL_SPOOL is set (useradd(8)).
///
/// # Errors
/// userdel fails, as it does while a process of the account runs.
pub fn remove(name: &Name, uid: u32) -> Result<(), AccountError> {
    for dir in ["/var/mail", "/var/spool/mail"] {
        let path = Path::new(dir).join(name.as_str());
        if fs::symlink_metadata(&path).is_ok_and(|found| found.len() == 0 && found.uid() == uid) {
            // Whether it goes or stays lets nobody in.
            let _ = fs::remove_file(&path);
        }
    }
    program(&["/usr/sbin/userdel", "/usr/bin/userdel"])?.ask(&[name.as_str()])?;
    let left = Group::from_name(name.as_str()).map_err(AccountError::Database)?;
    // It stays where USERGROUPS_ENAB in login.defs(5) is off.
    if left.is_some_and(|group| group.mem.is_empty()) {
        program(&["/usr/sbin/groupdel", "/usr/bin/groupdel"])?.ask(&[name.as_str()])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn agent() -> Account {
        Account {
            uid: 1001,
            gid: 1001,
            home: "/home/agent".into(),
            shell: "/bin/bash".into(),
            comment: String::new(),
            groups: vec!["agent".into(), "remit".into()],
        }
    }

    #[test]
    fn an_account_that_is_no_more_than_an_agents_is_taken() {
        let mut account = agent();
        assert_eq!(
            account.judge(&name("agent"), &name("remit")).unwrap(),
            [""; 0]
        );
        account.groups.push("web".into());
        assert_eq!(
            account.judge(&name("agent"), &name("remit")).unwrap(),
            ["web"]
        );
    }

    #[test]
    fn any_other_is_refused_with_its_reason() {
        type Change<'a> = &'a dyn Fn(&mut Account);
        let cases: [(&str, Change); 17] = [
            ("is root's", &|account| account.uid = 0),
            ("system (uid 999)", &|account| account.uid = 999),
            ("system (uid 65534)", &|account| account.uid = 65_534),
            ("it is in 'sudo'", &|account| {
                account.groups.push("sudo".into())
            }),
            (
                "from which root runs programs; it is in 'docker'",
                &|account| {
                    account.groups = vec!["staff".into(), "web".into(), "docker".into()];
                },
            ),
            ("it is in 'docker'", &|account| {
                account.groups = vec!["docker".into()]
            }),
            ("it is in 'remit-admin'", &|account| {
                account.groups.push("remit-admin".into());
            }),
            ("home of its own but ''", &|account| {
                account.home = "".into()
            }),
            ("home of its own but '/'", &|account| {
                account.home = "/".into()
            }),
            ("home of its own but '/nonexistent'", &|account| {
                account.home = "/nonexistent".into();
            }),
            ("home of its own but '/etc'", &|account| {
                account.home = "/etc".into()
            }),
            ("home of its own but '/var/empty'", &|account| {
                account.home = "/var/empty".into();
            }),
            ("home of its own but 'home'", &|account| {
                account.home = "home".into()
            }),
            ("home of its own but '/root'", &|account| {
                account.home = "/root".into()
            }),
            ("'/usr/sbin/nologin' starts nothing", &|account| {
                account.shell = "/usr/sbin/nologin".into();
            }),
            ("'/sbin/nologin' starts nothing", &|account| {
                account.shell = "/sbin/nologin".into();
            }),
            ("'/bin/false' starts nothing", &|account| {
                account.shell = "/bin/false".into()
            }),
        ];
        for (reason, change) in cases {
            let mut account = agent();
            change(&mut account);
            let error = account.judge(&name("agent"), &name("remit")).unwrap_err();
            assert!(error.to_string().contains(reason), "{error} for {reason}");
            assert!(error.lift(&name("agent")).is_some(), "{error}");
        }
    }

    #[test]
    fn root_is_found_and_refused() {
        let root = find(&name("root")).unwrap().unwrap();
        assert_eq!((root.uid, root.home.to_str()), (0, Some("/root")));
        assert!(root.groups.contains(&"root".to_owned()));
        assert!(!root.is_made());
        let refused = root.judge(&name("root"), &name("remit"));
        assert!(matches!(refused, Err(AccountError::Root)));
        assert_eq!(find(&name("no-such-agent")).unwrap(), None);
    }
}
