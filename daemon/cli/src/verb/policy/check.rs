//! `remit policy check`: every finding that a load by the daemon would have, who could not use what is
//! granted to them, and which profiles nothing could run in.

use remit_policy::Diagnostic;
use remit_policy_files::{Loaded, places};
use serde_json::json;

use super::files::{self, count, errors};
use super::reach;
use crate::app::Context;
use crate::args::FilesArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};

/// Shows findings. The exit status says whether the daemon would refuse the files.
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
        found.extend(reach::findings(loaded, &names, &args.config));
        found.extend(places(&loaded.policy, &names));
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
            "owners": !args.any_owner && !args.machine.elsewhere,
            "names": !args.machine.elsewhere,
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
    if args.any_owner || args.machine.elsewhere {
        lines += "whose the files are, and who can write them, was not looked at\n";
    } else if loaded.is_none() && found.iter().any(|one| one.line().is_none()) {
        // An error about a file as a whole is mostly about its owner.
        lines += "to look at files that are not installed yet: --any-owner\n";
    }
    if args.machine.elsewhere {
        lines +=
            "users, groups, hosts and programs were taken as there, each user in no other group\n";
    }
    lines
}
