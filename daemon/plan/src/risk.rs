//! What a change of a path can mean for the machine, as true sentences for an approver. They come from the path and the
//! bytes. They refuse nothing that somebody approves: [`crate::Protected`] does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::mem::{Discriminant, discriminant};

use remit_common::escape;

use crate::PlanPath;
use crate::deciding::{WHERE, is_hidden_in_home, is_startup};
use crate::facts::{Subject, account_facts, group_names};
use crate::plan::{Change, Kind, Metadata, New};
use crate::view::View;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    SetId,
    /// Of a file, which it has from then on.
    Capabilities(String),
    WorldWritable,
    SetGidDirectory,
    GroupWritable,
    Opened,
    Owner,
    Executable,
    Sudo,
    Pam,
    Sshd,
    LoginKeys,
    Passwords,
    Accounts,
    RunsByItself,
    Home,
    Login,
    Loader,
    Boot,
    Network,
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

/// Sentences of a plan, and paths in one.
const SENTENCES: usize = 32;
const PATHS: usize = 4;
/// Bytes of all of them, and of a link's target: a long page begins with two lines of the worst risk, and words follow.
const SHOWN: usize = 54;

#[must_use]
pub fn risks(view: &View<'_>) -> BTreeSet<Risk> {
    let path = &view.entry.path;
    let by_path = WHERE.iter().filter(|(at, _)| path.is_in(at.as_bytes()));
    let mut risks: BTreeSet<Risk> = by_path.map(|(_, risk)| risk.clone()).collect();
    if path.holds_login_keys() {
        risks.insert(Risk::LoginKeys);
    } else if is_startup(path) || is_hidden_in_home(path) {
        risks.insert(Risk::Home);
    }
    let is_library =
        path.name().ends_with(b".so") || path.name().windows(4).any(|part| part == b".so.");
    if is_library
        && [&b"/lib"[..], b"/lib64", b"/usr", b"/opt"]
            .iter()
            .any(|dir| path.is_in(dir))
    {
        risks.insert(Risk::Loader);
    }
    risks.extend(rights(&view.entry.change));
    let content = view.entry.change.content();
    if let Some(own) = content.and_then(|content| content.capabilities) {
        risks.insert(Risk::Capabilities(own.names()));
    }
    if let Some(New::Link(_)) = view.entry.change.makes() {
        let target = view.new.map(|target| escape::in_quotes(target, SHOWN));
        risks.insert(Risk::Link(target.unwrap_or_default()));
    }
    if view.is_unread() {
        risks.insert(Risk::Unread);
    }
    if view.entry.change.uploaded().is_some() {
        risks.insert(Risk::Uploaded);
    }
    if is_known(view) {
        risks.insert(Risk::Known);
    }
    risks.extend(account_facts(view));
    risks
}

/// Returns true for a new file with content that is closed to others: a key, mostly. The mode decides, because it is what the
/// file is made to keep. Who replaces such a file could read it before, or its old content is a risk of its own. An undo
/// puts back bytes that nobody knows from it: it has none.
fn is_known(view: &View<'_>) -> bool {
    let Change::Create {
        new: New::File(content),
        meta,
    } = view.entry.change
    else {
        return false;
    };
    let has_bytes = view.new.is_some() || view.entry.change.uploaded().is_some();
    has_bytes && content.size > 0 && meta.mode & 0o004 == 0
}

/// Returns a sentence for each risk, the worst first; more paths are counted.
pub fn risk_sentences<'a>(views: impl Iterator<Item = View<'a>>) -> Vec<String> {
    let views: Vec<View<'_>> = views.collect();
    let is_group = |view: &&View<'_>| view.entry.path.as_bytes() == b"/etc/group";
    let table = views.iter().find(is_group).and_then(|view| view.new);
    let groups = group_names(table.unwrap_or_default());
    let mut paths: BTreeMap<Risk, Vec<&PlanPath>> = BTreeMap::new();
    for view in &views {
        for mut risk in risks(view) {
            if let Risk::FirstGroup { gid, group, .. } = &mut risk {
                *group = groups.get(gid).cloned();
            }
            paths.entry(risk).or_default().push(&view.entry.path);
        }
    }
    let sentence = |(risk, paths): (Risk, Vec<&PlanPath>)| format!("{}: {risk}", names(&paths));
    let (worst, more) = worst(paths, SENTENCES, |(risk, _)| risk);
    let mut all: Vec<String> = worst.into_iter().map(sentence).collect();
    if more > 0 {
        all.push(format!("{more} more such facts about the paths"));
    }
    all
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

/// Returns as many paths as fit before the words of a risk, and at least one.
fn names(paths: &[&PlanPath]) -> String {
    let first = |count: usize, most: usize| {
        let first = paths.iter().take(count);
        let first: Vec<String> = first
            .map(|path| escape::middle(path.as_bytes(), most))
            .collect();
        let more = match paths.len().saturating_sub(count) {
            0 => String::new(),
            more => format!(", [… {more} more …]"),
        };
        (first.join(", "), more)
    };
    let fits = |(names, more): &(String, String)| names.len() + more.len() <= SHOWN;
    let mut counts = (1..=PATHS).rev();
    let (names, more) = counts
        .find_map(|count| Some(first(count, SHOWN)).filter(fits))
        .unwrap_or_else(|| {
            let (_, more) = first(1, SHOWN);
            first(1, SHOWN.saturating_sub(more.len()))
        });
    names + &more
}

fn rights(change: &Change) -> impl Iterator<Item = Risk> {
    let base = change.base().map(|base| base.stat);
    let is_link = matches!(change.makes(), Some(New::Link(_)));
    let is_directory = match change {
        Change::Create { new, .. } => *new == New::Directory,
        _ => base.is_some_and(|base| base.kind == Kind::Directory),
    };
    let of = |meta: Metadata| {
        let before = base.map(|base| base.meta);
        let old = before.map_or(0, |old| old.mode);
        let gained = meta.mode & !old;
        let is_new = before.is_none();
        let is_owner_kept = match before {
            Some(old) => (old.uid, old.gid) == (meta.uid, meta.gid),
            None => (meta.uid, meta.gid) == (0, 0),
        };
        // Without the sticky bit everybody who may write a directory removes the files of others.
        let is_unstuck = old & !meta.mode & 0o1000 != 0 && meta.mode & 0o022 != 0;
        let is_opened = !is_new && (gained & 0o077 != 0 || is_unstuck);
        [
            (!is_directory && meta.mode & 0o6000 != 0, Risk::SetId),
            (meta.mode & 0o002 != 0, Risk::WorldWritable),
            (is_directory && gained & 0o2000 != 0, Risk::SetGidDirectory),
            (is_new && meta.mode & 0o022 == 0o020, Risk::GroupWritable),
            (is_opened, Risk::Opened),
            (!is_owner_kept, Risk::Owner),
            (!is_directory && gained & 0o111 != 0, Risk::Executable),
        ]
    };
    let found = change.meta().map(of).into_iter().flatten();
    let found = found.filter(move |(_, risk)| !is_link || *risk == Risk::Owner);
    found.filter_map(|(is_there, risk)| is_there.then_some(risk))
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
