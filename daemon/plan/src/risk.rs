//! What a change of a path can mean for the machine, as a true sentence for an approver.

use std::collections::HashMap;
use std::fmt;
use std::mem::{Discriminant, discriminant};

use crate::subject::Subject;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    SetId,
    /// Of a file, which it has from then on.
    Capabilities(String),
    Sudo,
    Preload,
    Pam,
    Sshd,
    LoginKeys,
    Passwords,
    Accounts,
    Cron,
    Unit,
    /// By a generator: systemd.generator(7).
    UnitSource,
    RunsByItself,
    Commands,
    Packages,
    Login,
    Home,
    Boot,
    Network,
    LoaderSettings,
    Shares,
    Shell,
    Guards,
    Trust,
    Names,
    // Packages have many of these: they come after what decides by its path.
    PackageScript,
    Loader,
    /// Its bytes change.
    Program,
    WorldWritable,
    Opened,
    SetGidDirectory,
    GroupWritable,
    Owner,
    Executable,
    /// Nothing else is known of its path.
    Settings,
    /// The requester may not read it, and the reader of the sentence did not: there is no diff.
    Unread,
    /// Its new bytes are not on the page.
    Uploaded,
    RootAccount(Subject),
    NoPassword(Subject),
    PasswordSet(Subject),
    /// By newuidmap(1). Low numbers are of root and of accounts.
    ActsAs {
        is_high: bool,
        account: String,
        is_of_groups: bool,
        first: u32,
        last: u32,
    },
    SameUser {
        account: Subject,
        other: Subject,
    },
    SameGroup {
        group: Subject,
        other: Subject,
    },
    GroupPassword(Subject),
    MemberAdded {
        group: Subject,
        member: String,
    },
    MoreMembers {
        group: Subject,
        count: usize,
    },
    GroupAdmin {
        group: Subject,
        admin: String,
    },
    MoreAdmins {
        group: Subject,
        count: usize,
    },
    FirstGroup {
        account: Subject,
        gid: u32,
        /// If the plan has the table of groups.
        group: Option<String>,
    },
    Renumbered(Subject),
    LoginChanged(Subject),
    LineChanged(Subject),
    PasswordRemoved(Subject),
    LineRemoved(Subject),
    /// A new file that others may not read, and its bytes come from the requester or from a job of theirs.
    Known,
    /// Facts of one file beyond the bound.
    More(usize),
    /// It is a link to this target.
    Link(String),
}

/// How much of a file with a risk an approver has to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reading {
    /// It is known by its hash.
    Hash,
    /// If it is no longer than what is shown of other files.
    Short,
    Whole,
}

impl Risk {
    /// Returns true for what somebody has to approve. That requesters know what they write takes nothing from anybody: it is for
    /// one who trusts a key. Of settings the rule has named the directory.
    pub(crate) const fn asks(&self) -> bool {
        !matches!(self, Self::Known | Self::Settings)
    }

    /// Returns true if a mistake in such a file can keep everybody from logging in.
    pub(crate) const fn is_of_logins(&self) -> bool {
        matches!(
            self,
            Self::Sudo
                | Self::Preload
                | Self::Pam
                | Self::Sshd
                | Self::LoginKeys
                | Self::Passwords
                | Self::Accounts
                | Self::Login
                | Self::Boot
                | Self::Network
                | Self::LoaderSettings
        )
    }

    /// Returns how much has to be read of what has this risk by its path.
    pub(crate) const fn reading(&self) -> Reading {
        match self {
            Self::Cron | Self::Unit | Self::UnitSource | Self::RunsByItself | Self::Commands => {
                Reading::Whole
            }
            risk if risk.is_of_logins() => Reading::Whole,
            Self::Packages
            | Self::Shares
            | Self::Shell
            | Self::Guards
            | Self::Trust
            | Self::Names
            | Self::Settings => Reading::Short,
            _ => Reading::Hash,
        }
    }
}

