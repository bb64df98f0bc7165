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
    Pam,
    Sshd,
    LoginKeys,
    Passwords,
    Accounts,
    RunsByItself,
    Login,
    Home,
    Boot,
    Network,
    Loader,
    // Packages have many of these: they come after what decides by its path.
    WorldWritable,
    Opened,
    SetGidDirectory,
    GroupWritable,
    Owner,
    Executable,
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
            Self::Sudo => "it decides who may become root",
            Self::Pam => "it decides how people log in",
            Self::Sshd => "it decides who may log in over ssh",
            Self::LoginKeys => "it decides who may log in with a key",
            Self::Passwords => "it holds passwords",
            Self::Accounts => "it defines accounts and groups",
            Self::RunsByItself => "it makes programs run by themselves, mostly as root",
            Self::Home => "programs of the user whose home it is run or read it by themselves",
            Self::Login => "it runs in the logins of all users",
            Self::Loader => "it decides which code programs load",
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
                "it is closed to others, but the requester of this change can know its content"
            }
            Self::More(count) => return write!(f, "{count} more such changes of accounts"),
        };
        f.write_str(text)
    }
}
