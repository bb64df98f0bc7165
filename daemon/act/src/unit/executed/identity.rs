//! Decides who runs a command of a unit (systemd.exec(5), systemd.service(5)). What is not known counts as root.

use std::fs;

use remit_common::{capability, text as escaped};
use zbus::Variant;

use super::settings::{text, words};
use super::{Properties, RAW};
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

/// The settings of a unit that say who runs its commands.
pub struct Identity {
    /// `None` for root.
    user: Option<String>,
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
        is_root: &dyn Fn(&str) -> bool,
    ) -> Result<Self, Fault> {
        let flag = |name: &str| match all.get(name).map(|value| &**value) {
            Some(Variant::Bool(flag)) => Some(*flag),
            _ => None,
        };
        let filled = |name| text(all, name).filter(|text| !text.is_empty());
        let name = filled("User").filter(|name| !is_root(name));
        // Of the running main process.
        let runs_as_root = matches!(all.get("UID").map(|uid| &**uid), Some(Variant::U32(0)));
        let user = name.filter(|_| !runs_as_root);
        let is_dynamic = flag("DynamicUser") == Some(true);
        let user = user.map(|name| match is_dynamic {
            true => format!("{} (made for it unless there is such a user)", word(&name)),
            false => word(&name),
        });
        // Without a name the user has that of the unit.
        let own = is_dynamic && filled("User").is_none() && !runs_as_root;
        let user = user.or_else(|| own.then(|| "a user of its own".to_owned()));
        let is_service = unit.ends_with(".service");
        Ok(Self {
            user,
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
        let within = within.map_or_else(String::new, |root| format!(", within {}", word(root)));
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
        let maybe = |why: &str| format!("{ROOT} (or {user}: the service manager {why})");
        match *prefixes {
            Prefixes::Unknown => maybe("does not say which"),
            Prefixes::Known { is_odd: true, .. } => maybe("says it by a word that is not known"),
            Prefixes::Known {
                is_privileged: true,
                ..
            } => format!("{ROOT}, without the unit's sandbox"),
            Prefixes::Known { is_root: true, .. } => ROOT.to_owned(),
            Prefixes::Known { has_shell, .. } => match self.is_start_only.filter(|_| is_control) {
                Some(true) => {
                    format!("{ROOT}, without the unit's sandbox ({START_ONLY}=yes)")
                }
                None if is_control => maybe("does not say which"),
                Some(false) | None => {
                    let shell = if has_shell { ", by its shell" } else { "" };
                    format!("{user}{}{shell}", self.rights)
                }
            },
        }
    }
}

/// A name can have spaces, and words after them.
fn word(name: &str) -> String {
    escaped::command_line(&[name], RAW)
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
        parts.push(format!("groups {}", escaped::command_line(&groups, RAW)));
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

/// Returns true for a number or an account of /etc/passwd that is root. Other sources of accounts are not asked.
pub fn is_root_account(name: &str) -> bool {
    is_root_in(name, &fs::read_to_string(ACCOUNTS).unwrap_or_default())
}

fn is_root_in(name: &str, accounts: &str) -> bool {
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        let is_named = fields.next() == Some(name);
        is_named && fields.nth(1).and_then(|uid| uid.parse().ok()) == Some(0_u64)
    };
    name == ROOT || name.parse() == Ok(0_u64) || accounts.lines().any(of_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_root_under_every_name() {
        let accounts = "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\nbob:x:1000:0::/:/bin/sh\nx:x:00:1::/:/\n";
        for (name, expect) in [
            ("root", true),
            ("0", true),
            ("00", true),
            ("toor", true),
            ("x", true),
            ("bob", false),
            ("1000", false),
            ("nobody", false),
            ("", false),
        ] {
            assert_eq!(is_root_in(name, accounts), expect, "{name}");
        }
    }
}
