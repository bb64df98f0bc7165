//! Finds grantees and approvers without access, using the groups in the daemon's configuration.

use std::path::Path;

use nix::unistd::Group;
use remit_policy::{Diagnostic, Severity};
use remit_policy_files::{
    Loaded, Names, Owners, approvers, impersonators, read_file, unreachable_grantees,
};
use serde::Deserialize;

/// The used part of `remit.toml` (remit.toml(5)). `remitd --check` judges the rest.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ReachSettings {
    accounts: AccountSettings,
}

#[derive(Deserialize)]
#[serde(default)]
struct AccountSettings {
    socket_group: GroupSetting,
    admin_group: GroupSetting,
}

impl Default for AccountSettings {
    fn default() -> Self {
        Self {
            socket_group: GroupSetting::Name("remit".into()),
            admin_group: GroupSetting::Name("remit-admin".into()),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum GroupSetting {
    Id(u32),
    Name(String),
}

/// Returns a warning for each grantee who may not connect and each approver who cannot approve. Returns an error for
/// each profile whose user may approve.
pub fn findings(loaded: &Loaded, names: &Names, config: &Path) -> Vec<Diagnostic> {
    let policy = &loaded.policy;
    let file = config.join("remit.toml");
    match groups(&file) {
        // `None` if the group is missing, for example if remit is not installed.
        Ok([socket, admin]) => {
            let outside = socket.map(|gid| unreachable_grantees(policy, names, gid, admin));
            let unable = admin.map(|gid| approvers(policy, names, gid));
            let jobs = impersonators(policy, &loaded.sources, names, admin);
            [outside, unable, Some(jobs)]
                .map(Option::unwrap_or_default)
                .concat()
        }
        Err(why) => {
            let why = format!("cannot determine who may connect: {why}");
            vec![Diagnostic::whole(
                Severity::Warning,
                &file.to_string_lossy(),
                why,
            )]
        }
    }
}

fn groups(file: &Path) -> Result<[Option<u32>; 2], String> {
    let file = file.canonicalize().unwrap_or_default();
    let text = match file.as_os_str().is_empty() {
        true => None,
        false => read_file(&file, Owners::Any)?,
    };
    let text = String::from_utf8(text.unwrap_or_default()).map_err(|error| error.to_string())?;
    let settings: ReachSettings =
        toml::from_str(&text).map_err(|error| error.message().replace('\n', ", "))?;
    let AccountSettings {
        socket_group,
        admin_group,
    } = settings.accounts;
    Ok([gid(&socket_group)?, gid(&admin_group)?])
}

fn gid(account: &GroupSetting) -> Result<Option<u32>, String> {
    match account {
        GroupSetting::Id(gid) => Ok(Some(*gid)),
        GroupSetting::Name(name) => Group::from_name(name)
            .map(|group| group.map(|group| group.gid.as_raw()))
            .map_err(|errno| errno.desc().to_owned()),
    }
}
