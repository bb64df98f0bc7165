//! Decides which accounts may become agents or approvers. An agent's is in no group with power close to root, which
//! doctor reports too; an approver's may be, because the key starts one command only. Makes and removes accounts. The decisions are pure. The machine's own programs (shadow-utils) make the changes.

use std::ffi::CString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use nix::unistd::{Gid, Group, User, getgrouplist};
use remit_common::accounts::ROOT_GROUPS;

use super::arguments::Name;
use super::refused::Refused;
use super::role::Role;
use crate::external_program::{Program, ProgramError};

/// First uid that is not a system account (login.defs(5), UID_MIN).
const FIRST_UID: u32 = 1000;
/// Also owner of everything without a valid owner.
const OVERFLOW_UID: u32 = 65_534;
/// sshd starts a forced command with the account's shell (sshd(8)).
const SHELL: &str = "/bin/sh";
/// Shells that start no program by its path. git-shell and rbash may be in `/etc/shells`.
const STARTS_NOTHING: [&str; 5] = ["nologin", "false", "true", "git-shell", "rbash"];
const OWN_PROCESS: &str = "remit-broker";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
    /// Empty means `/bin/sh` (passwd(5)).
    pub shell: PathBuf,
    pub comment: String,
    /// All its groups; a group without a name is its number.
    pub groups: Vec<String>,
}

