//! Decides who runs a command of a unit (systemd.exec(5), systemd.service(5)). What is not known counts as root.

use std::fs;

use remit_common::{capability, text as escaped};
use zbus::Variant;

use super::Properties;
use super::settings::{quoted, text, words};
use crate::args::Fault;

/// The deprecated `PermissionsStartOnly=`: root runs each command but `ExecStart=`.
pub const START_ONLY: &str = "PermissionsStartOnly";
const ROOT: &str = "root";
const ACCOUNTS: &str = "/etc/passwd";

/// The special characters before the program of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefixes {
    Known {
        /// `+`
        is_privileged: bool,
        /// `!`
        is_root: bool,
        /// A flag without a meaning here.
        is_odd: bool,
        /// `|`
        has_shell: bool,
    },
    /// The manager does not say them.
    Unknown,
}

impl Prefixes {
    pub fn known(flags: &[String]) -> Self {
        let has = |name: &str| flags.iter().any(|flag| flag == name);
        const PLAIN: [&str; 6] = [
            "ignore-failure",
            "privileged",
            "no-setuid",
            "no-env-expand",
            // `!!`: of the user, because every kernel that remit runs on has ambient capabilities.
            "ambient",
            "via-shell",
        ];
        Self::Known {
            is_privileged: has("privileged"),
            is_root: has("no-setuid"),
            is_odd: flags.iter().any(|flag| !PLAIN.contains(&flag.as_str())),
            has_shell: has("via-shell"),
        }
    }
}

/// Whether a name is one of root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    Root,
    Other,
    /// No account with a number has this name: another source of accounts can say that it is root.
    Unknown,
    Unreadable,
}

/// The settings of a unit that say who runs its commands.
pub struct Identity {
    /// `None` for root.
    user: Option<String>,
    has_number: bool,
    rights: String,
    root: Option<String>,
    /// If the manager says so.
    is_start_only: Option<bool>,
    is_root_start_only: bool,
}

impl Identity {
    pub fn new(
        unit: &str,
        all: &Properties,
        account: &dyn Fn(&str) -> Account,
    ) -> Result<Self, Fault> {
        let flag = |name: &str| match all.get(name).map(|value| &**value) {
            Some(Variant::Bool(flag)) => Some(*flag),
            _ => None,
        };
        let filled = |name| text(all, name).filter(|text| !text.is_empty());
        let account = filled("User").map(|name| account(&name));
        let name = filled("User").filter(|_| account != Some(Account::Root));
        // Of the running main process.
        let runs_as_root = matches!(all.get("UID").map(|uid| &**uid), Some(Variant::U32(0)));
        let user = name.filter(|_| !runs_as_root);
        let is_dynamic = flag("DynamicUser") == Some(true);
        let user = user.map(|name| match is_dynamic {
            true => format!(
                "{} (made for it unless there is such a user)",
                quoted(&name)
            ),
            false => quoted(&name),
        });
        // Without a name the user has that of the unit.
        let own = is_dynamic && filled("User").is_none() && !runs_as_root;
        let user = user.or_else(|| own.then(|| "a user of its own".to_owned()));
        let is_service = unit.ends_with(".service");
        Ok(Self {
            user,
            has_number: match account {
                Some(Account::Unreadable) => false,
                // The manager makes the account.
                Some(Account::Unknown) => is_dynamic,
                _ => true,
            },
            rights: rights(all)?,
            root: filled("RootImage").or_else(|| filled("RootDirectory")),
            is_start_only: match is_service {
                true => flag(START_ONLY),
                false => Some(false),
            },
            is_root_start_only: flag("RootDirectoryStartOnly") == Some(true),
        })
    }

    /// Says who runs a command, and where. `is_control`: it is not one of `ExecStart=`.
    pub fn of(&self, prefixes: &Prefixes, is_control: bool) -> String {
        let is_outside = is_control && self.is_root_start_only;
        let within = self.root.as_ref().filter(|_| !is_outside);
        let within = within.map_or_else(String::new, |root| format!(", within {}", quoted(root)));
        self.user_of(prefixes, is_control) + &within
    }

