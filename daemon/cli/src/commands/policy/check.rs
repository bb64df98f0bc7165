//! `remit policy check`: prints every finding of a load, grantees who cannot connect, and profiles in which nothing
//! could run.

use std::path::Path;

use nix::unistd::Group;
use remit_policy::{Diagnostic, Severity};
use remit_policy_files::{
    Loaded, Names, Owners, approvers, impersonators, read_file, unreachable_grantees,
};
use serde::Deserialize;
use serde_json::json;

use super::files::{self, count, errors};
use super::missing_paths::missing_paths;
use crate::args::FilesArgs;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;
use crate::render::output::{self, Form};

/// Prints findings. The exit status shows if the daemon would refuse the files.
pub fn check(context: &Context, args: &FilesArgs) -> Result<Exit, Failure> {
    let (made, names) = files::of_args(args);
    let (loaded, mut found) = match made {
        Ok(mut loaded) => {
            let warnings = std::mem::take(&mut loaded.warnings);
            (Some(loaded), warnings)
        }
        Err(found) => (None, found),
    };
    if let Some(loaded) = &loaded {
        found.extend(findings(loaded, &names, &args.config));
        found.extend(missing_paths(&loaded.policy, &names));
    }
    let loaded = loaded.filter(|_| errors(&found) == 0);
    match context.form {
        Form::Json => output::json(&json!({
            "loads": loaded.is_some(),
            "errors": errors(&found),
            "warnings": found.len() - errors(&found),
            "findings": files::objects(&found),
            "files": loaded.iter().flat_map(files_of).collect::<Vec<_>>(),
            "rules": loaded.as_ref().map(|loaded| loaded.policy.rules()),
            "commands": loaded.as_ref().map(|loaded| loaded.policy.commands().count()),
            "owners": !args.any_owner && !args.machine.other_machine,
            "names": !args.machine.other_machine,
        }))?,
        Form::Text => output::text(&show(loaded.as_ref(), &found, args))?,
    }
    Ok(match loaded {
        Some(_) => Exit::OK,
        None => Exit::FOUND,
    })
}

fn files_of(loaded: &Loaded) -> impl Iterator<Item = &str> {
    loaded.sources.iter().map(|source| source.name.as_str())
}

fn show(loaded: Option<&Loaded>, found: &[Diagnostic], args: &FilesArgs) -> String {
    let mut lines = files::lines(found);
    let errors = errors(found);
    let warnings = match found.len() - errors {
        0 => String::new(),
        many => format!(", {}", count(many, "warning")),
    };
    lines += &match loaded {
        Some(Loaded {
            policy, sources, ..
        }) => format!(
            "the policy loads: {} and {} in {}{warnings}\n",
            count(policy.rules(), "rule"),
            count(policy.commands().count(), "command"),
            count(sources.len(), "file"),
        ),
        None => format!(
            "the policy does not load: {}{warnings}\n",
            count(errors, "error")
        ),
    };
    if args.any_owner || args.machine.other_machine {
        lines += "file ownership and permissions were not checked\n";
    } else if loaded.is_none() && found.iter().any(|one| one.line().is_none()) {
        // An error about a whole file is mostly about its owner.
        lines += "to check files that are not installed yet: --any-owner\n";
    }
    if args.machine.other_machine {
        lines += "every user, group, host and program was assumed to exist, each user in no other group\n";
    }
    lines
}

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
fn findings(loaded: &Loaded, names: &Names, config: &Path) -> Vec<Diagnostic> {
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
