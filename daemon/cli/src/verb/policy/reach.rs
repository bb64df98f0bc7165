//! The groups that may connect to the daemon and that may approve, as its configuration says.

use std::path::Path;

use nix::unistd::Group;
use remit_policy::{Diagnostic, Severity};
use remit_policy_files::{Loaded, Names, Owners, approvers, impersonators, outsiders, read_file};
use serde::Deserialize;

/// Of `remit.toml` (remit.toml(5)), what counts here. The rest is `remitd --check`'s to judge.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Settings {
    accounts: Accounts,
}

#[derive(Deserialize)]
#[serde(default)]
struct Accounts {
    socket_group: Account,
    admin_group: Account,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            socket_group: Account::Name("remit".into()),
            admin_group: Account::Name("remit-admin".into()),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Account {
    Id(u32),
    Name(String),
}

/// A warning for everybody to whom something is granted and who may not connect, and for everybody who
/// is asked for an approval and cannot give it; an error for each profile whose user may approve.
pub fn findings(loaded: &Loaded, names: &Names, config: &Path) -> Vec<Diagnostic> {
    let policy = &loaded.policy;
    let file = config.join("remit.toml");
    match groups(&file) {
        // None where there is no such group, as on a machine that remit is not installed on.
        Ok([socket, admin]) => {
            let outside = socket.map(|gid| outsiders(policy, names, gid, admin));
            let unable = admin.map(|gid| approvers(policy, names, gid));
            let jobs = impersonators(policy, &loaded.sources, names, admin);
            [outside, unable, Some(jobs)]
                .map(Option::unwrap_or_default)
                .concat()
        }
        Err(why) => {
            let why = format!("who may connect cannot be told: {why}");
            vec![Diagnostic::whole(
                Severity::Warning,
                &file.to_string_lossy(),
                why,
            )]
        }
    }
}

/// The gids of the group that may connect and of the one that may approve, if there are such.
fn groups(file: &Path) -> Result<[Option<u32>; 2], String> {
    let file = file.canonicalize().unwrap_or_default();
    let text = match file.as_os_str().is_empty() {
        true => None,
        false => read_file(&file, Owners::Anybody)?,
    };
    let text = String::from_utf8(text.unwrap_or_default()).map_err(|error| error.to_string())?;
    let settings: Settings =
        toml::from_str(&text).map_err(|error| error.message().replace('\n', ", "))?;
    let Accounts {
        socket_group,
        admin_group,
    } = settings.accounts;
    Ok([gid(&socket_group)?, gid(&admin_group)?])
}

fn gid(account: &Account) -> Result<Option<u32>, String> {
    match account {
        Account::Id(gid) => Ok(Some(*gid)),
        Account::Name(name) => Group::from_name(name)
            .map(|group| group.map(|group| group.gid.as_raw()))
            .map_err(|errno| errno.desc().to_owned()),
    }
}