    fn user_of(&self, prefixes: &Prefixes, is_control: bool) -> String {
        let Some(user) = &self.user else {
            return match prefixes {
                Prefixes::Known {
                    is_privileged: true,
                    ..
                } => format!("{ROOT}, without the unit's sandbox"),
                _ => ROOT.to_owned(),
            };
        };
        let maybe = |why: &str| format!("{ROOT} (or {user}: {why})");
        let unsaid = "the service manager does not say which";
        match *prefixes {
            Prefixes::Unknown => maybe(unsaid),
            Prefixes::Known { is_odd: true, .. } => {
                maybe("the service manager says it by a word that is not known")
            }
            Prefixes::Known {
                is_privileged: true,
                ..
            } => format!("{ROOT}, without the unit's sandbox"),
            Prefixes::Known { is_root: true, .. } => ROOT.to_owned(),
            Prefixes::Known { has_shell, .. } => match self.is_start_only.filter(|_| is_control) {
                Some(true) => {
                    format!("{ROOT}, without the unit's sandbox ({START_ONLY}=yes)")
                }
                None if is_control => maybe(unsaid),
                Some(false) | None if !self.has_number => maybe("its number is not known"),
                Some(false) | None => {
                    let shell = if has_shell { ", by its shell" } else { "" };
                    format!("{user}{}{shell}", self.rights)
                }
            },
        }
    }
}

/// Returns true if what [`Identity::of`] says begins with root: another name with these letters has more, or quotes.
pub fn is_root(whom: &str) -> bool {
    let rest = whom.strip_prefix(ROOT);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(", ") || rest.starts_with(" ("))
}

/// Returns the groups and capabilities that the user has by the unit.
fn rights(all: &Properties) -> Result<String, Fault> {
    let mut parts = Vec::new();
    let user = text(all, "User");
    let groups: Vec<String> = ["Group", "SupplementaryGroups"]
        .into_iter()
        .flat_map(|name| words(all, name))
        .filter(|group| Some(group) != user.as_ref())
        .collect();
    if !groups.is_empty() {
        parts.push(format!(
            "groups {}",
            escaped::command_line(&groups, usize::MAX)
        ));
    }
    match all.get("AmbientCapabilities").map(|value| &**value) {
        None | Some(Variant::U64(0)) => {}
        Some(Variant::U64(set)) => {
            let names: Vec<String> = capability::names(*set).collect();
            parts.push(format!("capabilities {}", names.join(" ")));
        }
        Some(_) => {
            let why = "the service manager lists AmbientCapabilities oddly";
            return Err(Fault::Failed(why.to_owned()));
        }
    }
    Ok(match parts.is_empty() {
        true => String::new(),
        false => format!(" with {}", parts.join(" and ")),
    })
}

/// Says whether this is root, by a number or an account of /etc/passwd. Other sources of accounts are not asked.
pub fn account(name: &str) -> Account {
    account_in(name, fs::read(ACCOUNTS).ok().as_deref())
}

fn account_in(name: &str, accounts: Option<&[u8]>) -> Account {
    match name.parse::<u64>() {
        Ok(0) => return Account::Root,
        Ok(_) => return Account::Other,
        Err(_) if name == ROOT => return Account::Root,
        Err(_) => {}
    }
    let Some(accounts) = accounts else {
        return Account::Unreadable;
    };
    let of_line = |line: &[u8]| -> Option<Option<u64>> {
        let mut fields = line.split(|byte| *byte == b':');
        let is_named = fields.next() == Some(name.as_bytes());
        let number = || std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok();
        is_named.then(number)
    };
    let lines = accounts.split(|byte| *byte == b'\n');
    let numbers: Vec<Option<u64>> = lines.filter_map(of_line).collect();
    match numbers.as_slice() {
        all if all.contains(&Some(0)) => Account::Root,
        [] => Account::Unknown,
        all if all.contains(&None) => Account::Unknown,
        _ => Account::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_root_under_every_name() {
        use Account::{Other, Root, Unknown, Unreadable};
        let accounts =
            b"root:x:0:0::/root:/bin/sh\ntoor:x:0:0:\xff:/:/bin/sh\nbob:x:1000:0::/:/bin/sh\n\
                         x:x:00:1::/:/\nodd:x:y:1::/:/\nshort\n";
        for (name, expect, unread) in [
            ("root", Root, Root),
            ("0", Root, Root),
            ("00", Root, Root),
            ("1000", Other, Other),
            ("toor", Root, Unreadable),
            ("x", Root, Unreadable),
            ("bob", Other, Unreadable),
            ("of-a-directory", Unknown, Unreadable),
            ("odd", Unknown, Unreadable),
            ("short", Unknown, Unreadable),
        ] {
            assert_eq!(account_in(name, Some(accounts)), expect, "{name}");
            assert_eq!(account_in(name, None), unread, "{name}");
        }
    }
}