#[derive(Debug)]
pub enum AccountError {
    Database(nix::Error),
    NoGroup(String),
    Root,
    System(u32),
    Powerful(Role, Vec<String>),
    /// The home is not a directory of its own.
    Home(PathBuf),
    Shell(Role, PathBuf),
    Leftover(PathBuf),
    /// A group has the name of the new account. `is_own`: only an older account of that name used it.
    GroupLeft {
        is_own: bool,
    },
    /// The new account's own group would have this name.
    PowerfulName(Name),
    NoProgram(&'static str),
    Program(ProgramError),
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
            Self::Powerful(role, groups) => {
                write!(f, "this account is too powerful for an {}: ", role.noun())?;
                for (index, group) in groups.iter().enumerate() {
                    let between = if index == 0 { "" } else { "; " };
                    let why = of_power(group).unwrap_or_default();
                    write!(f, "{between}it is a member of '{group}', {why}")?;
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
            Self::Shell(role, shell) => write!(
                f,
                "sshd starts {} through the account's shell, and '{}' starts nothing",
                match role {
                    Role::Agent => "mcp-shim",
                    Role::Approver => "remit",
                },
                shell.display()
            ),
            Self::Leftover(home) => write!(
                f,
                "there is no such account, but '{}' is there already",
                home.display()
            ),
            Self::GroupLeft { .. } => {
                f.write_str("there is no such account, but a group of its name")
            }
            Self::PowerfulName(name) => write!(
                f,
                "there is no such account, and its own group would be '{name}', {}",
                of_power(name.as_str()).unwrap_or_default()
            ),
            Self::NoProgram(path) => write!(f, "this machine has no '{path}'"),
            Self::Program(error) => write!(f, "{error}"),
            Self::NotMade(name) => write!(f, "'{name}' was created, but cannot be found"),
        }
    }
}

impl std::error::Error for AccountError {}

impl AccountError {
    pub fn lift(&self, name: &Name) -> Option<String> {
        Some(match self {
            Self::Powerful(_, groups) => format!(
                "choose an unused name and remit will create the account; or: {}",
                groups
                    .iter()
                    .map(|group| format!("gpasswd --delete {name} {group}"))
                    .collect::<Vec<_>>()
                    .join("; ")
            ),
            Self::Root | Self::System(_) | Self::Home(_) => {
                "choose an unused name and remit will create the account".to_owned()
            }
            Self::Shell(..) => format!("usermod --shell {SHELL} {name}"),
            Self::Leftover(_) => "move it away, or choose another name".to_owned(),
            Self::GroupLeft { is_own: true } => format!("groupdel {name}, or choose another name"),
            Self::GroupLeft { is_own: false } | Self::PowerfulName(_) => {
                "choose another name".to_owned()
            }
            Self::NoGroup(group) => {
                format!("install remit's package, or: groupadd --system {group}")
            }
            Self::NoProgram(_) => "install shadow-utils (Debian: passwd)".to_owned(),
            Self::Database(_) | Self::Program(_) | Self::NotMade(_) => return None,
        })
    }
}

pub fn account_refusal(error: AccountError, name: &Name) -> Refused {
    with_lift(format!("user '{name}': {error}"), error.lift(name))
}

pub fn group_refusal(error: AccountError, group: &Name) -> Refused {
    let text = match &error {
        AccountError::NoGroup(_) => error.to_string(),
        error => format!("group '{group}': {error}"),
    };
    with_lift(text, error.lift(group))
}

fn with_lift(text: String, lift: Option<String>) -> Refused {
    match lift {
        Some(lift) => Refused::new(text).lift(lift),
        None => Refused::new(text),
    }
}

pub fn groups_of(user: &User) -> nix::Result<Vec<Gid>> {
    let name = CString::new(user.name.as_str()).map_err(|_| nix::Error::EINVAL)?;
    getgrouplist(&name, user.gid)
}

pub fn find(name: &Name) -> Result<Option<Account>, AccountError> {
    let Some(user) = User::from_name(name.as_str()).map_err(AccountError::Database)? else {
        return Ok(None);
    };
    let gids = groups_of(&user).map_err(AccountError::Database)?;
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

pub fn gid(group: &str) -> Result<Option<u32>, AccountError> {
    let found = Group::from_name(group).map_err(AccountError::Database)?;
    Ok(found.map(|group| group.gid.as_raw()))
}

impl Account {
    /// Decides if this account may get the role. Returns its groups other than the primary one and `group`.
    pub fn judge(
        &self,
        role: Role,
        name: &Name,
        group: &Name,
    ) -> Result<Vec<String>, AccountError> {
        match self.uid {
            0 => return Err(AccountError::Root),
            OVERFLOW_UID => return Err(AccountError::System(OVERFLOW_UID)),
            uid if uid < FIRST_UID => return Err(AccountError::System(uid)),
            _ => {}
        }
        let (powerful, others): (Vec<String>, Vec<String>) =
            self.groups.iter().cloned().partition(|one| match role {
                Role::Agent => of_power(one).is_some(),
                Role::Approver => one == OWN_PROCESS,
            });
        if !powerful.is_empty() {
            return Err(AccountError::Powerful(role, powerful));
        }
        let home = self.home.as_path();
        // Directories directly below / belong to the system or do not exist: '/etc', '/nonexistent'.
        let nowhere = ["/dev/null", "/var/empty"].map(Path::new);
        if !home.is_absolute() || home.components().count() <= 2 || nowhere.contains(&home) {
            return Err(AccountError::Home(home.to_owned()));
        }
        match starts_nothing(&self.shell) {
            true => Err(AccountError::Shell(role, self.shell.clone())),
            false => Ok(others
                .into_iter()
                .filter(|one| one != group.as_str() && one != name.as_str())
                .collect()),
        }
    }

    pub fn to_be(role: Role, home: &Path) -> Self {
        Self {
            uid: OVERFLOW_UID,
            gid: OVERFLOW_UID,
            home: home.to_owned(),
            shell: SHELL.into(),
            comment: role.comment().to_owned(),
            groups: Vec::new(),
        }
    }

    /// Returns true if [`make`] probably made this account. The only evidence is the comment.
    pub fn is_made(&self, role: Role) -> bool {
        self.comment == role.comment()
    }

    pub fn is_in(&self, group: &Name) -> bool {
        self.groups.iter().any(|one| one == group.as_str())
    }
}

pub fn starts_nothing(shell: &Path) -> bool {
    STARTS_NOTHING.iter().any(|name| shell.ends_with(name))
}

pub fn is_powerful(group: &Name) -> bool {
    of_power(group.as_str()).is_some()
}

fn of_power(group: &str) -> Option<&'static str> {
    match group {
        "adm" => Some("its members read all logs"),
        "remit-admin" => Some("its members lock and unlock remit"),
        OWN_PROCESS => Some("remit's own process has it"),
        other => root_group_reason(other),
    }
}

fn program(paths: &[&'static str]) -> Result<Program, AccountError> {
    let first = paths.first().copied().unwrap_or_default();
    Program::find(paths).ok_or(AccountError::NoProgram(first))
}

/// Returns the home of a new account. Fails if the home or group exists, or the name is a powerful group's. `is_again`:
/// an account of that name was enrolled, and is gone.
pub fn new_home(name: &Name, is_again: bool) -> Result<PathBuf, AccountError> {
    // The account's own group would have that name, and software installed later would give it rights.
    if is_powerful(name) {
        return Err(AccountError::PowerfulName(name.clone()));
    }
    if let Some(group) = Group::from_name(name.as_str()).map_err(AccountError::Database)? {
        return Err(AccountError::GroupLeft {
            is_own: is_again && is_own_group(&group),
        });
    }
    let defaults = program(&["/usr/sbin/useradd", "/usr/bin/useradd"])?.ask(&["--defaults"])?;
    let defaults = String::from_utf8_lossy(&defaults);
    let base = defaults.lines().find_map(|line| line.strip_prefix("HOME="));
    let home = below(Path::new(base.unwrap_or("/home")), name);
    match home.symlink_metadata() {
        Ok(_) => Err(AccountError::Leftover(home)),
        Err(_) => Ok(home),
    }
}

/// Returns true if the group may be the one that useradd made for a single account.
fn is_own_group(group: &Group) -> bool {
    group.mem.is_empty() && group.gid.as_raw() >= FIRST_UID
}

/// Returns the home below a base that may be a symbolic link. The path to the keys must have none, so it gets the target's.
fn below(base: &Path, name: &Name) -> PathBuf {
    let real = base.canonicalize();
    real.unwrap_or_else(|_| base.to_owned()).join(name.as_str())
}

/// Makes an account in its own group only, with an empty home. Password `*`: with `!`, sshd without PAM refuses keys. The
/// machine's default ends of passwords and accounts do not apply: after such an end sshd starts no command of a key.
pub fn make(role: Role, name: &Name, home: &Path) -> Result<(), AccountError> {
    let home = home.to_string_lossy();
    program(&["/usr/sbin/useradd", "/usr/bin/useradd"])?.ask(&[
        "--create-home",
        "--home-dir",
        &home,
        "--skel", // Without skeleton files, a shell finds nothing to read at its start.
        "/nonexistent",
        "--user-group",
        "--shell",
        SHELL,
        "--password",
        "*",
        "--key",
        "PASS_MAX_DAYS=-1",
        "--inactive",
        "-1",
        "--expiredate",
        "",
        "--comment",
        role.comment(),
        name.as_str(),
    ])?;
    Ok(())
}

pub fn join(name: &Name, group: &Name) -> Result<(), AccountError> {
    gpasswd("--add", name, group)
}

pub fn leave_group(name: &Name, group: &Name) -> Result<(), AccountError> {
    gpasswd("--delete", name, group)
}

fn gpasswd(option: &str, name: &Name, group: &Name) -> Result<(), AccountError> {
    let program = program(&["/usr/bin/gpasswd", "/usr/sbin/gpasswd"])?;
    program.ask(&[option, name.as_str(), group.as_str()])?;
    Ok(())
}

/// Removes an account and its own group, and leaves its files. Also removes the empty mailbox that useradd makes if
/// CREATE_MAIL_SPOOL is set (useradd(8)). userdel fails while a process of the account runs.
pub fn remove(name: &Name, uid: u32) -> Result<(), AccountError> {
    for dir in ["/var/mail", "/var/spool/mail"] {
        let path = Path::new(dir).join(name.as_str());
        if fs::symlink_metadata(&path).is_ok_and(|found| found.len() == 0 && found.uid() == uid) {
            // An error is harmless: the mailbox gives no access.
            let _ = fs::remove_file(&path);
        }
    }
    program(&["/usr/sbin/userdel", "/usr/bin/userdel"])?.ask(&[name.as_str()])?;
    let left = Group::from_name(name.as_str()).map_err(AccountError::Database)?;
    // userdel leaves the group if USERGROUPS_ENAB in login.defs(5) is off.
    if left.is_some_and(|group| group.mem.is_empty()) {
        program(&["/usr/sbin/groupdel", "/usr/bin/groupdel"])?.ask(&[name.as_str()])?;
    }
    Ok(())
}

pub fn root_group_reason(group: &str) -> Option<&'static str> {
    let found = ROOT_GROUPS.iter().find(|(name, _)| *name == group);
    found.map(|(_, why)| *why)
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
    fn plain_agent_account_is_accepted() {
        let mut account = agent();
        assert_eq!(
            account
                .judge(Role::Agent, &name("agent"), &name("remit"))
                .unwrap(),
            [""; 0]
        );
        account.groups.push("web".into());
        assert_eq!(
            account
                .judge(Role::Agent, &name("agent"), &name("remit"))
                .unwrap(),
            ["web"]
        );
    }

    #[test]
    fn any_other_is_refused_with_its_reason() {
        type Change<'a> = &'a dyn Fn(&mut Account);
        let cases: [(&str, Change); 19] = [
            ("is root's", &|account| account.uid = 0),
            ("system (uid 999)", &|account| account.uid = 999),
            ("system (uid 65534)", &|account| account.uid = 65_534),
            ("it is a member of 'sudo'", &|account| {
                account.groups.push("sudo".into())
            }),
            (
                "from which root runs programs; it is a member of 'docker'",
                &|account| {
                    account.groups = vec!["staff".into(), "web".into(), "docker".into()];
                },
            ),
            ("it is a member of 'docker'", &|account| {
                account.groups = vec!["docker".into()]
            }),
            ("it is a member of 'remit-admin'", &|account| {
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
            ("'/usr/bin/git-shell' starts nothing", &|account| {
                account.shell = "/usr/bin/git-shell".into();
            }),
            ("'/bin/rbash' starts nothing", &|account| {
                account.shell = "/bin/rbash".into()
            }),
        ];
        for (reason, change) in cases {
            let mut account = agent();
            change(&mut account);
            let error = account
                .judge(Role::Agent, &name("agent"), &name("remit"))
                .unwrap_err();
            assert!(error.to_string().contains(reason), "{error} for {reason}");
            assert!(error.lift(&name("agent")).is_some(), "{error}");
        }
    }

    #[test]
    fn approver_may_be_an_administrator_with_a_shell() {
        let mut account = agent();
        account.groups = vec!["agent".into(), "sudo".into(), "remit-admin".into()];
        let judge =
            |account: &Account| account.judge(Role::Approver, &name("agent"), &name("remit-admin"));
        assert_eq!(judge(&account).unwrap(), ["sudo"]);
        account.shell = "/usr/sbin/nologin".into();
        let said = judge(&account).unwrap_err().to_string();
        assert!(said.starts_with("sshd starts remit through"), "{said}");
        account.groups.push("remit-broker".into());
        let said = judge(&account).unwrap_err().to_string();
        assert!(said.contains("too powerful for an approver: "), "{said}");
        account.uid = 999;
        assert!(matches!(judge(&account), Err(AccountError::System(999))));
    }

    #[test]
    fn a_group_is_removed_only_if_it_was_the_accounts_own() {
        let group = |gid, members: &[&str]| Group {
            name: "bot".to_owned(),
            passwd: c"x".to_owned(),
            gid: Gid::from_raw(gid),
            mem: members.iter().map(ToString::to_string).collect(),
        };
        for (group, expect) in [
            (group(1001, &[]), true),
            (group(999, &[]), false),
            (group(1001, &["ann"]), false),
        ] {
            assert_eq!(is_own_group(&group), expect, "{group:?}");
        }
        for (wanted, why) in [
            ("sudo", "its own group would be 'sudo', sudo makes"),
            ("remit-admin", "its own group would be 'remit-admin', its"),
            // Groups of Debian and Fedora: not empty or below 1000.
            ("mail", "but a group of its name"),
            ("users", "but a group of its name"),
        ] {
            let error = new_home(&name(wanted), true).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(
                error.lift(&name(wanted)).as_deref(),
                Some("choose another name")
            );
        }
        let own = AccountError::GroupLeft { is_own: true }.lift(&name("bot"));
        assert_eq!(own.as_deref(), Some("groupdel bot, or choose another name"));
    }

    #[test]
    fn home_below_a_link_has_the_path_of_its_target() {
        let dir = nix::unistd::mkdtemp("/run/remit-base-XXXXXX").unwrap();
        let (real, link) = (dir.join("srv"), dir.join("home"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let homes = [&real, &link, &dir.join("missing")].map(|base| below(base, &name("bot")));
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(
            homes,
            [real.join("bot"), real.join("bot"), dir.join("missing/bot")]
        );
    }

    #[test]
    fn refusal_of_a_group_names_no_user() {
        let missing = AccountError::NoGroup("ops".into());
        let refused = group_refusal(missing, &name("ops"));
        assert_eq!(refused.message, "there is no group 'ops'");
        let lift = "install remit's package, or: groupadd --system ops";
        assert_eq!(refused.lift.as_deref(), Some(lift));
        let refused = group_refusal(AccountError::Database(nix::Error::EIO), &name("ops"));
        assert!(
            refused.message.starts_with("group 'ops': cannot read"),
            "{refused:?}"
        );
    }

    #[test]
    fn root_is_found_and_refused() {
        let root = find(&name("root")).unwrap().unwrap();
        assert_eq!((root.uid, root.home.to_str()), (0, Some("/root")));
        assert!(root.groups.contains(&"root".to_owned()));
        assert!(!root.is_made(Role::Agent));
        let refused = root.judge(Role::Approver, &name("root"), &name("remit"));
        assert!(matches!(refused, Err(AccountError::Root)));
        assert_eq!(find(&name("no-such-agent")).unwrap(), None);
    }
}
