//! The used part of `remit.toml`: who may connect, who administers, the broker's account, and the longest time of a job.

use std::path::Path;

use nix::unistd::Group;
use remit_policy::model::rule::Grantees;
use remit_policy::{Approval, Count};
use remit_policy_files::{Owners, read_file};
use serde::Deserialize;

/// The used part of `remit.toml` (remit.toml(5)). `remitd --check` judges the rest.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ReachSettings {
    accounts: AccountSettings,
    floor: FloorSettings,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FloorSettings {
    approval: bool,
}

#[derive(Deserialize)]
#[serde(default)]
struct AccountSettings {
    broker: AccountWord,
    socket_group: AccountWord,
    admin_group: AccountWord,
}

impl Default for AccountSettings {
    fn default() -> Self {
        Self {
            broker: AccountWord::Name("remit-broker".into()),
            socket_group: AccountWord::Name("remit".into()),
            admin_group: AccountWord::Name("remit-admin".into()),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AccountWord {
    Id(u32),
    Name(String),
}

impl AccountWord {
    fn word(self) -> String {
        match self {
            Self::Id(id) => format!("#{id}"),
            Self::Name(name) => name,
        }
    }
}

/// Returns their gids; `None` for one that is missing, for example if remit is not installed.
pub fn groups(file: &Path) -> Result<[Option<u32>; 2], String> {
    let AccountSettings {
        socket_group,
        admin_group,
        ..
    } = account_settings(file)?;
    Ok([gid(&socket_group)?, gid(&admin_group)?])
}

/// Returns the groups that may connect and that administer, by name or as `#gid`.
pub fn group_words(file: &Path) -> Result<[String; 2], String> {
    let AccountSettings {
        socket_group,
        admin_group,
        ..
    } = account_settings(file)?;
    Ok([socket_group, admin_group].map(AccountWord::word))
}

/// Returns the broker's account, by name or as `#uid`; the default if the file cannot be read.
pub fn broker_word(file: &Path) -> String {
    account_settings(file).unwrap_or_default().broker.word()
}

/// Returns true if each change needs a person, whatever the rules say.
pub fn asks_for_changes(file: &Path) -> Result<bool, String> {
    Ok(settings(file)?.floor.approval)
}

/// What every change needs, whatever the rules say: `[floor]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Floor {
    #[default]
    Off,
    /// Users, and groups with `%`.
    Asks(Vec<String>),
    /// There is no name of a person who could approve.
    Refuses,
}

impl Floor {
    /// What is asked for before a change that no rule asks about.
    pub fn approval(&self) -> Option<Approval> {
        let Self::Asks(words) = self else {
            return None;
        };
        let by = Grantees {
            words: words.clone(),
            ..Grantees::default()
        };
        Some(Approval::new(by, Count::One, Approval::EXPIRES_S))
    }
}

/// Reads `[floor]`. It is off if the file is missing.
pub fn floor(file: &Path) -> Result<Floor, String> {
    let name = file.to_string_lossy();
    let settings = remit_policy_compile::settings(&name, &text(file)?);
    let floor = settings.map_err(|found| found.to_string())?.floor;
    Ok(match (floor.approval, floor.approvers.is_empty()) {
        (false, _) => Floor::Off,
        (true, false) => Floor::Asks(floor.approvers),
        (true, true) => Floor::Refuses,
    })
}

/// Returns the seconds after which each job is ended, whatever its profile says.
pub fn longest_runtime_s(file: &Path) -> Result<u32, String> {
    let settings = remit_policy_compile::settings("remit.toml", &text(file)?);
    settings
        .map(|settings| settings.limits.max_runtime_s)
        .map_err(|found| found.to_string())
}

fn account_settings(file: &Path) -> Result<AccountSettings, String> {
    Ok(settings(file)?.accounts)
}

fn settings(file: &Path) -> Result<ReachSettings, String> {
    toml::from_str(&text(file)?).map_err(|error| error.message().replace('\n', ", "))
}

/// Returns its text; none if the file is missing.
fn text(file: &Path) -> Result<String, String> {
    let file = file.canonicalize().unwrap_or_default();
    let text = match file.as_os_str().is_empty() {
        true => None,
        false => read_file(&file, Owners::Any)?,
    };
    String::from_utf8(text.unwrap_or_default()).map_err(|error| error.to_string())
}

fn gid(account: &AccountWord) -> Result<Option<u32>, String> {
    match account {
        AccountWord::Id(gid) => Ok(Some(*gid)),
        AccountWord::Name(name) => Group::from_name(name)
            .map(|group| group.map(|group| group.gid.as_raw()))
            .map_err(|errno| errno.desc().to_owned()),
    }
}
