//! `remit.toml` (remit.toml(5)), judged as the daemon does, and what decides here: groups, the broker, `[floor]`.

use std::path::Path;

use nix::unistd::Group;
use remit_policy::model::rule::Grantees;
use remit_policy::{Approval, Count, Diagnostic, Severity};
use remit_policy_files::{Owners, read_file};
use remit_settings::{AccountRef, Config};

/// Reads the file; all defaults if it is missing. Whether its accounts exist is not checked.
pub fn settings(file: &Path, owners: Owners) -> Result<Config, Diagnostic> {
    let name = file.to_string_lossy();
    let wrong = |why: String| Diagnostic::whole(Severity::Error, &name, why);
    let text = text(file, owners).map_err(wrong)?;
    let settings = remit_policy_compile::settings(&name, &text)?;
    settings.check().map_err(wrong)?;
    Ok(settings)
}

/// Returns the gids of those who may connect and who administer; `None` for one that is missing, for example if remit is
/// not installed.
pub fn groups(settings: &Config) -> Result<[Option<u32>; 2], String> {
    let accounts = &settings.accounts;
    Ok([gid(&accounts.socket_group)?, gid(&accounts.admin_group)?])
}

/// Returns the groups that may connect and that administer, by name or as `#gid`.
pub fn group_words(file: &Path) -> Result<[String; 2], String> {
    let accounts = readable(file)?.accounts;
    Ok([accounts.socket_group, accounts.admin_group].map(|group| group.to_string()))
}

/// Returns the broker's account, by name or as `#uid`.
pub fn broker_word(file: &Path) -> Result<String, String> {
    Ok(readable(file)?.accounts.broker.to_string())
}

/// Returns true if each change needs a person, whatever the rules say.
pub fn asks_for_changes(file: &Path) -> Result<bool, String> {
    Ok(readable(file)?.floor.approval)
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
    let settings = settings(file, Owners::Any);
    let floor = settings.map_err(|found| found.to_string())?.floor;
    Ok(match (floor.approval, floor.approvers.is_empty()) {
        (false, _) => Floor::Off,
        (true, false) => Floor::Asks(floor.approvers),
        (true, true) => Floor::Refuses,
    })
}

/// Returns the seconds after which each job is ended, whatever its profile says.
pub fn longest_runtime_s(file: &Path) -> Result<u32, String> {
    Ok(readable(file)?.limits.max_runtime_s)
}

/// The error is without the name of the file.
fn readable(file: &Path) -> Result<Config, String> {
    settings(file, Owners::Any).map_err(|found| found.message().to_owned())
}

/// Returns its text; none if the file is missing.
fn text(file: &Path, owners: Owners) -> Result<String, String> {
    let file = match owners {
        Owners::Root => file.to_owned(),
        Owners::Any => file.canonicalize().unwrap_or_default(),
    };
    let text = match file.as_os_str().is_empty() {
        true => None,
        false => read_file(&file, owners)?,
    };
    String::from_utf8(text.unwrap_or_default()).map_err(|error| error.to_string())
}

fn gid(account: &AccountRef) -> Result<Option<u32>, String> {
    match account {
        AccountRef::Id(gid) => Ok(Some(*gid)),
        AccountRef::Name(name) => Group::from_name(name)
            .map(|group| group.map(|group| group.gid.as_raw()))
            .map_err(|errno| errno.desc().to_owned()),
    }
}