/// Returns the worst of all, but some of each kind: many of one kind hide none of another. Also how many are left out.
pub fn worst<T: Ord>(
    all: impl IntoIterator<Item = T>,
    most: usize,
    risk: impl Fn(&T) -> &Risk,
) -> (Vec<T>, usize) {
    let mut count: HashMap<Discriminant<Risk>, usize> = HashMap::new();
    let mut all: Vec<T> = all.into_iter().collect();
    all.sort();
    let mut ranked: Vec<(usize, T)> = all
        .into_iter()
        .map(|one| {
            let nth = count.entry(discriminant(risk(&one))).or_default();
            *nth += 1;
            (*nth, one)
        })
        .collect();
    ranked.sort();
    let more = ranked.len().saturating_sub(most);
    ranked.truncate(most);
    let mut kept: Vec<T> = ranked.into_iter().map(|(_, one)| one).collect();
    kept.sort();
    (kept, more)
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Capabilities(names) => {
                return write!(f, "who executes it gets capabilities: {names}");
            }
            Self::SetId => "it runs with its owner's or group's rights (set-id)",
            Self::WorldWritable => "every user can write it",
            Self::SetGidDirectory => "new files in it get its group (set-gid)",
            Self::GroupWritable => "its group can write it",
            Self::Opened => "its group or others get rights that they did not have",
            Self::Owner => "it belongs to another user or group than before, or than root",
            Self::Executable => "it can be executed, and could not be before",
            Self::Program => "it is a program, and its content changes",
            Self::Settings => "programs of root may have settings in it",
            Self::PackageScript => "dpkg runs it as root when a package changes",
            Self::Sudo => "it decides who may become root",
            Self::Preload => "every program loads the code that it names",
            Self::Pam => "it decides how people log in",
            Self::Sshd => "it decides who may log in over ssh",
            Self::LoginKeys => "it decides who may log in with a key",
            Self::Passwords => "it holds passwords",
            Self::Accounts => "it defines accounts and groups",
            Self::Cron => "it makes programs run by themselves at set times, mostly as root",
            Self::Unit => "it makes programs run by themselves as services, mostly as root",
            Self::UnitSource => {
                "the service manager makes units of it, which mount file systems or run programs as root"
            }
            Self::RunsByItself => "it makes programs run by themselves, mostly as root",
            Self::Commands => "it can name programs that a service runs, mostly as root",
            Self::Packages => "it decides which packages are installed, and from whom",
            Self::Shares => "it decides which files other machines get",
            Self::Shell => "shells, editors and desktops of all users run or read it",
            Self::Guards => "it decides what programs may do, or what is recorded of it",
            Self::Trust => "it decides which servers programs trust",
            Self::Names => "it decides to which machines names lead",
            Self::Home => "programs of the user whose home it is run or read it by themselves",
            Self::Login => "it runs in the logins of all users",
            Self::LoaderSettings => "it decides which code programs load",
            Self::Loader => "programs load it as code",
            Self::Boot => "the machine boots with it",
            Self::Network => "it decides whether the machine can be reached",
            Self::Unread => {
                "its old content was not read for this plan: read it before you approve"
            }
            Self::Uploaded => {
                "its new content is an upload, not shown: compare its hash with the file you expect"
            }
            Self::Link(target) if target.is_empty() => "it is a link: what it leads to counts",
            Self::Link(target) => {
                return write!(
                    f,
                    "it is a link: whoever can change '{target}' changes what is read or written here"
                );
            }
            Self::RootAccount(account) => return write!(f, "account '{account}' is root (uid 0)"),
            Self::NoPassword(account) => {
                return write!(f, "nobody needs a password for account '{account}'");
            }
            Self::PasswordSet(account) => return write!(f, "account '{account}' gets a password"),
            Self::ActsAs {
                is_high,
                account,
                is_of_groups,
                first,
                last,
            } => {
                let what = if *is_of_groups { "groups" } else { "users" };
                let low = match is_high {
                    true => "",
                    false => ", with numbers of root or of accounts",
                };
                return write!(
                    f,
                    "account '{account}' may act as {what} {first} to {last}{low}"
                );
            }
            Self::SameUser { account, other } => {
                return write!(f, "account '{account}' has the number of account '{other}'");
            }
            Self::SameGroup { group, other } => {
                return write!(f, "group '{group}' has the number of group '{other}'");
            }
            Self::GroupPassword(group) => {
                return write!(
                    f,
                    "group '{group}' gets a password: whoever knows it joins the group"
                );
            }
            Self::MemberAdded { group, member } => {
                return write!(f, "'{member}' becomes a member of group '{group}'");
            }
            Self::MoreMembers { group, count } => {
                return write!(f, "and {count} more become members of group '{group}'");
            }
            Self::GroupAdmin { group, admin } => {
                return write!(f, "'{admin}' may add members to group '{group}'");
            }
            Self::MoreAdmins { group, count } => {
                return write!(f, "and {count} more may add members to group '{group}'");
            }
            Self::FirstGroup {
                account,
                gid,
                group,
            } => {
                write!(f, "the first group of account '{account}' becomes {gid}")?;
                return match group {
                    Some(group) => write!(f, " ('{group}')"),
                    None => Ok(()),
                };
            }
            Self::Renumbered(name) => return write!(f, "'{name}' gets another number"),
            Self::LoginChanged(account) => {
                return write!(f, "shell or home of account '{account}' changes");
            }
            Self::LineChanged(account) => {
                return write!(
                    f,
                    "when account '{account}' or its password ends is changed"
                );
            }
            Self::PasswordRemoved(account) => {
                return write!(f, "account '{account}' loses its password");
            }
            Self::LineRemoved(account) => return write!(f, "'{account}' loses its line"),
            Self::Known => {
                "modes close it to others, but the requester of this change can know its content"
            }
            Self::More(count) => return write!(f, "{count} more such changes of accounts"),
        };
        f.write_str(text)
    }
}
